"""`waypost login`, `logout`, `whoami` and `user`."""

import io
import stat
from pathlib import Path

import pytest

from console import contexts
from console.contexts import Context
from tests.unit.console.conftest import Run
from tests.unit.console.fake_platform import TOKEN, FakePlatform
from waypost.api.control.v1.role_pb2 import ROLE_OPERATOR
from waypost.api.control.v1.session_pb2 import HeldRole, LoginResponse, LogoutResponse, WhoAmIResponse
from waypost.api.control.v1.user_pb2 import CreateUserResponse, ListUsersResponse, SetPasswordResponse
from waypost.errors import Unauthenticated

PASSWORD = "correct horse battery"


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{PASSWORD}\nanother {PASSWORD}\n"))


def test_a_session_is_kept_in_the_context_for_its_owner_only_and_the_token_stays(
    platform: FakePlatform, waypost: Run, typed: None, configuration: Path
) -> None:
    platform.allow_anybody = True
    platform.answers["Login"] = lambda request: LoginResponse(token="wp1_session")
    code, out, _ = waypost("login", "anna")
    assert (code, out.startswith("logged in to ")) == (0, True)
    assert (platform.calls[-1][1].user, platform.calls[-1][1].password) == ("users/anna", PASSWORD)
    kept = contexts.named("fake")
    assert (kept.session, kept.token, kept.proof) == ("wp1_session", TOKEN, "wp1_session")
    assert stat.S_IMODE((configuration / "contexts" / "fake.json").stat().st_mode) == 0o600
    for words in (("context", "show"), ("context", "show", "-o", "json"), ("context", "list", "-o", "json")):
        shown = waypost(*words)[1]
        assert "wp1_" not in shown


def test_a_refused_login_changes_nothing(platform: FakePlatform, waypost: Run, typed: None) -> None:
    def refuse(request: object) -> None:
        raise Unauthenticated("LOGIN_FAILED", "user or password is wrong")

    platform.allow_anybody = True
    platform.answers["Login"] = refuse
    code, _, err = waypost("login", "anna")
    assert (code, err.startswith("error: user or password is wrong")) == (1, True)
    assert contexts.named("fake").session == ""


def test_logging_out_ends_the_session_and_forgets_it(platform: FakePlatform, waypost: Run) -> None:
    code, _, err = waypost("logout")
    assert (code, "`waypost login USER`" in err) == (1, True)
    contexts.save(Context("fake", platform.context.address, "", "wp1_other", session=TOKEN))
    platform.answers["Logout"] = lambda request: LogoutResponse()
    assert waypost("logout")[0] == 0
    assert platform.calls[-1][0] == "Logout"
    assert (contexts.named("fake").session, contexts.named("fake").token) == ("", "wp1_other")


def test_a_session_that_has_ended_already_is_forgotten_all_the_same(platform: FakePlatform, waypost: Run) -> None:
    contexts.save(Context("fake", platform.context.address, "", TOKEN, session="wp1_ended"))
    assert waypost("logout")[0] == 0
    assert contexts.named("fake").session == ""


def test_who_one_is_and_what_one_may_do(platform: FakePlatform, waypost: Run) -> None:
    told = WhoAmIResponse(subject="users/anna", credential="users/anna/sessions/s1")
    platform.answers["WhoAmI"] = lambda request: told
    assert "no role was granted" in waypost("whoami")[2]
    told.roles.append(HeldRole(project="projects/uav", role=ROLE_OPERATOR))
    told.roles.append(HeldRole(role=ROLE_OPERATOR))
    out = waypost("whoami")[1]
    assert out.startswith("users/anna at ")
    assert [line.split() for line in out.splitlines()[-2:]] == [["operator", "uav"], ["operator", "everywhere"]]


def test_a_context_needs_no_token_where_people_log_in(platform: FakePlatform, waypost: Run) -> None:
    assert waypost("context", "add", "bare", "--address", platform.context.address)[0] == 0
    assert contexts.named("bare").proof is None
    code, _, err = waypost("--context", "bare", "project", "list")
    assert (code, err.startswith("error: this token is not known here")) == (1, True)


def test_users_are_made_with_a_password_from_stdin_and_listed_without(
    platform: FakePlatform, waypost: Run, typed: None
) -> None:
    platform.answers["CreateUser"] = lambda request: CreateUserResponse(user={"name": f"users/{request.user_id}"})
    platform.answers["ListUsers"] = lambda request: ListUsersResponse(users=[{"name": "users/anna"}])
    code, out, _ = waypost("user", "create", "anna")
    assert (code, "users/anna" in out, PASSWORD in out) == (0, True, False)
    assert platform.calls[-1][1].password == PASSWORD
    assert waypost("user", "list")[1].splitlines()[1].split()[0] == "anna"


def test_ones_own_password_is_changed_by_showing_the_present_one(
    platform: FakePlatform, waypost: Run, typed: None
) -> None:
    platform.answers["WhoAmI"] = lambda request: WhoAmIResponse(subject="users/anna")
    platform.answers["SetPassword"] = lambda request: SetPasswordResponse()
    assert waypost("user", "set-password", "anna")[0] == 0
    _, request = platform.calls[-1]
    assert (request.current_password, request.password) == (PASSWORD, f"another {PASSWORD}")


def test_an_administrator_sets_somebody_elses_without(platform: FakePlatform, waypost: Run, typed: None) -> None:
    platform.answers["WhoAmI"] = lambda request: WhoAmIResponse(subject="credentials/admin")
    platform.answers["SetPassword"] = lambda request: SetPasswordResponse()
    assert waypost("user", "set-password", "anna")[0] == 0
    _, request = platform.calls[-1]
    assert (request.name, request.current_password, request.password) == ("users/anna", "", PASSWORD)


def test_no_password_is_refused(platform: FakePlatform, waypost: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    code, _, err = waypost("login", "anna")
    assert (code, err.startswith("error: no password was given")) == (2, True)


def test_a_typed_password_is_asked_for_twice_without_an_echo(
    platform: FakePlatform, waypost: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    answers = iter([PASSWORD, "another one"])
    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("getpass.getpass", lambda prompt: next(answers))
    code, _, err = waypost("user", "create", "anna")
    assert (code, err.startswith("error: the two are not the same")) == (2, True)
