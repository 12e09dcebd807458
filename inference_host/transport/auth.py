"""Who may call: the access token of this position, checked here whatever stands in front.

`Gate.check` is asked with the `authorization` header of every call before anything else is done with it: by the gRPC
front ends for theirs, by the HTTP face for its own. A header that was good is remembered until it expires
(mesh.tokens), so that a caller's second call costs one look.

The keys come from a file at start and are replaced by the monitor's orders while the host runs. Without keys a gate is
open, which only happens where somebody asked for it: by hand on loopback, or with --insecure-no-auth.
"""

from collections.abc import Callable
from pathlib import Path

import structlog

from inference_host.values.calls import Owner
from mesh.serve import is_loopback, split_address
from mesh.tokens import Verifier
from waypost.errors import Invalid, Precondition

log = structlog.get_logger()

FLAG = "--insecure-no-auth"


class Gate:
    """Checks the credentials of calls to one position."""

    def __init__(self, verifier: Verifier | None, audience: str, now: Callable[[], float]) -> None:
        """verifier: None lets everybody in. audience: the position's uid. now: Unix seconds."""
        self._verifier = verifier
        self._audience = audience
        self._now = now
        self._jwks = ""

    @property
    def open(self) -> bool:
        return self._verifier is None

    def check(self, authorization: str) -> None:
        """authorization: the header's value, empty where there is none. Raises: Unauthenticated."""
        if self._verifier is not None:
            self._verifier.verify(authorization, self._now())

    def owner(self, authorization: str) -> Owner:
        """Whom what a call leaves behind belongs to: the credential, and the client's own name. Another token of the
        same two is the same owner. Raises: Unauthenticated.
        """
        if self._verifier is None:
            return ()
        claims = self._verifier.verify(authorization, self._now())
        return claims.subject, claims.client

    def check_keys(self, jwks: str) -> None:
        """Raises: Invalid(BAD_KEY_SET) where `replace` would."""
        Verifier(jwks, self._audience)

    def replace(self, jwks: str) -> None:
        """New keys, in force with the next call. An open gate stays open. Raises: Invalid(BAD_KEY_SET)."""
        if self._verifier is not None and jwks != self._jwks:
            self._verifier = Verifier(jwks, self._audience)
            self._jwks = jwks


def make(
    jwks: Path | None, position_uid: str, addresses: list[str], now: Callable[[], float], *, no_auth: bool
) -> Gate:
    """The gate of a host that listens on `addresses`.

    Raises: Precondition(NO_KEYS) for a position without keys, Precondition(NO_AUTH) where other machines could call
    without credentials, Invalid(BAD_KEY_SET | BAD_SETTING).
    """
    if no_auth:
        log.warning("serving_without_credentials", reason=f"{FLAG} was given")
        return Gate(None, position_uid, now)
    if jwks is not None:
        return Gate(_verifier(jwks, position_uid), position_uid, now)
    if position_uid:
        raise Precondition("NO_KEYS", f"position {position_uid} has no key set to check callers by", "set --jwks")
    for address in addresses:
        if not _is_local(address):
            raise Precondition(
                "NO_AUTH",
                f"{address} is reachable from other machines and nothing would check who calls",
                f"listen on 127.0.0.1, or say {FLAG} if everybody on that network may call",
            )
    log.info("serving_without_credentials", reason="started by hand, on this machine only")
    return Gate(None, "", now)


def _verifier(jwks: Path, position_uid: str) -> Verifier:
    if not position_uid:
        raise Invalid("BAD_SETTING", "--jwks was given without --position-uid, which tokens are issued for", "set both")
    try:
        return Verifier(jwks.read_text(), position_uid)
    except OSError as error:
        raise Precondition("NO_KEYS", f"the key set {jwks} cannot be read: {error}", "see --jwks") from error


def _is_local(address: str) -> bool:
    return address.startswith("unix:") or is_loopback(split_address(address)[0])
