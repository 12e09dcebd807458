"""The matrix of what may go wrong, generated: every cell that makes sense, and what it may cost. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import product


class Victim(StrEnum):
    NOBODY = "nobody"
    """Only the network suffers."""
    HOST = "host"
    """One of two replicas."""
    MONITOR = "monitor"
    AGENT = "agent"
    CONTROL_PLANE = "control plane"
    GATEWAY = "gateway"
    BOX = "box"
    """Everything on the edge server at once, as when its plug is pulled."""


class Blow(StrEnum):
    NOTHING = "-"
    KILL = "kill -9"
    FREEZE = "SIGSTOP"
    """For a while; then SIGCONT."""
    TEAR = "torn ledger"
    """kill -9, and the newest page of the ledger cut in half on disk."""
    FILL = "full disk"
    """Not a byte can be written; after a while there is room again."""
    AHEAD = "clock +1 day"
    """For a while; then it is right again."""
    BACK = "clock -1 day"
    RESTORE = "restored"
    """kill -9, and its data are those of a backup from before the deployment."""


class Link(StrEnum):
    """Between edge server and control plane, from the blow on until the victim is back."""

    ONLINE = "online"
    OFFLINE = "offline"
    """Nothing gets through, and nobody is told: the connection just falls silent."""
    RESET = "reset"
    """Connections are cut, again and again."""
    DEAF = "one way"
    """What the edge server says arrives; what it is told does not."""
    SLOW = "slow"
    """200 ms each way and 32 KiB a second."""


class Moment(StrEnum):
    """Of the blow, in a deployment of another version."""

    BEFORE = "before"
    DURING = "during"
    AFTER = "after"


@dataclass(frozen=True, slots=True)
class Cell:
    victim: Victim
    blow: Blow
    link: Link
    moment: Moment

    def __str__(self) -> str:
        return f"{self.victim}, {self.blow}, {self.link}, {self.moment}"

    @property
    def interrupts(self) -> bool:
        """Whether calls may fail until the victim is back: nothing is left that could answer them."""
        return self.victim is Victim.BOX and self.blow is Blow.KILL

    @property
    def sets_clocks(self) -> bool:
        return self.blow in (Blow.AHEAD, Blow.BACK)


BLOWS: dict[Victim, tuple[Blow, ...]] = {
    Victim.NOBODY: (Blow.NOTHING,),
    Victim.HOST: (Blow.KILL, Blow.FREEZE),
    Victim.MONITOR: (Blow.KILL, Blow.FREEZE),
    Victim.AGENT: (Blow.KILL, Blow.FREEZE, Blow.TEAR),
    Victim.CONTROL_PLANE: (Blow.KILL, Blow.FREEZE, Blow.FILL, Blow.AHEAD, Blow.BACK, Blow.RESTORE),
    Victim.GATEWAY: (Blow.KILL,),
    Victim.BOX: (Blow.KILL, Blow.FILL, Blow.AHEAD, Blow.BACK),
}
LINKS: dict[Victim, tuple[Link, ...]] = {Victim.NOBODY: (Link.OFFLINE, Link.RESET, Link.DEAF, Link.SLOW)}
BOTH = (Link.ONLINE, Link.OFFLINE)


def matrix() -> Iterator[Cell]:
    """Every cell, victim by victim."""
    for victim in Victim:
        for blow, link, moment in product(BLOWS[victim], LINKS.get(victim, BOTH), Moment):
            yield Cell(victim, blow, link, moment)
