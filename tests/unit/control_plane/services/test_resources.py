"""What all resources share, on projects, applications, models and edge servers."""

from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from control_plane.store.resources import APPLICATION as APPLICATION_KIND
from control_plane.store.resources import MODEL as MODEL_KIND
from control_plane.store.resources import SUBSCRIPTION
from tests.unit.control_plane.services.api import (
    APPLICATION,
    EDGE_SERVER,
    MODEL,
    POSITION,
    PROJECT,
    VERSION,
    Api,
    with_api,
)
from waypost.api.control.v1 import (
    application_pb2,
    credential_pb2,
    edge_server_pb2,
    model_pb2,
    position_pb2,
    project_pb2,
    subscription_pb2,
)
from waypost.errors import AlreadyExists, Conflict, Invalid, NotFound, Precondition


def update(mask: list[str], **fields: object) -> project_pb2.UpdateProjectRequest:
    project = project_pb2.Project(name=PROJECT, **fields)  # type: ignore[arg-type]
    return project_pb2.UpdateProjectRequest(project=project, update_mask={"paths": mask})


@with_api
async def test_a_created_project_has_an_identity_of_its_own(api: Api) -> None:
    asked = project_pb2.Project(name="ignored", uid="ignored", etag="ignored", display_name="UAV", labels={"a": "b"})
    request = project_pb2.CreateProjectRequest(project_id="uav", project=asked)
    made = (await api.project.CreateProject(request)).project
    assert (made.name, made.display_name, dict(made.labels)) == (PROJECT, "UAV", {"a": "b"})
    assert made.uid
    assert made.etag
    assert "ignored" not in (made.uid, made.etag)
    assert made.create_time == made.update_time
    assert (await api.project.GetProject(project_pb2.GetProjectRequest(name=PROJECT))).project == made


@with_api
async def test_a_name_that_is_taken_is_refused_with_the_way_out(api: Api) -> None:
    request = project_pb2.CreateProjectRequest(project_id="uav")
    await api.project.CreateProject(request)
    with pytest.raises(AlreadyExists) as refused:
        await api.project.CreateProject(request)
    assert refused.value.reason == "PROJECT_EXISTS"
    assert refused.value.hint


@with_api
async def test_bad_names_are_refused_with_the_field_that_holds_them(api: Api) -> None:
    for project_id in ("", "UAV", "9", "a_b", "a-", "x" * 64):
        with pytest.raises(Invalid) as refused:
            await api.project.CreateProject(project_pb2.CreateProjectRequest(project_id=project_id))
        assert refused.value.metadata["field"] == "project_id"
    for name in ("", "uav", "projects/", "projects/uav/applications/a", "edgeServers/uav"):
        with pytest.raises(Invalid) as refused:
            await api.project.GetProject(project_pb2.GetProjectRequest(name=name))
        assert refused.value.metadata["field"] == "name"


@with_api
async def test_what_does_not_exist_is_not_found(api: Api) -> None:
    with pytest.raises(NotFound) as refused:
        await api.project.GetProject(project_pb2.GetProjectRequest(name="projects/none"))
    assert refused.value.reason == "PROJECT_NOT_FOUND"
    with pytest.raises(NotFound):
        await api.application.CreateApplication(
            application_pb2.CreateApplicationRequest(parent="projects/none", application_id="a")
        )
    with pytest.raises(NotFound):
        await api.model.ListModels(model_pb2.ListModelsRequest(parent=APPLICATION))


@with_api
async def test_an_update_changes_what_its_mask_names_and_nothing_else(api: Api) -> None:
    asked = project_pb2.Project(display_name="UAV", description="drones", labels={"a": "b"})
    await api.project.CreateProject(project_pb2.CreateProjectRequest(project_id="uav", project=asked))
    api.clock.now_s += 60
    changed = (await api.project.UpdateProject(update(["description"], description="planes"))).project
    assert (changed.display_name, changed.description, dict(changed.labels)) == ("UAV", "planes", {"a": "b"})
    assert changed.update_time.seconds == changed.create_time.seconds + 60
    everything = (await api.project.UpdateProject(update([], display_name="new"))).project
    assert (everything.display_name, everything.description, dict(everything.labels)) == ("new", "", {})


@with_api
async def test_an_update_that_changes_nothing_writes_nothing(api: Api) -> None:
    await api.project.CreateProject(project_pb2.CreateProjectRequest(project_id="uav"))
    before = await api.stores.records.revision()
    await api.project.UpdateProject(update(["description"]))
    assert await api.stores.records.revision() == before


