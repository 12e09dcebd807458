"""Whether the agent follows its control plane: what people on the machine have asked for. Pure.

    FOLLOW   what the control plane wants is done
    HOLD     what is here stays as it is; changes are taken, acknowledged, and wait
    DRAIN    nothing is served here: positions leave the routes, calls in flight end, hosts stop

A mode stands in the ledger and stays until somebody sets another one, with or without a control plane.
"""

from dataclasses import dataclass
from enum import StrEnum

from edge_agent.failure import Failure


class Kind(StrEnum):
    FOLLOW = "follow"
    HOLD = "hold"
    DRAIN = "drain"


@dataclass(frozen=True, slots=True)
class Mode:
    kind: Kind = Kind.FOLLOW
    reason: str = ""
    """As the person said."""
    since_s: float = 0.0
    """Unix seconds."""

    @property
    def drained(self) -> Failure | None:
        """Why nothing is served here."""
        if self.kind is not Kind.DRAIN:
            return None
        return Failure("DRAINED", f"its edge server was drained by hand{self._because}", RESUME)

    @property
    def restriction(self) -> Failure | None:
        """Why the edge server does not do what the control plane wants."""
        if self.kind is not Kind.HOLD:
            return self.drained
        return Failure("HELD", f"changes are held on the machine{self._because}: what serves stays as it is", RESUME)

    @property
    def _because(self) -> str:
        return f" ({self.reason})" if self.reason else ""


RESUME = "`waypost agent resume` on the machine lets it follow the control plane again"
FOLLOW = Mode()
