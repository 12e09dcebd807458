"""Places: who gets one, and who has to give his up."""

from inference_host.transport.connections import MAKES_ROOM_S, REFUSED_MAX, Connections, Limits


class Place:
    """A connection that is idle since a moment, or busy."""

    def __init__(self, connections: Connections, idle_since: float | None) -> None:
        self.connections = connections
        self.idle_since = idle_since
        self.aborted = self.drained = False
        self.ticks: list[float] = []

    def tick(self, now: float) -> None:
        self.ticks.append(now)

    def drain(self) -> None:
        self.drained = True

    def abort(self) -> None:
        self.aborted = True
        self.connections.leave(self)


def connections(places: int, now: float = 100.0) -> Connections:
    return Connections(Limits(connections=places, memory_bytes=1000), lambda: now)


def test_the_connection_that_idled_longest_makes_room() -> None:
    here = connections(3)
    busy, old, older = Place(here, None), Place(here, 50.0), Place(here, 40.0)
    assert all(here.enter(place) for place in (busy, old, older))
    assert here.enter(Place(here, 100.0))
    assert (busy.drained, old.drained, older.drained) == (False, False, True)
    assert here.enter(Place(here, 100.0))  # the older one is still on its way out, so it is another's turn
    assert (busy.drained, old.drained) == (False, True)
    assert not here.enter(Place(here, 100.0))


def test_nobody_busy_or_between_two_calls_makes_room() -> None:
    here = connections(2)
    places = [Place(here, None), Place(here, 100.0 - MAKES_ROOM_S / 2)]
    assert all(here.enter(place) for place in places)
    assert not here.enter(Place(here, 100.0))
    assert not any(place.drained for place in places)


def test_those_who_are_told_that_there_is_no_place_are_bounded_too() -> None:
    here = connections(1)
    places = [Place(here, None) for _ in range(2 + REFUSED_MAX)]
    assert [here.enter(place) for place in places] == [True] + [False] * (1 + REFUSED_MAX)
    assert [place.aborted for place in places] == [False] * (1 + REFUSED_MAX) + [True]


def test_memory_is_counted_over_all_connections() -> None:
    here = connections(2)
    assert here.count(600)
    assert not here.count(600)
    here.count(-600)
    assert here.count(400)


def test_a_host_is_empty_when_the_last_connection_has_left() -> None:
    here = connections(2)
    first, second = Place(here, None), Place(here, None)
    here.enter(first)
    here.replace(first, second)
    assert not here.empty.is_set()
    here.leave(first)
    here.leave(second)
    assert here.empty.is_set()


def test_all_hear_the_time_and_the_drain() -> None:
    here = connections(2, now=7.0)
    place = Place(here, None)
    here.enter(place)
    here.tick()
    here.drain()
    assert (place.ticks, place.drained, here.draining) == ([7.0], True, True)
