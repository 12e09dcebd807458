"""Tokens of somebody else's issuer (OpenID Connect): JWTs that say who somebody is, and in which groups.

What an issuer says is believed where its key has signed it, for us (the audience), and it has not expired. What the
person may do, role bindings say, for `oidc/subjects/{subject}` and `oidc/groups/{group}`: a token that is good and to
which nothing was granted opens nothing.

The issuer's keys come from a file, or from where its discovery document says. They are kept, and read again where a
token names a key that is not among them: at most every REFRESH_S, so that tokens with made-up keys cost the issuer
nothing, and after KEYS_KEPT_S in any case, so that a key that was taken back is believed no longer. While the issuer
cannot be reached, the keys that are known stay good.

Only algorithms with public keys are accepted: with a shared secret, whoever can check a token can make one. Signatures
cost about 0.1 ms; a token that was good is remembered until it expires.
"""

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jwt
import structlog

from control_plane.settings import ControlPlaneSettings
from mesh.serve import is_loopback
from waypost.errors import Invalid, MeshError, Unauthenticated, Unavailable

log = structlog.get_logger()

ALGORITHMS: Mapping[str, tuple[str, ...]] = {
    "RSA": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    "P-256": ("ES256",),
    "P-384": ("ES384",),
    "P-521": ("ES512",),
    "Ed25519": ("EdDSA",),
}
"""By the key's type, or its curve."""
LEEWAY_S = 30.0  # between the issuer's clock and ours
REFRESH_S = 30.0
KEYS_KEPT_S = 3600.0
FETCH_S = 5.0
DOCUMENT_BYTES_MAX = 1 << 20
KEYS_MAX = 100
TOKEN_CHARACTERS_MAX = 16 << 10  # gRPC's own bound on metadata lies near
MEMO_MAX = 4096
GROUPS_MAX = 200
_DISCOVERY = "/.well-known/openid-configuration"
_HINT = "get a new one from its issuer, or `waypost login` with a password"


@dataclass(frozen=True, slots=True)
class Issuer:
    """Whom to believe, as the settings say."""

    issuer: str
    audience: str
    jwks_file: Path | None = None
    subject_claim: str = "sub"
    groups_claim: str = "groups"

    def check(self) -> None:
        """Raises: Invalid(BAD_OIDC)."""
        parts = urlsplit(self.issuer)
        if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
            message = f"the issuer must be an https:// URL, got {self.issuer!r}"
            raise Invalid("BAD_OIDC", message, "without TLS anybody between could say who somebody is")
        if not self.audience:
            hint = "the client id that the issuer knows this platform by; tokens for others are not for us"
            raise Invalid("BAD_OIDC", "an issuer without an audience", hint)


def issuer_of(settings: ControlPlaneSettings) -> Issuer | None:
    """The one that the settings name; None for none."""
    if not settings.oidc_issuer:
        return None
    return Issuer(
        settings.oidc_issuer,
        settings.oidc_audience,
        settings.oidc_jwks_file,
        settings.oidc_subject_claim,
        settings.oidc_groups_claim,
    )


@dataclass(frozen=True, slots=True)
class Person:
    """What a good token says."""

    subject: str
    groups: tuple[str, ...]
    expires_s: float

    @property
    def name(self) -> str:
        """As role bindings call it."""
        return f"oidc/subjects/{self.subject}"

    @property
    def subjects(self) -> tuple[str, ...]:
        """All that role bindings may name."""
        return (self.name, *(f"oidc/groups/{group}" for group in self.groups))


