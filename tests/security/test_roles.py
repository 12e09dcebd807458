"""Every role against every method of the API, on a real control plane.

What each method needs is said here a second time and in other words than in `control_plane/access/rules.py`, by those
who demand it: a row that is changed there by mistake fails here. The methods come from the descriptors, and each stands
in the table by its name, so a method that nobody thought of fails too.
"""

import asyncio
import re
from dataclasses import dataclass

import grpc
import pytest

from tests.integration.control_plane_process import ControlPlaneProcess
from tests.security.calls import METHODS, Method, outcome
from waypost.api.control.v1 import (
    credential_pb2,
    credential_pb2_grpc,
    project_pb2,
    project_pb2_grpc,
    session_pb2,
    session_pb2_grpc,
    user_pb2,
    user_pb2_grpc,
)
from waypost.api.control.v1.role_pb2 import Role

OPEN, ANYBODY = "without credentials", "with any credential"
OURS, THEIRS = "projects/uav", "projects/ran"

DEMANDS = (
    # service, methods, the least role, where it must be held
    ("Enrolment", "Enrol Renew", OPEN, ""),
    ("Session", "Login", OPEN, ""),
    ("Session", "Logout WhoAmI", ANYBODY, ""),
    ("Session", "ListSessions DeleteSession", "ADMIN", "everywhere"),
    ("User", "GetUser ListUsers CreateUser DeleteUser SetPassword", "ADMIN", "everywhere"),
    ("Platform", "GetPlatform", ANYBODY, ""),
    ("Project", "GetProject", "VIEWER", "project"),
    ("Project", "ListProjects", "VIEWER", "anywhere"),
    ("Project", "CreateProject UpdateProject DeleteProject", "ADMIN", "everywhere"),
    ("RoleBinding", "GetRoleBinding ListRoleBindings CreateRoleBinding DeleteRoleBinding", "ADMIN", "project"),
    ("Audit", "ListAuditEntries", "ADMIN", "project"),
    # of a project's own tokens
    ("Credential", "ListCredentials CreateCredential RotateCredential DeleteCredential", "ADMIN", "project"),
    ("Subscription", "GetSubscription ListSubscriptions", "VIEWER", "everywhere"),
    ("Subscription", "CreateSubscription DeleteSubscription", "OPERATOR", "everywhere"),
    ("EdgeServer", "GetEdgeServer ListEdgeServers", "VIEWER", "anywhere"),
    ("EdgeServer", "CreateEdgeServer UpdateEdgeServer DeleteEdgeServer", "OPERATOR", "everywhere"),
    ("EdgeServer", "ConfirmDesiredState RevokeEdgeServer", "OPERATOR", "everywhere"),
    ("Authority", "GetAuthority", "VIEWER", "anywhere"),
    ("Authority", "RotateAuthority FinishAuthorityRotation", "ADMIN", "everywhere"),
    ("Artifact", "WriteArtifact", "DEVELOPER", "anywhere"),
    ("Application", "GetApplication ListApplications", "VIEWER", "project"),
    ("Application", "CreateApplication UpdateApplication DeleteApplication", "DEVELOPER", "project"),
    ("Model", "GetModel ListModels GetModelVersion ListModelVersions", "VIEWER", "project"),
    ("Model", "CreateModel UpdateModel DeleteModel", "DEVELOPER", "project"),
    ("Model", "CreateModelVersion UpdateModelVersion DeleteModelVersion", "DEVELOPER", "project"),
    ("Position", "GetPosition ListPositions WatchPositionMetrics ReadPositionLogs", "VIEWER", "project"),
    ("Position", "TryPosition", "DEVELOPER", "project"),
    ("Position", "CreatePosition UpdatePosition DeletePosition ClearRejection", "OPERATOR", "project"),
    ("Event", "ListEvents", "VIEWER", "project"),
    ("Watch", "Watch", "VIEWER", "project"),
)
"""Every method, so that a new one passes only when somebody has thought of it."""

DEMANDED = [
    (f"{service}Service/{method}", (least, where))
    for service, methods, least, where in DEMANDS
    for method in methods.split()
]

ROLES = ("NOBODY", "VIEWER", "DEVELOPER", "OPERATOR", "ADMIN")


def demand(method: Method) -> tuple[str, str]:
    """The least role that the method needs, and where."""
    return dict(DEMANDED)[method.short]


