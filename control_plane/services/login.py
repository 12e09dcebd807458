"""Proving who one is with a password, and the sessions that come of it.

A session is a credential like any other, under its user's name: 256 random bits of which the hash is kept, good until
it expires, is ended, or its user goes or changes the password. Each login forgets the user's expired ones.
"""

import secrets
from dataclasses import dataclass

from control_plane.access import sha256
from control_plane.access.attempts import Attempts
from control_plane.access.passwords import Passwords
from control_plane.services.kit import Kit, retried
from control_plane.store import Delete
from control_plane.store.resources import PASSWORD, SESSION, USER, Stored, password_name
from mesh.times import timestamp
from waypost.api.control.v1.credential_pb2 import CREDENTIAL_KIND_SESSION, Credential
from waypost.errors import Unauthenticated

SESSIONS_MAX = 20  # of a user; the oldest gives way. A person has a few machines, and forgets to log out
SECRET_BYTES = 32
USER_CHARACTERS_MAX = 80  # `users/` and an id; longer ones are nobody, and not worth remembering


@dataclass(frozen=True, slots=True)
class Login:
    """session_s: how long a session is good for."""

    kit: Kit
    passwords: Passwords
    attempts: Attempts
    session_s: float

    async def prove(self, user: str, password: str, peer: str) -> None:
        """Returns where the password is the user's. user: full name, whether or not there is one of that name.

        Raises: Unauthenticated(LOGIN_FAILED), Exhausted(TOO_MANY_LOGINS | LOGINS_BUSY).
        """
        user = user[:USER_CHARACTERS_MAX]
        self.attempts.begin(user, peer, self.kit.now())
        known = await self.kit.resources.find(PASSWORD, password_name(user))
        if not await self.passwords.matches(known.message.value if known else "", password):
            raise _failed()
        self.attempts.succeeded(user, peer, self.kit.now())

    async def open_session(self, user: str, peer: str) -> tuple[Credential, str]:
        """(session, secret) for a user who has proved who they are. Raises: Unauthenticated(LOGIN_FAILED) where the
        user is gone by now.
        """
        secret = f"wp1_{secrets.token_urlsafe(SECRET_BYTES)}"
        session = Credential(
            name=f"{user}/sessions/s{secrets.token_hex(6)}",
            kind=CREDENTIAL_KIND_SESSION,
            secret_sha256=sha256(secret),
            create_time=timestamp(self.kit.now()),
            expire_time=timestamp(self.kit.now() + self.session_s),
            peer=peer,
        )

        async def attempt() -> None:
            found = await self.kit.resources.find(USER, user)
            if found is None:
                raise _failed()
            put = SESSION.encode(session.name, session)
            gone = [Delete(name) for name in await self._superfluous(user)]
            await self.kit.stores.records.commit([put, *gone], expect={user: found.revision})

        await retried(attempt)
        return session, secret

    async def _superfluous(self, user: str) -> list[str]:
        """Sessions that have expired, and the oldest where there are too many."""
        found: list[Stored[Credential]] = [stored async for stored in self.kit.resources.all(SESSION, f"{user}/")]
        newest = sorted((stored.message for stored in found), key=lambda s: s.create_time.ToNanoseconds(), reverse=True)
        now_ms = self.kit.now() * 1000
        kept = [session.name for session in newest if session.expire_time.ToMilliseconds() > now_ms][: SESSIONS_MAX - 1]
        return [session.name for session in newest if session.name not in kept]


def _failed() -> Unauthenticated:
    hint = "an administrator can set a new password: `waypost user set-password`"
    return Unauthenticated("LOGIN_FAILED", "user or password is wrong", hint)
