"""Role bindings, and that nobody reaches across projects: the real services behind the real judge."""

import asyncio
from typing import Any

import pytest

from mesh import manners
from tests.unit.control_plane.services.api import APPLICATION, EDGE_SERVER, POSITION, PROJECT, Api, with_api
from waypost.api.control.v1 import (
    application_pb2,
    credential_pb2,
    edge_server_pb2,
    event_pb2,
    position_pb2,
    project_pb2,
    watch_pb2,
)
from waypost.api.control.v1 import role_binding_pb2 as pb
from waypost.api.control.v1.role_pb2 import (
    ROLE_ADMIN,
    ROLE_DEVELOPER,
    ROLE_OPERATOR,
    ROLE_UNSPECIFIED,
    ROLE_VIEWER,
    Role,
)
from waypost.errors import AlreadyExists, Denied, Invalid, MeshError, NotFound, Precondition, Unauthenticated

THEIRS = "projects/ran"


async def make_other_project(api: Api) -> None:
    await api.project.CreateProject(project_pb2.CreateProjectRequest(project_id="ran"))
    await api.application.CreateApplication(
        application_pb2.CreateApplicationRequest(parent=THEIRS, application_id="beam")
    )


async def grant(api: Api, subject: str, role: Role.ValueType, parent: str = "") -> pb.RoleBinding:
    binding = pb.RoleBinding(subject=subject, role=role)
    request = pb.CreateRoleBindingRequest(parent=parent, role_binding=binding)
    made: pb.RoleBinding = (await api.role_binding.CreateRoleBinding(request)).role_binding
    return made


async def applications(api: Api, parent: str = "projects/-") -> list[str]:
    answer = await api.application.ListApplications(application_pb2.ListApplicationsRequest(parent=parent))
    return [application.name for application in answer.applications]


@with_api
async def test_a_grant_counts_from_the_next_call_and_no_longer_than_it_is_there(api: Api) -> None:
    await api.make_application()
    await make_other_project(api)
    async with api.with_role(ROLE_VIEWER, PROJECT) as guest:
        subject = f"{PROJECT}/credentials/guest"
        assert await applications(guest) == [APPLICATION]
        with pytest.raises(Denied):
            await applications(guest, THEIRS)
        made = await grant(api, subject, ROLE_VIEWER, THEIRS)
        assert made.name.startswith(f"{THEIRS}/roleBindings/viewer-")
        assert await applications(guest) == [f"{THEIRS}/applications/beam", APPLICATION]
        await api.role_binding.DeleteRoleBinding(pb.DeleteRoleBindingRequest(name=made.name))
        assert await applications(guest) == [APPLICATION]


@with_api
async def test_the_same_grant_is_not_made_twice(api: Api) -> None:
    await api.make_application()
    async with api.with_role(ROLE_VIEWER):
        await grant(api, "credentials/guest", ROLE_OPERATOR, PROJECT)
        with pytest.raises(AlreadyExists):
            await grant(api, "credentials/guest", ROLE_OPERATOR, PROJECT)
        await grant(api, "credentials/guest", ROLE_DEVELOPER, PROJECT)
        await grant(api, "credentials/guest", ROLE_OPERATOR)
        for parent, count in (("", 1), (PROJECT, 2), ("projects/-", 2)):
            listed = await api.role_binding.ListRoleBindings(pb.ListRoleBindingsRequest(parent=parent))
            assert len(listed.role_bindings) == count
            for binding in listed.role_bindings:
                found = await api.role_binding.GetRoleBinding(pb.GetRoleBindingRequest(name=binding.name))
                assert found.role_binding == binding


@with_api
async def test_what_cannot_be_granted_is_refused(api: Api) -> None:
    await api.make_application()
    _, _ = await api.credentials.issue(APPLICATION, "xapp", credential_pb2.Credential())
    for subject, role, kind in (
        ("credentials/nobody", ROLE_VIEWER, Precondition),
        ("anna", ROLE_VIEWER, Invalid),
        (f"{APPLICATION}/credentials/xapp", ROLE_VIEWER, Invalid),
        ("credentials/tester", ROLE_UNSPECIFIED, Invalid),
        ("credentials/tester", 17, Invalid),
    ):
        with pytest.raises(kind):
            await grant(api, subject, role, PROJECT)  # type: ignore[arg-type]
    with pytest.raises(NotFound):
        await grant(api, "credentials/tester", ROLE_VIEWER, "projects/none")
    for name in ("", "roleBindings", "projects/uav/roleBindings/", "x/roleBindings/b", f"{APPLICATION}/roleBindings/b"):
        with pytest.raises(Invalid):
            await api.role_binding.DeleteRoleBinding(pb.DeleteRoleBindingRequest(name=name))


