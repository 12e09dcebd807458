"""Keeps this agent's certificate young, for ever and without being asked.

It is renewed at half of its life (mesh/certificates.py), and when the control plane says that its roots are others now.
Where that fails, because nobody answers, it is tried again within a minute, until it succeeds: after the certificate's
end too, since a renewal needs only the old key. Where the control plane refuses, trying helps nobody: it is asked again
now and then. A join token that this agent has not used yet is used where renewing fails, at the start too: somebody put
it there for that. Nothing that serves here depends on any of this; the certificate opens the way to the control plane
and nothing else.

The clock of certificates is the wall's, which may jump: nobody sleeps for weeks here, but looks every minute.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import structlog

from edge_agent.backoff import delay_s
from edge_agent.failure import Failure, condition
from edge_agent.identity.enrol import digest, join, read_token, renew
from edge_agent.identity.enrolment import Enrolment, EnrolmentFile
from edge_agent.settings import AgentSettings
from mesh import clock
from mesh.waiting import news_within
from waypost.api.control.v1.condition_pb2 import Condition
from waypost.errors import DeadlineExceeded, Exhausted, MeshError, Unavailable

log = structlog.get_logger()

LOOK_S = 60.0
REFUSED_S = 600.0  # between two questions to a control plane that has refused: a person has to act first
TEMPORARY = (Unavailable, DeadlineExceeded, Exhausted)

Tell = Callable[[str, str], None]
"""Reason and message of an event about this edge server."""


class Renewal:
    """changed: awaited with each new enrolment, which is on the disk by then."""

    def __init__(
        self,
        settings: AgentSettings,
        kept: EnrolmentFile,
        enrolment: Enrolment,
        changed: Callable[[Enrolment], Awaitable[None]],
        tell: Tell,
    ) -> None:
        self._settings = settings
        self._kept = kept
        self.enrolment = enrolment
        self._changed = changed
        self._tell = tell
        self._news = asyncio.Event()
        self._failures = 0
        self._failure: MeshError | None = None
        self._not_before_s = 0.0
        """Of the next attempt, on the loop's clock."""
        self._is_wanted = False
        self._renewed_s = -math.inf

    async def run(self) -> None:
        """Cancel it to end."""
        if clock.now() >= self.enrolment.life.expires:
            log.warning("certificate_expired", since=_date(self.enrolment.life.expires), hint="it serves on")
        self._is_wanted = self._unused_token() is not None
        while True:
            self._news.clear()
            if self._due_in_s() <= 0:
                await self._attempt()
            await news_within(self._news, min(LOOK_S, self._due_in_s()))

    def refused(self, error: MeshError) -> None:
        """The link was refused: perhaps with a newer certificate it is not, unless this one is new."""
        log.warning("link_refused", reason=error.reason, why=error.message, hint=error.hint)
        if _now_s() >= self._renewed_s + REFUSED_S:
            self._is_wanted = True
            self._news.set()

    def ask(self) -> None:
        """The roots are others now."""
        self._is_wanted = True
        self._news.set()

    def condition(self) -> Condition:
        """Whether the certificate is as it should be."""
        return condition("CertificateValid", self._trouble())

    # ------------------------------------------------------------------------------------------------------------------

    def _due_in_s(self) -> float:
        """Seconds until the next attempt, as things are."""
        allowed_in_s = self._not_before_s - _now_s()
        if self._is_wanted:
            return allowed_in_s
        life = self.enrolment.life
        # To a wall clock that is far ahead every certificate is due: so renewals keep a distance by another clock, too.
        distance_s = self._renewed_s + (life.expires - life.issued) / 4 - _now_s()
        return max(allowed_in_s, distance_s, self.enrolment.renew_at - clock.now())

    async def _attempt(self) -> None:
        before = self.enrolment
        try:
            self.enrolment = await self._fresh(before)
        except MeshError as error:
            self._failed(error)
            return
        self._failures, self._failure, self._is_wanted = 0, None, False
        self._renewed_s = _now_s()
        log.info("certificate_renewed", expires=_date(self.enrolment.life.expires))
        if (now := clock.now()) >= before.life.expires:
            spell = f"from {_date(before.life.expires)} to {_date(now)}"
            self._tell("CERTIFICATE_RENEWED", f"it served without a valid certificate {spell}, and has a new one")
        await self._changed(self.enrolment)

    async def _fresh(self, held: Enrolment) -> Enrolment:
        try:
            return await renew(self._settings, self._kept, held)
        except MeshError:  # to who does not know its root, the control plane seems to be away
            if (token := self._unused_token()) is None:
                raise
            return await join(self._settings, self._kept, token, expected=held.edge_server)

    def _unused_token(self) -> str | None:
        try:
            token = read_token(self._settings)
        except MeshError:
            return None
        return token if digest(token) != self.enrolment.joined_with else None

    def _failed(self, error: MeshError) -> None:
        self._failures += 1
        self._failure = error
        again_s = delay_s(self._failures) if isinstance(error, TEMPORARY) else REFUSED_S
        self._not_before_s = _now_s() + again_s
        log.warning("renewal_failed", reason=error.reason, why=error.message, hint=error.hint, again_s=again_s)

    def _trouble(self) -> Failure | None:
        expires = self.enrolment.life.expires
        why = f": {self._failure.message}" if self._failure else ""
        hint = self._failure.hint if self._failure else ""
        hint = hint or "see that it reaches the control plane's API; it renews by itself then"
        serves_on = "what it serves it serves on"
        if clock.now() >= expires:
            message = f"its agent's certificate expired on {_date(expires)}{why}; {serves_on}"
            return Failure("CERTIFICATE_EXPIRED", message, hint)
        if self._failure is not None:
            message = f"its agent's certificate ends on {_date(expires)} and could not be renewed{why}; {serves_on}"
            return Failure("RENEWAL_FAILED", message, hint)
        return None


def _now_s() -> float:
    return asyncio.get_running_loop().time()


def _date(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"
