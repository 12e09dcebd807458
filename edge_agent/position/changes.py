"""What is carried out at a position: what the control plane wants now, or still what was carried out last. Pure.

    nothing of what runs would change                    what is wanted
    changes are held on the machine (`hold`)             the last one; without one, nothing runs
    it is to go                                          what is wanted
    its software is not installed here                   the last one; without one, nothing runs
    nothing was carried out here yet                     what is wanted
    it has never been in service                         what is wanted: there is nothing to disturb
    no maintenance window is open                        the last one
    otherwise                                            what is wanted

The last one is carried out as a whole, with all that keeps it serving: replicas that end are started again, the
monitor decides and rolls back. Only which tokens are good is as wanted, or a revoked one would be let in; a position
that is to go keeps those that it has for as long as it stays.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from edge_agent.failure import Failure
from edge_agent.position.assignments import Assignment, assignment_of
from edge_agent.position.mode import Kind, Mode
from mesh import windows
from mesh.link import Item
from mesh.times import seconds
from mesh.windows import Window
from waypost import names
from waypost.api.link.v1.agent_link_pb2 import EdgeServerAssignment, PositionAssignment
from waypost.errors import Invalid

WINDOWS_MAX = 16  # of one edge server; the API refuses more already


@dataclass(frozen=True, slots=True)
class Rules:
    """When positions that are in service may be changed."""

    windows: tuple[Window, ...] = ()
    """None: at any time."""
    allowed_until_s: float = 0.0
    """Unix seconds: until then whether or not one is open."""

    def allow(self, wanted: Assignment, now_s: float) -> bool:
        until_s = max(self.allowed_until_s, seconds(wanted.message.changes_allowed_until))
        return not self.windows or now_s < until_s or windows.is_open(self.windows, now_s)


ALWAYS = Rules()


@dataclass(frozen=True, slots=True)
class Choice:
    assignment: Assignment
    """What is carried out."""
    held: Failure | None = None
    """Why that is not what is wanted."""
    runnable: bool = True
    """False: nothing of it can be started here."""


def last_of(body: bytes) -> Assignment | None:
    """What an agent wrote down as carried out (ledger.Record.assignment); None where it did not."""
    return assignment_of(PositionAssignment.FromString(body)) if body else None


def is_own(item: Item) -> bool:
    """Whether an item is about the edge server itself, and not about a position."""
    return item.name.startswith("edgeServers/")


def read_rules(item: Item) -> Rules:
    """Raises: Invalid(BAD_ASSIGNMENT | BAD_WINDOW)."""
    try:
        message = EdgeServerAssignment.FromString(item.body)
    except DecodeError as error:
        raise Invalid("BAD_ASSIGNMENT", f"what {item.name} is told of itself cannot be decoded") from error
    if len(message.maintenance_windows) > WINDOWS_MAX:
        raise Invalid("BAD_ASSIGNMENT", f"{item.name} has more than {WINDOWS_MAX} maintenance windows")
    found = tuple(windows.read_window(window) for window in message.maintenance_windows)
    return Rules(found, seconds(message.changes_allowed_until))


def choose(
    wanted: Assignment,
    last: Assignment | None,
    *,
    served: bool,
    rules: Rules,
    mode: Mode,
    installed: Callable[[str], bool],
    missing: Callable[[str], Failure],
    now_s: float,
) -> Choice:
    """served: the position was in service here. installed, missing: of versions of the software."""
    if mode.kind is Kind.HOLD and not (last and _runs_alike(wanted, last)):
        if last is not None:
            return Choice(_with_tokens(last, wanted), mode.restriction)
        if not served:
            return Choice(wanted, mode.restriction, runnable=False)
    if wanted.wanted.deleting:
        return Choice(wanted)
    if not installed(wanted.software):
        why = missing(wanted.software)
        return Choice(_with_tokens(last, wanted), why) if last else Choice(wanted, why, runnable=False)
    if last is None or not served or not installed(last.software) or _runs_alike(wanted, last):
        return Choice(wanted)
    if not rules.allow(wanted, now_s):
        return Choice(_with_tokens(last, wanted), _closed(wanted, rules.windows, now_s))
    return Choice(wanted)


def _runs_alike(one: Assignment, other: Assignment) -> bool:
    """Whether what runs, and where it is called, is the same, whatever else is said of it."""
    ports = [assignment.spec.endpoint.dedicated_port for assignment in (one, other)]
    return one.wanted == other.wanted and ports[0] == ports[1]


def _with_tokens(last: Assignment, wanted: Assignment) -> Assignment:
    if wanted.wanted.deleting:
        return last
    message = PositionAssignment()
    message.CopyFrom(last.message)
    del message.tokens[:]
    message.tokens.extend(wanted.message.tokens)
    return assignment_of(message)


def _closed(wanted: Assignment, found: Sequence[Window], now_s: float) -> Failure:
    opens_s, window = windows.next_opening(found, now_s)
    return Failure(
        "MAINTENANCE_WINDOW",
        f"generation {wanted.generation} waits for the maintenance window that opens"
        f" {windows.on_the_wall(opens_s, window)}",
        f"`waypost position allow-changes {names.short(wanted.position)}` lets it be changed now",
    )