@with_api
async def test_grants_go_with_their_subject_and_with_their_project(api: Api) -> None:
    await api.make_application()
    await make_other_project(api)
    async with api.with_role(ROLE_VIEWER, THEIRS):
        subject = f"{THEIRS}/credentials/guest"
        await grant(api, subject, ROLE_ADMIN, PROJECT)
        await grant(api, "credentials/tester", ROLE_VIEWER, THEIRS)
        name = f"{THEIRS}/applications/beam"
        await api.application.DeleteApplication(application_pb2.DeleteApplicationRequest(name=name))
        await api.project.DeleteProject(project_pb2.DeleteProjectRequest(name=THEIRS))
        assert (await api.role_binding.ListRoleBindings(pb.ListRoleBindingsRequest(parent="projects/-"))) == (
            pb.ListRoleBindingsResponse()
        )
    async with api.with_role(ROLE_VIEWER):
        await grant(api, "credentials/guest", ROLE_ADMIN)
        delete = credential_pb2.DeleteCredentialRequest(name="credentials/guest")
        await api.credential.DeleteCredential(delete)
    async with api.with_role(ROLE_VIEWER) as namesake:
        with pytest.raises(Denied):
            await namesake.project.CreateProject(project_pb2.CreateProjectRequest(project_id="new"))


@with_api
async def test_the_administrator_of_a_project_gives_nothing_away_that_is_not_his(api: Api) -> None:
    await api.make_application()
    await make_other_project(api)
    async with api.with_role(ROLE_ADMIN, PROJECT) as guest:
        await grant(guest, f"{PROJECT}/credentials/guest", ROLE_OPERATOR, PROJECT)
        made = credential_pb2.CreateCredentialRequest(
            parent=PROJECT, credential_id="ci", credential={"role": ROLE_ADMIN}
        )
        await guest.credential.CreateCredential(made)
        for parent in ("", THEIRS):
            with pytest.raises(Denied):
                await grant(guest, f"{PROJECT}/credentials/guest", ROLE_VIEWER, parent)
            made.parent = parent
            with pytest.raises(Denied):
                await guest.credential.CreateCredential(made)
        with pytest.raises(Denied):
            await guest.project.UpdateProject(project_pb2.UpdateProjectRequest(project={"name": PROJECT}))


@with_api
async def test_lists_events_and_pages_show_one_project_only(api: Api) -> None:
    await api.make_place()
    await make_other_project(api)
    for number in range(5):
        await api.kit.recorder.record(f"{THEIRS}/applications/beam", "CREATED", str(number))
    await api.kit.recorder.record(APPLICATION, "CREATED", "ours")
    async with api.with_role(ROLE_VIEWER, PROJECT) as guest:
        projects = await guest.project.ListProjects(project_pb2.ListProjectsRequest(page_size=1))
        assert ([p.name for p in projects.projects], projects.next_page_token) == ([PROJECT], "")
        servers = await guest.edge_server.ListEdgeServers(edge_server_pb2.ListEdgeServersRequest())
        assert [server.name for server in servers.edge_servers] == [EDGE_SERVER]
        for size in (1, 2, 100):
            told = await guest.event.ListEvents(event_pb2.ListEventsRequest(page_size=size))
            assert {event.resource.split("/")[1] for event in told.events} == {"uav"}
            assert told.next_page_token == ""
        with pytest.raises(Denied):
            await guest.event.ListEvents(event_pb2.ListEventsRequest(resource=THEIRS))


async def watched(api: Api, *names: str) -> set[str]:
    """Names of everything in the snapshot."""
    found = set()
    async for response in api.watch.Watch(watch_pb2.WatchRequest(names=names)):
        change = response.WhichOneof("change")
        if change == "snapshot_end":
            return found
        found.add(getattr(response, change).name)
    raise AssertionError("the watch ended")


