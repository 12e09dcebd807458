"""Which ports, directories and names a platform on this machine uses. Values, but for `remember` and `remembered`.

What was chosen once is kept in `<data_dir>/platform.json` and used by the next `up` unless it is told otherwise: an
xApp's endpoint must not move because somebody forgot a flag.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

from mesh.files import private_directory, write_atomically
from waypost.errors import Invalid

HOST = "127.0.0.1"
PORT_BASE = 7600
POSITION_PORTS = 100
PORT_MAX = 65535


@dataclass(frozen=True, slots=True)
class Ports:
    """All on loopback."""

    api: int
    link: int
    training: int
    gateway: int
    positions: str
    """`7700-7799`: positions with a dedicated port get one of these."""

    @classmethod
    def from_base(cls, base: int) -> Self:
        """7600 gives 7600, 7601, 7610, 7680, 7700-7799. Raises: Invalid(BAD_PORT)."""
        last = base + 100 + POSITION_PORTS - 1
        if not 0 < base <= last <= PORT_MAX:
            raise Invalid("BAD_PORT", f"no room for the platform's ports from {base}", "choose 1024 to 65000")
        return cls(base, base + 1, base + 10, base + 80, f"{base + 100}-{last}")


@dataclass(frozen=True, slots=True)
class Choices:
    """What a person can choose about a platform on this machine."""

    ports: Ports = field(default_factory=lambda: Ports.from_base(PORT_BASE))
    context: str = "local"
    edge_server: str = "edge-1"
    project: str = "demo"
    """Filled by what the training platform publishes."""
    training: str = ""
    """The training platform's directory; empty means the one inside the data directory."""


def changed(choices: Choices, port_base: int | None, *, ports: Mapping[str, Any], rest: Mapping[str, Any]) -> Choices:
    """The choices with those values that are not None. port_base moves all ports that have no value of their own."""
    before = choices.ports if port_base is None else Ports.from_base(port_base)
    return replace(choices, ports=replace(before, **_given(ports)), **_given(rest))


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def check(choices: Choices) -> None:
    """Raises: Invalid(BAD_PORT) where a port is none, or is wanted twice."""
    ports = choices.ports
    first, separator, last = ports.positions.partition("-")
    numbers = [ports.api, ports.link, ports.training, ports.gateway]
    if not (separator and first.isdecimal() and last.isdecimal() and 0 < int(first) <= int(last) <= PORT_MAX):
        raise Invalid("BAD_PORT", f"{ports.positions!r} is no range of ports", "write it as 7700-7799")
    for number in numbers:
        if not 0 < number <= PORT_MAX:
            raise Invalid("BAD_PORT", f"{number} is no port", f"choose 1 to {PORT_MAX}")
        if numbers.count(number) > 1 or int(first) <= number <= int(last):
            raise Invalid(
                "BAD_PORT", f"port {number} is wanted twice", "give each its own, or shift all with --port-base"
            )


def remember(path: Path, choices: Choices) -> None:
    """Keeps them for the next `up`."""
    private_directory(path.parent)
    write_atomically(path, json.dumps(asdict(choices), indent=2).encode() + b"\n")


def remembered(path: Path) -> Choices:
    """What was kept, or the defaults. Raises: Invalid(BAD_PLATFORM_FILE)."""
    try:
        kept = json.loads(path.read_bytes())
        known = {f.name for f in fields(Choices)}
        choices = Choices(**{key: value for key, value in kept.items() if key in known and key != "ports"})
        return replace(choices, ports=Ports(**kept["ports"]))
    except FileNotFoundError:
        return Choices()
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Invalid(
            "BAD_PLATFORM_FILE", f"{path} cannot be read: {error!r}", "delete it to use the defaults"
        ) from error
