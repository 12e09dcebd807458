"""What must survive a kill at any moment: one agent's memory, on disk.

    alone       since when the control plane has not been heard; nothing while it is there
    clock       the newest time that the wall clock has shown
    desired     what the control plane wants, as it sent it: bytes, so that nothing a newer one says is lost
    mode        whether the control plane is followed (position/mode.py)
    decisions   per position, the highest-numbered decision of its monitor
    commands    what became of the last commands (journal.py)
    positions   per position, what was given out to it and what became of it: sockets, port, replica ids, route, and
                what was carried out last

The rule is write first, then act. Whatever the agent does can therefore be begun again by whoever reads the ledger;
and whatever runs beside it, drivers and gateway are asked for. Writes are small and synchronous: a few kilobytes and
one fsync.

An agent reads what the version before it wrote, and that one what this one writes (tests/edge/test_upgrade.py):
an agent that was upgraded may have to go back. So fields are only added here, and may be missing.
"""

from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import structlog

from edge_agent.model_version import Version
from edge_agent.position.diff import Entry, Route
from edge_agent.position.mode import FOLLOW, Kind, Mode
from edge_agent.position.record import Record, Slot
from edge_agent.state.journal import Journal, Outcome
from edge_agent.state.pages import Page
from edge_agent.state.solitude import Since
from mesh.link import EMPTY, DesiredState, Item, Refusal
from waypost.api.link.v1.link_pb2 import ItemError
from waypost.api.link.v1.monitor_link_pb2 import Decision
from waypost.errors import MeshError

log = structlog.get_logger()

FORMAT = 1
PAGES = ("desired", "alone", "clock", "mode", "decisions", "commands", "positions")


class Ledger:
    """In memory what is on disk. Every `keep_*` but `keep_epoch` is durable when it returns, or raises and changes
    nothing.
    """

    def __init__(self, directory: Path, *, only_look: bool = False) -> None:
        """Reads what is there. only_look: for whoever is not the agent, and therefore leaves what is damaged as it is.

        Raises: Precondition(LEDGER_FORMAT), Unavailable(STORAGE_FAILED).
        """
        self._pages = {name: Page(directory / f"{name}.json", FORMAT) for name in PAGES}
        found = {name: page.read(only_look=only_look) for name, page in self._pages.items()}
        self.unwritten: MeshError | None = None
        """Why the last write failed; None where it did not."""
        desired = found["desired"]
        self._desired = _desired_from(desired) if desired else EMPTY
        self._epoch = self._epoch_written = int(desired["epoch"]) if desired else 0
        decisions = found["decisions"] or {}
        self._decisions = {uid: Decision.FromString(b64decode(body)) for uid, body in decisions.items()}
        self.journal = Journal(
            tuple(map(Outcome.from_page, found["commands"] or ())),
            lambda outcomes: self._write("commands", [outcome.to_page() for outcome in outcomes]),
        )
        """What became of commands. Raises what writing raises."""
        records = found["positions"] or []
        self._records = {record["uid"]: _record_from(record) for record in records}
        alone = found["alone"]
        self._alone = Since.from_page(alone) if alone else None
        mode = found["mode"]
        self._mode = _mode_from(mode) if mode else FOLLOW
        self._newest_time = float(found["clock"] or 0.0)

    @property
    def damaged(self) -> list[str]:
        """Names of pages whose newest copy could not be read when the agent started."""
        return [name for name, page in self._pages.items() if page.damaged]

    # -- what the control plane wants

    @property
    def desired(self) -> DesiredState:
        return self._desired

    @property
    def informed(self) -> bool:
        """Whether a control plane was ever heard. Before that, what runs here is nobody's to stop."""
        return bool(self._desired.incarnation)

    @property
    def epoch(self) -> int:
        """Number of the newest session with the control plane."""
        return self._epoch

    def keep_desired(self, state: DesiredState) -> None:
        """Raises: Exhausted(DISK_FULL), Unavailable(STORAGE_FAILED)."""
        self._write("desired", _desired_to(state, self._epoch))
        self._desired, self._epoch_written = state, self._epoch

    def keep_epoch(self, epoch: int) -> None:
        """Never raises: where the disk does not take it, it is held in memory until `catch_up`.

        It fences: who has seen a session follows none that is older (docs/link.md). This process does so by what it
        has in memory; what is on the disk is for the next one. That is never older than the session by which the
        desired state came that lies beside it, as one write holds both. So all that a disk that is full can cost is
        this: the agent ends before it can write again, and the next one listens to a session between the two. Without
        a session, nobody would hear that the disk is full.
        """
        self._epoch = epoch
        self.catch_up()

    def catch_up(self) -> None:
        """Writes the epoch where the disk did not take it; where any write failed last, asks the disk again."""
        if self._epoch != self._epoch_written or self.unwritten is not None:
            try:
                self.keep_desired(self._desired)
            except MeshError as error:
                log.error("ledger_not_written", epoch=self._epoch, why=error.message, hint=error.hint)

    @property
    def alone(self) -> Since | None:
        """Since when; None while the control plane is there."""
        return self._alone

    def keep_alone(self, since: Since | None) -> None:
        """Raises: Exhausted(DISK_FULL), Unavailable(STORAGE_FAILED)."""
        self._write("alone", since.to_page() if since else None)
        self._alone = since

    # -- what people on the machine want

    @property
    def mode(self) -> Mode:
        return self._mode

    def keep_mode(self, mode: Mode) -> None:
        """Raises: Exhausted(DISK_FULL), Unavailable(STORAGE_FAILED)."""
        self._write("mode", _mode_to(mode))
        self._mode = mode

    @property
    def newest_time(self) -> float:
        """That the wall clock has shown, in seconds since the epoch; 0 where nobody has looked yet."""
        return self._newest_time

    def keep_newest_time(self, newest: float) -> None:
        """Raises: Exhausted(DISK_FULL), Unavailable(STORAGE_FAILED)."""
        self._write("clock", newest)
        self._newest_time = newest

    # -- what the monitors decided

    def decision(self, uid: str) -> Decision | None:
        return self._decisions.get(uid)

    def keep_decision(self, uid: str, decision: Decision) -> bool:
        """False where the one that is held has the same number or a higher one; nothing changes then.

        Raises: Exhausted(DISK_FULL), Unavailable(STORAGE_FAILED).
        """
        held = self._decisions.get(uid)
        if held is not None and decision.number <= held.number:
            return False
        self._write_decisions({**self._decisions, uid: decision})
        return True

    # -- what was given out

    def record(self, uid: str) -> Record | None:
        return self._records.get(uid)

    @property
    def records(self) -> Mapping[str, Record]:
        """By uid."""
        return self._records

    def keep_record(self, record: Record) -> None:
        """Raises: Exhausted(DISK_FULL), Unavailable(STORAGE_FAILED)."""
        if record != self._records.get(record.uid):
            self._write_records({**self._records, record.uid: record})

    def forget(self, uid: str) -> None:
        """Nothing of the position is left here. Raises: Exhausted(DISK_FULL), Unavailable(STORAGE_FAILED)."""
        if uid in self._decisions:
            self._write_decisions({key: value for key, value in self._decisions.items() if key != uid})
        if uid in self._records:
            self._write_records({key: value for key, value in self._records.items() if key != uid})

    def open_record(self, uid: str, position: str) -> Record:
        """The position's record; a new one gets a directory name that no other position has."""
        if (record := self._records.get(uid)) is not None:
            return record
        digits = uid.replace("-", "")
        taken = {record.short for record in self._records.values()}
        short = next(digits[:length] for length in range(8, len(digits) + 1) if digits[:length] not in taken)
        record = Record(uid, position, short)
        self.keep_record(record)
        return record

    def free_port(self, ports: Iterable[int]) -> int | None:
        """The lowest of `ports` that no position holds."""
        held = {port for record in self._records.values() for port in (record.port, record.monitor_port)}
        return next((port for port in ports if port not in held), None)

    def _write(self, page: str, document: Any) -> None:
        try:
            self._pages[page].write(document)
        except MeshError as error:
            self.unwritten = error
            raise
        self.unwritten = None

    def _write_decisions(self, decisions: Mapping[str, Decision]) -> None:
        self._write("decisions", {uid: _text(d.SerializeToString()) for uid, d in decisions.items()})
        self._decisions = dict(decisions)

    def _write_records(self, records: Mapping[str, Record]) -> None:
        self._write("positions", [_record_to(record) for record in records.values()])
        self._records = dict(records)


