"""What became of commands that change something: asked for again, they are not done again.

An answer may get lost with its session, and whoever asked then asks once more, by the same id. Commands that only read
are simply answered again.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from google.rpc import status_pb2

from waypost.errors import MeshError
from waypost.rpc import from_status, to_status

KEPT_S = 24 * 3600.0  # nobody asks again after more than seconds
KEPT_MAX = 256  # commands are people's; so many a day is already a lot


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one command. status: code 0 where it was done."""

    id: str
    time_s: float
    status: status_pb2.Status

    def to_page(self) -> Mapping[str, Any]:
        return {"id": self.id, "time_s": self.time_s, "status": self.status.SerializeToString().hex()}

    @classmethod
    def from_page(cls, page: Mapping[str, Any]) -> "Outcome":
        return cls(page["id"], page["time_s"], status_pb2.Status.FromString(bytes.fromhex(page["status"])))


Outcomes = tuple[Outcome, ...]
"""The oldest first."""


class Journal:
    """outcomes: what was written down. keep: writes it down; raises: MeshError."""

    def __init__(self, outcomes: Outcomes, keep: Callable[[Outcomes], None]) -> None:
        self._outcomes = outcomes
        self._keep = keep

    def once(self, id_: str, act: Callable[[], None], now_s: float) -> None:
        """Does `act` unless the command was carried out before; then it ends as it did then.

        A kill between the act and the note lets it be done twice: acts must bear that. now_s: Unix seconds.
        Raises: MeshError, what `act` raises or raised.
        """
        known = next((outcome for outcome in self._outcomes if outcome.id == id_), None)
        if known is None:
            known = Outcome(id_, now_s, _ended(act))
            fresh = (outcome for outcome in self._outcomes if now_s - outcome.time_s < KEPT_S)
            outcomes = (*fresh, known)[-KEPT_MAX:]
            self._keep(outcomes)
            self._outcomes = outcomes
        if known.status.code:
            raise from_status(known.status)


def _ended(act: Callable[[], None]) -> status_pb2.Status:
    try:
        act()
    except MeshError as error:
        return to_status(error)
    return status_pb2.Status()
