"""Laws of `diff` and `overlay`: idempotent, make before break, replicas conserved, bounded by the spec."""

from collections import Counter
from dataclasses import replace
from itertools import count

from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.model_version import Version
from edge_agent.position.diff import (
    DecidedShare,
    Decision,
    Drain,
    Entry,
    Fetch,
    Phase,
    Replica,
    Reroute,
    Restart,
    Route,
    Share,
    Start,
    Step,
    Target,
    Wanted,
    World,
    diff,
    hundredths,
    overlay,
    shape,
)
from mesh.position import ALL

V1, V2, V3 = (Version(f"projects/p/applications/a/models/m/versions/{n}", f"sha256:{n}") for n in "123")
VERSIONS = (V1, V2, V3)


# --- a small world in which steps can be taken ----------------------------------------------------------------------


def apply(steps: tuple[Step, ...], world: World, ids: count) -> World:
    """Does what each step says, and nothing else happens."""
    for step in steps:
        world = _apply(step, world, ids)
    return world


def _apply(step: Step, world: World, ids: count) -> World:
    match step:
        case Fetch(digest):
            return replace(world, fetching=world.fetching | {digest})
        case Start(share):
            number = next(ids)
            new = Replica(f"r-{number:06}", share.shape, share.version.digest, Phase.STARTING, age=number)
            return replace(world, replicas=(*world.replicas, new))
        case Restart(id_):
            return change(world, id_, phase=Phase.STARTING)
        case Reroute(route):
            return replace(world, asked=route, acknowledged=False)
        case Drain(id_):
            return change(world, id_, phase=Phase.DRAINING)


def change(world: World, id_: str, **fields: object) -> World:
    replicas = (replace(r, **fields) if r.id == id_ else r for r in world.replicas)  # type: ignore[arg-type]
    return replace(world, replicas=tuple(replicas))


def progress(world: World) -> World:
    """Everything that was begun succeeds: files arrive, hosts get READY, the gateway acknowledges, drains end."""
    alive = (r for r in world.replicas if r.phase is not Phase.DRAINING)
    ready = (replace(r, phase=Phase.READY) if r.phase in (Phase.STARTING, Phase.SILENT) else r for r in alive)
    return World(
        replicas=tuple(replace(r, due=True) for r in ready),
        fetched=world.fetched | world.fetching,
        asked=world.asked,
    )


def converge(target: Target, world: World, ids: count) -> World:
    for _ in range(20):
        steps = diff(target, world)
        later = progress(apply(steps, world, ids))
        if later == world:
            return world
        world = later
    raise AssertionError(f"no end: {diff(target, world)}")


def serving(world: World, former: Route) -> int:
    """Replicas that answer and get calls, under the worse of the routes that may be in force."""
    ready = {r.id for r in world.replicas if r.phase is Phase.READY}
    return min(len(route.replicas & ready) for route in (world.asked, former))


# --- strategies -----------------------------------------------------------------------------------------------------


