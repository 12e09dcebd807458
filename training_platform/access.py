"""Who may subscribe: an activation token that an operator hands over, exchanged for an access token per subscriber.

The activation token stands in a file that only we may read. Access tokens are kept as hashes (they are 256 random bits,
so a plain sha256 does), a few for each subscriber: it may activate again whenever it has lost the last one.
"""

import hashlib
import hmac
import json
import secrets
from pathlib import Path
from typing import Any

from mesh.files import private_directory, write_atomically
from training_platform.layout import OURS, read_json
from waypost.errors import Invalid, Unauthenticated

ACTIVATION_TOKEN = "activation.token"
SUBSCRIBERS = "subscribers.json"
TOKENS_PER_SUBSCRIBER_MAX = 16  # it may have several sessions, and lose a token now and then
SUBSCRIBERS_MAX = 1000
NAME_CHARACTERS_MAX = 200


def activation_token(directory: Path, *, renew: bool = False) -> str:
    """The token that activates subscribers; made at the first call. Raises: OSError."""
    path = private_directory(directory / OURS) / ACTIVATION_TOKEN
    if renew or not path.exists():
        write_atomically(path, f"wta1_{secrets.token_urlsafe(32)}\n".encode())
    return path.read_text().strip()


class Access:
    """Access tokens of one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._path = private_directory(directory / OURS) / SUBSCRIBERS
        self._hashes: dict[str, list[str]] = read_json(self._path)

    def activate(self, subscriber: str, token: str) -> str:
        """An access token for the subscriber. Raises: Unauthenticated(BAD_TOKEN), Invalid(BAD_SUBSCRIBER)."""
        if not hmac.compare_digest(token.encode(), activation_token(self._directory).encode()):
            raise Unauthenticated(
                "BAD_TOKEN", "the activation token is not this platform's", "`waypost training token DIR` shows it"
            )
        if not subscriber or len(subscriber) > NAME_CHARACTERS_MAX or not subscriber.isprintable():
            raise Invalid("BAD_SUBSCRIBER", f"subscriber must be 1 to {NAME_CHARACTERS_MAX} printable characters")
        if subscriber not in self._hashes and len(self._hashes) >= SUBSCRIBERS_MAX:
            raise Invalid(
                "TOO_MANY_SUBSCRIBERS", f"there are {SUBSCRIBERS_MAX} already", f"remove some from {self._path}"
            )
        granted = f"wts1_{secrets.token_urlsafe(32)}"
        hashes = [*self._hashes.get(subscriber, []), _hash(granted)][-TOKENS_PER_SUBSCRIBER_MAX:]
        self._write({**self._hashes, subscriber: hashes})
        return granted

    def subscriber(self, metadata: Any) -> str:
        """Who calls, by the call's metadata. Raises: Unauthenticated(NO_TOKEN | BAD_TOKEN)."""
        header = str(dict(metadata or ()).get("authorization", ""))
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated("NO_TOKEN", "this call needs an access token", "call Activate first")
        wanted = _hash(token.strip())
        for subscriber, hashes in self._hashes.items():
            if wanted in hashes:  # hashes of random tokens: there is no secret in how long this takes
                return subscriber
        raise Unauthenticated("BAD_TOKEN", "the access token is not known here", "call Activate again")

    def _write(self, hashes: dict[str, list[str]]) -> None:
        write_atomically(self._path, json.dumps(hashes, indent=1).encode())
        self._hashes = hashes


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
