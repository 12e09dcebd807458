"""Ports for those who must be told where to listen before they do.

What the kernel gives to whoever binds port 0 will not do for them: it belongs to the ports of those who dial
(ip_local_port_range, from 32768 on), so at the moment when it is listened on it may be that of some connection. These
are below. They are free when they are looked at, and nobody keeps them: one from anywhere is seldom wanted twice, also
by another run on this machine that looks at the same moment.
"""

import contextlib
import random
import socket

FIRST, END = 10_000, 32_000
TRIES_MAX = 200


def free_port() -> int:
    return free_ports(1)[0]


def free_ports(count: int) -> range:
    """So many in a row."""
    for _ in range(TRIES_MAX):
        first = random.randrange(FIRST, END - count, count)
        ports = range(first, first + count)
        if all(map(_is_free, ports)):
            return ports
    raise AssertionError(f"no {count} free ports in a row between {FIRST} and {END}, in {TRIES_MAX} tries")


def free_port_base() -> int:
    """For `waypost up`, whose ports are all less than two hundred above it."""
    return free_ports(200)[0]


def _is_free(port: int) -> bool:
    """At every address of this machine."""
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # else one that somebody has just left is not free
        probe.bind(("", port))
        return True
    return False
