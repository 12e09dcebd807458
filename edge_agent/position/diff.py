"""What to do next at one position: a pure function of what should be and what is.

    target = overlay(wanted, decision, good)      people's spec, with the monitor's numbers laid over it
    steps  = diff(target, world)                  what is still missing, as far as it may be done now

The worker takes the steps, looks again, and asks again, until there are none. No step is remembered: a kill between
any two of them changes nothing but the time it takes. Steps that must wait for something (a file, a host that loads,
the gateway's acknowledgement) simply do not appear until the world shows it.

Make before break, whatever the monitor decides:

* a version gets more calls when all the replicas that it shall have are READY, or when nothing else could answer;
* a replica leaves the route first, the gateway acknowledges the route without it, and only then it is drained;
* a version that leaves is drained only while every version that stays has its replicas READY inside the
  acknowledged route. What does not answer is no capacity and may go at once, but never while a route names it.

Replicas are counted by *shape*: the version's digest together with all else that makes two hosts interchangeable
(served name, limits). A change of shape is therefore a swap like that of a version.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial

from edge_agent.model_version import Version
from mesh.position import ALL


class Phase(StrEnum):
    """Where a replica stands, in the order in which a surplus one is given up last."""

    READY = "ready"
    """Answers its health checks."""
    STARTING = "starting"
    """Its process runs and has not answered yet."""
    SILENT = "silent"
    """Its process runs and has served before; it missed its last checks, or says itself that it does not serve."""
    ENDED = "ended"
    """No process; it keeps its id and is started again when its back-off is over."""
    DRAINING = "draining"
    """Told to finish what is in flight and go."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What people want of a position: its assignment, as far as it matters here."""

    version: Version
    replicas_min: int
    replicas_max: int
    variant: str = ""
    """Identifies everything besides the version that a host is started with."""
    deleting: bool = False


@dataclass(frozen=True, slots=True)
class DecidedShare:
    version: Version
    replicas: int
    weight: int
    leaving: frozenset[str] = frozenset()
    """Ids of replicas that go first where there are more than `replicas`."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What a monitor has decided. Versions in `rejected` (digests) are not to run."""

    shares: tuple[DecidedShare, ...] = ()
    rejected: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Share:
    """A version that shall run: so many replicas of one shape, with `weight` hundredths of the calls."""

    shape: str
    version: Version
    replicas: int
    weight: int
    leaving: frozenset[str] = frozenset()
    """As decided."""


@dataclass(frozen=True, slots=True)
class Target:
    """What should run. Weights add up to 100; without shares nothing runs."""

    shares: tuple[Share, ...] = ()
    prefetch: frozenset[str] = frozenset()
    """Digests to have at hand although no share names them yet."""
    rejected: frozenset[str] = frozenset()

    def share(self, shape: str) -> Share | None:
        return next((share for share in self.shares if share.shape == shape), None)


@dataclass(frozen=True, slots=True)
class Replica:
    """A replica as it is. `age`: the lower, the older. `due`: its back-off is over."""

    id: str
    shape: str
    digest: str
    phase: Phase
    age: int = 0
    due: bool = True


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """A replica inside a route. `weight`: hundredths of the calls that all replicas of its shape get together."""

    replica: str
    shape: str
    weight: int


@dataclass(frozen=True, slots=True)
class Route:
    """Who gets the calls; entries are sorted."""

    entries: tuple[Entry, ...] = ()

    @property
    def replicas(self) -> frozenset[str]:
        return frozenset(entry.replica for entry in self.entries)

    @property
    def weights(self) -> dict[str, int]:
        """Shape to hundredths."""
        return {entry.shape: entry.weight for entry in self.entries}


@dataclass(frozen=True, slots=True)
class World:
    """What is, at one position."""

    replicas: tuple[Replica, ...] = ()
    fetched: frozenset[str] = frozenset()
    """Digests whose files are here, verified."""
    fetching: frozenset[str] = frozenset()
    """Digests that are being fetched, or wait for their next attempt."""
    asked: Route = field(default_factory=Route)
    """What the gateway was last given."""
    acknowledged: bool = True
    """Whether it said that calls follow exactly this now. Until then they may follow any route it was ever given."""


@dataclass(frozen=True, slots=True)
class Fetch:
    digest: str


@dataclass(frozen=True, slots=True)
class Start:
    """A new replica of a share."""

    share: Share


@dataclass(frozen=True, slots=True)
class Restart:
    """The same replica, once more."""

    replica: str


@dataclass(frozen=True, slots=True)
class Reroute:
    route: Route


