"""Two processes of one identity are noticed; one that restarts, reconnects or moves is not taken for two."""

from control_plane.fleet.duplicates import SETTLED_S, Duplicates

E = "edgeServers/e"


def entered(*boots: str) -> Duplicates:
    duplicates = Duplicates()
    for boot in boots:
        assert duplicates.other(E, boot, 0.0, speaks=True) is None
        duplicates.entered(E, boot, f"peer of {boot}")
    return duplicates


def test_an_agent_that_reconnects_or_restarts_is_one_agent() -> None:
    entered("a", "a", "b", "b", "c")


def test_a_process_that_was_superseded_and_comes_back_lives_beside_the_other() -> None:
    duplicates = entered("a", "b")
    assert duplicates.other(E, "a", 1.0, speaks=True) == "peer of b"
    assert duplicates.other(E, "b", 1.0, speaks=True) is None
    assert duplicates.other("edgeServers/other", "a", 1.0, speaks=True) is None


def test_it_is_let_in_when_nobody_else_speaks() -> None:
    assert entered("a", "b").other(E, "a", 1.0, speaks=False) is None


def test_what_has_not_been_seen_for_long_is_settled_once() -> None:
    duplicates = entered("a", "b")
    duplicates.other(E, "a", 1.0, speaks=True)
    assert duplicates.settled(1.0 + SETTLED_S / 2) == []
    assert duplicates.settled(1.0 + SETTLED_S) == [E]
    assert duplicates.settled(2.0 + SETTLED_S) == []


def test_an_edge_server_that_was_deleted_is_forgotten() -> None:
    duplicates = entered("a", "b")
    duplicates.forget(E)
    assert duplicates.other(E, "a", 1.0, speaks=True) is None