@dataclass(frozen=True)
class Holder:
    """Somebody with a role: everywhere, or in our project."""

    role: str
    everywhere: bool
    token: str

    def ought_to(self, method: Method, about: str) -> bool:
        least, where = demand(method)
        if least in (OPEN, ANYBODY):
            return True
        reaches = self.everywhere or where == "anywhere" or (where == "project" and about == OURS)
        return reaches and ROLES.index(self.role) >= ROLES.index(least)


@pytest.fixture(scope="module")
def holders(plane: ControlPlaneProcess) -> list[Holder]:
    return asyncio.run(_holders(plane))


async def _holders(plane: ControlPlaneProcess) -> list[Holder]:
    async with plane.channel() as channel:
        projects = project_pb2_grpc.ProjectServiceStub(channel)
        for project in (OURS, THEIRS):
            await projects.CreateProject(project_pb2.CreateProjectRequest(project_id=project.partition("/")[2]))
        made = [Holder("NOBODY", False, await _user(channel))]
        for role in ROLES[1:]:
            for parent in ("", OURS):
                request = credential_pb2.CreateCredentialRequest(
                    parent=parent,
                    credential_id=f"only-{role.lower()}",
                    credential={"role": Role.Value(f"ROLE_{role}")},
                )
                answer = await credential_pb2_grpc.CredentialServiceStub(channel).CreateCredential(request)
                made.append(Holder(role, not parent, answer.secret))
    return made


async def _user(channel: grpc.aio.Channel) -> str:
    """A session of somebody to whom nothing was granted."""
    create = user_pb2.CreateUserRequest(user_id="nobody", password="correct horse battery")
    await user_pb2_grpc.UserServiceStub(channel).CreateUser(create)
    login = session_pb2.LoginRequest(user="users/nobody", password="correct horse battery")
    return str((await session_pb2_grpc.SessionServiceStub(channel).Login(login)).token)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.short)
def test_each_role_is_let_in_exactly_where_it_ought_to_be(
    plane: ControlPlaneProcess, holders: list[Holder], method: Method
) -> None:
    assert len(holders) == 9

    async def scenario() -> list[str]:
        wrong = []
        async with grpc.aio.secure_channel(plane.api, grpc.ssl_channel_credentials(plane.roots)) as channel:
            for holder in holders:
                if method.short == "SessionService/Logout" and holder.role == "NOBODY":
                    continue  # it would end the session that the other tests call with
                for about in (OURS, THEIRS, ""):
                    code, reason = await outcome(channel, method, method.request(about), holder.token)
                    let_in = reason not in ("ROLE_MISSING", "METHOD_DENIED")
                    assert let_in or code == "PERMISSION_DENIED"
                    assert code != "UNAUTHENTICATED" or demand(method)[0] == OPEN
                    if about == "" and demand(method)[1] == "project":
                        continue  # without a project it is another question: the next test's
                    if let_in is not holder.ought_to(method, about):
                        wrong.append(f"{holder.role} everywhere={holder.everywhere} about {about!r}: {code} {reason}")
        return wrong

    assert asyncio.run(scenario()) == []


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.short)
def test_a_change_that_names_no_project_is_for_those_with_a_role_that_holds_everywhere(
    plane: ControlPlaneProcess, holders: list[Holder], method: Method
) -> None:
    where = demand(method)[1]
    if where != "project" or re.fullmatch(r"\w+Service/(List|Watch)\w*", method.short):
        return

    async def scenario() -> list[str]:
        async with grpc.aio.secure_channel(plane.api, grpc.ssl_channel_credentials(plane.roots)) as channel:
            return [
                holder.role
                for holder in holders
                if not holder.everywhere
                and (await outcome(channel, method, method.request(""), holder.token))[1] != "ROLE_MISSING"
            ]

    assert asyncio.run(scenario()) == []


def test_somebody_has_thought_of_every_method_and_once() -> None:
    assert sorted(name for name, _ in DEMANDED) == [method.short for method in METHODS]


def test_every_method_has_somebody_who_is_let_in_and_all_but_a_few_have_somebody_who_is_not() -> None:
    """Of this test's own demands: they are neither empty nor all alike."""
    demands = {method.short: demand(method) for method in METHODS}
    assert len(demands) > 60
    assert {name for name, (least, _) in demands.items() if least == OPEN} == {
        "EnrolmentService/Enrol",
        "EnrolmentService/Renew",
        "SessionService/Login",
    }
    assert {least for least, _ in demands.values()} == {OPEN, ANYBODY, "VIEWER", "DEVELOPER", "OPERATOR", "ADMIN"}
