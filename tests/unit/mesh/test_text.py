"""Tables, ages, sizes: what people read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh import text

ROWS = [("tower-7", "IN_SERVICE", "two of two replicas are ready and a probe has succeeded"), ("t", "", "x")]
cells = st.text("abc -", max_size=30).map(lambda cell: " ".join(cell.split()))


def test_columns_are_aligned_and_what_is_empty_shows_as_a_hyphen() -> None:
    assert text.table(("NAME", "STATE", "MESSAGE"), ROWS) == (
        "NAME     STATE       MESSAGE\n"
        "tower-7  IN_SERVICE  two of two replicas are ready and a probe has succeeded\n"
        "t        -           x"
    )


def test_only_the_last_column_wraps_and_stays_in_its_place() -> None:
    assert text.table(("NAME", "STATE", "MESSAGE"), ROWS, width=50).splitlines()[1:4] == [
        "tower-7  IN_SERVICE  two of two replicas are ready",
        "                     and a probe has succeeded",
        "t        -           x",
    ]


@given(st.lists(st.tuples(cells, cells, cells), max_size=4), st.integers(60, 200))
def test_a_wrapped_table_fits_the_terminal_and_loses_no_word(rows: list[tuple[str, str, str]], width: int) -> None:
    table = text.table(("A", "B", "C"), rows, width=width)
    if max((len(a) + len(b) for a, b, _ in rows), default=0) < 30:
        assert max(map(len, table.splitlines())) <= width
    words = [word for row in rows for cell in row for word in (cell or "-").split()]
    assert sorted(table.split()) == sorted(["A", "B", "C", *words])


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-5, "just now"), (0.4, "just now"), (1, "1 s ago"), (59.9, "59 s ago"), (60, "1 min ago"),
        (200, "3 min ago"), (7200, "2 h ago"), (90000, "1 d ago"),
    ],
)  # fmt: skip
def test_ages(seconds: float, said: str) -> None:
    assert text.age(seconds) == said


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (200 << 20, "200 MiB"),
        (3 << 40, "3.0 TiB"),
        (5 << 60, "5242880 TiB"),
    ],
)
def test_sizes(count: int, said: str) -> None:
    assert text.size(count) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 µs"),
        (350e-6, "350 µs"),
        (0.99949e-3, "999 µs"),
        (1.234e-3, "1.23 ms"),
        (0.0123, "12.3 ms"),
        (0.9994, "999 ms"),
        (9.999, "10.0 s"),
        (120, "120 s"),
    ],
)
def test_durations_have_three_digits(seconds: float, said: str) -> None:
    assert text.duration(seconds) == said
