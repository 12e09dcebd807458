"""Calls to one position: who may call, how long, and again or not. Still without a socket (see `_steps.py`).

An application token is exchanged for an access token of the position, once at the start. Access tokens are renewed
after two thirds of their life, by the one call that comes first then and for at most a quarter of its time; when that
fails the old token goes on, so a monitor that is away harms nobody until the token ends. One that the position refuses
is exchanged anew, once per call.

A position may be given another model at any time. So an inference that was lost is repeated only if the position said,
before it left, that its models may be asked twice, and says so again when it is asked after the loss.

State is immutable values that are replaced whole, so threads need no lock to read them.
"""

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from waypost import _retry
from waypost._steps import MODEL_INFER, REGISTER, RENEW, Call, Message, Pause, Reply, Rpc, Steps
from waypost.api.xapp.v1 import access_pb2
from waypost.errors import DeadlineExceeded, Exhausted, MeshError, Unauthenticated
from waypost.rpc import MESSAGE_BYTES_MAX

RENEW_AFTER = 2 / 3  # of a token's life: time for many more attempts before it ends
RENEW_SHARE = 1 / 4  # of a call's time: the call itself must still fit
RENEW_TIMEOUT_S = 1.0
RENEW_AGAIN_S = 5.0  # after a renewal that failed


@dataclass(frozen=True, slots=True)
class Target:
    """Whom to call and as whom."""

    address: str
    position: str
    """uid or full name."""
    token: str = field(repr=False)
    client: str = ""


@dataclass(frozen=True, slots=True)
class Access:
    """What the position's monitor granted. Times are the caller's clock's."""

    token: str = field(repr=False)
    renew_at: float
    expires_at: float
    position_uid: str
    model: str
    """Name to give in inference calls."""
    idempotent: bool
    """Whether what answered when this was granted may be asked twice, as far as nothing else has answered since."""


class Caller:
    """clock: monotonic seconds. rng: for the pauses between attempts."""

    def __init__(self, target: Target, clock: Callable[[], float], rng: random.Random) -> None:
        self.target = target
        self.access: Access | None = None
        self.clock = clock
        self._rng = rng
        self._renewing = threading.Lock()  # held by the one call that renews; nobody ever waits for it

    @property
    def granted(self) -> Access:
        assert self.access is not None, "connect() registers first"
        return self.access

    def register(self, deadline: float) -> Steps[None]:
        """Exchanges the application token."""
        target = self.target
        request = access_pb2.RegisterRequest(
            position=target.position, application_token=target.token, client=target.client
        )
        asked = self.clock()
        reply = yield from self.call(REGISTER, request, deadline)
        granted: access_pb2.RegisterResponse = reply.message
        self.access = Access(
            token=granted.access_token,
            renew_at=asked + granted.expires_in_s * RENEW_AFTER,
            expires_at=asked + granted.expires_in_s,
            position_uid=granted.position_uid,
            model=granted.model,
            idempotent=granted.idempotent,
        )

    def doubt(self) -> None:
        """A model answers that did not before: nothing lost is repeated until the next call has asked about it."""
        self.access = replace(self.granted, idempotent=False, renew_at=self.clock())

    def keep_access(self, deadline: float) -> Steps[None]:
        """Before a call: renews the access token where it is time, replaces it where it has ended."""
        now = self.clock()
        access = self.access
        if access is None or now >= access.expires_at:
            yield from self.register(deadline)
        elif now >= access.renew_at and self._renewing.acquire(blocking=False):
            try:
                yield from self._renew(access, now, deadline)
            finally:
                self._renewing.release()

    def _renew(self, access: Access, now: float, deadline: float) -> Steps[None]:
        patience_s = min(RENEW_TIMEOUT_S, (deadline - now) * RENEW_SHARE)
        request = access_pb2.RenewRequest(position=self.target.position)
        try:
            reply = yield from self._send(RENEW, request, patience_s)
        except MeshError:
            self.access = replace(access, renew_at=now + RENEW_AGAIN_S)
            return
        self._renewed(reply.message, now)

    def _renewed(self, granted: access_pb2.RenewResponse, asked: float) -> None:
        self.access = replace(
            self.granted,
            token=granted.access_token,
            renew_at=asked + granted.expires_in_s * RENEW_AFTER,
            expires_at=asked + granted.expires_in_s,
            idempotent=granted.idempotent,
        )

    def call(self, rpc: Rpc, request: Message, deadline: float) -> Steps[Reply]:
        """Sends until answered, refused, or out of time. A refused access token is exchanged anew, once.

        Out of time it is also where the next attempt would come too late: then the caller hears at once why.
        """
        timeout_s = deadline - self.clock()
        attempt = 0
        refreshed = rpc is REGISTER
        while True:
            used = self.access
            try:
                return (yield from self._send(rpc, request, deadline - self.clock()))
            except Unauthenticated as error:
                if refreshed:
                    raise self._explained(error, timeout_s) from error
                refreshed = True
                if self.access is used:  # else another call has seen to it
                    yield from self.register(deadline)
            except MeshError as error:
                lost_inference = rpc is MODEL_INFER and _retry.fate(error) is _retry.Fate.LOST
                idempotent = (yield from self._may_run_twice(used, deadline)) if lost_inference else rpc.idempotent
                pause_s = _retry.pause_s(error, attempt, self._rng)
                if not _retry.may_repeat(error, idempotent=idempotent) or self.clock() + pause_s >= deadline:
                    raise self._explained(error, timeout_s) from error
                attempt += 1
                yield Pause(pause_s)

    def _may_run_twice(self, used: Access | None, deadline: float) -> Steps[bool]:
        """Whether the position says so of its models now, and had said so when a call left with `used`.

        A monitor that does not answer has not said so.
        """
        if used is None or not used.idempotent:
            return False
        asked = self.clock()
        try:
            reply = yield from self.call(RENEW, access_pb2.RenewRequest(position=self.target.position), deadline)
        except MeshError:
            return False
        self._renewed(reply.message, asked)
        return self.granted.idempotent

    def _send(self, rpc: Rpc, request: Message, timeout_s: float) -> Steps[Reply]:
        if timeout_s <= 0:
            raise DeadlineExceeded("NO_TIME_LEFT", "the time was over before the call could be made")
        if request.ByteSize() > MESSAGE_BYTES_MAX:
            raise _too_large(request.ByteSize())
        metadata = [("waypost-position", self.target.position)]
        if self.access and rpc is not REGISTER:
            metadata.append(("authorization", f"Bearer {self.access.token}"))
        reply = yield Call(rpc, request, tuple(metadata), timeout_s)
        assert reply is not None
        return reply

    def _explained(self, error: MeshError, timeout_s: float) -> MeshError:
        target = self.target
        return _retry.explain(error, address=target.address, position=target.position, timeout_s=timeout_s)


def _too_large(size: int) -> Exhausted:
    mib = MESSAGE_BYTES_MAX >> 20
    return Exhausted(
        "PAYLOAD_TOO_LARGE",
        f"the request has {size / 2**20:.1f} MiB, the limit is {mib} MiB at SDK, gateway and host alike",
        "send fewer rows per call",
    )
