"""How soon something that has ended may be started again. Pure.

What was killed should be back at once, several times in a row too; what cannot run must not take the machine from
what can. At the moment of an end nobody can tell the one from the other. So there is a limit to starts, as systemd has
it (StartLimitBurst, five); but where systemd gives up, a start merely waits, as nobody may be there to do it by hand.
It is a leaky bucket: five starts are to be had at once, and one more with every ten seconds.
"""

from dataclasses import dataclass

AT_ONCE = 5  # as many as a person causes by hand
EVERY_S = 10.0  # for what ends again and again: a Python process costs a second of CPU to start, a tenth of a core then


@dataclass(frozen=True, slots=True)
class Ends:
    """Of one process: one of them is forgotten every EVERY_S seconds. Times are of one clock, whichever."""

    remembered: float = 0.0
    last_s: float = 0.0

    def another(self, now_s: float) -> "Ends":
        return Ends(max(0.0, self.remembered - (now_s - self.last_s) / EVERY_S) + 1.0, now_s)

    @property
    def pause_s(self) -> float:
        """Seconds to wait after the last one: none, unless more are remembered than starts are to be had at once."""
        return max(0.0, (self.remembered - AT_ONCE) * EVERY_S)
