"""People, their passwords and their sessions."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from control_plane.access.attempts import USER_ATTEMPTS
from control_plane.services.login import SESSIONS_MAX
from tests.unit.control_plane.services.api import PROJECT, SESSION_S, Api, with_api
from waypost.api.control.v1 import credential_pb2, project_pb2, role_binding_pb2, session_pb2, user_pb2
from waypost.api.control.v1.role_pb2 import ROLE_ADMIN, ROLE_OPERATOR, ROLE_VIEWER
from waypost.errors import AlreadyExists, Denied, Exhausted, Invalid, NotFound, Precondition, Unauthenticated

PASSWORD = "correct horse battery"
OTHER = "staple and a penguin"


async def make_user(api: Api, user_id: str = "anna", password: str = PASSWORD) -> str:
    answer = await api.user.CreateUser(user_pb2.CreateUserRequest(user_id=user_id, password=password))
    return str(answer.user.name)


async def login(api: Api, user: str = "users/anna", password: str = PASSWORD) -> session_pb2.LoginResponse:
    async with api.as_caller(None) as channel:
        stub = type(api.session)(channel)
        answer: session_pb2.LoginResponse = await stub.Login(session_pb2.LoginRequest(user=user, password=password))
        return answer


@asynccontextmanager
async def logged_in(api: Api, user: str = "users/anna", password: str = PASSWORD) -> AsyncIterator[Any]:
    async with api.with_token((await login(api, user, password)).token) as theirs:
        yield theirs


async def who(api: Any) -> session_pb2.WhoAmIResponse:
    answer: session_pb2.WhoAmIResponse = await api.session.WhoAmI(session_pb2.WhoAmIRequest())
    return answer


@with_api
async def test_a_person_logs_in_is_known_by_name_and_may_do_what_was_granted(api: Api) -> None:
    await api.make_application()
    name = await make_user(api)
    binding = role_binding_pb2.RoleBinding(subject=name, role=ROLE_OPERATOR)
    async with logged_in(api) as anna:
        told = await who(anna)
        assert (told.subject, list(told.roles)) == (name, [])
        assert told.credential.startswith(f"{name}/sessions/s")
        assert told.expire_time.seconds == int(api.clock.now_s + SESSION_S)
        with pytest.raises(Denied):
            await anna.project.ListProjects(project_pb2.ListProjectsRequest())
        await api.role_binding.CreateRoleBinding(
            role_binding_pb2.CreateRoleBindingRequest(parent=PROJECT, role_binding=binding)
        )
        assert (await who(anna)).roles == [session_pb2.HeldRole(project=PROJECT, role=ROLE_OPERATOR)]
        assert len((await anna.project.ListProjects(project_pb2.ListProjectsRequest())).projects) == 1


@with_api
async def test_nobody_learns_whether_user_or_password_was_wrong(api: Api) -> None:
    await make_user(api)
    said = set()
    for user, password in (("users/anna", OTHER), ("users/nobody", PASSWORD), ("", ""), ("anna", PASSWORD)):
        with pytest.raises(Unauthenticated) as refused:
            await login(api, user, password)
        said.add((refused.value.reason, refused.value.message, refused.value.hint))
    assert len(said) == 1


@with_api
async def test_after_too_many_wrong_passwords_the_right_one_waits_too(api: Api) -> None:
    await make_user(api)
    for _ in range(10):
        with pytest.raises(Unauthenticated):
            await login(api, password=OTHER)
    with pytest.raises(Exhausted) as refused:
        await login(api)
    api.clock.now_s += int(refused.value.metadata["retry_after_ms"]) / 1000
    assert (await login(api)).token.startswith("wp1_")


@with_api
async def test_a_session_ends_by_logging_out_and_no_other_with_it(api: Api) -> None:
    await make_user(api)
    async with logged_in(api) as here, logged_in(api) as there:
        await here.session.Logout(session_pb2.LogoutRequest())
        with pytest.raises(Unauthenticated) as refused:
            await who(here)
        assert refused.value.reason == "CREDENTIAL_UNKNOWN"
        assert (await who(there)).subject == "users/anna"
    with pytest.raises(Precondition) as wrong:
        await api.session.Logout(session_pb2.LogoutRequest())
    assert wrong.value.reason == "NOT_A_SESSION"


@with_api
async def test_a_session_expires(api: Api) -> None:
    await make_user(api)
    async with logged_in(api) as anna:
        api.clock.now_s += SESSION_S
        with pytest.raises(Unauthenticated) as refused:
            await who(anna)
        assert refused.value.reason == "CREDENTIAL_EXPIRED"
    await login(api)
    listed = await api.session.ListSessions(session_pb2.ListSessionsRequest(parent="users/anna"))
    assert len(listed.sessions) == 1  # the expired one was forgotten


@with_api
async def test_sessions_are_listed_without_secrets_and_ended_by_their_user_or_an_administrator(api: Api) -> None:
    await make_user(api)
    await make_user(api, "bert")
    async with logged_in(api) as anna, logged_in(api, "users/bert") as bert:
        own = await anna.session.ListSessions(session_pb2.ListSessionsRequest(parent="users/anna"))
        (session,) = own.sessions
        assert session.peer.startswith("unix")
        for stranger in (bert,):
            with pytest.raises(Denied):
                await stranger.session.ListSessions(session_pb2.ListSessionsRequest(parent="users/anna"))
            with pytest.raises(Denied):
                await stranger.session.DeleteSession(session_pb2.DeleteSessionRequest(name=session.name))
        await api.session.DeleteSession(session_pb2.DeleteSessionRequest(name=session.name))
        with pytest.raises(Unauthenticated):
            await who(anna)
    with pytest.raises(NotFound):
        await api.session.DeleteSession(session_pb2.DeleteSessionRequest(name=session.name))
    for name in ("", "users/anna", "users/anna/sessions", "credentials/tester", "users/anna/password/x"):
        with pytest.raises(Invalid):
            await api.session.DeleteSession(session_pb2.DeleteSessionRequest(name=name))


@with_api
async def test_a_user_has_so_many_sessions_and_the_oldest_gives_way(api: Api) -> None:
    await make_user(api)
    first = await login(api)
    for _ in range(SESSIONS_MAX):
        api.clock.now_s += 1
        await login(api)
    request = session_pb2.ListSessionsRequest(parent="users/anna", page_size=1000)
    names = {session.name for session in (await api.session.ListSessions(request)).sessions}
    assert len(names) == SESSIONS_MAX
    assert first.session.name not in names


@with_api
async def test_a_new_password_ends_all_sessions_and_the_old_one_is_good_no_more(api: Api) -> None:
    await make_user(api)
    async with logged_in(api) as anna, logged_in(api) as elsewhere:
        change = user_pb2.SetPasswordRequest(name="users/anna", password=OTHER)
        with pytest.raises(Unauthenticated):  # whoever finds an open session does not know the present one
            await anna.user.SetPassword(change)
        change.current_password = PASSWORD
        await anna.user.SetPassword(change)
        for ended in (anna, elsewhere):
            with pytest.raises(Unauthenticated):
                await who(ended)
    with pytest.raises(Unauthenticated):
        await login(api)
    await login(api, password=OTHER)
    await api.user.SetPassword(user_pb2.SetPasswordRequest(name="users/anna", password=PASSWORD))
    await login(api)


@with_api
async def test_nobody_sets_the_password_of_somebody_else_but_an_administrator_of_everything(api: Api) -> None:
    await api.make_application()
    await make_user(api)
    await make_user(api, "bert")
    change = user_pb2.SetPasswordRequest(name="users/anna", password=OTHER, current_password=PASSWORD)
    async with logged_in(api, "users/bert") as bert, api.with_role(ROLE_ADMIN, PROJECT) as of_one_project:
        for stranger in (bert, of_one_project):
            with pytest.raises(Denied):
                await stranger.user.SetPassword(change)
            with pytest.raises(Denied):
                await stranger.user.CreateUser(user_pb2.CreateUserRequest(user_id="eve", password=OTHER))
    change.name = "users/nobody"
    with pytest.raises(NotFound):
        await api.user.SetPassword(change)


@with_api
async def test_a_deleted_user_is_gone_with_everything_and_a_namesake_inherits_nothing(api: Api) -> None:
    name = await make_user(api)
    binding = role_binding_pb2.RoleBinding(subject=name, role=ROLE_ADMIN)
    await api.role_binding.CreateRoleBinding(role_binding_pb2.CreateRoleBindingRequest(role_binding=binding))
    async with logged_in(api) as anna:
        await api.user.DeleteUser(user_pb2.DeleteUserRequest(name=name))
        with pytest.raises(Unauthenticated):
            await who(anna)
        with pytest.raises(Unauthenticated):
            await login(api)
        await make_user(api, password=OTHER)
        with pytest.raises(Unauthenticated):
            await who(anna)
    async with logged_in(api, password=OTHER) as namesake:
        assert list((await who(namesake)).roles) == []


@with_api
async def test_users_are_made_once_with_a_password_that_is_long_enough(api: Api) -> None:
    for password in ("", "short", "x" * 1025):
        with pytest.raises(Invalid) as refused:
            await make_user(api, password=password)
        assert refused.value.metadata["field"] == "password"
    for user_id in ("", "Anna", "a/b", "x" * 64):
        with pytest.raises(Invalid):
            await make_user(api, user_id)
    await make_user(api)
    with pytest.raises(AlreadyExists):
        await make_user(api)
    listed = (await api.user.ListUsers(user_pb2.ListUsersRequest())).users
    assert [user.name for user in listed] == ["users/anna"]
    assert (await api.user.GetUser(user_pb2.GetUserRequest(name="users/anna"))).user == listed[0]


@with_api
async def test_no_answer_shows_a_password_or_its_hash(api: Api) -> None:
    await make_user(api)
    answers = [
        await api.user.ListUsers(user_pb2.ListUsersRequest()),
        await login(api),
        await api.session.ListSessions(session_pb2.ListSessionsRequest(parent="users/anna")),
        await api.credential.ListCredentials(credential_pb2.ListCredentialsRequest()),
    ]
    for answer in answers:
        assert b"argon2" not in answer.SerializeToString()
        assert PASSWORD.encode() not in answer.SerializeToString()


@with_api
async def test_a_session_is_no_token_for_the_api_and_has_no_namesakes_there(api: Api) -> None:
    """The collections are apart: who may delete tokens of a project cannot name a session."""
    await make_user(api)
    session = (await login(api)).session.name
    with pytest.raises(Invalid):
        await api.credential.DeleteCredential(credential_pb2.DeleteCredentialRequest(name=session))
    request = credential_pb2.CreateCredentialRequest(
        parent="users/anna", credential_id="c", credential={"role": ROLE_VIEWER}
    )
    with pytest.raises(Invalid):
        await api.credential.CreateCredential(request)


@with_api
async def test_a_name_that_is_too_long_for_a_user_is_not_remembered_at_its_length(api: Api) -> None:
    """Whoever makes up names must not fill the memory: those that begin alike are one."""
    for number in range(USER_ATTEMPTS):
        with pytest.raises(Unauthenticated):
            await login(api, "users/" + "x" * 100 + str(number))
    with pytest.raises(Exhausted) as refused:
        await login(api, "users/" + "x" * 100)
    assert refused.value.reason == "TOO_MANY_LOGINS"
