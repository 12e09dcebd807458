"""Rollouts among agents and hosts that do as they please: every small state by walking, large ones by chance.

A world is one position with one or two replicas per version. Versions either can start or cannot; hosts start, fail and
die at any moment; orders travel slowly; decisions are lost with a monitor that is killed. Whatever happens:

* calls go to a version that does not answer only where no other version of the decision answers;
* once something has answered, the weights always add up to 100;
* left alone, the position ends with the version wanted, or, where that cannot start, with the last good one.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from position_monitor.autoscale import Bounds
from position_monitor.rollout import START_ATTEMPTS_MAX, Decision, Orders, Replica, Version, decide

VERSIONS = tuple(Version(f"projects/p/applications/a/models/m/versions/{n}", f"sha256:{n}") for n in range(3))
ONE, NONE = Bounds(1, 1), Decision()
STATES_AT_LEAST = 1_000  # fewer would mean that the walk does not walk


@dataclass(frozen=True, slots=True)
class World:
    """An agent with its ledger and hosts, and what the monitor remembers. Every method is one thing that may happen."""

    wanted: Version
    startable: frozenset[str]
    bounds: Bounds = ONE
    ledger: Decision = NONE
    remembered: Decision | None = None
    replicas: tuple[Replica, ...] = ()
    routed: tuple[str, ...] = ()
    served: bool = False

    def orders(self) -> Orders:
        return Orders(1, self.wanted, self.bounds, self.replicas, self.routed, self.ledger)

    def monitor_decides(self, orders: Orders) -> "World":
        decision = decide(orders, self.remembered, 0.0)
        if decision is not self.remembered:
            check(decision, orders)
            assert self.remembered is None or decision.number > self.remembered.number or decision == orders.decision
        return replace(self, remembered=decision)

    def monitor_dies(self) -> "World":
        return replace(self, remembered=None)

    def agent_acts(self) -> "World":
        """Writes the newest decision down, and makes its shares run."""
        decided = self.remembered
        ledger = decided if decided is not None and decided.number > self.ledger.number else self.ledger
        numbers = {share.version.digest: share.replicas for share in ledger.shares}
        have = Counter(replica.digest for replica in self.replicas)
        new = [
            Replica("", version, starts=1)
            for version in VERSIONS
            for _ in range(numbers.get(version.digest, 0) - have[version.digest])
        ]
        kept: list[Replica] = []
        for replica in self.replicas:
            if numbers.get(replica.digest, 0) > sum(other.digest == replica.digest for other in kept):
                kept.append(replica)
        return replace(self, ledger=ledger, replicas=tuple(kept + new), served=self.served or weighted(ledger))

    def gateway_follows(self) -> "World":
        """As the agent does it: to nobody who does not answer while another one does."""
        answering = [replica.digest for replica in self.replicas if replica.ready]
        weights = {share.version.digest: share.weight for share in self.ledger.shares}
        chosen = [digest for digest in answering if weights.get(digest)]
        return replace(self, routed=tuple(chosen or answering))

    def host_starts(self, index: int) -> "World":
        replica = self.replicas[index]
        if replica.failed:
            return self.with_replica(
                index, replace(replica, failed=False, starts=min(replica.starts + 1, START_ATTEMPTS_MAX))
            )
        return self.with_replica(index, replace(replica, ready=True, reason="")) if self.can_start(replica) else self

    def host_fails(self, index: int) -> "World":
        return self.with_replica(index, replace(self.replicas[index], ready=False, failed=True, reason="CRASHED"))

    def can_start(self, replica: Replica) -> bool:
        return replica.digest in self.startable

    def with_replica(self, index: int, replica: Replica) -> "World":
        return replace(self, replicas=(*self.replicas[:index], replica, *self.replicas[index + 1 :]))

    def people_want(self, version: Version) -> "World":
        return replace(self, wanted=version)

    def people_clear(self) -> "World":
        """Clears all verdicts in the agent's ledger, which counts as a change of the decision."""
        return replace(self, ledger=replace(self.ledger, number=self.ledger.number + 1, verdicts=()))

    def next_worlds(self) -> Iterator["World"]:
        yield self.monitor_decides(self.orders())
        yield self.monitor_dies()
        yield self.agent_acts()
        yield self.gateway_follows()
        for index in range(len(self.replicas)):
            yield self.host_starts(index)
            yield self.host_fails(index)
        yield from (self.people_want(version) for version in VERSIONS[:2])
        if self.ledger.verdicts:
            yield self.people_clear()

    def left_alone(self) -> "World":
        """What it comes to when nothing more goes wrong than must."""
        world = self
        for _ in range(40):
            before = world
            world = world.monitor_decides(world.orders()).agent_acts()
            for index, replica in enumerate(world.replicas):
                if not replica.ready:
                    able = world.can_start(replica) or replica.failed
                    world = world.host_starts(index) if able else world.host_fails(index)
            world = world.gateway_follows()
            if world == before:
                return world
        return world

    def normal(self) -> "World":
        """One for all worlds that differ in nothing that matters.

        How often something was decided does not, nor does a decision that the ledger holds as well.
        """
        ahead = self.remembered.number - self.ledger.number if self.remembered else 0
        return replace(
            self,
            ledger=replace(self.ledger, number=0),
            remembered=replace(self.remembered, number=ahead) if self.remembered and ahead > 0 else None,
            replicas=tuple(sorted(self.replicas, key=lambda replica: replica.digest)),
            routed=tuple(sorted(self.routed)),
        )


