"""How things look in a terminal: tables without lines or colour, ages, sizes, durations. Pure.

Tables are columns with two spaces between them, so that they read well at 80 columns, in a log, and through `grep`.
Only the last column is ever wrapped, and only for a terminal: everything before it keeps its place.
"""

import textwrap
from collections.abc import Sequence

GAP = "  "
WRAPPED_CHARACTERS_MIN = 24  # a last column squeezed below this is easier to read when the terminal breaks it
NOTHING = "-"

_AGES = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
_SIZES = ("B", "KiB", "MiB", "GiB", "TiB")


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, width: int | None = None) -> str:
    """Lines of aligned columns without an end of line; empty cells show as a hyphen.

    width: columns of the terminal, for wrapping the last column; None never wraps.
    """
    cells = [list(header), *([cell or NOTHING for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    indent = sum(widths[:-1]) + len(GAP) * (len(header) - 1)
    return "\n".join(_line(row, widths, indent, width) for row in cells)


def _line(row: Sequence[str], widths: Sequence[int], indent: int, width: int | None) -> str:
    start = GAP.join(cell.ljust(size) for cell, size in zip(row[:-1], widths, strict=False))
    if width is None or width - indent < WRAPPED_CHARACTERS_MIN:
        pieces = [row[-1]]
    else:
        pieces = textwrap.wrap(row[-1], width - indent, break_on_hyphens=False) or [""]
    first = GAP.join((start, pieces[0])) if start else pieces[0]
    return "\n".join((first, *(" " * indent + piece for piece in pieces[1:]))).rstrip()


def age(seconds: float) -> str:
    """`3 min ago`; `just now` for less than a second and for clocks that differ."""
    for length, unit in _AGES:
        if seconds >= length:
            return f"{int(seconds // length)} {unit} ago"
    return "just now"


def size(count: float) -> str:
    """`12.3 MiB` for a number of bytes."""
    power = 0
    while abs(count) >= 1024 and power < len(_SIZES) - 1:
        count /= 1024
        power += 1
    return f"{count:.0f} {_SIZES[power]}" if power == 0 or abs(count) >= 100 else f"{count:.1f} {_SIZES[power]}"


def duration(seconds: float) -> str:
    """`350 µs`, `1.2 ms`, `3.4 s`: three digits at most, whatever the magnitude."""
    if seconds < 0.9995e-3:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 0.9995:
        return f"{_three_digits(seconds * 1e3)} ms"
    return f"{_three_digits(seconds)} s"


def _three_digits(value: float) -> str:
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


def share(fraction: float) -> str:
    """`12.5 %` for 0.125."""
    return f"{fraction * 100:.1f} %"
