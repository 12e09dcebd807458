"""Which versions run at a position, and which one gets the calls: a pure function of the agent's orders.

    orders (spec, what runs, who is in the route, the last decision) --> decide --> the next decision

A decision has one share or two. The first is the version that stands: it serves, and is what a failed rollout goes
back to. The second is the candidate that shall replace it:

    [4: 0]           first deployment: nothing has answered here yet, and the agent gives calls to whatever does
    [4: 100]         4 has answered; it stands
    [4: 100, 5: 0]   5 starts beside it and gets no calls
    [4: 0, 5: 100]   all replicas of 5 are READY; 4 still runs, so that going back costs nothing
    [5: 100]         the route has followed, 4 may go

A candidate that fails to start START_ATTEMPTS_MAX times is rejected by a verdict, which stays until a person clears it;
the first deployment is never rejected, for there is nothing to go back to. The newest wanted version replaces any
candidate at once. Should the one that stands die while the candidate answers, the candidate takes over early; calls
never go to a version that does not answer while another one does.

Nothing is remembered here: the agent writes each decision down before it acts and hands it back with its orders.
Orders that do not hold our last decision yet show the past, and nothing new is decided upon them. So a monitor may be
killed at any moment, and another one goes on where the ledger says.
"""

from collections import Counter
from dataclasses import dataclass, replace

from mesh.position import ALL
from position_monitor.autoscale import Bounds

START_ATTEMPTS_MAX = 3  # one may be bad luck, two a race for memory; each costs the server a start's worth of CPU
VERDICTS_KEPT_MAX = 64  # a position that rejected more has other worries; the oldest is forgotten
DETAIL_CHARS_MAX = 300  # of what a replica says about its failure, for people


@dataclass(frozen=True, slots=True)
class Version:
    """A model version: its full name, and the digest that identifies it."""

    name: str
    digest: str

    @property
    def label(self) -> str:
        """`path-gru/4`: model and version, for people."""
        return "/".join(self.name.split("/")[-3::2])