@st.composite
def targets(draw: st.DrawFn) -> Target:
    versions = draw(st.lists(st.sampled_from(VERSIONS), unique=True, max_size=3))
    parts = draw(st.lists(st.integers(0, 100), min_size=len(versions), max_size=len(versions)))
    if versions and sum(parts) == 0:
        parts[0] = 1
    weights = hundredths({str(index): part for index, part in enumerate(parts)})
    variant = draw(st.sampled_from(["", "x"]))
    return Target(
        shares=tuple(
            Share(shape(v.digest, variant), v, draw(st.integers(1, 4)), weights[str(index)])
            for index, v in enumerate(versions)
        ),
        prefetch=frozenset(draw(st.sets(st.sampled_from([v.digest for v in VERSIONS]), max_size=1))),
    )


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Any world, also those that no sequence of steps leads to."""
    shapes = [(shape(v.digest, variant), v.digest) for v in VERSIONS for variant in ("", "x")]
    kinds = draw(st.lists(st.tuples(st.sampled_from(shapes), st.sampled_from(Phase), st.booleans()), max_size=8))
    replicas = tuple(
        Replica(f"q-{index}", shape_, digest, phase, age=index, due=due)
        for index, ((shape_, digest), phase, due) in enumerate(kinds)
    )
    digests = [v.digest for v in VERSIONS]
    return World(
        replicas=replicas,
        fetched=frozenset(draw(st.sets(st.sampled_from(digests)))),
        fetching=frozenset(draw(st.sets(st.sampled_from(digests)))),
        asked=draw(routes(replicas)),
        acknowledged=draw(st.booleans()),
    )


@st.composite
def routes(draw: st.DrawFn, replicas: tuple[Replica, ...]) -> Route:
    if not replicas:
        return Route()
    chosen = draw(st.sets(st.sampled_from(replicas)))
    weights = hundredths({r.shape: 1 for r in chosen})
    return Route(tuple(sorted(Entry(r.id, r.shape, weights[r.shape]) for r in chosen)))


decisions = st.builds(
    Decision,
    shares=st.lists(
        st.builds(DecidedShare, st.sampled_from(VERSIONS), st.integers(-1, 99), st.integers(0, 100)),
        unique_by=lambda share: share.version,
        max_size=3,
    ).map(tuple),
    rejected=st.frozensets(st.sampled_from([v.digest for v in VERSIONS])),
)


# --- laws -----------------------------------------------------------------------------------------------------------


@given(targets(), worlds())
def test_taking_the_steps_leaves_no_step(target: Target, world: World) -> None:
    after = apply(diff(target, world), world, count(1000))
    assert diff(target, after) == ()


def test_a_part_that_falls_to_others_counts_as_theirs_at_once() -> None:
    """A shape that leaves and fell silent held a third of the calls: the others' parts must not settle in two steps."""
    target = Target((Share("1/", Version("1", "1"), 1, 60), Share("2/", Version("2", "2"), 2, 40)))
    asked = Route((Entry("q-0", "1/", 34), Entry("q-1", "1/x", 33), Entry("q-2", "2/", 33)))
    replicas = (
        Replica("q-0", "1/", "1", Phase.READY),
        Replica("q-1", "1/x", "1", Phase.STARTING),
        Replica("q-2", "2/", "2", Phase.READY),
    )
    world = World(replicas, frozenset({"1", "2"}), asked=asked, acknowledged=False)
    after = apply(diff(target, world), world, count(1000))
    assert after.asked.weights == {"1/": 60, "2/": 40}
    assert diff(target, after) == ()


@given(targets(), worlds())
def test_no_replica_inside_a_route_is_drained(target: Target, world: World) -> None:
    steps = diff(target, world)
    drained = {step.replica for step in steps if isinstance(step, Drain)}
    new = next((step.route for step in steps if isinstance(step, Reroute)), world.asked)
    assert not drained & (world.asked.replicas | new.replicas)
    assert not drained or world.acknowledged


@given(targets(), worlds())
def test_only_ready_replicas_are_routed_and_weights_add_up(target: Target, world: World) -> None:
    for step in diff(target, world):
        if isinstance(step, Reroute) and step.route.entries:
            phases = {r.id: r.phase for r in world.replicas}
            assert {phases[id_] for id_ in step.route.replicas} == {Phase.READY}
            assert sum(step.route.weights.values()) == ALL


@given(targets(), worlds())
def test_a_position_with_something_ready_is_never_routed_to_nobody(target: Target, world: World) -> None:
    after = apply(diff(target, world), world, count(1000))
    some_ready = any(r.phase is Phase.READY and r.digest not in target.rejected for r in after.replicas)
    if target.shares and some_ready:
        assert after.asked.entries


@given(targets(), worlds())
def test_no_more_replicas_are_started_than_are_missing(target: Target, world: World) -> None:
    after = apply(diff(target, world), world, count(1000))
    staying = Counter(r.shape for r in after.replicas if r.phase is not Phase.DRAINING)
    before = Counter(r.shape for r in world.replicas if r.phase is not Phase.DRAINING)
    for share in target.shares:
        assert staying[share.shape] <= max(share.replicas, before[share.shape])
        if share.version.digest in world.fetched:
            assert staying[share.shape] >= share.replicas


