"""Passwords as argon2id hashes, made and checked away from the event loop.

One check takes about a tenth of a second and 64 MiB, on purpose: that is what guessing costs whoever steals the store.
So there is one thread for them, and a bounded queue before it: logins wait for one another, and nothing else waits for
logins. For whom there is no hash, a decoy is checked, so that the time tells nobody which users exist.
"""

import asyncio
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from os import urandom
from typing import TYPE_CHECKING, TypeVar

from waypost.errors import RETRY_AFTER, Exhausted

if TYPE_CHECKING:
    from argon2 import PasswordHasher

PASSES, MEMORY_KIB, LANES = 3, 64 << 10, 1  # RFC 9106, 4: the second choice, in one lane since there is one thread
SALT_BYTES, HASH_BYTES = 16, 32
WAITING_MAX = 32  # three seconds' work; whoever comes then is better told to come back

T = TypeVar("T")


class Passwords:
    """hasher: another one than the platform's, which tests make cheap."""

    def __init__(self, hasher: "PasswordHasher | None" = None) -> None:
        from argon2 import PasswordHasher  # 2 MB

        self._hasher = hasher or PasswordHasher(PASSES, MEMORY_KIB, LANES, HASH_BYTES, SALT_BYTES)
        self._decoy = _decoy(self._hasher)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="passwords")
        self._waiting = 0

    async def hash(self, password: str) -> str:
        """In PHC's string format, with its salt and parameters. Raises: Exhausted(LOGINS_BUSY)."""
        return await self._apart(lambda: self._hasher.hash(password))

    async def matches(self, hashed: str, password: str) -> bool:
        """Whether the hash is of this password; the empty hash is of none, and takes as long to say so.

        Raises: Exhausted(LOGINS_BUSY).
        """
        return await self._apart(lambda: self._verify(hashed or self._decoy, password)) and bool(hashed)

    def _verify(self, hashed: str, password: str) -> bool:
        from argon2.exceptions import VerifyMismatchError

        try:
            return self._hasher.verify(hashed, password)
        except VerifyMismatchError:
            return False

    async def _apart(self, work: Callable[[], T]) -> T:
        if self._waiting >= WAITING_MAX:
            message = f"{WAITING_MAX} passwords wait to be checked already"
            raise Exhausted("LOGINS_BUSY", message, "try again in a few seconds", **{RETRY_AFTER: "3000"})
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        finally:
            self._waiting -= 1


def _decoy(hasher: "PasswordHasher") -> str:
    """A hash that no password has, with the same parameters, so that checking it takes as long."""
    salt, hashed = (b64encode(urandom(length)).decode().rstrip("=") for length in (hasher.salt_len, hasher.hash_len))
    parameters = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
    return f"$argon2id$v=19${parameters}${salt}${hashed}"