@dataclass(frozen=True, slots=True)
class Share:
    """A version that shall run, with `weight` hundredths of the calls: 0 or 100."""

    version: Version
    replicas: int
    weight: int
    leaving: tuple[str, ...] = ()
    """Ids of those that go first where there are more than `replicas`."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A version that will not run here again until a person clears it."""

    version: Version
    reason: str
    evidence: str
    time_s: float
    """Unix seconds."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What shall run. `number` rises by one with each change."""

    number: int = 0
    generation: int = 0
    shares: tuple[Share, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    reason: str = ""

    def share(self, digest: str) -> Share | None:
        return next((share for share in self.shares if share.version.digest == digest), None)

    def verdict(self, digest: str) -> Verdict | None:
        return next((verdict for verdict in self.verdicts if verdict.version.digest == digest), None)


@dataclass(frozen=True, slots=True)
class Replica:
    """A replica as the agent sees it."""

    id: str
    version: Version
    ready: bool = False
    failed: bool = False
    starts: int = 0
    reason: str = ""
    message: str = ""

    @property
    def digest(self) -> str:
        return self.version.digest


@dataclass(frozen=True, slots=True)
class Orders:
    """What is decided upon."""

    generation: int
    wanted: Version
    bounds: Bounds
    replicas: tuple[Replica, ...] = ()
    routed: tuple[str, ...] = ()
    """Digests of the replicas that get calls by the gateway's route, one entry for each."""
    decision: Decision = Decision()
    """The last one that the agent wrote down; number 0: none."""
    scaled: int = 0
    """Replicas that the load asks for; 0: as many as there are."""
    idlest: tuple[str, ...] = ()
    """Ids of replicas, those with the least to do first."""


def decide(orders: Orders, previous: Decision | None, now: float) -> Decision:
    """The decision to hold from now on; the old one, with its number, where nothing changes.

    previous: what this monitor decided last, None after a start. now: Unix seconds, for verdicts only.
    Laws: `decide(o, decide(o, p)) == decide(o, p)`; the number rises by one exactly when something else differs.
    """
    held = orders.decision
    if previous is not None and held.number < previous.number:
        return previous
    draft = _draft(_View(orders), held, now)
    return held if draft == held else replace(draft, number=held.number + 1)


class _View:
    """Orders, counted."""

    def __init__(self, orders: Orders) -> None:
        self.orders = orders
        self.wanted = orders.wanted
        self.ready = Counter(replica.digest for replica in orders.replicas if replica.ready)
        self.routed = Counter(orders.routed)

    def replicas(self, standing: Share | None) -> int:
        """How many a version shall have, which has `standing` now."""
        return self.orders.bounds.hold(self.orders.scaled or (standing.replicas if standing else 0))

    def leaving(self, standing: Share, replicas: int) -> tuple[str, ...]:
        """Who goes when `standing` becomes `replicas`: as it was decided while the number stays."""
        if replicas == standing.replicas:
            return standing.leaving
        here = {each.id for each in self.orders.replicas if each.digest == standing.version.digest}
        idlest = [replica for replica in self.orders.idlest if replica in here]
        return tuple(idlest[: max(0, standing.replicas - replicas)])

    def trouble(self, version: Version) -> Replica | None:
        """The replica of `version` that has been started most often without success."""
        amiss = [r for r in self.orders.replicas if r.digest == version.digest and (r.failed or r.reason)]
        amiss = [replica for replica in amiss if not replica.ready]
        return max(amiss, key=lambda replica: (replica.failed, replica.starts, replica.id), default=None)


def _draft(view: _View, held: Decision, now: float) -> Decision:
    """The next decision, with the number of `held`."""
    standing = _standing(view, held)
    verdicts = held.verdicts
    if standing is None:
        shares, reason = _first(view, held)
    elif view.wanted.digest == standing.version.digest:
        shares, reason = _settled(view, replace(standing, version=view.wanted))
    elif rejected := held.verdict(view.wanted.digest):
        shares, reason = _stayed(view, standing, rejected)
    elif failed := _failed_start(view, held, standing):
        verdict = Verdict(view.wanted, "START_FAILED", _evidence(failed), now)
        verdicts = (*verdicts, verdict)[-VERDICTS_KEPT_MAX:]
        shares, reason = _stayed(view, standing, verdict)
    else:
        shares, reason = _rolling(view, held, standing)
    return Decision(held.number, view.orders.generation, shares, verdicts, reason)


def _standing(view: _View, held: Decision) -> Share | None:
    """The share that serves and is gone back to; None where nothing has answered yet."""
    if not any(share.weight for share in held.shares):
        return next((share for share in held.shares if view.ready[share.version.digest]), _found(view, held))
    first, *candidates = held.shares
    for candidate in candidates:
        digest = candidate.version.digest
        if digest != view.wanted.digest and view.ready[digest] and not view.ready[first.version.digest]:
            return candidate  # it is to be replaced as well, but it is all that answers
    return first


def _found(view: _View, held: Decision) -> Share | None:
    """What gets calls and answers although no decision says so, as a share.

    It began to answer while its replacement was being decided, or the decision was lost with the agent's ledger.
    """
    for replica in view.orders.replicas:
        serves = replica.ready and view.routed[replica.digest] > 0
        if serves and held.verdict(replica.digest) is None:
            return Share(replica.version, view.ready[replica.digest], 0)
    return None


def _first(view: _View, held: Decision) -> tuple[tuple[Share, ...], str]:
    """Nothing has answered here yet: run what is wanted, for as long as it takes."""
    label = view.wanted.label
    if rejected := held.verdict(view.wanted.digest):
        return (), f"{label} was rejected ({rejected.reason}) and there is no other version to run"
    replicas = view.replicas(held.share(view.wanted.digest))
    trouble = view.trouble(view.wanted)
    reason = f"{label} does not start: {_detail(trouble)}; trying again" if trouble else f"{label} is starting"
    return (Share(view.wanted, replicas, 0),), reason


def _settled(view: _View, standing: Share) -> tuple[tuple[Share, ...], str]:
    """One version, all calls. A candidate, if there was one, goes."""
    replicas = view.replicas(standing)
    share = Share(standing.version, replicas, ALL, view.leaving(standing, replicas))
    return (share,), f"{standing.version.label} serves with {view.orders.bounds.told(replicas)}"


def _stayed(view: _View, standing: Share, rejected: Verdict) -> tuple[tuple[Share, ...], str]:
    shares, reason = _settled(view, standing)
    return shares, f"{view.wanted.label} was rejected ({rejected.reason}); {reason}"


def _rolling(view: _View, held: Decision, standing: Share) -> tuple[tuple[Share, ...], str]:
    """From `standing` to the version wanted, one step further if it can be taken."""
    replicas = view.replicas(standing)
    old, new = standing.version, view.wanted
    candidate = held.share(new.digest)
    weight = candidate.weight if candidate else 0
    if weight == ALL and _followed(view, old, replicas):
        return _settled(view, replace(standing, version=new))
    weight = _candidate_weight(view.ready[old.digest], view.ready[new.digest], replicas, weight)
    shares = (Share(old, replicas, ALL - weight), Share(new, replicas, weight))
    if weight:
        return shares, f"{new.label} is ready and takes all calls; {old.label} goes when the route has followed"
    trouble = view.trouble(new)
    detail = f"; its last start failed: {_detail(trouble)}" if trouble else ""
    return shares, f"{new.label} starts beside {old.label}{detail}"


def _candidate_weight(ready_standing: int, ready_candidate: int, replicas: int, weight: int) -> int:
    """Hundredths of the calls for the candidate: all or nothing, and to nobody who does not answer if another does."""
    if ready_candidate >= replicas:
        return ALL
    if ready_candidate == 0:
        return 0 if ready_standing else weight
    return weight if ready_standing else ALL


def _followed(view: _View, old: Version, replicas: int) -> bool:
    """Every replica of the version wanted answers and gets calls, the old version gets none."""
    new = view.wanted.digest
    return min(view.ready[new], view.routed[new]) >= replicas and not view.routed[old.digest]


def _failed_start(view: _View, held: Decision, standing: Share) -> Replica | None:
    """The replica that shows that the candidate does not start, if it is time for a verdict."""
    candidate = held.share(view.wanted.digest)
    if candidate is None:  # what is left of an earlier attempt proves nothing
        return None
    ready = view.ready[view.wanted.digest]
    if ready >= candidate.replicas or (ready and not view.ready[standing.version.digest]):
        return None  # it is all there, or all that there is
    trouble = view.trouble(view.wanted)
    return trouble if trouble and trouble.failed and trouble.starts >= START_ATTEMPTS_MAX else None


def _evidence(replica: Replica) -> str:
    return f"replica {replica.id} failed {replica.starts} starts; the last: {_detail(replica)}"


def _detail(replica: Replica) -> str:
    reason = replica.reason or "FAILED"
    text = f"{reason}: {replica.message}" if replica.message else reason
    return text if len(text) <= DETAIL_CHARS_MAX else text[: DETAIL_CHARS_MAX - 1] + "…"