@with_api
async def test_masks_that_name_no_writable_field_are_refused(api: Api) -> None:
    await api.project.CreateProject(project_pb2.CreateProjectRequest(project_id="uav"))
    for path in ("name", "uid", "etag", "create_time", "nonsense", "labels.a", "description.x", "", "display_name."):
        with pytest.raises(Invalid) as refused:
            await api.project.UpdateProject(update([path]))
        assert refused.value.reason == "BAD_MASK"


@with_api
async def test_an_old_etag_is_refused_and_the_current_one_accepted(api: Api) -> None:
    made = (await api.project.CreateProject(project_pb2.CreateProjectRequest(project_id="uav"))).project
    new = (await api.project.UpdateProject(update(["description"], description="x", etag=made.etag))).project
    assert new.etag != made.etag
    with pytest.raises(Conflict) as refused:
        await api.project.UpdateProject(update(["description"], description="y", etag=made.etag))
    assert refused.value.reason == "ETAG_MISMATCH"
    with pytest.raises(Conflict):
        await api.project.DeleteProject(project_pb2.DeleteProjectRequest(name=PROJECT, etag=made.etag))
    await api.project.DeleteProject(project_pb2.DeleteProjectRequest(name=PROJECT, etag=new.etag))


@with_api
async def test_an_update_may_create_what_is_missing(api: Api) -> None:
    asked = update(["description"], description="x", display_name="y")
    with pytest.raises(NotFound):
        await api.project.UpdateProject(asked)
    asked.allow_missing = True
    made = (await api.project.UpdateProject(asked)).project
    assert (made.description, made.display_name) == ("x", "y")


@with_api
async def test_what_owns_something_cannot_be_deleted(api: Api) -> None:
    await api.make_place()
    await api.make_position()
    for call, name, blocker in (
        (api.project.DeleteProject, project_pb2.DeleteProjectRequest(name=PROJECT), APPLICATION),
        (api.application.DeleteApplication, application_pb2.DeleteApplicationRequest(name=APPLICATION), "positions"),
        (api.model.DeleteModel, model_pb2.DeleteModelRequest(name=MODEL), VERSION),
        (api.model.DeleteModelVersion, model_pb2.DeleteModelVersionRequest(name=VERSION), "positions"),
        (api.edge_server.DeleteEdgeServer, edge_server_pb2.DeleteEdgeServerRequest(name=EDGE_SERVER), "positions"),
    ):
        with pytest.raises(Precondition) as refused:
            await call(name)
        assert refused.value.reason.endswith("_IN_USE")
        assert blocker in refused.value.metadata["blocker"]


@with_api
async def test_an_owner_cannot_go_while_something_is_made_in_it(api: Api) -> None:
    """The application is made between the look for one and the deletion: the deletion looks again."""
    await api.project.CreateProject(project_pb2.CreateProjectRequest(project_id="uav"))
    commit = api.stores.records.commit
    races = [APPLICATION_KIND.encode(APPLICATION, application_pb2.Application(name=APPLICATION))]

    async def slow_commit(changes: Any, **conditions: Any) -> int:
        if races:
            await commit([races.pop()])
        return await commit(changes, **conditions)

    object.__setattr__(api.stores.records, "commit", slow_commit)
    with pytest.raises(Precondition) as refused:
        await api.project.DeleteProject(project_pb2.DeleteProjectRequest(name=PROJECT))
    assert refused.value.metadata["blocker"] == APPLICATION


@with_api
async def test_a_credential_goes_with_its_edge_server(api: Api) -> None:
    await api.make_edge_server()
    await api.credentials.issue(EDGE_SERVER, "join", credential_pb2.Credential())
    await api.edge_server.DeleteEdgeServer(edge_server_pb2.DeleteEdgeServerRequest(name=EDGE_SERVER))
    assert (await api.stores.records.scan("edgeServers/")).records == ()


@with_api
async def test_a_revocation_is_dated_and_told(api: Api) -> None:
    await api.make_edge_server()
    answer = await api.edge_server.RevokeEdgeServer(edge_server_pb2.RevokeEdgeServerRequest(name=EDGE_SERVER))
    assert answer.edge_server.revoke_time.ToMilliseconds() == api.clock() * 1000
    shown = await api.edge_server.GetEdgeServer(edge_server_pb2.GetEdgeServerRequest(name=EDGE_SERVER))
    assert shown.edge_server == answer.edge_server
    (event,) = await api.stores.events.newest(EDGE_SERVER)
    assert (event.reason, event.message.split()[0]) == ("REVOKED", "credentials/tester")


