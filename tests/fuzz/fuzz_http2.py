"""The connection machine, both roles: scripts of what a peer says and what an owner does (script.py)."""

from tests.fuzz.asked import ASKED
from tests.fuzz.script import Player
from tests.fuzz.served import CONNECTION_ERRORS, OWN_ENDS, SERVED, STREAM_ERRORS
from tests.fuzz.steps import CLIENT, SERVER, TAKE, TIGHT_CLIENT, TIGHT_SERVER, data, headers, hear, tick

SCRIPT_BYTES_MAX = 4096


def play(script: bytes) -> None:
    Player(script).play()


def seeds() -> dict[str, bytes]:
    return {
        **{f"served, {name}": SERVER + steps for name, steps in SERVED.items()},
        **{f"served tightly, {name}": TIGHT_SERVER + steps for name, steps in SERVED.items()},
        **{
            f"stream error, {name}": TIGHT_SERVER + hear(frames, headers(99), data(1)) + TAKE
            for name, frames in STREAM_ERRORS.items()
        },
        **{
            f"connection error, {name}": TIGHT_SERVER + hear(frames) + TAKE + hear(b"more") + tick(1)
            for name, frames in CONNECTION_ERRORS.items()
        },
        **{f"end, {name}": steps for name, steps in OWN_ENDS.items()},
        **{f"asked, {name}": CLIENT + steps for name, steps in ASKED.items()},
        **{f"asked tightly, {name}": TIGHT_CLIENT + steps for name, steps in ASKED.items()},
    }
