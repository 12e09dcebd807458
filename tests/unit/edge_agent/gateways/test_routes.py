"""The laws of the route model."""

from dataclasses import replace
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.gateways.routes import Backend, PositionRoute, RouteTable, bridge, check, shares, successors

UIDS = [f"7f4c2c1e-5a51-4b77-9a3c-0d7a5f1f000{number}" for number in range(4)]


def backend(id_: str, shape: str = "v1", weight: int = 100, *, ready: bool = True) -> Backend:
    return Backend(id_, f"unix:/run/{id_}.grpc", f"unix:/run/{id_}.http", shape, weight, ready)


def route(number: int = 0, *hosts: Backend, **more: object) -> PositionRoute:
    name = f"projects/uav/applications/path/positions/tower-{number}"
    return replace(PositionRoute(UIDS[number], name, 1, hosts), **more)  # type: ignore[arg-type]


@st.composite
def host_sets(draw: st.DrawFn) -> tuple[Backend, ...]:
    """Hosts of up to three shapes whose weights add up to 100."""
    cut = sorted(draw(st.tuples(st.integers(0, 100), st.integers(0, 100))))
    weights = (cut[0], cut[1] - cut[0], 100 - cut[1])
    ids = draw(st.permutations([f"r-{number}" for number in range(9)]))
    sizes = draw(st.tuples(*[st.integers(0, 3)] * 3))
    hosts: list[Backend] = []
    for shape, (size, weight) in enumerate(zip(sizes, weights, strict=True)):
        for _ in range(size):
            hosts.append(backend(ids[len(hosts)], f"v{shape}", weight, ready=draw(st.booleans())))
    return tuple(hosts)


tables = st.lists(st.tuples(st.integers(0, 3), host_sets()), max_size=4, unique_by=lambda pair: pair[0]).map(
    lambda routes: RouteTable(tuple(route(number, *hosts) for number, hosts in routes))
)


def takers(hosts: tuple[Backend, ...]) -> set[str]:
    return {host.id for host in hosts if host.ready and host.weight > 0}


@given(host_sets())
def test_each_shape_gets_its_weight_and_its_hosts_equal_parts(hosts: tuple[Backend, ...]) -> None:
    parts = shares(hosts)
    assert parts.keys() == takers(hosts)
    alive = {host.shape: host.weight for host in hosts if host.id in parts}
    for shape, weight in alive.items():
        of_shape = [parts[host.id] for host in hosts if host.shape == shape and host.id in parts]
        assert len(set(of_shape)) == 1
        assert Fraction(sum(of_shape), sum(parts.values())) == Fraction(weight, sum(alive.values()))


def test_parts_are_the_smallest_whole_numbers() -> None:
    assert shares([backend("a"), backend("b")]) == {"a": 1, "b": 1}
    assert shares([backend("a", "v1", 90), backend("b", "v1", 90), backend("c", "v2", 10)]) == {"a": 9, "b": 9, "c": 2}
    assert shares([]) == {}


@given(tables, tables)
def test_a_bridge_holds_everything_of_the_new_table(old: RouteTable, new: RouteTable) -> None:
    crossing = bridge(old, new).by_uid
    for uid, wanted in new.by_uid.items():
        assert takers(wanted.hosts) <= takers(crossing[uid].hosts)
        assert replace(crossing[uid], hosts=()) == replace(wanted, hosts=())


@given(tables, tables)
def test_a_bridge_drops_nobody_before_others_took_over(old: RouteTable, new: RouteTable) -> None:
    crossing = bridge(old, new).by_uid
    assert crossing.keys() == old.by_uid.keys() | new.by_uid.keys()
    for uid, before in old.by_uid.items():
        after = takers(new.by_uid[uid].hosts) if uid in new.by_uid else set()
        gone = takers(before.hosts) - takers(crossing[uid].hosts)
        assert not gone or (uid in new.by_uid and after <= takers(before.hosts))