@with_api
async def test_nobody_takes_a_revocation_back_by_an_update(api: Api) -> None:
    await api.make_edge_server()
    revoked = await api.edge_server.RevokeEdgeServer(edge_server_pb2.RevokeEdgeServerRequest(name=EDGE_SERVER))
    request = edge_server_pb2.UpdateEdgeServerRequest(edge_server=edge_server_pb2.EdgeServer(name=EDGE_SERVER))
    request.edge_server.description = "changed"
    updated = await api.edge_server.UpdateEdgeServer(request)
    assert updated.edge_server.revoke_time == revoked.edge_server.revoke_time


@with_api
async def test_an_edge_server_that_is_lost_may_go_though_a_position_is_still_leaving_it(api: Api) -> None:
    await api.make_place()
    await api.make_position()
    request = edge_server_pb2.DeleteEdgeServerRequest(name=EDGE_SERVER)
    with pytest.raises(Precondition):
        await api.edge_server.DeleteEdgeServer(request)
    await api.position.DeletePosition(position_pb2.DeletePositionRequest(name=POSITION))
    await api.edge_server.DeleteEdgeServer(request)


@with_api
async def test_pages_join_to_the_whole_list_whatever_their_size(api: Api) -> None:
    for id_ in "abcde":
        await api.project.CreateProject(project_pb2.CreateProjectRequest(project_id=id_))
    for size in (1, 2, 5, 100):
        seen, token = [], ""
        while True:
            page = await api.project.ListProjects(project_pb2.ListProjectsRequest(page_size=size, page_token=token))
            assert len(page.projects) <= size
            seen += [project.name for project in page.projects]
            if not (token := page.next_page_token):
                break
        assert seen == [f"projects/{id_}" for id_ in "abcde"]


@with_api
async def test_a_page_token_of_another_list_is_refused(api: Api) -> None:
    for project in ("a", "b"):
        await api.project.CreateProject(project_pb2.CreateProjectRequest(project_id=project))
        for application in ("x", "y"):
            await api.application.CreateApplication(
                application_pb2.CreateApplicationRequest(parent=f"projects/{project}", application_id=application)
            )
    listing = application_pb2.ListApplicationsRequest(parent="projects/a", page_size=1)
    listing.page_token = (await api.application.ListApplications(listing)).next_page_token
    assert [a.name for a in (await api.application.ListApplications(listing)).applications] == [
        "projects/a/applications/y"
    ]
    listing.parent = "projects/b"
    with pytest.raises(Invalid) as refused:
        await api.application.ListApplications(listing)
    assert refused.value.reason == "BAD_PAGE_TOKEN"
    for size in (-1, 1001):
        with pytest.raises(Invalid):
            await api.project.ListProjects(project_pb2.ListProjectsRequest(page_size=size))


@with_api
async def test_a_hyphen_in_a_parent_means_all(api: Api) -> None:
    for project in ("a", "b"):
        await api.project.CreateProject(project_pb2.CreateProjectRequest(project_id=project))
        for application in ("x", "y"):
            parent = f"projects/{project}"
            await api.application.CreateApplication(
                application_pb2.CreateApplicationRequest(parent=parent, application_id=application)
            )
            await api.model.CreateModel(
                model_pb2.CreateModelRequest(parent=f"{parent}/applications/{application}", model_id="m")
            )

    async def models(parent: str) -> list[str]:
        found, token = [], ""
        while True:
            page = await api.model.ListModels(model_pb2.ListModelsRequest(parent=parent, page_size=1, page_token=token))
            found += ["/".join(model.name.split("/")[1:4:2]) for model in page.models]
            if not (token := page.next_page_token):
                return found

    assert await models("projects/-/applications/-") == ["a/x", "a/y", "b/x", "b/y"]
    assert await models("projects/a/applications/-") == ["a/x", "a/y"]
    assert await models("projects/-/applications/x") == ["a/x", "b/x"]
    assert await models("projects/-/applications/z") == []
    with pytest.raises(Invalid):
        await models("-/a/applications/x")


