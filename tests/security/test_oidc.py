"""People of an outside issuer at a real control plane: discovery, keys that change, groups that are granted a role."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.control_plane_process import ControlPlaneProcess, control_plane
from tests.issuer import AUDIENCE, Issuer, issuer
from waypost.api.control.v1 import (
    project_pb2,
    project_pb2_grpc,
    role_binding_pb2,
    role_binding_pb2_grpc,
    session_pb2,
    session_pb2_grpc,
)
from waypost.api.control.v1.role_pb2 import ROLE_VIEWER
from waypost.errors import Denied, Unauthenticated


@pytest.fixture(scope="module")
def outside() -> Iterator[Issuer]:
    with issuer() as made:
        yield made


@pytest.fixture(scope="module")
def trusting(outside: Issuer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlaneProcess]:
    directory: Path = tmp_path_factory.mktemp("oidc")
    options = ("--oidc-issuer", outside.url, "--oidc-audience", AUDIENCE)
    with control_plane(directory / "control-plane", *options) as process:
        yield process


def soon() -> int:
    return int(time.time()) + 600  # noqa: TID251


async def who(plane: ControlPlaneProcess, token: str) -> session_pb2.WhoAmIResponse:
    async with plane.channel(token=token) as channel:
        answer: session_pb2.WhoAmIResponse = await session_pb2_grpc.SessionServiceStub(channel).WhoAmI(
            session_pb2.WhoAmIRequest()
        )
        return answer


async def projects(plane: ControlPlaneProcess, token: str) -> list[str]:
    async with plane.channel(token=token) as channel:
        stub = project_pb2_grpc.ProjectServiceStub(channel)
        return [project.name for project in (await stub.ListProjects(project_pb2.ListProjectsRequest())).projects]


def test_a_group_is_granted_a_role_and_its_members_have_it(trusting: ControlPlaneProcess, outside: Issuer) -> None:
    async def scenario() -> None:
        token = outside.token(exp=soon(), groups=["ran operators"])
        assert (await who(trusting, token)).subject == "oidc/subjects/anna"
        with pytest.raises(Denied):
            await projects(trusting, token)
        async with trusting.channel() as admin:
            stub = project_pb2_grpc.ProjectServiceStub(admin)
            for id_ in ("ran", "uav"):
                await stub.CreateProject(project_pb2.CreateProjectRequest(project_id=id_))
            binding = role_binding_pb2.RoleBinding(subject="oidc/groups/ran operators", role=ROLE_VIEWER)
            request = role_binding_pb2.CreateRoleBindingRequest(parent="projects/ran", role_binding=binding)
            await role_binding_pb2_grpc.RoleBindingServiceStub(admin).CreateRoleBinding(request)
        assert await projects(trusting, token) == ["projects/ran"]
        with pytest.raises(Denied):
            await projects(trusting, outside.token(exp=soon(), groups=["ran"]))

    asyncio.run(scenario())


def test_forged_expired_and_misdirected_tokens_are_refused(trusting: ControlPlaneProcess, outside: Issuer) -> None:
    with issuer() as stranger:
        tokens = {
            "forged": stranger.token(exp=soon(), iss=outside.url),
            "of another issuer": stranger.token(exp=soon()),
            "for somebody else": outside.token(exp=soon(), aud="another"),
            "expired": outside.token(exp=soon() - 3600),
        }

    async def scenario() -> None:
        for why, token in tokens.items():
            with pytest.raises(Unauthenticated) as refused:
                await who(trusting, token)
            assert refused.value.reason.startswith("OIDC_TOKEN_"), why

    asyncio.run(scenario())


def test_nobody_takes_the_name_of_a_user_or_a_token_of_ours(trusting: ControlPlaneProcess, outside: Issuer) -> None:
    async def scenario() -> None:
        for subject in ("credentials/admin", "users/admin", "../../credentials/admin"):
            told = await who(trusting, outside.token(exp=soon(), sub=subject, groups=["admin", "credentials/admin"]))
            assert told.subject == f"oidc/subjects/{subject}"
            assert not told.roles

    asyncio.run(scenario())


def test_keys_change_without_anybody_being_told(outside: Issuer, tmp_path: Path) -> None:
    """A control plane that has not looked for keys in the last half minute."""

    async def scenario(plane: ControlPlaneProcess) -> None:
        outside.new_key("two", kind="RSA")
        told = await who(plane, outside.token(exp=soon()))
        assert (told.subject, told.expire_time.seconds > 0) == ("oidc/subjects/anna", True)

    options = ("--oidc-issuer", outside.url, "--oidc-audience", AUDIENCE)
    with control_plane(tmp_path / "control-plane", *options) as plane:
        asyncio.run(scenario(plane))
    assert "/.well-known/openid-configuration" in outside.requests


def test_a_wrong_issuer_is_told_at_start(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "control_plane", "--data-dir", str(tmp_path / "data")]
    command += ["--listen", "127.0.0.1:0", "--link-listen", "127.0.0.1:0", "--oidc-audience", "a"]
    ended = subprocess.run(
        [*command, "--oidc-issuer", "http://login.example"], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 1
    assert "error: the issuer must be an https:// URL" in ended.stderr
