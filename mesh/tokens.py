"""Access tokens of a position: short-lived JWTs that its own keys sign and everybody behind its gateway checks.

An xApp shows an application token once (`AccessService.Register`) and gets one of these for ten minutes. The agent
makes the signing key and keeps it beside the position; the monitor signs with it; the hosts get the public half as a
JSON Web Key Set with their orders. So tokens are made and checked with the control plane away, and a token of one
position says nothing at another: its audience is the position's uid.

    header   alg ES256 · kid: RFC 7638 thumbprint of the public key, so that several keys may be good at once
    claims   iss `waypost` · aud: position uid · sub: credential's name, or `agent` · client: what the caller calls
             itself · iat, exp: whole seconds

Hosts check a token with every request. A signature costs about 0.1 ms, as much as a small model; therefore a header
that was good is remembered until it expires and costs one look-up from then on. Nothing else is remembered: a token
that failed is checked again, and cannot push good ones out.

PyJWT and cryptography (10 MB together) are imported where they are first needed: who never makes a key, signs or
checks does not pay for them.
"""

import hashlib
import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from waypost.errors import Invalid, Unauthenticated

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey

ISSUER = "waypost"
ALGORITHM = "ES256"
LIFETIME_S = 600  # short enough to need no revocation list, long enough that renewing costs nothing

HEADER_CHARS_MAX = 4096  # ours have about 500; longer ones are not worth decoding
MEMO_MAX = 4096  # remembered headers; 1 KB each. More callers at one host just pay for the signature again
KEYS_MAX = 16  # in one key set; two are in use during a change of keys

_CHECKED: Any = {
    "require": ["iss", "aud", "sub", "iat", "exp"],
    "strict_aud": True,
    "verify_exp": False,
    "verify_iat": False,
    "verify_nbf": False,
}
"""What PyJWT looks at: everything but times, for which it would read the wall clock itself."""

_REGISTER = "register with an application token at xapp.v1 AccessService.Register (POST /v1/register)"
_NO_TOKEN_HINT = f"send `authorization: Bearer ACCESS_TOKEN`; to get one, {_REGISTER}"
_NEW_TOKEN_HINT = f"renew it before it expires, or {_REGISTER}"


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token that was found good says."""

    audience: str
    """uid of the position it is for."""
    subject: str
    """Full name of the credential it was made from, or `agent`."""
    client: str
    """What the caller calls itself; may be empty."""
    expires_s: int
    """Unix seconds; no longer good from then on."""


def new_signing_key() -> bytes:
    """A new private key (P-256), PEM, unencrypted PKCS 8: keep it in a file of mode 0600."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def jwks(*keys_pem: bytes) -> str:
    """JSON Web Key Set (RFC 7517) of the public halves of `keys_pem`.

    Raises: Invalid(BAD_SIGNING_KEY).
    """
    keys = [{**_public_jwk(pem), "kid": key_id(pem), "use": "sig", "alg": ALGORITHM} for pem in keys_pem]
    return json.dumps({"keys": keys}, separators=(",", ":"))


def key_id(key_pem: bytes) -> str:
    """RFC 7638 thumbprint of the public half: 43 characters, the same wherever the key is."""
    canonical = json.dumps(_public_jwk(key_pem), separators=(",", ":"), sort_keys=True)
    return urlsafe_b64encode(hashlib.sha256(canonical.encode()).digest()).rstrip(b"=").decode()


def mint(
    key_pem: bytes, *, audience: str, subject: str, client: str, now: float, lifetime_s: float = LIFETIME_S
) -> str:
    """A token for `authorization: Bearer TOKEN`.

    audience: uid of the position. now: Unix seconds. Raises: Invalid(BAD_SIGNING_KEY).
    """
    import jwt

    claims = {
        "iss": ISSUER,
        "aud": audience,
        "sub": subject,
        "client": client,
        "iat": int(now),
        "exp": int(now + lifetime_s),
    }
    key, kid = _signer(key_pem)
    return jwt.encode(claims, key, algorithm=ALGORITHM, headers={"kid": kid})