def _text(data: bytes) -> str:
    return b64encode(data).decode()


def _mode_to(mode: Mode) -> dict[str, Any]:
    older = {"held": None}  # the version before this one looks for it
    return {"kind": mode.kind.value, "reason": mode.reason, "since_s": mode.since_s, **older}


def _mode_from(page: Mapping[str, Any]) -> Mode:
    return Mode(Kind(page["kind"]), page["reason"], page["since_s"])


def _desired_to(state: DesiredState, epoch: int) -> dict[str, Any]:
    items = [
        {"name": item.name, "generation": item.generation, "body": _text(item.body)} for item in state.items.values()
    ]
    return {
        "incarnation": state.incarnation,
        "version": state.version,
        "hash": state.hash,
        "items": items,
        "refused": [_text(refusal.message().SerializeToString()) for refusal in state.refused],
        "epoch": epoch,
    }


def _desired_from(page: Mapping[str, Any]) -> DesiredState:
    items = {i["name"]: Item(i["name"], i["generation"], b64decode(i["body"])) for i in page["items"]}
    refused = [Refusal.of(ItemError.FromString(b64decode(body))) for body in page.get("refused", ())]
    return DesiredState(page["incarnation"], page["version"], items, page["hash"], tuple(refused))


def _record_to(record: Record) -> dict[str, Any]:
    good = record.good
    return {
        "uid": record.uid,
        "position": record.position,
        "short": record.short,
        "port": record.port,
        "monitor_port": record.monitor_port,
        "slots": {id_: [slot.version.name, slot.version.digest, slot.variant] for id_, slot in record.slots.items()},
        "route": [[entry.replica, entry.shape, entry.weight] for entry in record.route.entries],
        "route_generation": record.route_generation,
        "good": [good.name, good.digest] if good else None,
        "good_generation": record.good_generation,
        "versions": {digest: _text(body) for digest, body in record.versions.items()},
        "assignment": _text(record.assignment),
    }


def _record_from(page: Mapping[str, Any]) -> Record:
    return Record(
        uid=page["uid"],
        position=page["position"],
        short=page["short"],
        port=page["port"],
        monitor_port=page.get("monitor_port", 0),
        slots={id_: Slot(Version(name, digest), variant) for id_, (name, digest, variant) in page["slots"].items()},
        route=Route(tuple(Entry(*entry) for entry in page["route"])),
        route_generation=page["route_generation"],
        good=Version(*page["good"]) if page["good"] else None,
        good_generation=page["good_generation"],
        versions={digest: b64decode(body) for digest, body in page["versions"].items()},
        assignment=b64decode(page.get("assignment", "")),
    )