def weighted(decision: Decision) -> bool:
    return any(share.weight for share in decision.shares)


def check(decision: Decision, orders: Orders) -> None:
    """No calls to who does not answer while another one of this or the last decision does."""
    ready = {replica.digest for replica in orders.replicas if replica.ready}
    named = {share.version.digest for share in (*decision.shares, *orders.decision.shares)}
    called = {share.version.digest for share in decision.shares if share.weight}
    assert called & ready or not named & ready, (decision, orders)


def check_end(world: World) -> None:
    """`world` was left alone: it is where it should be."""
    rejected = {verdict.version.digest for verdict in world.ledger.verdicts}
    wanted = world.wanted.digest
    (share,) = world.ledger.shares or (None,)
    if not world.served:
        assert share is not None
        assert (share.version.digest, share.weight) == (wanted, 0)
        assert wanted not in world.startable
        return
    assert share is not None
    assert share.weight == 100
    assert share.version.digest in world.startable
    assert share.version.digest == wanted or wanted in rejected
    assert [replica.digest for replica in world.replicas if replica.ready] == [share.version.digest] * share.replicas
    assert set(world.routed) == {share.version.digest}


def test_every_small_world_keeps_the_laws_and_ends_well() -> None:
    for startable in ([], [0], [1], [0, 1]):
        digests = frozenset(VERSIONS[n].digest for n in startable)
        seen = walk(World(VERSIONS[0], digests))
        assert len(seen) > STATES_AT_LEAST or len(startable) < 2
        for world in seen:
            assert not world.served or sum(share.weight for share in world.ledger.shares) == 100, world
            check_end(world.left_alone())


def walk(first: World) -> set[World]:
    seen, edge = {first.normal()}, [first.normal()]
    while edge:
        for world in edge.pop().next_worlds():
            normal = world.normal()
            if normal not in seen:
                seen.add(normal)
                edge.append(normal)
    return seen


class Rollouts(RuleBasedStateMachine):
    """Three versions, several replicas, orders that arrive late or never."""

    @initialize(startable=st.sets(st.sampled_from(VERSIONS)))
    def begin(self, startable: set[Version]) -> None:
        self.world = World(VERSIONS[0], frozenset(version.digest for version in startable))
        self.on_the_way: Orders | None = None

    @rule()
    def agent_sends_orders(self) -> None:
        self.on_the_way = self.world.orders()

    @rule()
    def monitor_hears(self) -> None:
        if self.on_the_way is not None:
            self.world = self.world.monitor_decides(self.on_the_way)

    @rule()
    def all_goes_well_for_once(self) -> None:
        self.on_the_way = self.world.orders()
        self.world = self.world.monitor_decides(self.on_the_way).agent_acts().gateway_follows()

    @rule()
    def monitor_dies(self) -> None:
        """With its session, and what was under way in it."""
        self.world = self.world.monitor_dies()
        self.on_the_way = None

    @rule()
    def agent_acts(self) -> None:
        self.world = self.world.agent_acts()

    @rule()
    def gateway_follows(self) -> None:
        self.world = self.world.gateway_follows()

    @precondition(lambda self: self.world.replicas)
    @rule(data=st.data(), well=st.booleans())
    def host_moves(self, data: st.DataObject, well: bool) -> None:
        index = data.draw(st.integers(0, len(self.world.replicas) - 1))
        self.world = self.world.host_starts(index) if well else self.world.host_fails(index)

    @rule(version=st.sampled_from(VERSIONS))
    def people_want(self, version: Version) -> None:
        self.world = self.world.people_want(version)

    @rule(low=st.integers(1, 2), more=st.integers(0, 1))
    def people_scale(self, low: int, more: int) -> None:
        self.world = replace(self.world, bounds=Bounds(low, low + more))

    @rule()
    def people_clear(self) -> None:
        self.world = self.world.people_clear()

    @invariant()
    def weights_add_up(self) -> None:
        world = getattr(self, "world", None)
        if world is not None and world.served:
            assert sum(share.weight for share in world.ledger.shares) == 100

    def teardown(self) -> None:
        if hasattr(self, "world"):
            check_end(self.world.left_alone())


TestRollouts = Rollouts.TestCase
TestRollouts.settings = settings(max_examples=150, stateful_step_count=40)
