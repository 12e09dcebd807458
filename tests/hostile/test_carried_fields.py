"""Fields that a server does not know, as newer clients send them: taken, and not kept.

It runs before the requests that are made up, which may drain the edge server.
"""

from tests.hostile.methods import METHODS
from tests.hostile.world import VAGUE, World

PADDING = b"\xc2\x3e\xe0\xd4\x03" + bytes(60_000)
"""A field that no message has (number 1000, 60,000 bytes): new clients may send such."""
PADDED_CALLS = 20  # of each method: 120 MB in all
GROWTH_MB_MAX = 24.0  # of one process: allocators and caches take what they need at most


def test_nobody_keeps_what_it_was_sent(here: World) -> None:
    """Fields that are not known are carried along, and must not be carried for ever."""
    used = [method for method in METHODS if method.server != "box" and not method.streams]
    for method in used:
        here.servers[method.server].call(method, [PADDING])
    before = here.processes()
    weights = {pid: process.memory_info().rss for pid, process in before.items()}
    for _ in range(PADDED_CALLS):
        for method in used:
            assert here.servers[method.server].call(method, [PADDING]).code not in VAGUE
    grown = {" ".join(before[pid].cmdline()): before[pid].memory_info().rss - rss for pid, rss in weights.items()}
    assert {name: rss for name, rss in grown.items() if rss > GROWTH_MB_MAX * 1e6} == {}
