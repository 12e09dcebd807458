"""Which hosts answer: grpc.health.v1, asked on every host's own socket.

By this alone the agent routes and un-routes. A host that was just started is asked every few hundredths of a second,
so that it gets calls as soon as it can take them; one that serves is asked every second, and three misses in a row
make it SILENT. A host that says itself that it does not serve is believed at once.
"""

import asyncio
import contextlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc

from edge_agent.position.diff import Phase
from waypost.errors import MeshError
from waypost.rpc import open_aio_channel

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class HealthTiming:
    """Seconds."""

    every: float = 1.0
    """Between two checks of a host that serves."""
    starting: float = 0.03
    """Between two checks of a host that was just started."""
    patience: float = 1.0
    """For one answer."""
    misses: int = 3
    """In a row, after which a host is SILENT."""


SLOWING = 0.02  # of the time it has been starting: a host that loads for a minute is asked every 1.2 s


@dataclass(frozen=True, slots=True)
class Pulse:
    """What is known of a running host. `since_s`: when its phase began, on the event loop's clock."""

    phase: Phase
    since_s: float


@dataclass(frozen=True, slots=True)
class Patient:
    """One start of one replica."""

    uid: str
    id: str
    starts: int
    address: str


class Health(Protocol):
    """Follows hosts; `on_change` hears the uid of a position whose pulses have changed."""

    def watch(self, uid: str, patients: Collection[Patient], assumed_ready: Collection[str]) -> None:
        """From now on these are followed at the position, and no others. Those with an id in `assumed_ready` begin
        READY: they served before the agent was started again.
        """

    def pulse(self, patient: Patient) -> Pulse | None:
        """None where it is not followed."""

    def on_change(self, wake: Callable[[str], None]) -> None: ...

    async def run(self) -> None:
        """Asks, for ever; cancel it to end."""


class _Pulses:
    """What is known of the hosts that are followed; whoever finds it out calls `_judge`."""

    def __init__(self) -> None:
        self._by_uid: dict[str, dict[Patient, Pulse]] = {}
        self._news = asyncio.Event()
        """Set when others are followed than before."""
        self._wake: Callable[[str], None] = lambda uid: None

    def on_change(self, wake: Callable[[str], None]) -> None:
        self._wake = wake

    def watch(self, uid: str, patients: Collection[Patient], assumed_ready: Collection[str]) -> None:
        before = self._by_uid.get(uid, {})
        if before.keys() == set(patients):
            return
        now_s = asyncio.get_running_loop().time()
        self._by_uid[uid] = {p: before.get(p) or Pulse(_first_phase(p, assumed_ready), now_s) for p in patients}
        if not patients:
            del self._by_uid[uid]
        self._news.set()

    def pulse(self, patient: Patient) -> Pulse | None:
        return self._by_uid.get(patient.uid, {}).get(patient)

    def _patients(self) -> set[Patient]:
        return {patient for pulses in self._by_uid.values() for patient in pulses}

    def _judge(self, patient: Patient, answer: bool | None, *, missed: bool) -> None:
        """answer: whether the host serves; None where it does not say. missed: it has not said for too long."""
        pulse = self.pulse(patient)
        if pulse is None:
            return
        phase = _next_phase(pulse.phase, answer, missed=missed)
        if phase is not pulse.phase:
            log.info("host_phase", replica=patient.id, phase=phase.value, before=pulse.phase.value)
            self._by_uid[patient.uid][patient] = Pulse(phase, asyncio.get_running_loop().time())
            self._wake(patient.uid)


class HealthChecks(_Pulses):
    """See Health."""

    def __init__(self, timing: HealthTiming = HealthTiming()) -> None:
        super().__init__()
        self._timing = timing

    async def run(self) -> None:
        following: dict[Patient, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._news.clear()
                patients = self._patients()
                for patient in following.keys() - patients:
                    following.pop(patient).cancel()
                for patient in patients - following.keys():
                    following[patient] = tasks.create_task(self._follow(patient), name=f"health-{patient.id}")
                await self._news.wait()

    async def _follow(self, patient: Patient) -> None:
        """Opens the channel when the socket is there: a failed connection would be tried again too late."""
        socket = Path(patient.address.removeprefix("unix:"))
        if patient.address.startswith("unix:"):
            while not socket.exists():  # noqa: ASYNC110, ASYNC240  there is no event for it, and stat takes 2 us
                await asyncio.sleep(self._pause_s(patient))
        async with open_aio_channel(patient.address) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            misses = 0
            while True:
                asked_s = asyncio.get_running_loop().time()
                answer = await self._ask(stub.Check)
                misses = misses + 1 if answer is None else 0
                self._judge(patient, answer, missed=misses >= self._timing.misses)
                took_s = asyncio.get_running_loop().time() - asked_s
                await asyncio.sleep(self._pause_s(patient) - took_s)

    async def _ask(self, check: Any) -> bool | None:
        """Whether it serves; None where it does not say."""
        with contextlib.suppress(MeshError):
            response = await check(health_pb2.HealthCheckRequest(), timeout=self._timing.patience)
            return bool(response.status == health_pb2.HealthCheckResponse.SERVING)
        return None

    def _pause_s(self, patient: Patient) -> float:
        pulse = self.pulse(patient)
        if pulse is None or pulse.phase is not Phase.STARTING:
            return self._timing.every
        age_s = asyncio.get_running_loop().time() - pulse.since_s
        return min(self._timing.every, max(self._timing.starting, age_s * SLOWING))


class FakeHealth(_Pulses):
    """Asks a function instead of hosts. Time is the event loop's."""

    def __init__(self, answers: Callable[[str, str], bool], every_s: float = 0.05) -> None:
        super().__init__()
        self._answers = answers
        self._every_s = every_s

    async def run(self) -> None:
        while True:
            for patient in sorted(self._patients(), key=lambda patient: (patient.uid, patient.id)):
                self._judge(patient, self._answers(patient.uid, patient.id), missed=False)
            await asyncio.sleep(self._every_s)


def _first_phase(patient: Patient, assumed_ready: Collection[str]) -> Phase:
    return Phase.READY if patient.id in assumed_ready else Phase.STARTING


def _next_phase(phase: Phase, answer: bool | None, *, missed: bool) -> Phase:
    if answer:
        return Phase.READY
    if phase is Phase.READY and (missed or answer is False):
        return Phase.SILENT
    return phase