class Verifier:
    """Checks the `authorization` header of calls to one position. Not for several threads at once.

    A change of keys makes a new Verifier, which forgets what the old one found good.
    """

    def __init__(self, jwks: str, audience: str) -> None:
        """jwks: keys that may have signed; a set without keys refuses all. Raises: Invalid(BAD_KEY_SET)."""
        self._keys = _public_keys(jwks)
        self._audience = audience
        self._good: dict[str, Claims] = {}

    def verify(self, authorization_header: str, now: float) -> Claims:
        """Claims of the token in `Bearer TOKEN`; the empty header means that there is none.

        now: Unix seconds. Raises: Unauthenticated(NO_TOKEN | BAD_TOKEN | TOKEN_EXPIRED | WRONG_POSITION).
        """
        claims = self._good.get(authorization_header)
        if claims is None:
            claims = self._check(_bearer(authorization_header))
            self._check_time(claims, now)
            self._remember(authorization_header, claims)
        elif now >= claims.expires_s:
            del self._good[authorization_header]
            self._check_time(claims, now)
        return claims

    def _check(self, token: str) -> Claims:
        """Everything but the time."""
        import jwt

        key = self._key_of(token)
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                audience=self._audience,
                issuer=ISSUER,
                options=_CHECKED,
            )
            return Claims(
                audience=self._audience,
                subject=str(claims["sub"]),
                client=str(claims.get("client", "")),
                expires_s=int(claims["exp"]),
            )
        except jwt.InvalidAudienceError:
            raise self._wrong_position(token) from None  # ours says more than PyJWT's
        except (jwt.PyJWTError, TypeError, ValueError, OverflowError) as error:
            raise _bad_token(f"the access token is not good: {error}") from error

    def _key_of(self, token: str) -> "EllipticCurvePublicKey":
        import jwt

        try:
            kid = jwt.get_unverified_header(token).get("kid")
        except jwt.PyJWTError as error:
            raise _bad_token(f"the access token is not a JWT: {error}") from error
        key = self._keys.get(str(kid))
        if key is not None:
            return key
        # Positions have keys of their own, so this is what a token of another position looks like. What it says of
        # itself is not proven, but good enough to tell its holder what he has mixed up.
        if _unproven_audience(token) not in ("", self._audience):
            raise self._wrong_position(token)
        raise _bad_token("the access token is signed with a key that this position does not know")

    def _wrong_position(self, token: str) -> Unauthenticated:
        theirs = _unproven_audience(token)
        return Unauthenticated(
            "WRONG_POSITION",
            f"the access token is for position {theirs[:64]!r}, this is position {self._audience!r}",
            "register at the position that you call: a token is good at one position only",
            position_uid=self._audience,
        )

    @staticmethod
    def _check_time(claims: Claims, now: float) -> None:
        if now >= claims.expires_s:
            raise Unauthenticated(
                "TOKEN_EXPIRED",
                f"the access token expired {int(now - claims.expires_s)} s ago",
                _NEW_TOKEN_HINT,
                position_uid=claims.audience,
            )

    def _remember(self, header: str, claims: Claims) -> None:
        while len(self._good) >= MEMO_MAX:
            self._good.pop(next(iter(self._good)))  # the oldest: it expires first, lifetimes being equal
        self._good[header] = claims


def _bearer(header: str) -> str:
    if not header:
        raise Unauthenticated("NO_TOKEN", "the call carries no access token", _NO_TOKEN_HINT)
    if len(header) > HEADER_CHARS_MAX:
        raise _bad_token(f"the authorization header has {len(header)} characters, at most {HEADER_CHARS_MAX} are read")
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise _bad_token("the authorization header is not of the form `Bearer ACCESS_TOKEN`")
    return token.strip()


def _bad_token(message: str) -> Unauthenticated:
    return Unauthenticated("BAD_TOKEN", message, _NO_TOKEN_HINT)


def _unproven_audience(token: str) -> str:
    import jwt

    try:
        audience = jwt.decode(token, options={"verify_signature": False}).get("aud", "")
    except jwt.PyJWTError:
        return ""
    return audience if isinstance(audience, str) else ""


@lru_cache(maxsize=4)  # a process signs with one key, or two during a change; parsing one costs as much as signing
def _signer(key_pem: bytes) -> tuple["EllipticCurvePrivateKey", str]:
    return _private_key(key_pem), key_id(key_pem)


def _private_key(key_pem: bytes) -> "EllipticCurvePrivateKey":
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(key_pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _bad_key("it is no unencrypted PEM") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise _bad_key("it is no P-256 key")
    return key


def _bad_key(why: str) -> Invalid:
    hint = "let the agent make one: remove the position's signing_key.pem and jwks.json and restart the agent"
    return Invalid("BAD_SIGNING_KEY", f"the signing key cannot be used: {why}", hint)


def _public_jwk(key_pem: bytes) -> dict[str, str]:
    """The members that a thumbprint is made of, and no others."""
    from jwt.algorithms import ECAlgorithm

    public = ECAlgorithm.to_jwk(_private_key(key_pem).public_key(), as_dict=True)
    return {member: public[member] for member in ("crv", "kty", "x", "y")}


def _public_keys(jwks: str) -> Mapping[str, "EllipticCurvePublicKey"]:
    from cryptography.hazmat.primitives.asymmetric import ec
    from jwt import PyJWTError
    from jwt.algorithms import ECAlgorithm

    keys: dict[str, ec.EllipticCurvePublicKey] = {}
    try:
        entries: list[dict[str, Any]] = json.loads(jwks)["keys"]
        if len(entries) > KEYS_MAX:
            raise ValueError(f"{len(entries)} keys, at most {KEYS_MAX} are read")
        for entry in entries:
            key = ECAlgorithm.from_jwk(entry)
            if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
                keys[str(entry["kid"])] = key
    except (PyJWTError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Invalid(
            "BAD_KEY_SET",
            f"the position's key set is no JSON Web Key Set of P-256 keys: {error!r}",
            "give the `jwks.json` that the agent wrote beside the position's signing key",
        ) from error
    return keys
