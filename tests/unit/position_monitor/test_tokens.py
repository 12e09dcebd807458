"""Who gets an access token, and how long wrong ones are put up with."""

import asyncio
import hashlib

import pytest

from mesh import tokens as mesh_tokens
from position_monitor import tokens
from position_monitor.tokens import Brake, Issuer, shown, still_good
from waypost.api.link.v1.monitor_link_pb2 import OrderedToken
from waypost.errors import Exhausted, Invalid, Unauthenticated

UID = "6f2c5a1e-0000-4000-8000-000000000001"
NOW = 1_800_000_000.0
KEY = mesh_tokens.new_signing_key()


def ordered(secret: str, credential: str = "c", expire_unix_s: int = 0) -> OrderedToken:
    return OrderedToken(
        credential=credential, sha256=hashlib.sha256(secret.encode()).hexdigest(), expire_unix_s=expire_unix_s
    )


LISTED = [ordered("wp1_one", "one"), ordered("wp1_two", "two", int(NOW) + 100), ordered("wp1_old", "old", int(NOW) - 5)]


def refusal(secret: str) -> Unauthenticated:
    with pytest.raises(Unauthenticated) as caught:
        shown(secret, LISTED, NOW)
    assert caught.value.hint
    return caught.value


def test_a_listed_token_is_recognised() -> None:
    assert shown("wp1_two", LISTED, NOW).credential == "two"


def test_nobody_is_told_why_a_token_is_not_known() -> None:
    unknown = [refusal(secret) for secret in ("wp1_three", "one", "wp1_one ", "x" * 10_000, "\udcff")]
    assert {error.reason for error in unknown} == {"BAD_TOKEN"}
    assert len({error.message for error in unknown}) == 1


def test_a_missing_and_an_expired_token_are_named_as_that() -> None:
    assert refusal("").reason == "NO_TOKEN"
    assert refusal("wp1_old").reason == "TOKEN_EXPIRED"


def test_an_access_token_lives_no_longer_than_what_it_was_made_from() -> None:
    issuer = Issuer(KEY, UID)
    long, long_s = issuer.issue(LISTED[0], "cell-7", NOW)
    short, short_s = issuer.issue(LISTED[1], "cell-7", NOW)
    assert (long_s, short_s) == (mesh_tokens.LIFETIME_S, 100)
    verifier = mesh_tokens.Verifier(mesh_tokens.jwks(KEY), UID)
    assert verifier.verify(f"Bearer {long}", NOW).subject == "one"
    assert verifier.verify(f"Bearer {short}", NOW).expires_s == NOW + 100


def test_a_bad_key_is_found_at_once() -> None:
    with pytest.raises(Invalid):
        Issuer(b"nonsense", UID)


def test_a_revoked_token_renews_nothing() -> None:
    assert still_good("one", LISTED, NOW) == LISTED[0]
    for credential, reason in (("gone", "TOKEN_REVOKED"), ("old", "TOKEN_EXPIRED")):
        with pytest.raises(Unauthenticated) as caught:
            still_good(credential, LISTED, NOW)
        assert caught.value.reason == reason


def test_many_wrong_tokens_are_answered_slowly_and_only_so_many_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "SLOW_ANSWER_S", 3600.0)

    async def scenario() -> None:
        brake = Brake()
        async with asyncio.timeout(1):
            for _ in range(tokens.WRONG_TOKENS_FREE):
                await brake.press()
        waiting = [asyncio.ensure_future(brake.press()) for _ in range(tokens.SLOW_ANSWERS_MAX)]
        await asyncio.sleep(0)
        assert not any(answer.done() for answer in waiting)
        with pytest.raises(Exhausted):
            await brake.press()
        for answer in waiting:
            answer.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    asyncio.run(scenario())
