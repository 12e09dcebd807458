"""What comes down the links, as values: assignments from the control plane, decisions from the monitors.

Whatever is wrong is refused here, with a reason, before anything is written down or acted upon.
"""

import hashlib
import math
import re
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from edge_agent.machine.software import Software
from edge_agent.model_version import Version
from edge_agent.position.diff import DecidedShare, Decision, Wanted
from mesh.link import Item
from mesh.packages import is_digest
from mesh.position import ALL, REPLICAS_MAX
from mesh.times import seconds
from mesh.version import VERSION
from waypost import names
from waypost.api.control.v1.model_pb2 import ModelVersion
from waypost.api.control.v1.position_pb2 import PositionSpec
from waypost.api.link.v1 import monitor_link_pb2 as pb
from waypost.api.link.v1.agent_link_pb2 import PositionAssignment
from waypost.errors import Invalid

VERDICTS_TAKEN_MAX = 256  # of one position: more than any monitor keeps, for another version's may keep more

_UID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Assignment:
    """One position that shall be here."""

    message: PositionAssignment
    wanted: Wanted

    @property
    def uid(self) -> str:
        return self.message.uid

    @property
    def position(self) -> str:
        """Full name."""
        return self.message.position

    @property
    def generation(self) -> int:
        return self.message.generation

    @property
    def spec(self) -> PositionSpec:
        return self.message.spec

    @property
    def model_version(self) -> ModelVersion:
        """The version wanted, with its artifacts."""
        return self.message.model_version

    @property
    def software(self) -> str:
        """Version of the software that its monitor and hosts run; never empty but where it goes."""
        return self.spec.software_version

    @property
    def stop_after_s(self) -> float:
        """How long it may serve without the control plane; infinite where nobody said."""
        return seconds(self.spec.on_disconnect.stop_after) or math.inf

    @property
    def serve_as(self) -> str:
        """Model name that every version here answers to."""
        return self.spec.serve_as or names.leaf(self.position)


def sets_back(item: Item, held: Item) -> bool:
    """Whether an item of another store is an older spec of the position that is held, another position of its name, or
    that position once more although it was to go.

    Items are numbered by their store and say nothing across stores; the position's own generation and uid do. An item
    of the edge server itself has neither.
    """
    try:
        after, before = (PositionAssignment.FromString(each.body) for each in (item, held))
    except DecodeError:
        return False  # refused by itself
    returns = before.deleting and not after.deleting
    return returns or after.uid != before.uid or after.generation < before.generation


def read_assignment(item: Item) -> Assignment:
    """Raises: Invalid(BAD_ASSIGNMENT)."""
    try:
        message = PositionAssignment.FromString(item.body)
    except DecodeError as error:
        raise _bad_assignment(item.name, "it cannot be decoded") from error
    _check_assignment(item.name, message)
    return assignment_of(message)


def assignment_of(message: PositionAssignment) -> Assignment:
    """A message that was checked. No software asked for means this agent's own, and is written as that."""
    message.spec.software_version = message.spec.software_version or VERSION
    return Assignment(message, _wanted(message))


def leaving(uid: str, position: str) -> Assignment:
    """For a position that is here and no longer assigned: it goes."""
    message = PositionAssignment(position=position, uid=uid, deleting=True)
    return Assignment(message, Wanted(Version("", ""), 0, 0, deleting=True))


def read_decision(message: pb.Decision) -> Decision:
    """Raises: Invalid(BAD_DECISION)."""
    weights = [share.weight for share in message.shares]
    digests = [share.digest for share in message.shares]
    if message.number < 1:
        raise _bad_decision(f"its number is {message.number}, the first one is 1")
    if any(weight < 0 for weight in weights) or sum(weights) not in (0, ALL):
        raise _bad_decision(f"the weights {weights} add up neither to {ALL} nor to 0")
    if any(not 0 <= share.replicas <= REPLICAS_MAX for share in message.shares):
        raise _bad_decision(f"a share has more than {REPLICAS_MAX} replicas, or less than none")
    if any(len(share.leaving) > REPLICAS_MAX for share in message.shares):
        raise _bad_decision(f"a share names more than {REPLICAS_MAX} replicas that shall go")
    if len(set(digests)) != len(digests) or not all(map(is_digest, digests)):
        raise _bad_decision("its shares do not name each version once, by digest")
    if len(message.verdicts) > VERDICTS_TAKEN_MAX:
        raise _bad_decision(f"it has {len(message.verdicts)} verdicts, at most {VERDICTS_TAKEN_MAX} are kept")
    return Decision(
        shares=tuple(
            DecidedShare(Version(s.model_version, s.digest), s.replicas, s.weight, frozenset(s.leaving))
            for s in message.shares
        ),
        rejected=frozenset(verdict.digest for verdict in message.verdicts),
    )


def variant_of(spec: PositionSpec, serve_as: str) -> str:
    """`<hash>@<software>`: all that a host is started with besides its version. A change replaces the hosts."""
    parts = f"{serve_as}\0{spec.resources.cpu_millis}\0{spec.resources.memory_bytes}"
    return f"{hashlib.sha256(parts.encode()).hexdigest()[:8]}@{spec.software_version}"


def _wanted(message: PositionAssignment) -> Wanted:
    spec = message.spec
    least = spec.replicas.min or 1
    version = Version(message.model_version.name, message.model_version.digest)
    return Wanted(
        version=version,
        replicas_min=least,
        replicas_max=max(least, spec.replicas.max),
        variant=variant_of(spec, spec.serve_as or names.leaf(message.position)),
        deleting=message.deleting,
    )


def _check_assignment(name: str, message: PositionAssignment) -> None:
    """Refuses what could not be acted upon. Names and digests become paths, so they are looked at closely."""
    if message.position != name or names.parse(name, "positions") != name:
        raise _bad_assignment(name, f"it is for {message.position!r}")
    if not _UID.fullmatch(message.uid):
        raise _bad_assignment(name, f"its uid {message.uid!r} is no UUID")
    if message.deleting:
        return
    if not is_digest(message.model_version.digest):
        raise _bad_assignment(name, f"its version has no digest: {message.model_version.digest!r}")
    if message.spec.software_version and not Software.is_version(message.spec.software_version):
        raise _bad_assignment(name, f"{message.spec.software_version!r} is no version of the software")
    replicas = message.spec.replicas
    if not (0 <= replicas.min <= REPLICAS_MAX and 0 <= replicas.max <= REPLICAS_MAX):
        raise _bad_assignment(
            name, f"it asks for {replicas.min}..{replicas.max} replicas, 1..{REPLICAS_MAX} can be had"
        )


def _bad_assignment(name: str, why: str) -> Invalid:
    return Invalid(
        "BAD_ASSIGNMENT",
        f"the assignment of {name} cannot be taken: {why}",
        "what ran before goes on running; look for a control plane of another version",
        position=name,
    )


def _bad_decision(why: str) -> Invalid:
    return Invalid(
        "BAD_DECISION",
        f"the monitor's decision cannot be taken: {why}",
        "the last good decision stays in force; look at the monitor's log",
    )
