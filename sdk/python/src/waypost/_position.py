"""What the sync and the asyncio face of a position share: everything that does not wait."""

import os
import random
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

from waypost import names
from waypost._calls import Target
from waypost._core import DEFAULT_TIMEOUT_S, Session
from waypost.errors import Precondition
from waypost.loop import Loop, LoopCount, LoopRecord, current_loop, time_for_call

_UID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def new_session(address: str, position: str, token: str, client: str) -> Session:
    """position: uid, full or short name. Raises: Invalid(BAD_NAME | BAD_ID)."""
    full = position if _UID.fullmatch(position) else names.parse(position, "positions")
    target = Target(address, full, token, client)
    return Session(target, time.monotonic, random.Random())


class PositionFace:
    """A connection to one position."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._pid = os.getpid()
        self._closed = False

    @property
    def name(self) -> str:
        """As given to `connect`: the position's full name or its uid."""
        return self._session.target.position

    @property
    def uid(self) -> str:
        return self._session.caller.granted.position_uid

    @property
    def model(self) -> str:
        """Model name that every version served here answers to, for other clients of the same position."""
        return self._session.caller.granted.model

    @property
    def loops(self) -> LoopCount:
        """How many closed loops were reported, wait to be, or were dropped."""
        return self._session.loops.count()

    def loop(self, deadline_s: float | None = None) -> Loop:
        """One closed loop, to be entered with `with`: read the data, infer, act.

        deadline_s: calls inside get what remains of it, and fail at once when it is over. None: no deadline.
        """
        self._refuse_misuse()
        return Loop(self, deadline_s, self._loop_ended)

    def _loop_ended(self, record: LoopRecord) -> None:
        """Abstract: the sync face hands the record to its thread, the asyncio face to its task."""
        raise NotImplementedError

    @contextmanager
    def _call_time(self, timeout: float | None) -> Iterator[float]:
        """Seconds that the call inside may take; what it took is added to the loop it is part of."""
        self._refuse_misuse()
        loop = current_loop()
        timeout_s = time_for_call(timeout, DEFAULT_TIMEOUT_S, loop)
        started = time.monotonic()
        try:
            yield timeout_s
        finally:
            if loop is not None:
                loop.add_inference(self, time.monotonic() - started)

    def _refuse_misuse(self) -> None:
        if self._in_a_fork():
            raise Precondition(
                "USED_AFTER_FORK",
                f"the connection to {self.name} was made by process {self._pid}; this is its fork {os.getpid()}",
                "connect in the child process, or start it with multiprocessing's `spawn`",
            )
        if self._closed:
            raise Precondition("CLOSED", f"the connection to {self.name} is closed", "connect again")

    def _in_a_fork(self) -> bool:
        return os.getpid() != self._pid

    def __repr__(self) -> str:
        state = ", closed" if self._closed else ""
        return f"Position({self.name!r} at {self._session.target.address!r}{state})"