@with_api
async def test_a_watch_shows_one_project_only_and_what_it_may_come_to_see(api: Api) -> None:
    await api.make_place()
    await make_other_project(api)
    async with api.with_role(ROLE_VIEWER, PROJECT) as guest:
        assert {name.split("/")[1] for name in await watched(guest, "projects")} == {"uav"}
        assert EDGE_SERVER in await watched(guest)
        with pytest.raises(Denied):
            await watched(guest, THEIRS)
        stream = guest.watch.Watch(watch_pb2.WatchRequest())
        await _until(stream, "snapshot_end")
        await api.application.UpdateApplication(
            application_pb2.UpdateApplicationRequest(
                application={"name": f"{THEIRS}/applications/beam", "description": "new"}
            )
        )
        await api.application.UpdateApplication(
            application_pb2.UpdateApplicationRequest(application={"name": APPLICATION, "description": "new"})
        )
        assert (await _until(stream, "application")).application.name == APPLICATION


async def _until(stream: Any, change: str) -> watch_pb2.WatchResponse:
    async for response in stream:
        if response.WhichOneof("change") == change:
            found: watch_pb2.WatchResponse = response
            return found
    raise AssertionError("the stream ended")


def test_a_stream_ends_when_what_let_it_in_is_revoked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manners, "JUDGED_AGAIN_S", 0.0)

    @with_api
    async def scenario(api: Api) -> None:
        await api.make_application()
        async with api.with_role(ROLE_VIEWER, PROJECT) as guest:
            stream = guest.watch.Watch(watch_pb2.WatchRequest())
            await _until(stream, "snapshot_end")
            name = f"{PROJECT}/credentials/guest"
            await api.credential.DeleteCredential(credential_pb2.DeleteCredentialRequest(name=name))
            await api.application.UpdateApplication(
                application_pb2.UpdateApplicationRequest(application={"name": APPLICATION, "description": "new"})
            )
            with pytest.raises(Unauthenticated):
                await _until(stream, "application")

    scenario()


def test_a_watch_shows_nothing_more_of_a_project_whose_role_was_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was made ready under the old grants was sent under the new ones, as long as another role let the call in."""
    monkeypatch.setattr(manners, "JUDGED_AGAIN_S", 0.0)

    @with_api
    async def scenario(api: Api) -> None:
        await api.make_application()
        await make_other_project(api)
        async with api.with_role(ROLE_VIEWER, PROJECT) as guest:
            theirs = await grant(api, f"{PROJECT}/credentials/guest", ROLE_VIEWER, THEIRS)
            stream = guest.watch.Watch(watch_pb2.WatchRequest())
            await _until(stream, "snapshot_end")
            await api.role_binding.DeleteRoleBinding(pb.DeleteRoleBindingRequest(name=theirs.name))
            for name in (f"{THEIRS}/applications/beam", APPLICATION):
                update = application_pb2.UpdateApplicationRequest(application={"name": name, "description": "new"})
                await api.application.UpdateApplication(update)
            assert (await _until(stream, "application")).application.name == APPLICATION
            await api.application.DeleteApplication(
                application_pb2.DeleteApplicationRequest(name=f"{THEIRS}/applications/beam")
            )
            await api.application.UpdateApplication(
                application_pb2.UpdateApplicationRequest(application={"name": APPLICATION, "description": "newer"})
            )
            found = await anext(stream)
            assert found.application.name == APPLICATION

    scenario()


@with_api
async def test_each_role_reaches_as_far_as_it_says_in_its_project(api: Api) -> None:
    await api.make_place()
    await api.make_position()
    calls = {
        ROLE_VIEWER: lambda guest: guest.position.GetPosition(position_pb2.GetPositionRequest(name=POSITION)),
        ROLE_DEVELOPER: lambda guest: guest.application.UpdateApplication(
            application_pb2.UpdateApplicationRequest(application={"name": APPLICATION})
        ),
        ROLE_OPERATOR: lambda guest: guest.position.UpdatePosition(
            position_pb2.UpdatePositionRequest(position={"name": POSITION, "description": "x"})
        ),
        ROLE_ADMIN: lambda guest: guest.role_binding.ListRoleBindings(pb.ListRoleBindingsRequest(parent=PROJECT)),
    }
    for role in Role.values()[1:]:
        async with api.with_role(role, PROJECT, f"guest-{role}") as guest:
            for least, call in calls.items():
                assert await _passes(call(guest)) is (role >= least), (role, least)


async def _passes(call: Any) -> bool:
    try:
        await asyncio.wait_for(call, 10)
    except MeshError as error:
        return error.reason != "ROLE_MISSING"
    return True