def test_who_was_chosen_to_go_goes_before_the_youngest_but_after_who_does_not_answer() -> None:
    replicas = [Replica(f"r-{age}", "s", V1.digest, Phase.READY, age) for age in range(4)]
    replicas[1] = replace(replicas[1], phase=Phase.STARTING)
    entries = tuple(Entry(replica.id, "s", ALL) for replica in replicas if replica.phase is Phase.READY)
    world = World(tuple(replicas), frozenset({V1.digest}), asked=Route(entries))

    def stay(count: int) -> set[str]:
        target = Target((Share("s", V1, count, ALL, frozenset({"r-0"})),))
        (route,) = [step.route for step in diff(target, world) if isinstance(step, Reroute)] or [world.asked]
        return set(route.replicas)

    assert stay(3) == {"r-0", "r-2", "r-3"}
    assert stay(2) == {"r-2", "r-3"}
    assert stay(1) == {"r-2"}


@given(targets(), worlds())
def test_without_faults_every_world_becomes_its_target(target: Target, world: World) -> None:
    end = converge(target, world, count(1000))
    assert Counter(r.shape for r in end.replicas) == {share.shape: share.replicas for share in target.shares}
    assert end.asked.weights == {share.shape: share.weight for share in target.shares if share.weight}
    assert end.asked.replicas == {r.id for r in end.replicas if r.shape in end.asked.weights}


@given(targets().filter(lambda t: t.shares), targets().filter(lambda t: t.shares), st.data())
@settings(max_examples=300)
def test_capacity_during_a_swap_never_falls_below_the_smaller_need(
    old: Target, new: Target, data: st.DataObject
) -> None:
    """Whatever happens in whatever order: files, readiness and acknowledgements come one at a time."""
    ids = count(1000)
    world = converge(old, World(), ids)
    former = world.asked
    need = min(sum(s.replicas for s in target.shares if s.weight) for target in (old, new))
    for _ in range(60):
        former = world.asked if world.acknowledged else former
        world = apply(diff(new, world), world, ids)
        assert serving(world, world.asked if world.acknowledged else former) >= need
        events = _events(world)
        if not events:
            break
        world = data.draw(st.sampled_from(events))
    else:
        raise AssertionError("no end")
    assert diff(new, world) == ()


def _events(world: World) -> list[World]:
    """The worlds that may come next: one thing that was begun succeeds."""
    events = [change(world, r.id, phase=Phase.READY) for r in world.replicas if r.phase is Phase.STARTING]
    events += [
        replace(world, replicas=tuple(o for o in world.replicas if o.id != r.id))
        for r in world.replicas
        if r.phase is Phase.DRAINING
    ]
    if world.fetching:
        events.append(replace(world, fetched=world.fetched | world.fetching, fetching=frozenset()))
    if not world.acknowledged:
        events.append(replace(world, acknowledged=True))
    return events


@given(st.dictionaries(st.text(max_size=2), st.integers(0, 1000), max_size=5))
def test_hundredths_add_up_to_a_hundred_and_keep_the_order(parts: dict[str, int]) -> None:
    scaled = hundredths(parts)
    assert sum(scaled.values()) == (ALL if sum(parts.values()) else 0)
    assert all(scaled[a] <= scaled[b] for a in parts for b in parts if parts[a] < parts[b])
    assert hundredths(scaled) == scaled


@given(st.one_of(st.none(), decisions), st.sampled_from([None, *VERSIONS]), st.booleans())
def test_a_target_is_always_one_that_can_be_served(
    decision: Decision | None, good: Version | None, deleting: bool
) -> None:
    target = overlay(Wanted(V2, 2, 3, deleting=deleting), decision, good)
    rejected = decision.rejected if decision else frozenset()
    assert not {share.version.digest for share in target.shares} & rejected
    assert all(1 <= share.replicas <= 3 for share in target.shares)
    if target.shares:
        assert sum(share.weight for share in target.shares) == ALL
    if deleting:
        assert not target.shares
    elif V2.digest not in rejected:
        assert target.shares


# --- examples -------------------------------------------------------------------------------------------------------


def test_without_a_decision_the_wanted_version_runs_with_its_least_number() -> None:
    target = overlay(Wanted(V1, 2, 5), None, None)
    assert target.shares == (Share(shape(V1.digest, ""), V1, 2, ALL),)


