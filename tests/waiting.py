"""Waiting for what happens elsewhere: in another process, on another thread, behind a socket.

`until` is for coroutines, `wait_until` for everybody else. Both look, and look again, until what they see is wanted;
who waits in vain is told what for, what was seen last and, where somebody knows more, what that is: logs mostly. There
is a look after the last moment, so that a machine that stood still costs nobody his patience. On virtual time nobody
waits like this: see tests/sim.
"""

import asyncio
import linecache
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

PATIENCE_S = 60.0  # for what takes a second on an idle machine
LOOK_EVERY_S = 0.02

T = TypeVar("T")


async def until(
    read: Callable[[], Awaitable[T] | T],
    wanted: Callable[[T], object] = bool,
    *,
    what: str = "",
    within_s: float = PATIENCE_S,
    every_s: float = LOOK_EVERY_S,
    not_yet: type[Exception] | tuple[()] = (),
    more: Callable[[], str] | None = None,
) -> T:
    """What `read` gives, as soon as it is `wanted`.

    what: in words, where the source of the two does not say it.
    not_yet: an error of `read` that is no reason to give up.
    more: asked where it was in vain, for what else there is to know.
    Raises: AssertionError.
    """
    ends_s = time.monotonic() + within_s
    while True:
        try:
            value = read()
            found = await value if isinstance(value, Awaitable) else value
        except not_yet as error:
            seen: object = error
        else:
            if wanted(found):
                return found
            seen = found
        if time.monotonic() >= ends_s:
            raise AssertionError(_in_vain(what or said(read, wanted), within_s, seen, more))
        await asyncio.sleep(every_s)


def wait_until(
    read: Callable[[], T],
    wanted: Callable[[T], object] = bool,
    *,
    what: str = "",
    within_s: float = PATIENCE_S,
    every_s: float = LOOK_EVERY_S,
    more: Callable[[], str] | None = None,
) -> T:
    """The same, for who runs in no loop."""
    ends_s = time.monotonic() + within_s
    while not wanted(found := read()):
        if time.monotonic() >= ends_s:
            raise AssertionError(_in_vain(what or said(read, wanted), within_s, found, more))
        time.sleep(every_s)
    return found


def said(*looks: Callable[..., object]) -> str:
    """What functions look for, as their source has it: a lambda's line, or the name of one that has a name."""
    return ", ".join(dict.fromkeys(_line(look) for look in looks if look is not bool))


def _in_vain(what: str, within_s: float, seen: object, more: Callable[[], str] | None) -> str:
    lines = [f"not within {within_s:g} s: {what}", f"last seen: {seen!r}"]
    return "\n".join([*lines, more()] if more else lines)


def _line(look: Any) -> str:
    if getattr(look, "__name__", "") != "<lambda>":
        return getattr(look, "__qualname__", repr(look))
    path, number = look.__code__.co_filename, look.__code__.co_firstlineno
    return f"{linecache.getline(path, number).strip()} ({Path(path).name}:{number})"
