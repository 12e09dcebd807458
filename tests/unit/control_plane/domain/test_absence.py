"""Where a position is while its edge server is away, and when that is back."""

import math
from dataclasses import replace

from control_plane.domain.absence import Whereabouts, whereabouts
from control_plane.domain.types import Absence, Inventory, Position

OWN, FIRST, SECOND = (f"edgeServers/{name}" for name in ("own", "first", "second"))
RULE = Absence(60.0, (FIRST, SECOND))
POSITION = Position("projects/p/applications/a/positions/p", "uid", 1, OWN, "version", b"", absence=RULE)
KEEPS = replace(POSITION, absence=replace(RULE, keep_replacement=True))
ALL = frozenset((OWN, FIRST, SECOND))


def asked(
    position: Position = POSITION,
    *holders: str,
    away: dict[str, float] | None = None,
    serving: str = "",
    now_s: float = 100.0,
) -> Whereabouts:
    away = away or {}
    there = ALL - away.keys()
    inventory = Inventory({}, frozenset(), there, away, frozenset({(serving, "uid")} if serving else ()))
    return whereabouts(position, holders or (OWN,), there, inventory, now_s=now_s)


def test_without_a_rule_nobody_stands_in() -> None:
    assert asked(replace(POSITION, absence=None), away={OWN: 0.0}) == Whereabouts((OWN,))


def test_nobody_stands_in_before_the_time_has_come_and_it_is_said_when_that_is() -> None:
    assert asked(away={OWN: 50.0}) == Whereabouts((OWN,), 110.0)


def test_the_first_that_is_there_stands_in() -> None:
    assert asked(away={OWN: 0.0}).servers == (OWN, FIRST)
    assert asked(away={OWN: 0.0, FIRST: 99.0}).servers == (OWN, SECOND)


def test_where_nobody_is_there_nobody_stands_in() -> None:
    assert asked(away={OWN: 0.0, FIRST: 0.0, SECOND: 0.0}) == Whereabouts((OWN,))


def test_the_original_gets_it_back_when_it_serves_and_not_before() -> None:
    assert asked(POSITION, OWN, FIRST).servers == (OWN, FIRST)
    assert asked(POSITION, OWN, FIRST, serving=OWN).servers == (OWN,)
    assert asked(POSITION, OWN, FIRST, away={OWN: 99.0}, serving=OWN).servers == (OWN, FIRST)


def test_the_replacement_keeps_it_where_that_is_the_rule() -> None:
    assert asked(KEEPS, away={OWN: 0.0}).servers == (FIRST,)
    assert asked(KEEPS, FIRST, serving=OWN) == Whereabouts((FIRST,), math.inf)


def test_a_replacement_that_is_away_itself_is_replaced_in_its_turn() -> None:
    both = {OWN: 0.0, FIRST: 50.0}
    assert asked(POSITION, OWN, FIRST, away=both) == Whereabouts((OWN, FIRST), 110.0)
    assert asked(POSITION, OWN, FIRST, away=both, now_s=110.0).servers == (OWN, SECOND)
    assert asked(KEEPS, FIRST, away={FIRST: 0.0, SECOND: 0.0}).servers == (OWN,)