@dataclass(frozen=True, slots=True)
class Drain:
    """SIGTERM, a grace, gone; nothing is left of a replica that had ended."""

    replica: str


Step = Fetch | Start | Restart | Reroute | Drain


def overlay(wanted: Wanted, decision: Decision | None, good: Version | None) -> Target:
    """The spec with the monitor's numbers laid over it.

    Without a decision: the wanted version with its least number of replicas and all calls. Rejected versions are left
    out; where nothing remains, `good` (the last version that served here) stays.
    """
    rejected = decision.rejected if decision else frozenset[str]()
    if wanted.deleting:
        return Target(rejected=rejected)
    decided = tuple(_clamped(share, wanted) for share in decision.shares) if decision else ()
    runnable = tuple(share for share in decided if share.version.digest not in rejected and share.replicas > 0)
    if not runnable:
        fallback = next((v for v in (wanted.version, good) if v and v.digest not in rejected), None)
        runnable = (DecidedShare(fallback, wanted.replicas_min, ALL),) if fallback else ()
    return Target(
        shares=tuple(
            Share(shape(share.version.digest, wanted.variant), share.version, share.replicas, weight, share.leaving)
            for share, weight in zip(runnable, _weights(runnable, wanted.version, good), strict=True)
        ),
        prefetch=frozenset({wanted.version.digest} - rejected),
        rejected=rejected,
    )


def shape(digest: str, variant: str) -> str:
    """What makes two hosts interchangeable."""
    return f"{digest}/{variant}"


def digest_of(shape: str) -> str:
    """The version's, of which it is a shape."""
    return shape.partition("/")[0]


