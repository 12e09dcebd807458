"""Link 2, seen from the monitor: the agent's orders come down, decisions and metrics go up.

Orders are decided upon as soon as they arrive; the decision goes up as the position's status, latest wins, and comes
back with the orders once the agent has written it down (see rollout.py for what follows from that). Nothing is kept on
disk here: a monitor that starts again hears everything from its agent, and while the agent is away the last decision
stands.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace

import structlog

from mesh import clock
from mesh.link import LOCAL, ChildLink, DesiredState, Dial, Item
from position_monitor.autoscale import Autoscaler, Scale, counted_replicas
from position_monitor.board import Board
from position_monitor.convert import (
    autoscaling_from,
    bounds_from,
    decision_from,
    decision_to,
    in_state,
    metrics_to,
    orders_from,
    read_orders,
    serving,
)
from position_monitor.rollout import Decision, Orders, decide
from position_monitor.usage import Meter, Usage
from waypost.api.control.v1.position_pb2 import REPLICA_STATE_READY, REPLICA_STATE_STARTING
from waypost.api.link.v1 import command_pb2 as commands
from waypost.api.link.v1 import monitor_link_pb2 as pb
from waypost.errors import MeshError, Unsupported

log = structlog.get_logger()

PACE_S = 10.0  # at which metrics go up while nobody looks: six points a minute for the history
PACE_S_MIN = 1.0  # at which hosts count; asking more often would show the same
TICK_S = 0.5  # between looks at what hosts have reported: they do so once a second
USAGE_S = 1.0  # between looks at CPU and memory, which cost a millisecond for each host
PATIENCE_S = 2.5  # hosts and we do not tick together: a shorter window without any of their counts waits for the next


class Uplink:
    """Decides and reports (mesh.link.ChildHandler)."""

    def __init__(self, board: Board, dial: Dial, *, boot_id: str, rng: random.Random) -> None:
        self._board = board
        self._link = ChildLink(
            dial,
            self,
            identity=board.position,
            boot_id=boot_id,
            rng=rng,
            timing=LOCAL,
            refused=lambda error: log.warning("agent_refuses", reason=error.reason, why=error.message, hint=error.hint),
        )
        self._decision: Decision | None = None
        self._autoscaler = Autoscaler()
        self._pace_s = PACE_S
        self._hurry = asyncio.Event()

    async def run(self) -> None:
        """Dials the agent for ever; cancel it to end."""
        await self._link.run()

    # -- what comes down

    def refuse(self, item: Item) -> MeshError | None:
        try:
            read_orders(item.body, self._board.position)
        except MeshError as error:
            return error
        return None

    async def keep(self, state: DesiredState) -> None:
        item = state.items.get(self._board.position)
        if item is None:
            return  # an agent that has nothing to say has no say: the last orders stand
        orders = read_orders(item.body, self._board.position)
        self._board.post(orders)
        self._decide(orders)

    async def keep_epoch(self, epoch: int) -> None:
        """Only the machine remembers it: an agent's sessions end with the process or with the machine's restart."""

    def interest(self, names: frozenset[str], pace_s: float) -> None:
        wanted_s = pace_s if self._board.position in names and pace_s > 0 else PACE_S
        self._pace_s = max(PACE_S_MIN, wanted_s)
        self._hurry.set()

    def command(self, command: commands.Command) -> AsyncIterator[commands.Result]:
        kind = command.WhichOneof("kind") or "a command that is newer than it"
        raise Unsupported("UNKNOWN_COMMAND", f"a position monitor cannot do {kind}", "ask the agent for it")

    def link_changed(self, connected: bool) -> None:
        log.info("agent_link", connected=connected)

    # -- what goes up

    def _decide(self, orders: pb.PositionOrders) -> None:
        before = self._decision or decision_from(orders.decision)
        now = clock.now()
        asked, scale = self._scaled(orders)
        decision = decide(asked, self._decision, now)
        self._decision = decision
        report = pb.MonitorReport(decision=decision_to(decision)).SerializeToString()
        self._link.report(self._board.position, report)
        if decision.number > before.number:
            self._tell(before, decision, scale, now)

    def _scaled(self, message: pb.PositionOrders) -> tuple[Orders, Scale | None]:
        """The orders as values, with the number of replicas that the load asks for where there is a choice."""
        now_s, orders = asyncio.get_running_loop().time(), orders_from(message)
        starting, ready = (in_state(message, state) for state in (REPLICA_STATE_STARTING, REPLICA_STATE_READY))
        self._autoscaler.see(starting, ready, now_s)
        current = next((share.replicas for share in orders.decision.shares), 0)
        if orders.bounds.fixed or not current:
            return orders, None
        scale = self._autoscaler.choose(autoscaling_from(message.spec), current, serving(message), now_s)
        idlest = self._autoscaler.demand.idlest([replica.id for replica in orders.replicas])
        return replace(orders, scaled=scale.replicas, idlest=tuple(idlest)), scale

    def _tell(self, before: Decision, decision: Decision, scale: Scale | None, now: float) -> None:
        """To people: every decision to the log, and what changed versions or replicas to the events."""
        log.info("decided", number=decision.number, generation=decision.generation, reason=decision.reason)
        rejected = [verdict for verdict in decision.verdicts if before.verdict(verdict.version.digest) is None]
        for verdict in rejected:
            self._event(now, "VERSION_REJECTED", f"{verdict.version.label} was rejected: {verdict.evidence}")
        if not rejected and _versions(before) != _versions(decision):
            self._event(now, "ROLLOUT", decision.reason)
        elif scale is not None and (change := _change(before, decision)):
            self._event(now, "SCALED", f"{change}: {scale.why}")

    def _event(self, now: float, reason: str, message: str) -> None:
        self._link.event(
            time_unix_ms=round(now * 1000),
            resource=self._board.position,
            reason=reason,
            message=message,
            source="monitor",
        )

    async def scale(self) -> None:
        """Decides anew while hosts report and the spec leaves a choice. Cancel it to end."""
        loop, meter = asyncio.get_running_loop(), Meter()
        used: Mapping[str, Usage] = {}
        read_s = 0.0
        while True:
            await asyncio.sleep(TICK_S)
            load, orders, now_s = self._board.take_load(), self._board.orders, loop.time()
            if orders is None or not load.replicas or bounds_from(orders.spec).fixed:
                continue
            targets = orders.spec.autoscaling.targets
            if (targets.cpu or targets.memory) and now_s - read_s >= USAGE_S:
                used, read_s = await asyncio.to_thread(_read, meter, orders, now_s), now_s
            self._autoscaler.demand.hear(load, used, now_s)
            self._decide(self._board.known())  # others may have come meanwhile

    async def measure(self) -> None:
        """Sends a window's metrics at the pace that is asked for. Cancel it to end."""
        meter = Meter()
        loop = asyncio.get_running_loop()
        sent_s = loop.time()
        while True:
            await self._tick()
            elapsed_s = loop.time() - sent_s
            if self._board.orders is None or (elapsed_s < PATIENCE_S and not self._board.counted):
                continue
            orders = self._board.orders
            usage = await asyncio.to_thread(_read, meter, orders, loop.time())
            sent_s = loop.time()
            metrics = metrics_to(orders, self._board.take(), usage, now=clock.now(), elapsed_s=elapsed_s)
            self._link.sample(metrics.SerializeToString())

    async def _tick(self) -> None:
        """A pace, or less where somebody begins to look meanwhile."""
        self._hurry.clear()
        try:
            async with asyncio.timeout(self._pace_s):
                await self._hurry.wait()
        except TimeoutError:
            pass


def _read(meter: Meter, orders: pb.PositionOrders, now_s: float) -> Mapping[str, Usage]:
    pids = {replica.id: replica.pid for replica in orders.replicas}
    return meter.read(pids, now=clock.now(), now_s=now_s)


def _versions(decision: Decision) -> list[tuple[str, int]]:
    return [(share.version.digest, share.weight) for share in decision.shares]


def _change(before: Decision, decision: Decision) -> str:
    """How many replicas there are to be now, if that is what has changed."""
    for old, new in zip(before.shares[:1], decision.shares[:1], strict=True):
        if old.replicas != new.replicas:
            return f"{new.version.label} gets {counted_replicas(new.replicas)} instead of {old.replicas}"
    return ""