@with_api
async def test_what_a_subscription_fills_is_read_only_but_for_labels(api: Api) -> None:
    await api.make_application()
    subscription = subscription_pb2.Subscription(name="subscriptions/s")
    await api.put(SUBSCRIPTION.encode(subscription.name, subscription))
    for kind, message in (
        (
            APPLICATION_KIND,
            application_pb2.Application(name=APPLICATION, description="theirs", subscription="subscriptions/s"),
        ),
        (MODEL_KIND, model_pb2.Model(name=MODEL, description="theirs", subscription="subscriptions/s")),
    ):
        await api.put(kind.encode(message.name, message))  # type: ignore[attr-defined]

    async def change(mask: list[str], **fields: object) -> model_pb2.Model:
        model = model_pb2.Model(name=MODEL, **fields)  # type: ignore[arg-type]
        request = model_pb2.UpdateModelRequest(model=model, update_mask={"paths": mask})
        changed: model_pb2.Model = (await api.model.UpdateModel(request)).model
        return changed

    labelled = await change([], labels={"mine": "yes"})
    assert (labelled.description, dict(labelled.labels)) == ("theirs", {"mine": "yes"})
    assert (await change([], description="theirs", labels={"mine": "no"})).labels["mine"] == "no"
    for mask in ([], ["description"], ["*"]):
        with pytest.raises(Precondition) as refused:
            await change(mask, description="mine")
        assert refused.value.reason == "OWNED_BY_SUBSCRIPTION"
    with pytest.raises(Precondition):
        await api.model.DeleteModel(model_pb2.DeleteModelRequest(name=MODEL))
    with pytest.raises(Precondition):
        await api.application.UpdateApplication(
            application_pb2.UpdateApplicationRequest(
                application={"name": APPLICATION, "description": "mine"}, update_mask={"paths": ["description"]}
            )
        )
    await api.subscription.DeleteSubscription(subscription_pb2.DeleteSubscriptionRequest(name="subscriptions/s"))
    assert (await change(["description"], description="mine")).description == "mine"


@with_api
async def test_fields_that_this_server_does_not_know_are_refused(api: Api) -> None:
    newer = project_pb2.Project.FromString(b"\xf8\x06\x01")
    request = project_pb2.CreateProjectRequest(project_id="uav")
    request.project.CopyFrom(newer)
    with pytest.raises(Invalid) as refused:
        await api.project.CreateProject(request)
    assert "field number 111" in refused.value.message


@with_api
async def test_an_edge_server_begins_as_pending_and_says_what_to_do(api: Api) -> None:
    await api.make_edge_server()
    request = edge_server_pb2.GetEdgeServerRequest(name=EDGE_SERVER)
    status = (await api.edge_server.GetEdgeServer(request)).edge_server.status
    assert status.state == edge_server_pb2.EDGE_SERVER_STATE_PENDING
    assert status.message
    assert status.hint
    await api.connect_agent()
    listed = (await api.edge_server.ListEdgeServers(edge_server_pb2.ListEdgeServersRequest())).edge_servers
    assert [server.status.state for server in listed] == [edge_server_pb2.EDGE_SERVER_STATE_CONNECTED]


WINDOW = edge_server_pb2.MaintenanceWindow(days=[6], start="02:30", duration=Duration(seconds=7200))
BAD_WINDOW = edge_server_pb2.MaintenanceWindow(start="02:30", duration=Duration(seconds=7200), time_zone="Mars/Olympus")


@with_api
async def test_an_edge_server_keeps_its_windows_and_its_software(api: Api) -> None:
    spec = edge_server_pb2.EdgeServerSpec(software_version="0.2.0", maintenance_windows=[WINDOW])
    asked = edge_server_pb2.EdgeServer(name=EDGE_SERVER, spec=spec, description="north")
    request = edge_server_pb2.UpdateEdgeServerRequest(edge_server=asked, allow_missing=True)
    assert (await api.edge_server.UpdateEdgeServer(request)).edge_server.spec == spec
    request.edge_server.spec.Clear()
    request.update_mask.paths.append("spec.maintenance_windows")
    left = (await api.edge_server.UpdateEdgeServer(request)).edge_server
    assert (left.spec.software_version, list(left.spec.maintenance_windows)) == ("0.2.0", [])


@with_api
async def test_windows_and_software_that_no_edge_server_could_keep_are_refused_by_name(api: Api) -> None:
    for spec, field in (
        (edge_server_pb2.EdgeServerSpec(software_version="../1"), "edge_server.spec.software_version"),
        (edge_server_pb2.EdgeServerSpec(maintenance_windows=[WINDOW] * 17), "edge_server.spec.maintenance_windows"),
        (
            edge_server_pb2.EdgeServerSpec(maintenance_windows=[WINDOW, BAD_WINDOW]),
            "edge_server.spec.maintenance_windows[1]",
        ),
    ):
        asked = edge_server_pb2.EdgeServer(name=EDGE_SERVER, spec=spec)
        with pytest.raises(Invalid) as refused:
            await api.edge_server.UpdateEdgeServer(
                edge_server_pb2.UpdateEdgeServerRequest(edge_server=asked, allow_missing=True)
            )
        assert refused.value.metadata["field"] == field