def hundredths(parts: Mapping[str, int]) -> dict[str, int]:
    """`parts` scaled to add up to 100, largest remainder first. All zero, or none: unchanged."""
    total = sum(parts.values())
    if total in (0, ALL):
        return dict(parts)
    scaled = {key: part * ALL // total for key, part in parts.items()}
    by_remainder = sorted(parts, key=lambda key: (-(parts[key] * ALL % total), key))
    for key in by_remainder[: ALL - sum(scaled.values())]:
        scaled[key] += 1
    return scaled


def diff(target: Target, world: World) -> tuple[Step, ...]:
    """The steps that may be taken now, each idempotent; none where nothing is missing or all must wait.

    Law: `diff(t, apply(diff(t, w), w)) == ()` where `apply` does what each step says and nothing else happens.
    """
    surplus = _surplus(target, world)
    route = _route(target, world, surplus)
    return (
        *_fetches(target, world),
        *_starts(target, world),
        *(Restart(replica.id) for replica in _to_restart(target, world, surplus)),
        *([Reroute(route)] if route != world.asked else []),
        *(Drain(replica.id) for replica in _to_drain(target, world, surplus, route)),
    )


def _clamped(share: DecidedShare, wanted: Wanted) -> DecidedShare:
    """Inside the spec's bounds, whatever a monitor says; what gets calls has at least one replica."""
    least = 1 if share.weight > 0 else 0
    return replace(share, replicas=max(least, min(share.replicas, wanted.replicas_max)))


def _weights(shares: tuple[DecidedShare, ...], wanted: Version, good: Version | None) -> list[int]:
    """Adding up to 100. Where all are 0, the version that served last keeps the calls, else the wanted one."""
    if sum(share.weight for share in shares) == 0:
        heirs = [good.digest if good else "", wanted.digest, *(share.version.digest for share in shares)]
        heir = next((h for h in heirs if any(share.version.digest == h for share in shares)), "")
        return [ALL if share.version.digest == heir else 0 for share in shares]
    scaled = hundredths({str(index): share.weight for index, share in enumerate(shares)})
    return [scaled[str(index)] for index in range(len(shares))]


def _fetches(target: Target, world: World) -> Iterator[Fetch]:
    needed = target.prefetch | {share.version.digest for share in target.shares}
    yield from (Fetch(digest) for digest in sorted(needed - world.fetched - world.fetching))


def _starts(target: Target, world: World) -> Iterator[Start]:
    have = Counter(replica.shape for replica in _staying(world))
    for share in target.shares:
        if share.version.digest in world.fetched:
            yield from [Start(share)] * (share.replicas - have[share.shape])


def _to_restart(target: Target, world: World, surplus: frozenset[str]) -> Iterator[Replica]:
    for replica in world.replicas:
        kept = target.share(replica.shape) is not None and replica.id not in surplus
        if replica.phase is Phase.ENDED and replica.due and kept and replica.digest in world.fetched:
            yield replica


def _staying(world: World) -> list[Replica]:
    return [replica for replica in world.replicas if replica.phase is not Phase.DRAINING]


def _surplus(target: Target, world: World) -> frozenset[str]:
    """Replicas of shapes that stay, beyond the number that stays: the least useful, then as decided, then the youngest.

    As long as another version that shall get calls is not complete, those that answer are no surplus yet.
    """
    ready = Counter(replica.shape for replica in world.replicas if replica.phase is Phase.READY)
    complete = all(ready[share.shape] >= share.replicas for share in target.shares if share.weight > 0)
    surplus: set[str] = set()
    for share in target.shares:
        replicas = [replica for replica in _staying(world) if replica.shape == share.shape]
        beyond = sorted(replicas, key=partial(_usefulness, share))[share.replicas :]
        surplus.update(replica.id for replica in beyond if complete or replica.phase is not Phase.READY)
    return frozenset(surplus)


def _usefulness(share: Share, replica: Replica) -> tuple[int, bool, int, str]:
    """The lower, the more useful."""
    return list(Phase).index(replica.phase), replica.id in share.leaving, replica.age, replica.id


def _route(target: Target, world: World, surplus: frozenset[str]) -> Route:
    """Who should get the calls now."""
    if not target.shares:
        return Route()
    ready: dict[str, list[str]] = {}
    for replica in _staying(world):
        if replica.phase is Phase.READY and replica.id not in surplus:
            ready.setdefault(replica.shape, []).append(replica.id)
    weights = hundredths(_live_weights(target, world, ready))
    entries = (Entry(id_, shape_, weight) for shape_, weight in weights.items() for id_ in ready[shape_])
    return Route(tuple(sorted(entries)))


def _live_weights(target: Target, world: World, ready: Mapping[str, list[str]]) -> dict[str, int]:
    """Shapes with somebody READY, and their parts of the calls: the target's if it can be had, else the present ones.

    Where neither has anybody who answers, anything that runs here and was not rejected is better than nothing.
    """
    wanted = {share.shape: share.weight for share in target.shares if share.weight > 0}
    present = world.asked.weights
    served = any(shape_ in ready for shape_ in present)
    choices = [wanted, present] if not served or _may_move(target, world, ready) else [present, wanted]
    for weights in choices:
        if alive := {shape_: weight for shape_, weight in weights.items() if shape_ in ready}:
            return alive
    return dict.fromkeys(_spare(target, world, ready), ALL)


def _may_move(target: Target, world: World, ready: Mapping[str, list[str]]) -> bool:
    """Whether the calls may follow the target's weights: nobody gets more, and nobody goes, before all are ready.

    More than what those who answer share now: the part of one that fell silent is theirs already.
    """
    present = hundredths({shape_: weight for shape_, weight in world.asked.weights.items() if shape_ in ready})
    missing = [s for s in target.shares if s.weight > 0 and len(ready.get(s.shape, ())) < s.replicas]
    wanted = {share.shape for share in target.shares if share.weight > 0}
    dropped = {replica.digest for replica in world.replicas if replica.shape in present.keys() - wanted}
    if dropped & target.rejected:
        return True  # what was rejected is no capacity to wait for
    return not missing or (not dropped and all(present.get(share.shape, 0) >= share.weight for share in missing))


def _spare(target: Target, world: World, ready: Mapping[str, list[str]]) -> Iterable[str]:
    """At most one shape that nobody gave calls to: one of the target's before one that leaves."""
    digests = {replica.shape: replica.digest for replica in world.replicas}
    spare = [shape_ for shape_ in ready if digests[shape_] not in target.rejected]
    spare.sort(key=lambda shape_: (target.share(shape_) is None, -len(ready[shape_]), shape_))
    return spare[:1]


def _to_drain(target: Target, world: World, surplus: frozenset[str], route: Route) -> Iterator[Replica]:
    if route != world.asked or not world.acknowledged:
        return
    replaced = all(_answering(share, world, surplus) >= share.replicas for share in target.shares if share.weight > 0)
    for replica in _staying(world):
        unwanted = replica.id in surplus or target.share(replica.shape) is None
        if unwanted and replica.id not in route.replicas and (replaced or replica.phase is not Phase.READY):
            yield replica


def _answering(share: Share, world: World, surplus: frozenset[str]) -> int:
    """Replicas of a share that answer and are inside the route."""
    return sum(
        replica.phase is Phase.READY and replica.shape == share.shape and replica.id in world.asked.replicas - surplus
        for replica in world.replicas
    )
