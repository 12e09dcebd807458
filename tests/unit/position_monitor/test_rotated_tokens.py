"""What a position makes of application tokens while one replaces the other, without asking anybody."""

import hashlib

import pytest

from mesh import tokens
from mesh.tokens import LIFETIME_S, Verifier
from position_monitor.tokens import Issuer, shown, still_good
from waypost.api.link.v1.monitor_link_pb2 import OrderedToken
from waypost.errors import Unauthenticated

UID = "5d2c7f4e-1111-4222-8333-444455556666"
NOW = 1_800_000_000.0
OVERLAP_S = 120
KEY = tokens.new_signing_key()


def ordered(credential: str, secret: str, expire_unix_s: int = 0) -> OrderedToken:
    digest = hashlib.sha256(secret.encode()).hexdigest()
    return OrderedToken(credential=credential, sha256=digest, expire_unix_s=expire_unix_s)


BOTH = [ordered("c/xapp", "wp1_old", int(NOW) + OVERLAP_S), ordered("c/xapp-r2", "wp1_new")]


def register(secret: str, now: float) -> tuple[str, int]:
    """The access token and its lifetime."""
    return Issuer(KEY, UID).issue(shown(secret, BOTH, now), "client", now)


def test_during_the_overlap_both_secrets_are_good() -> None:
    assert shown("wp1_old", BOTH, NOW).credential == "c/xapp"
    assert shown("wp1_new", BOTH, NOW).credential == "c/xapp-r2"


def test_after_the_overlap_only_the_new_one_is() -> None:
    with pytest.raises(Unauthenticated) as refused:
        shown("wp1_old", BOTH, NOW + OVERLAP_S)
    assert refused.value.reason == "TOKEN_EXPIRED"
    assert shown("wp1_new", BOTH, NOW + OVERLAP_S).credential == "c/xapp-r2"


def test_access_that_was_given_for_the_old_one_ends_with_it_and_is_not_renewed() -> None:
    minted, lifetime_s = register("wp1_old", NOW)
    assert lifetime_s == OVERLAP_S < LIFETIME_S
    claims = Verifier(tokens.jwks(KEY), UID).verify(f"Bearer {minted}", NOW + OVERLAP_S - 1)
    assert claims.subject == "c/xapp"
    with pytest.raises(Unauthenticated):
        Verifier(tokens.jwks(KEY), UID).verify(f"Bearer {minted}", NOW + OVERLAP_S)
    with pytest.raises(Unauthenticated) as refused:
        still_good(claims.subject, BOTH, NOW + OVERLAP_S)
    assert refused.value.reason == "TOKEN_EXPIRED"


def test_what_was_given_out_before_a_revocation_ends_within_its_lifetime() -> None:
    """Nobody is asked when an access token is shown: ten minutes are the price, and the whole of it."""
    minted, lifetime_s = register("wp1_new", NOW)
    assert lifetime_s == LIFETIME_S == 600
    with pytest.raises(Unauthenticated) as refused:
        still_good("c/xapp-r2", BOTH[:1], NOW + 1)
    assert refused.value.reason == "TOKEN_REVOKED"
    verifier = Verifier(tokens.jwks(KEY), UID)
    assert verifier.verify(f"Bearer {minted}", NOW + LIFETIME_S - 1).subject == "c/xapp-r2"
    with pytest.raises(Unauthenticated):
        verifier.verify(f"Bearer {minted}", NOW + LIFETIME_S)
