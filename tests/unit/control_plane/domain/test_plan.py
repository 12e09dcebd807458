"""Laws of the planner, for any history of worlds: each world is planned on top of the plan of the one before."""

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.domain.plan import plan
from control_plane.domain.types import (
    Absence,
    Desired,
    Held,
    HeldReason,
    Inventory,
    Plan,
    Policy,
    Position,
    Token,
    Version,
    VersionContent,
    VersionState,
)

NOW = 1000.0
laws = settings(max_examples=50)  # each example is a whole history of worlds
SERVERS = [f"edgeServers/e{n}" for n in range(3)]
APPLICATION = "projects/p/applications/a"
VERSIONS = [f"{APPLICATION}/models/m/versions/{n}" for n in range(3)]
POSITIONS = [f"{APPLICATION}/positions/p{n}" for n in range(3)]


@st.composite
def versions(draw: st.DrawFn) -> dict[str, Version]:
    found = {}
    for name in draw(st.sets(st.sampled_from(VERSIONS))):
        digest = f"{name}@{draw(st.sampled_from('xy'))}"
        content = VersionContent(name, digest, digest.encode())
        found[name] = Version(content, draw(st.sampled_from(VersionState)))
    return found


absences = st.builds(
    Absence,
    replace_after_s=st.sampled_from([60.0, 600.0]),
    fallbacks=st.permutations(SERVERS).map(lambda servers: tuple(servers[:2])),
    keep_replacement=st.booleans(),
)


@st.composite
def positions(draw: st.DrawFn) -> dict[str, Position]:
    found = {}
    for name in draw(st.sets(st.sampled_from(POSITIONS))):
        found[name] = Position(
            name,
            uid=f"{name}-{draw(st.sampled_from('uv'))}",
            generation=draw(st.integers(1, 3)),
            edge_server=draw(st.sampled_from(SERVERS)),
            model_version=draw(st.sampled_from(VERSIONS)),
            spec=draw(st.sampled_from([b"s", b"t"])),
            deleting=draw(st.booleans()),
            absence=draw(st.none() | absences),
        )
    return found


tokens = st.frozensets(st.builds(Token, st.sampled_from("cd"), st.just("hash"), st.sampled_from([0, 500, 5000])))
policies = st.builds(
    Policy,
    revision=st.just(0),
    positions=positions(),
    versions=versions(),
    tokens=st.fixed_dictionaries({APPLICATION: tokens}),
    edge_servers=st.frozensets(st.sampled_from(SERVERS)),
)
uids = st.sampled_from([f"{name}-{u}" for name in POSITIONS for u in "uv"])
digests = st.sampled_from([f"{name}@{x}" for name in VERSIONS for x in "xy"])
inventories = st.builds(
    Inventory,
    rejected=st.dictionaries(uids, st.frozensets(digests)),
    gone=st.frozensets(st.tuples(st.sampled_from(SERVERS), uids)),
    connected=st.frozensets(st.sampled_from(SERVERS)),
    away_since_s=st.dictionaries(st.sampled_from(SERVERS), st.sampled_from([NOW - 1000, NOW - 100, NOW])),
    serving=st.frozensets(st.tuples(st.sampled_from(SERVERS), uids)),
)
histories = st.lists(st.tuples(policies, inventories), min_size=1, max_size=3)


def run(history: Sequence[tuple[Policy, Inventory]]) -> list[tuple[Policy, Desired, Inventory, Plan]]:
    """(policy, parent, inventory, plan) of each step; each plan is committed one revision after it was made."""
    steps: list[tuple[Policy, Desired, Inventory, Plan]] = []
    parent: Desired = {}
    for revision, (policy, inventory) in enumerate(history, 1):
        policy = replace(policy, revision=revision)
        result = plan(policy, parent, inventory, now_s=NOW)
        steps.append((policy, parent, inventory, result))
        parent = result.desired
    return steps


@laws
@given(histories)
def test_planning_again_changes_nothing(history: list[tuple[Policy, Inventory]]) -> None:
    for policy, _, inventory, result in run(history):
        later = replace(policy, revision=policy.revision + 5)
        assert plan(later, result.desired, inventory, now_s=NOW) == result


@laws
@given(histories)
def test_the_order_of_the_inputs_does_not_matter(history: list[tuple[Policy, Inventory]]) -> None:
    for policy, parent, inventory, result in run(history):
        turned = replace(
            policy,
            positions=dict(reversed(policy.positions.items())),
            versions=dict(reversed(policy.versions.items())),
        )
        turned_parent = {server: dict(reversed(items.items())) for server, items in reversed(parent.items())}
        again = plan(turned, turned_parent, inventory, now_s=NOW)
        assert again == result
        assert [list(items) for items in again.desired.values()] == [list(i) for i in result.desired.values()]