class Oidc:
    """Checks the tokens of one issuer."""

    def __init__(self, issuer: Issuer, now: Callable[[], float]) -> None:
        """Raises: Invalid(BAD_OIDC)."""
        issuer.check()
        self._issuer = issuer
        self._now = now
        self._keys: Mapping[str, _Key] = {}
        self._read_s = self._tried_s = -KEYS_KEPT_S
        self._turn = asyncio.Lock()
        self._good: dict[str, Person] = {}

    async def person(self, token: str) -> Person:
        """Whom a token speaks of. Raises: Unauthenticated(OIDC_TOKEN_BAD | OIDC_TOKEN_EXPIRED),
        Unavailable(OIDC_UNREACHABLE) where no key is known.
        """
        if len(token) > TOKEN_CHARACTERS_MAX:
            raise _bad(f"it has {len(token)} characters, at most {TOKEN_CHARACTERS_MAX} are read")
        await self._refresh_old()
        person = self._good.get(token) or self._read(token, await self._key(token))
        if self._now() >= person.expires_s + LEEWAY_S:
            self._good.pop(token, None)
            message = f"the token expired {self._now() - person.expires_s:.0f} s ago"
            raise Unauthenticated("OIDC_TOKEN_EXPIRED", message, _HINT)
        self._remember(token, person)
        return person

    def _read(self, token: str, key: "_Key") -> Person:
        """Everything but the time. Raises: Unauthenticated(OIDC_TOKEN_BAD)."""
        options: Any = {"require": ["iss", "aud", "exp"], "verify_exp": False, "verify_iat": False, "verify_nbf": False}
        try:
            claims = jwt.decode(
                token,
                key.public,
                algorithms=key.algorithms,
                audience=self._issuer.audience,
                issuer=self._issuer.issuer,
                options=options,
            )
            expires_s, begins_s = float(claims["exp"]), float(claims.get("nbf", 0))
        except (jwt.PyJWTError, TypeError, ValueError, OverflowError) as error:
            raise _bad(str(error)) from error
        if begins_s > self._now() + LEEWAY_S:
            raise _bad(f"it is good only in {begins_s - self._now():.0f} s")
        return Person(self._subject(claims), self._groups(claims), expires_s)

    def _subject(self, claims: Mapping[str, Any]) -> str:
        subject = claims.get(self._issuer.subject_claim)
        if not isinstance(subject, str) or not subject:
            raise _bad(f"its claim {self._issuer.subject_claim!r} names nobody")
        return subject

    def _groups(self, claims: Mapping[str, Any]) -> tuple[str, ...]:
        groups = claims.get(self._issuer.groups_claim, ())
        listed = [groups] if isinstance(groups, str) else groups
        if not isinstance(listed, list | tuple) or not all(isinstance(group, str) for group in listed):
            raise _bad(f"its claim {self._issuer.groups_claim!r} is no list of groups")
        return tuple(listed[:GROUPS_MAX])

    async def _key(self, token: str) -> "_Key":
        try:
            kid = jwt.get_unverified_header(token).get("kid")
        except jwt.PyJWTError as error:
            raise _bad(f"it is no JWT: {error}") from error
        if not isinstance(kid, str):
            raise _bad("it does not say which key signed it")
        if kid not in self._keys:
            await self._look_for_keys()
        if kid not in self._keys:
            if not self._keys:
                message = f"the keys of {self._issuer.issuer} cannot be had"
                raise Unavailable("OIDC_UNREACHABLE", message, "the control plane's log says why; try again")
            raise _bad("it is signed with a key that its issuer does not have")
        return self._keys[kid]

    async def _look_for_keys(self) -> None:
        """Reads them, or waits for whoever does; not again where somebody has just done so."""
        if self._turn.locked():
            async with self._turn:
                return
        if self._now() >= self._tried_s + REFRESH_S:
            await self._refresh()

    async def _refresh_old(self) -> None:
        """Keys are not believed for ever, nor what was signed with them. Only one caller waits for it."""
        due_s = max(self._read_s + KEYS_KEPT_S, self._tried_s + REFRESH_S)
        if self._keys and self._now() >= due_s and not self._turn.locked():
            await self._refresh()

    async def _refresh(self) -> None:
        async with self._turn:
            self._tried_s = self._now()
            try:
                keys = _key_set(await asyncio.to_thread(self._fetch))
            except (MeshError, OSError, ValueError) as error:
                log.warning("oidc_keys_unread", issuer=self._issuer.issuer, error=str(error))
                return
            if keys.keys() != self._keys.keys():
                log.info("oidc_keys_read", issuer=self._issuer.issuer, keys=len(keys))
            self._keys, self._read_s = keys, self._now()
            self._good.clear()

    def _fetch(self) -> Any:
        """The key set, as JSON. Blocking."""
        if self._issuer.jwks_file is not None:
            return json.loads(self._issuer.jwks_file.read_bytes())
        found = _get(self._issuer.issuer.rstrip("/") + _DISCOVERY)
        if not isinstance(found, dict) or found.get("issuer") != self._issuer.issuer:
            raise Invalid("BAD_OIDC", f"its discovery document is not that of {self._issuer.issuer}")
        return _get(str(found.get("jwks_uri", "")))

    def _remember(self, token: str, person: Person) -> None:
        if token not in self._good and len(self._good) >= MEMO_MAX:
            self._good.pop(next(iter(self._good)))
        self._good[token] = person


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect could lead from https to anywhere."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _get(url: str) -> Any:
    """JSON from https, or from this machine. Raises: Invalid(BAD_OIDC), OSError, ValueError."""
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
        raise Invalid("BAD_OIDC", f"keys are read over https only, not from {url!r}")
    with urllib.request.build_opener(_NoRedirects).open(url, timeout=FETCH_S) as response:
        body = response.read(DOCUMENT_BYTES_MAX + 1)
    if len(body) > DOCUMENT_BYTES_MAX:
        raise Invalid("BAD_OIDC", f"{url} has more than {DOCUMENT_BYTES_MAX} bytes")
    return json.loads(body)


@dataclass(frozen=True, slots=True)
class _Key:
    public: Any
    """Of `cryptography`."""
    algorithms: tuple[str, ...]
    """That it may have signed with."""


def _key_set(document: Any) -> Mapping[str, _Key]:
    """Public keys for signatures, by id; what is no such key is left out. Raises: Invalid(BAD_OIDC)."""
    if not isinstance(document, dict) or not isinstance(document.get("keys"), list):
        raise Invalid("BAD_OIDC", "its keys are no JSON Web Key Set")
    found: dict[str, _Key] = {}
    for key in document["keys"][:KEYS_MAX]:
        if not isinstance(key, dict) or key.get("use", "sig") != "sig" or not (algorithms := _algorithms(key)):
            continue
        try:
            found[str(key["kid"])] = _Key(jwt.PyJWK(key, algorithm=algorithms[0]).key, algorithms)
        except (jwt.PyJWTError, KeyError, ValueError):
            continue
    return found


def _algorithms(key: Mapping[str, Any]) -> tuple[str, ...]:
    """What a JSON Web Key may have signed with: what it says itself, of what its kind allows."""
    allowed = ALGORITHMS.get(str(key.get("crv") or key.get("kty")), ())
    return tuple(name for name in allowed if key.get("alg") in (None, name))


def _bad(why: str) -> Unauthenticated:
    return Unauthenticated("OIDC_TOKEN_BAD", f"the token is not good: {why}", _HINT)
