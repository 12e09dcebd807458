"""Tokens of another issuer: which are believed, and what they are believed to say. Keys come from a file here."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest

from control_plane.access import oidc
from control_plane.access.oidc import GROUPS_MAX, KEYS_KEPT_S, LEEWAY_S, REFRESH_S, Oidc, Person
from tests.issuer import AUDIENCE, Issuer, make_key
from waypost.errors import Invalid, Unauthenticated, Unavailable

URL = "https://login.example"
NOW = 1_800_000_000.0
SOON = int(NOW) + 600


class Clock:
    now_s = NOW

    def __call__(self) -> float:
        return self.now_s


class Bench:
    """An issuer whose keys are a file, and who believes it."""

    def __init__(self, directory: Path) -> None:
        self.issuer = Issuer(URL)
        self.clock = Clock()
        self.file = directory / "jwks.json"
        self.publish()
        self.oidc = Oidc(oidc.Issuer(URL, AUDIENCE, self.file), self.clock)

    def publish(self) -> None:
        self.file.write_text(json.dumps(self.issuer.jwks))

    def person(self, **claims: Any) -> Person:
        return self.read(self.issuer.token(**{"exp": SOON, **claims}))

    def read(self, token: str) -> Person:
        return asyncio.run(self.oidc.person(token))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_good_token_says_who_and_in_which_groups(bench: Bench) -> None:
    person = bench.person(groups=["ran", "ops"])
    assert (person.name, person.expires_s) == ("oidc/subjects/anna", SOON)
    assert person.subjects == ("oidc/subjects/anna", "oidc/groups/ran", "oidc/groups/ops")
    assert bench.person(groups="ran").groups == ("ran",)
    assert bench.person().groups == ()
    assert len(bench.person(groups=[f"g{n}" for n in range(1000)]).groups) == GROUPS_MAX


@pytest.mark.parametrize("kind", ["EC", "RSA"])
def test_keys_of_the_usual_kinds_are_understood(bench: Bench, kind: str) -> None:
    bench.issuer.new_key("other", kind=kind)
    bench.publish()
    assert bench.person().subject == "anna"
    if kind == "RSA":
        assert bench.read(bench.issuer.token(algorithm="PS256", exp=SOON)).subject == "anna"


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://elsewhere.example"},
        {"iss": None},
        {"aud": "somebody-else"},
        {"aud": None},
        {"exp": None},
        {"exp": "tomorrow"},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"groups": [1]},
        {"groups": {"a": 1}},
        {"nbf": NOW + LEEWAY_S + 1},
        {"kid": "unknown", "key": make_key()},
        {"key": make_key()},
    ],
)
def test_what_is_not_for_us_or_not_signed_by_its_issuer_is_refused(bench: Bench, claims: dict[str, Any]) -> None:
    with pytest.raises(Unauthenticated) as refused:
        bench.person(**claims)
    assert refused.value.reason == "OIDC_TOKEN_BAD"


def test_no_algorithm_with_a_shared_secret_and_none_at_all_is_accepted(bench: Bench) -> None:
    """The old trick: a public key, which everybody has, taken for the secret of an HMAC."""
    said = {"iss": URL, "aud": AUDIENCE, "sub": "anna", "exp": SOON}
    unsigned = jwt.encode(said, "", algorithm="none", headers={"kid": "one"})
    forged = jwt.encode(said, b"what everybody has".ljust(32), algorithm="HS256", headers={"kid": "one"})
    for token in (unsigned, forged, "a.b.c", "..", "x" * 20_000):
        with pytest.raises(Unauthenticated):
            bench.read(token)


def test_a_shared_key_in_the_key_set_is_not_used(bench: Bench) -> None:
    bench.file.write_text(json.dumps({"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "one"}]}))
    said = {"iss": URL, "aud": AUDIENCE, "sub": "anna", "exp": SOON}
    with pytest.raises(Unavailable):
        bench.read(jwt.encode(said, b"secret" * 8, algorithm="HS256", headers={"kid": "one"}))


def test_a_token_is_good_until_it_expires_and_a_little_longer(bench: Bench) -> None:
    token = bench.issuer.token(exp=SOON)
    for late_s in (0.0, LEEWAY_S - 1):
        bench.clock.now_s = SOON + late_s
        assert bench.read(token).subject == "anna"
    bench.clock.now_s = SOON + LEEWAY_S
    with pytest.raises(Unauthenticated) as refused:
        bench.read(token)
    assert refused.value.reason == "OIDC_TOKEN_EXPIRED"


def test_a_new_key_is_looked_for_when_a_token_names_it_and_not_more_often(bench: Bench) -> None:
    bench.person()
    bench.issuer.new_key("two")
    with pytest.raises(Unauthenticated):
        bench.person()
    bench.publish()
    with pytest.raises(Unauthenticated):  # so soon, nobody looks again
        bench.person()
    bench.clock.now_s += REFRESH_S
    assert bench.person().subject == "anna"


def test_a_key_that_was_taken_back_is_believed_no_longer_than_keys_are_kept(bench: Bench) -> None:
    token = bench.issuer.token(exp=SOON + KEYS_KEPT_S)
    assert bench.read(token).subject == "anna"
    bench.issuer.new_key("two")
    bench.publish()
    bench.clock.now_s += KEYS_KEPT_S - 1
    assert bench.read(token).subject == "anna"
    bench.clock.now_s += 1
    with pytest.raises(Unauthenticated):
        bench.read(token)


@pytest.mark.parametrize("damage", [lambda file: file.unlink(), lambda file: file.write_text("{")])
def test_keys_that_are_known_stay_good_while_no_others_can_be_had(
    bench: Bench, damage: Callable[[Path], object]
) -> None:
    token = bench.issuer.token(exp=SOON + KEYS_KEPT_S)
    bench.read(token)
    damage(bench.file)
    bench.clock.now_s += KEYS_KEPT_S
    assert bench.read(token).subject == "anna"


def test_without_any_key_the_caller_may_try_again(bench: Bench) -> None:
    bench.file.unlink()
    with pytest.raises(Unavailable) as refused:
        bench.person()
    assert refused.value.reason == "OIDC_UNREACHABLE"


def test_the_claims_can_be_others(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.oidc = Oidc(oidc.Issuer(URL, AUDIENCE, bench.file, "oid", "roles"), bench.clock)
    assert bench.person(oid="0001", roles=["a"]).subjects == ("oidc/subjects/0001", "oidc/groups/a")


def test_an_issuer_without_tls_or_audience_is_refused_at_start() -> None:
    for url, audience in (("http://login.example", "a"), ("login.example", "a"), ("", "a"), (URL, "")):
        with pytest.raises(Invalid) as refused:
            Oidc(oidc.Issuer(url, audience), Clock())
        assert refused.value.reason == "BAD_OIDC"
    Oidc(oidc.Issuer("http://127.0.0.1:8080", "a"), Clock())


def test_what_is_remembered_is_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oidc, "MEMO_MAX", 3)
    for number in range(10):
        assert bench.person(sub=f"u{number}").subject == f"u{number}"
    assert len(bench.oidc._good) == 3