@laws
@given(histories)
def test_a_generation_rises_exactly_when_the_assignment_changes(history: list[tuple[Policy, Inventory]]) -> None:
    highest: dict[str, int] = {}
    for _, parent, _, result in run(history):
        before = {(server, name): item for server, items in parent.items() for name, item in items.items()}
        for server, items in result.desired.items():
            for name, item in items.items():
                old = before.get((server, name))
                if old and old.assignment == item.assignment:
                    assert item == old
                else:
                    assert item.generation > highest.get(name, 0), "a number was used before for this name"
        for items in result.desired.values():
            for name, item in items.items():
                highest[name] = max(highest.get(name, 0), item.generation)


@laws
@given(histories)
def test_every_position_is_where_its_spec_says_or_by_its_rule_where_somebody_stands_in(
    history: list[tuple[Policy, Inventory]],
) -> None:
    for policy, parent, inventory, result in run(history):
        assert result.desired.keys() == policy.edge_servers
        where: dict[str, set[str]] = {}
        for server, items in result.desired.items():
            for name in items:
                where.setdefault(name, set()).add(server)
        assert where.keys() <= policy.positions.keys()
        for name, position in policy.positions.items():
            if position.deleting:
                continue
            servers = where.get(name, set())
            assert servers or name in result.held
            elsewhere = servers - {position.edge_server}
            assert elsewhere == {result.replaced[name]} if name in result.replaced else not elsewhere
            if elsewhere:
                assert position.absence is not None
                assert elsewhere <= set(position.absence.fallbacks)
                was_there = all(name in parent.get(server, {}) for server in elsewhere)
                assert was_there or (elsewhere <= inventory.connected and inventory.away_since_s)
            elif servers and position.absence is None:
                assert servers == {position.edge_server}


@laws
@given(histories)
def test_a_live_position_is_left_out_only_with_a_reason(history: list[tuple[Policy, Inventory]]) -> None:
    for policy, _, _, result in run(history):
        assigned = {name for items in result.desired.values() for name in items}
        for name, position in policy.positions.items():
            if not position.deleting and name not in assigned:
                assert result.held[name].keeps == ""


@laws
@given(histories)
def test_a_version_is_newly_given_only_if_available_and_never_if_refused(
    history: list[tuple[Policy, Inventory]],
) -> None:
    for policy, parent, inventory, result in run(history):
        had = {
            (item.assignment.uid, item.assignment.version.digest)
            for items in parent.values()
            for item in items.values()
        }
        for items in result.desired.values():
            for item in items.values():
                told = item.assignment
                if (told.uid, told.version.digest) not in had:
                    version = policy.versions[told.version.name]
                    assert version.state is VersionState.AVAILABLE
                    assert told.version.digest not in inventory.rejected.get(told.uid, frozenset())


@laws
@given(histories)
def test_a_position_in_deletion_stays_marked_until_it_is_gone(history: list[tuple[Policy, Inventory]]) -> None:
    for policy, parent, inventory, result in run(history):
        for name, position in policy.positions.items():
            assigned = {server: items[name] for server, items in result.desired.items() if name in items}
            if not position.deleting:
                assert name not in result.finished
                assert not any(item.assignment.deleting for item in assigned.values())
                continue
            assert (name in result.finished) != bool(assigned)
            for server, item in assigned.items():
                assert item.assignment.deleting
                assert (server, position.uid) not in inventory.gone
                assert parent[server][name].assignment.uid == position.uid


@laws
@given(histories)
def test_expired_tokens_are_left_out(history: list[tuple[Policy, Inventory]]) -> None:
    for _, _, _, result in run(history):
        for items in result.desired.values():
            for item in items.values():
                assert item.assignment.deleting or all(t.expire_unix_s in (0, 5000) for t in item.assignment.tokens)


def world(*, state: VersionState = VersionState.AVAILABLE, **changes: object) -> Policy:
    """One position on one of two servers, and its version."""
    version = Version(VersionContent(VERSIONS[0], "digest-0", b"0"), state)
    other = Version(VersionContent(VERSIONS[1], "digest-1", b"1"), VersionState.AVAILABLE)
    position = Position(POSITIONS[0], "uid", 1, SERVERS[0], VERSIONS[0], b"spec")
    position = replace(position, **changes)  # type: ignore[arg-type]
    return Policy(
        7,
        {position.name: position},
        {VERSIONS[0]: version, VERSIONS[1]: other},
        {},
        frozenset(SERVERS[:2]),
    )


