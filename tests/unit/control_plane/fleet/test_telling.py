"""What an agent may tell."""

from control_plane.fleet.telling import LEFT_MAX, Told

TOWER, MAST = "edgeServers/tower", "edgeServers/mast"


def test_what_was_told_once_is_remembered_of_each_edge_server_apart() -> None:
    told = Told()
    told.add(TOWER, ["a", "b"])
    told.add(TOWER, ["b"])
    told.add(MAST, ["c"])
    assert [told.has(TOWER, name) for name in "abc"] == [True, True, False]
    told.forget(TOWER)
    assert [told.has(TOWER, name) for name in "abc"] == [False, False, False]
    assert told.has(MAST, "c")


def test_of_what_has_left_the_oldest_is_forgotten_and_nothing_that_is_there() -> None:
    told, own = Told(), [f"own-{number}" for number in range(3 * LEFT_MAX)]
    told.add(TOWER, own)
    for number in range(LEFT_MAX + 1):
        told.add(TOWER, [f"left-{number}"])
    told.add(TOWER, own)
    assert all(told.has(TOWER, name) for name in own[-LEFT_MAX:])
    told.add(TOWER, ["one"])
    assert told.has(TOWER, own[-1])
    assert not told.has(TOWER, own[0])
