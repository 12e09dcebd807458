"""Credentials that are good no more, or never were: stolen, expired, replayed, of another kind, of another tenant."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

import grpc
import pytest

from tests.integration.control_plane_process import (
    ControlPlaneProcess,
    certificate_request,
    enrol,
    make_application,
    make_edge_server,
    new_key,
    until,
)
from tests.security.calls import METHODS, Method, outcome
from tests.security.test_roles import OPEN, demand
from tests.waiting import PATIENCE_S
from waypost.api.control.v1 import (
    credential_pb2,
    credential_pb2_grpc,
    platform_pb2,
    platform_pb2_grpc,
    project_pb2,
    project_pb2_grpc,
    session_pb2,
    session_pb2_grpc,
    user_pb2,
    user_pb2_grpc,
    watch_pb2,
    watch_pb2_grpc,
)
from waypost.api.control.v1.role_pb2 import ROLE_ADMIN, ROLE_VIEWER
from waypost.api.link.v1 import enrolment_pb2_grpc
from waypost.api.link.v1.enrolment_pb2 import EnrolRequest
from waypost.errors import Denied, MeshError, Precondition, Unauthenticated

BAD_TOKENS = (
    None,
    "",
    "wp1_",
    "wp1_guess",
    "wp1_" + "A" * 43,
    "wp1_" + "A" * 4000,
    "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9.",  # a JWT that nobody signed
    "credentials/admin",
)


def scenario(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    @wraps(test)
    def run(*arguments: Any, **keywords: Any) -> None:
        asyncio.run(asyncio.wait_for(test(*arguments, **keywords), 2 * PATIENCE_S))

    return run


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.short)
def test_nothing_answers_without_a_good_credential(plane: ControlPlaneProcess, method: Method) -> None:
    """What is open asks for a token or a password inside the request, and finds none there."""

    async def codes() -> set[str]:
        async with grpc.aio.secure_channel(plane.api, grpc.ssl_channel_credentials(plane.roots)) as channel:
            return {(await outcome(channel, method, method.request(""), token))[0] for token in BAD_TOKENS}

    allowed = {"UNAUTHENTICATED", "RESOURCE_EXHAUSTED"} if demand(method)[0] == OPEN else {"UNAUTHENTICATED"}
    assert asyncio.run(codes()) <= allowed


async def issue(plane: ControlPlaneProcess, id_: str, parent: str = "", **fields: Any) -> str:
    async with plane.channel() as channel:
        request = credential_pb2.CreateCredentialRequest(parent=parent, credential_id=id_, credential=fields)
        return str((await credential_pb2_grpc.CredentialServiceStub(channel).CreateCredential(request)).secret)


async def ask(plane: ControlPlaneProcess, token: str) -> str:
    """Who the platform takes us for."""
    async with plane.channel(token=token) as channel:
        answer = await platform_pb2_grpc.PlatformServiceStub(channel).GetPlatform(platform_pb2.GetPlatformRequest())
    return str(answer.caller)


async def is_refused(plane: ControlPlaneProcess, token: str) -> str:
    """The reason; empty while it is let in."""
    try:
        await ask(plane, token)
    except MeshError as error:
        return error.reason
    return ""


@scenario
async def test_a_stolen_token_is_worth_nothing_once_it_is_revoked_also_on_streams_that_are_open(
    plane: ControlPlaneProcess,
) -> None:
    token = await issue(plane, "stolen", role=ROLE_VIEWER)
    async with plane.channel() as admin, plane.channel(token=token) as thief:
        stream = watch_pb2_grpc.WatchServiceStub(thief).Watch(watch_pb2.WatchRequest())
        async for response in stream:
            if response.HasField("snapshot_end"):
                break
        delete = credential_pb2.DeleteCredentialRequest(name="credentials/stolen")
        await credential_pb2_grpc.CredentialServiceStub(admin).DeleteCredential(delete)
        assert await is_refused(plane, token) == "CREDENTIAL_UNKNOWN"
        refused = asyncio.ensure_future(_end_of(stream))
        projects = project_pb2_grpc.ProjectServiceStub(admin)
        number = 0
        while not refused.done():  # the stream is judged again before what it has to say, at most once a second
            number += 1
            await projects.CreateProject(project_pb2.CreateProjectRequest(project_id=f"noise-{number}"))
            await asyncio.wait([refused], timeout=0.1)
        assert (await refused).reason == "CREDENTIAL_UNKNOWN"


async def _end_of(stream: Any) -> MeshError:
    try:
        async for _ in stream:
            pass
    except MeshError as error:
        return error
    raise AssertionError("the stream ended as if nothing had happened")


@scenario
async def test_an_expired_token_is_refused(plane: ControlPlaneProcess) -> None:
    token = await issue(plane, "short", role=ROLE_VIEWER, expire_time={"seconds": int(time.time()) + 2})  # noqa: TID251
    assert await ask(plane, token) == "credentials/short"
    await until(lambda: is_refused(plane, token), lambda reason: reason == "CREDENTIAL_EXPIRED", every_s=0.1)


@scenario
async def test_a_session_that_was_ended_is_not_taken_again(plane: ControlPlaneProcess) -> None:
    async with plane.channel() as channel:
        create = user_pb2.CreateUserRequest(user_id="replay", password="correct horse battery")
        await user_pb2_grpc.UserServiceStub(channel).CreateUser(create)
        login = session_pb2.LoginRequest(user="users/replay", password="correct horse battery")
        token = (await session_pb2_grpc.SessionServiceStub(channel).Login(login)).token
    async with plane.channel(token=token) as theirs:
        await session_pb2_grpc.SessionServiceStub(theirs).Logout(session_pb2.LogoutRequest())
    assert await is_refused(plane, token) == "CREDENTIAL_UNKNOWN"


@scenario
async def test_a_join_token_that_was_copied_enrols_nobody_else_and_opens_nothing_else(
    plane: ControlPlaneProcess,
) -> None:
    async with plane.channel() as channel:
        token = await make_edge_server(channel, "copied")
    await enrol(plane, token)
    with pytest.raises(Precondition) as used:
        await enrol(plane, token)
    assert used.value.reason == "JOIN_TOKEN_USED"
    assert await is_refused(plane, token) == "WRONG_CREDENTIAL_KIND"


@scenario
async def test_a_credential_opens_what_it_was_made_for_and_nothing_else(plane: ControlPlaneProcess) -> None:
    async with plane.channel() as channel:
        application = await make_application(channel, "kinds", "a")
    xapp = await issue(plane, "xapp", application)
    assert await is_refused(plane, xapp) == "WRONG_CREDENTIAL_KIND"
    for token in (xapp, plane.token):
        request = EnrolRequest(join_token=token, certificate_request=certificate_request(new_key()))
        async with plane.channel(token=None) as channel:
            with pytest.raises(Denied) as refused:
                await enrolment_pb2_grpc.EnrolmentServiceStub(channel).Enrol(request)
        assert refused.value.reason == "WRONG_CREDENTIAL_KIND"


@scenario
async def test_the_administrator_of_one_tenant_is_a_stranger_to_the_other(plane: ControlPlaneProcess) -> None:
    """With the highest role that a project has, every name of another project is out of reach, for every method."""
    async with plane.channel() as channel:
        for project in ("ours", "theirs"):
            await make_application(channel, project, "a")
    token = await issue(plane, "tenant", "projects/ours", role=ROLE_ADMIN)
    reached = []
    async with grpc.aio.secure_channel(plane.api, grpc.ssl_channel_credentials(plane.roots)) as channel:
        for method in METHODS:
            if demand(method)[1] != "project":
                continue
            code, reason = await outcome(channel, method, method.request("projects/theirs"), token)
            if (code, reason) != ("PERMISSION_DENIED", "ROLE_MISSING"):
                reached.append((method.short, code, reason))
    assert reached == []
    async with plane.channel(token=token) as theirs:
        listed = await project_pb2_grpc.ProjectServiceStub(theirs).ListProjects(project_pb2.ListProjectsRequest())
    assert [project.name for project in listed.projects] == ["projects/ours"]


@scenario
async def test_two_tokens_in_one_call_are_not_one_of_them(plane: ControlPlaneProcess) -> None:
    stub = platform_pb2_grpc.PlatformServiceStub
    async with grpc.aio.secure_channel(plane.api, grpc.ssl_channel_credentials(plane.roots)) as channel:
        twice = (("authorization", f"Bearer {plane.token}"), ("authorization", "Bearer wp1_guess"))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub(channel).GetPlatform(platform_pb2.GetPlatformRequest(), metadata=twice)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


@scenario
async def test_no_secret_is_logged(plane: ControlPlaneProcess) -> None:
    token = await issue(plane, "logged", role=ROLE_VIEWER)
    async with plane.channel(token=None) as channel:
        login = session_pb2.LoginRequest(user="users/logged", password="correct horse battery")
        with pytest.raises(Unauthenticated):
            await session_pb2_grpc.SessionServiceStub(channel).Login(login)
    log = "".join(plane.log)
    for secret in (token, plane.token, "correct horse battery", "argon2id"):
        assert secret not in log
