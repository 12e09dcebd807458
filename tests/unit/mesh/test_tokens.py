"""Access tokens: what is minted for a position is good there, until it expires, and nowhere else."""

import json
import subprocess
import sys

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh import tokens
from mesh.tokens import Claims, Verifier
from waypost.errors import Invalid, Unauthenticated

KEY = tokens.new_signing_key()
OTHER_KEY = tokens.new_signing_key()
HERE = "6f2c5a1e-0000-4000-8000-000000000001"
THERE = "6f2c5a1e-0000-4000-8000-000000000002"
NOW = 1_800_000_000.0


def header(key: bytes = KEY, *, audience: str = HERE, now: float = NOW, lifetime_s: float = 600.0) -> str:
    minted = tokens.mint(
        key, audience=audience, subject="credentials/c", client="cell-7", now=now, lifetime_s=lifetime_s
    )
    return f"Bearer {minted}"


def refusal(verifier: Verifier, authorization: str, now: float = NOW) -> Unauthenticated:
    with pytest.raises(Unauthenticated) as caught:
        verifier.verify(authorization, now)
    assert caught.value.message
    assert caught.value.hint
    return caught.value


@settings(max_examples=30)
@given(st.text(max_size=63), st.integers(0, 2**40), st.integers(1, 86_400))
def test_what_is_minted_is_what_is_read(client: str, now: int, lifetime_s: int) -> None:
    token = tokens.mint(KEY, audience=HERE, subject="agent", client=client, now=now, lifetime_s=lifetime_s)
    claims = Verifier(tokens.jwks(KEY), HERE).verify(f"Bearer {token}", now)
    assert claims == Claims(HERE, "agent", client, now + lifetime_s)


def test_a_good_header_is_remembered_and_still_expires() -> None:
    verifier = Verifier(tokens.jwks(KEY), HERE)
    authorization = header(lifetime_s=600)
    first = verifier.verify(authorization, NOW)
    assert verifier.verify(authorization, NOW + 599) is first
    for _ in range(2):
        assert refusal(verifier, authorization, NOW + 600).reason == "TOKEN_EXPIRED"


def test_the_memory_is_bounded_and_the_oldest_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "MEMO_MAX", 2)
    verifier = Verifier(tokens.jwks(KEY), HERE)
    headers = [header(now=NOW - age) for age in (3, 2, 1)]
    claims = [verifier.verify(authorization, NOW) for authorization in headers]
    assert verifier.verify(headers[2], NOW) is claims[2]
    assert verifier.verify(headers[1], NOW) is claims[1]
    assert verifier.verify(headers[0], NOW) is not claims[0]


def test_any_of_several_keys_may_have_signed() -> None:
    verifier = Verifier(tokens.jwks(KEY, OTHER_KEY), HERE)
    assert verifier.verify(header(KEY), NOW) == verifier.verify(header(OTHER_KEY), NOW)


def test_a_call_without_a_token_is_told_where_to_get_one() -> None:
    error = refusal(Verifier(tokens.jwks(KEY), HERE), "")
    assert error.reason == "NO_TOKEN"
    assert "/v1/register" in error.hint


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer",
        "Bearer ",
        "Basic dXNlcjpwYXNz",
        "Bearer wp1_an_application_token",
        "Bearer a.b.c",
        pytest.param("Bearer " + "x" * 5000, id="long"),
        pytest.param(header(OTHER_KEY), id="by another key"),
        pytest.param(header()[:-4] + "AAAA", id="with another signature"),
    ],
)
def test_what_is_no_token_of_ours_is_a_bad_token(authorization: str) -> None:
    assert refusal(Verifier(tokens.jwks(KEY), HERE), authorization).reason == "BAD_TOKEN"


@pytest.mark.parametrize("key", [KEY, OTHER_KEY], ids=["shared key", "key of its own"])
def test_a_token_of_another_position_is_named_as_that(key: bytes) -> None:
    error = refusal(Verifier(tokens.jwks(KEY), HERE), header(key, audience=THERE))
    assert error.reason == "WRONG_POSITION"
    assert THERE in error.message


@pytest.mark.parametrize(
    "change",
    [{"iss": "somebody"}, {"aud": [HERE]}, {"exp": "soon"}, {"sub": None}, {"iat": None}, {"exp": 1e400}],
)
def test_claims_out_of_order_are_refused(change: dict[str, object]) -> None:
    claims = {"iss": "waypost", "aud": HERE, "sub": "agent", "client": "", "iat": int(NOW), "exp": int(NOW) + 600}
    claims = {name: value for name, value in (claims | change).items() if value is not None}
    token = jwt.encode(claims, KEY, algorithm="ES256", headers={"kid": tokens.key_id(KEY)})
    assert refusal(Verifier(tokens.jwks(KEY), HERE), f"Bearer {token}").reason in ("BAD_TOKEN", "WRONG_POSITION")


@pytest.mark.parametrize("algorithm", ["none", "HS256"])
def test_no_other_algorithm_is_believed(algorithm: str) -> None:
    claims = {"iss": "waypost", "aud": HERE, "sub": "agent", "client": "", "iat": int(NOW), "exp": int(NOW) + 600}
    secret = "" if algorithm == "none" else "k" * 32
    token = jwt.encode(claims, secret, algorithm=algorithm, headers={"kid": tokens.key_id(KEY)})
    assert refusal(Verifier(tokens.jwks(KEY), HERE), f"Bearer {token}").reason == "BAD_TOKEN"


def test_an_empty_key_set_refuses_all() -> None:
    assert refusal(Verifier('{"keys":[]}', HERE), header()).reason == "BAD_TOKEN"


@pytest.mark.parametrize(
    "jwks", ["", "[]", "{}", '{"keys":[{"kty":"EC"}]}', '{"keys":[7]}', '{"keys":' + str([{}] * 17) + "}"]
)
def test_what_is_no_key_set_is_refused_in_words(jwks: str) -> None:
    with pytest.raises(Invalid) as caught:
        Verifier(jwks, HERE)
    assert caught.value.reason == "BAD_KEY_SET"


@pytest.mark.parametrize("pem", [b"", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_what_is_no_key_cannot_sign(pem: bytes) -> None:
    with pytest.raises(Invalid) as caught:
        tokens.mint(pem, audience=HERE, subject="agent", client="", now=NOW)
    assert caught.value.reason == "BAD_SIGNING_KEY"


def test_the_key_set_tells_nothing_private() -> None:
    (entry,) = json.loads(tokens.jwks(KEY))["keys"]
    assert entry.keys() == {"crv", "kty", "x", "y", "kid", "use", "alg"}
    assert entry["kid"] == tokens.key_id(KEY)
    assert len(entry["kid"]) == 43


def test_who_does_not_use_tokens_does_not_pay_for_them() -> None:
    heavy = "import sys, mesh.tokens; print('jwt' in sys.modules, 'cryptography' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["False", "False"]