def test_a_rejected_version_is_not_run_and_the_last_good_one_stays() -> None:
    decision = Decision((), frozenset({V2.digest}))
    target = overlay(Wanted(V2, 1, 1), decision, V1)
    assert [share.version for share in target.shares] == [V1]
    assert not target.prefetch


def test_a_rejection_without_anything_else_to_run_leaves_nothing() -> None:
    assert overlay(Wanted(V2, 1, 1), Decision((), frozenset({V2.digest})), None).shares == ()


def test_a_rejection_of_the_previous_generation_does_not_hold_back_the_next_version() -> None:
    target = overlay(Wanted(V3, 1, 1), Decision((), frozenset({V2.digest})), V1)
    assert [share.version for share in target.shares] == [V3]


def test_a_version_that_is_wanted_but_not_decided_upon_is_fetched_already() -> None:
    decision = Decision((DecidedShare(V1, 1, ALL),))
    target = overlay(Wanted(V2, 1, 1), decision, V1)
    assert [share.version for share in target.shares] == [V1]
    assert diff(target, World(fetched=frozenset({V1.digest})))[0] == Fetch(V2.digest)


def test_a_decision_without_any_calls_leaves_them_where_they_were() -> None:
    decision = Decision((DecidedShare(V2, 1, 0), DecidedShare(V1, 1, 0)))
    assert [share.weight for share in overlay(Wanted(V2, 1, 1), decision, V1).shares] == [0, ALL]


def _old_and_new(new_phase: Phase, *, asked: str = "old") -> tuple[Target, World]:
    old = Replica("old", shape(V1.digest, ""), V1.digest, Phase.READY)
    new = Replica("new", shape(V2.digest, ""), V2.digest, new_phase, age=1)
    chosen = old if asked == "old" else new
    route = Route((Entry(chosen.id, chosen.shape, ALL),))
    target = overlay(Wanted(V2, 1, 1), None, V1)
    return target, World((old, new), frozenset({V1.digest, V2.digest}), frozenset(), route)


def test_the_old_version_keeps_the_calls_until_the_new_one_is_ready() -> None:
    assert diff(*_old_and_new(Phase.STARTING)) == ()


def test_calls_move_once_the_new_version_is_ready_and_the_old_one_still_runs() -> None:
    assert diff(*_old_and_new(Phase.READY)) == (Reroute(Route((Entry("new", shape(V2.digest, ""), ALL),))),)


def test_the_old_version_goes_after_the_gateway_has_acknowledged() -> None:
    assert diff(*_old_and_new(Phase.READY, asked="new")) == (Drain("old"),)


def test_calls_fall_back_to_the_old_version_when_the_new_one_dies_before_the_commit() -> None:
    target, world = _old_and_new(Phase.ENDED, asked="new")
    steps = diff(target, world)
    assert Restart("new") in steps
    assert Reroute(Route((Entry("old", shape(V1.digest, ""), ALL),))) in steps


def test_a_replica_rests_until_its_back_off_is_over() -> None:
    target, world = _old_and_new(Phase.ENDED)
    assert diff(target, change(world, "new", due=False)) == ()


def test_one_replica_is_enough_when_nobody_else_answers() -> None:
    ready = Replica("a", shape(V1.digest, ""), V1.digest, Phase.READY)
    starting = Replica("b", shape(V1.digest, ""), V1.digest, Phase.STARTING)
    target = overlay(Wanted(V1, 2, 2), None, None)
    steps = diff(target, World((ready, starting), frozenset({V1.digest})))
    assert steps == (Reroute(Route((Entry("a", ready.shape, ALL),))),)


def test_a_deleted_position_leaves_the_route_before_its_hosts_are_drained() -> None:
    _, world = _old_and_new(Phase.READY)
    target = overlay(Wanted(V2, 1, 1, deleting=True), None, V1)
    assert diff(target, world) == (Reroute(Route()),)
    assert diff(target, replace(world, asked=Route(), acknowledged=False)) == ()
    assert diff(target, replace(world, asked=Route())) == (Drain("old"), Drain("new"))