def test_successors_are_those_who_come_in_where_others_leave() -> None:
    a, b, c = backend("a"), backend("b"), backend("c")
    assert successors(route(0, a), route(0, b, c)) == (b, c)
    assert successors(route(0, a, b), route(0, b, c)) == (c,)
    for old, new in (
        (None, route(0, a)),
        (route(0), route(0, a)),
        (route(0, a), route(0, a, b)),
        (route(0, a), route(0)),
    ):
        assert successors(old, new) == ()


@given(tables)
def test_a_bridge_to_where_we_are_leads_nowhere_else(table: RouteTable) -> None:
    assert bridge(table, table) == table


@given(tables)
def test_sound_tables_pass(table: RouteTable) -> None:
    somebody_is_called = all(any(host.weight for host in route.hosts) for route in table.routes if route.hosts)
    assert (check(table) == ()) == somebody_is_called


@given(tables, st.randoms())
def test_the_hash_is_that_of_the_content_in_any_order(table: RouteTable, luck: object) -> None:
    shuffled = list(table.routes)
    luck.shuffle(shuffled)  # type: ignore[attr-defined]
    assert RouteTable(tuple(shuffled)).hash == table.hash


def test_every_difference_is_another_hash() -> None:
    base = route(0, backend("a"))
    others = (
        route(0),
        route(1, backend("a")),
        replace(base, generation=2),
        replace(base, access_address="unix:/run/m.sock"),
        replace(base, dedicated_port=7700),
        replace(base, idempotent=True),
        route(0, backend("a", ready=False)),
        route(0, backend("a", "v2")),
    )
    hashes = {RouteTable((one,)).hash for one in (base, *others)}
    assert len(hashes) == len(others) + 1


def test_a_position_answers_to_uid_full_and_short_name() -> None:
    assert route(0).keys == (UIDS[0], "projects/uav/applications/path/positions/tower-0", "uav/path/tower-0")


def faults(*routes: PositionRoute, reserved: frozenset[int] = frozenset()) -> str:
    found = check(RouteTable(routes), reserved_ports=reserved)
    assert found
    return "; ".join(found)


def test_what_two_positions_share_is_named() -> None:
    assert UIDS[0] in faults(route(0), route(0))
    assert "uav/path/tower-1" in faults(route(1), route(2, name=route(1).name))
    assert "port 7700" in faults(route(1, dedicated_port=7700), route(2, dedicated_port=7700))


def test_ports_must_be_free_for_positions() -> None:
    assert "7680" in faults(route(0, dedicated_port=7680), reserved=frozenset({7680}))
    assert "70000" in faults(route(0, dedicated_port=70000))


def test_weights_must_fit_together() -> None:
    assert "add up to 110" in faults(route(0, backend("a", "v1", 60), backend("b", "v2", 50)))
    assert "add up to 0" in faults(route(0, backend("a", "v1", 0)))
    assert "different weights" in faults(route(0, backend("a", "v1", 60), backend("b", "v1", 40)))
    assert "negative" in faults(route(0, backend("a", "v1", -1), backend("b", "v2", 101)))
    assert check(RouteTable((route(0, backend("a", "v1", 10)),))) == ()  # the others are gone


def test_hosts_must_be_told_apart_and_reachable() -> None:
    assert "host a is used 2 times" in faults(route(0, backend("a"), backend("a")))
    for address in ("unix:relative", "unix:/" + "d" * 107, "localhost:80", "10.0.0.1", "10.0.0.1:0", "10.0.0.1:x", ""):
        assert "host a" in faults(route(0, replace(backend("a"), grpc_address=address))), address
        assert "host a" in faults(route(0, replace(backend("a"), http_address=address))), address
        assert "monitor" in faults(route(0, access_address=address)), address
    for address in ("unix:/run/a", "10.0.0.1:80", "[::1]:80"):
        assert check(RouteTable((route(0, replace(backend("a"), grpc_address=address)),))) == ()


def test_a_position_must_have_a_uid_and_a_name() -> None:
    for broken in (route(0, uid=""), route(0, uid="a/b"), route(0, name="")):
        assert "no usable uid or name" in faults(broken)