NOTHING = Inventory({}, frozenset())


def test_a_withdrawn_version_that_serves_serves_on_even_when_its_position_moves() -> None:
    first = plan(world(), {}, NOTHING, now_s=NOW)
    withdrawn = plan(world(state=VersionState.WITHDRAWN), first.desired, NOTHING, now_s=NOW)
    assert withdrawn.desired == first.desired
    moved = plan(world(state=VersionState.WITHDRAWN, edge_server=SERVERS[1]), first.desired, NOTHING, now_s=NOW)
    assert moved.desired[SERVERS[0]] == {}
    assert moved.desired[SERVERS[1]][POSITIONS[0]].assignment.version.digest == "digest-0"


def test_a_version_that_was_refused_is_not_proposed_again_until_the_refusal_is_cleared() -> None:
    first = plan(world(), {}, NOTHING, now_s=NOW)
    refused = Inventory({"uid": frozenset({"digest-1"})}, frozenset())
    wanted = world(model_version=VERSIONS[1], generation=2)
    held = plan(wanted, first.desired, refused, now_s=NOW)
    told = held.desired[SERVERS[0]][POSITIONS[0]].assignment
    assert (told.version.name, told.generation) == (VERSIONS[0], 2)
    assert held.held == {POSITIONS[0]: Held(HeldReason.VERSION_REJECTED, VERSIONS[0])}
    cleared = plan(wanted, held.desired, NOTHING, now_s=NOW)
    assert cleared.desired[SERVERS[0]][POSITIONS[0]].assignment.version.name == VERSIONS[1]


def test_a_position_in_deletion_whose_edge_server_is_no_more_is_finished() -> None:
    first = plan(world(), {}, NOTHING, now_s=NOW)
    without = replace(world(deleting=True), edge_servers=frozenset(SERVERS[1:2]))
    assert plan(without, first.desired, NOTHING, now_s=NOW).finished == {POSITIONS[0]}


def test_a_new_generation_is_the_revision_after_the_one_planned_from() -> None:
    first = plan(world(), {}, NOTHING, now_s=NOW)
    assert first.desired[SERVERS[0]][POSITIONS[0]].generation == 8


def test_a_position_made_anew_under_an_old_name_inherits_nothing() -> None:
    first = plan(world(), {}, NOTHING, now_s=NOW)
    anew = world(state=VersionState.WITHDRAWN, uid="another")
    second = plan(anew, first.desired, NOTHING, now_s=NOW)
    assert second.desired[SERVERS[0]] == {}
    assert second.held == {POSITIONS[0]: Held(HeldReason.VERSION_WITHDRAWN)}


def test_a_version_made_anew_under_an_old_name_is_another_version() -> None:
    first = plan(world(), {}, NOTHING, now_s=NOW)
    policy = world(state=VersionState.IMPORTING)
    remade = Version(VersionContent(VERSIONS[0], "digest-remade", b"r"), VersionState.IMPORTING)
    second = plan(replace(policy, versions={VERSIONS[0]: remade}), first.desired, NOTHING, now_s=NOW)
    assert second.held == {POSITIONS[0]: Held(HeldReason.VERSION_IMPORTING, VERSIONS[0])}
    assert second.desired == first.desired


def test_a_position_in_deletion_leaves_every_server_that_was_told_of_it() -> None:
    item = plan(world(), {}, NOTHING, now_s=NOW).desired[SERVERS[0]][POSITIONS[0]]
    on_both = {SERVERS[1]: {POSITIONS[0]: item}, SERVERS[0]: {POSITIONS[0]: item}}
    leaving = world(edge_server=SERVERS[2], deleting=True)
    assert [server for server, items in plan(leaving, on_both, NOTHING, now_s=NOW).desired.items() if items] == [
        SERVERS[0],
        SERVERS[1],
    ]
    left_one = replace(NOTHING, gone=frozenset({(SERVERS[0], "uid")}))
    assert plan(leaving, on_both, left_one, now_s=NOW).finished == frozenset()
    left_both = replace(NOTHING, gone=frozenset({(SERVERS[0], "uid"), (SERVERS[1], "uid")}))
    assert plan(leaving, on_both, left_both, now_s=NOW).finished == {POSITIONS[0]}
