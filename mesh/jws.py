"""Signed JSON in compact form, with one algorithm: ES256 (RFC 7515; RFC 7518, section 3.4). Nothing else of JOSE.

With one algorithm nothing is negotiated, and little is left to get wrong: three parts in base64url, a header that must
name ES256 and no extension that has to be understood, a signature of 64 bytes over the first two parts as they came.
PyJWT, which the tests hold this against, takes 30 ms and 3 MB more in each process, for all that we must refuse anyway.

cryptography (7 MB) is imported where it is first needed.
"""

import json
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey

ALGORITHM = "ES256"
_CURVE = "P-256"
_NUMBER_BYTES = 32  # a coordinate of P-256, or one of the two numbers of a signature


class BadToken(ValueError):
    """What it is that is no token. Says nothing about who made it."""


@dataclass(frozen=True, slots=True)
class Token:
    """As it was read; nothing in it is proven yet."""

    kid: str
    """Which key its maker says he has signed with; may be empty."""
    claims: Mapping[str, Any]
    _signed: bytes
    _signature: bytes

    def is_signed_by(self, key: "EllipticCurvePublicKey") -> bool:
        """Whether the claims are proven."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

        r, s = self._signature[:_NUMBER_BYTES], self._signature[_NUMBER_BYTES:]
        try:
            key.verify(encode_dss_signature(_number(r), _number(s)), self._signed, _ecdsa())
        except InvalidSignature:
            return False
        return True


def read(token: str) -> Token:
    """Raises: BadToken."""
    try:
        header, payload, signature = token.split(".")
        kid, claims, proof = _kid(_object(header)), _object(payload), _decoded(signature)
        signed = f"{header}.{payload}".encode("ascii")
    except (ValueError, RecursionError) as error:  # UnicodeError, JSONDecodeError, BadToken are ValueErrors
        raise BadToken(str(error)) from None
    if len(proof) != 2 * _NUMBER_BYTES:
        raise BadToken(f"its signature has {len(proof)} bytes, {2 * _NUMBER_BYTES} are expected")
    return Token(kid, claims, signed, proof)


def sign(claims: Mapping[str, Any], key: "EllipticCurvePrivateKey", kid: str) -> str:
    """The token. key: on P-256."""
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    header = {"alg": ALGORITHM, "kid": kid, "typ": "JWT"}
    signed = ".".join(_encoded(json.dumps(part, separators=(",", ":")).encode()) for part in (header, claims))
    numbers = decode_dss_signature(key.sign(signed.encode(), _ecdsa()))
    return f"{signed}.{_encoded(b''.join(number.to_bytes(_NUMBER_BYTES) for number in numbers))}"


def public_jwk(key: "EllipticCurvePublicKey") -> dict[str, str]:
    """The members that a thumbprint is made of (RFC 7638), and no others."""
    numbers = key.public_numbers()
    x, y = (_encoded(number.to_bytes(_NUMBER_BYTES)) for number in (numbers.x, numbers.y))
    return {"crv": _CURVE, "kty": "EC", "x": x, "y": y}


def from_jwk(entry: Mapping[str, Any]) -> "EllipticCurvePublicKey | None":
    """The key; None for one of another kind. Raises: ValueError, KeyError, TypeError for what is no JWK."""
    from cryptography.hazmat.primitives.asymmetric import ec

    if entry["kty"] != "EC" or entry["crv"] != _CURVE:
        return None
    x, y = (_number(_decoded(entry[member])) for member in ("x", "y"))
    return ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()


def _kid(header: Mapping[str, Any]) -> str:
    if header.get("alg") != ALGORITHM:
        raise BadToken(f"its algorithm is {str(header.get('alg'))[:16]!r}, only {ALGORITHM} is taken")
    if "crit" in header:
        raise BadToken("it demands extensions that are not known here")  # RFC 7515, section 4.1.11
    return str(header.get("kid", ""))


def _object(part: str) -> dict[str, Any]:
    found = json.loads(_decoded(part))
    if not isinstance(found, dict):
        raise BadToken("a part of it is no JSON object")
    return found


def _ecdsa() -> Any:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.ECDSA(hashes.SHA256())


def _number(value: bytes) -> int:
    return int.from_bytes(value)


def _encoded(value: bytes) -> str:
    return urlsafe_b64encode(value).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    """Raises: ValueError."""
    return b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
