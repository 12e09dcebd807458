"""Who may call, and what is served without asking."""

from pathlib import Path

import pytest

from inference_host.transport import auth
from mesh import tokens
from waypost.errors import Invalid, Precondition, Unauthenticated

NOW = 1_000_000.0
LOCAL = ["127.0.0.1:8001", "unix:/run/host.sock"]


def now() -> float:
    return NOW


def bearer(key: bytes, audience: str = "uid-1") -> str:
    token = tokens.mint(key, audience=audience, subject="agent", client="test", now=NOW, lifetime_s=60)
    return f"Bearer {token}"


def gate(tmp_path: Path, key: bytes) -> auth.Gate:
    (tmp_path / "jwks.json").write_text(tokens.jwks(key))
    return auth.make(tmp_path / "jwks.json", "uid-1", LOCAL, now, no_auth=False)


def test_a_token_of_this_position_is_let_in(tmp_path: Path) -> None:
    key = tokens.new_signing_key()
    gate(tmp_path, key).check(bearer(key))


def test_no_token_and_another_positions_are_not(tmp_path: Path) -> None:
    key = tokens.new_signing_key()
    closed = gate(tmp_path, key)
    for header in ("", bearer(key, "uid-2"), bearer(tokens.new_signing_key())):
        with pytest.raises(Unauthenticated):
            closed.check(header)


def test_new_keys_take_the_place_of_old_ones(tmp_path: Path) -> None:
    old, new = tokens.new_signing_key(), tokens.new_signing_key()
    closed = gate(tmp_path, old)
    closed.check(bearer(old))
    closed.replace(tokens.jwks(new))
    closed.check(bearer(new))
    with pytest.raises(Unauthenticated):
        closed.check(bearer(old))


def test_keys_that_are_none_are_refused_and_the_old_ones_stay(tmp_path: Path) -> None:
    key = tokens.new_signing_key()
    closed = gate(tmp_path, key)
    with pytest.raises(Invalid):
        closed.check_keys("{")
    with pytest.raises(Invalid):
        closed.replace("{")
    closed.check(bearer(key))


def test_by_hand_on_this_machine_nobody_is_asked() -> None:
    assert auth.make(None, "", LOCAL, now, no_auth=False).open


def test_other_machines_may_call_without_credentials_only_where_somebody_said_so() -> None:
    with pytest.raises(Precondition) as refused:
        auth.make(None, "", ["0.0.0.0:8001"], now, no_auth=False)
    assert refused.value.reason == "NO_AUTH"
    assert auth.FLAG in refused.value.hint
    assert auth.make(None, "", ["0.0.0.0:8001"], now, no_auth=True).open


def test_a_position_is_never_open_by_accident(tmp_path: Path) -> None:
    with pytest.raises(Precondition):
        auth.make(None, "uid-1", LOCAL, now, no_auth=False)
    with pytest.raises(Precondition):
        auth.make(tmp_path / "missing.json", "uid-1", LOCAL, now, no_auth=False)
    with pytest.raises(Invalid):
        auth.make(tmp_path / "jwks.json", "", LOCAL, now, no_auth=False)


def test_an_open_gate_stays_open_when_keys_come() -> None:
    opened = auth.make(None, "", LOCAL, now, no_auth=True)
    opened.replace(tokens.jwks(tokens.new_signing_key()))
    opened.check("")


def test_an_owner_is_the_credential_and_the_clients_name_whatever_the_token(tmp_path: Path) -> None:
    key = tokens.new_signing_key()
    closed = gate(tmp_path, key)
    made = [
        tokens.mint(key, audience="uid-1", subject=subject, client=client, now=NOW, lifetime_s=lifetime_s)
        for subject, client, lifetime_s in (("c/1", "a", 60), ("c/1", "a", 90), ("c/1", "b", 60), ("c/2", "a", 60))
    ]
    owners = [closed.owner(f"Bearer {token}") for token in made]
    assert owners == [("c/1", "a"), ("c/1", "a"), ("c/1", "b"), ("c/2", "a")]
    assert auth.Gate(None, "", now).owner("Bearer whatever") == ()
