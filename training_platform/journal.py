"""The log of publications: numbered, append-only, on disk before anybody is told.

One JSON line each: a header (`format`, `base`), the catalogue at `base` as events without a number, then event
base + 1, base + 2 and so on. Writing is one `write` and one `fsync`; a line that a kill cut short is cut off at the
next start (nobody was told of it). Now and then the older half is folded into the catalogue and the file replaced.

A new log starts at the current second, not at 0: should somebody delete it, no number that a subscriber remembers from
the old one is ever met again, and the subscriber learns (OUT_OF_RANGE) that it has to start over.
"""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from google.protobuf import json_format

from mesh.files import write_atomically
from training_platform.catalogue import Catalogue, Event, folded
from waypost.errors import DataLoss, OutOfRange

LOG = "log"
FORMAT = 1
EVENTS_MAX = 4000  # then the older half goes: a subscriber may be 2000 publications behind before it starts over
EVENTS_KEPT = 2000


@dataclass(slots=True)
class Journal:
    path: Path
    base: int
    """Sequence that the file's catalogue stands at."""
    catalogue: Catalogue
    """After the last event."""
    _at_base: list[Event]
    _events: list[Event]
    _length: int
    """Bytes of the file that count."""

    @classmethod
    def open(cls, path: Path, *, now: float) -> Self:
        """Reads the log, or begins one. Raises: DataLoss(BAD_LOG), OSError."""
        if not path.exists():
            write_atomically(path, _header(int(now)))
        journal = cls.read(path)
        os.truncate(path, journal._length)
        return journal

    @classmethod
    def read(cls, path: Path) -> Self:
        """The same, for looking only: the file is left as it is. Raises: DataLoss(BAD_LOG), OSError."""
        whole, newline, _torn = path.read_bytes().rpartition(b"\n")
        header, *lines = whole.split(b"\n")
        try:
            head = json.loads(header)
            if head["format"] != FORMAT:
                raise ValueError(f"format {head['format']}, this is format {FORMAT}")
            events = [json_format.Parse(line, Event()) for line in lines]
        except (ValueError, KeyError, json_format.ParseError) as error:
            hint = "move it away: a new log begins, and subscribers start over"
            raise DataLoss("BAD_LOG", f"{path} is not a log of publications: {error}", hint) from error
        at_base = [event for event in events if not event.sequence]
        numbered = [event for event in events if event.sequence]
        return cls(path, head["base"], folded(events), at_base, numbered, len(whole) + len(newline))

    @property
    def last(self) -> int:
        """Sequence of the last event."""
        return self.base + len(self._events)

    def append(self, events: Sequence[Event]) -> None:
        """Numbers the events and makes them durable. Raises: OSError, and nothing is appended then."""
        numbered: list[Event] = []
        for sequence, event in enumerate(events, self.last + 1):
            numbered.append(Event())
            numbered[-1].CopyFrom(event)
            numbered[-1].sequence = sequence
        self._write(_lines(numbered))
        self._events += numbered
        for event in numbered:
            self.catalogue.apply(event)
        if len(self._events) > EVENTS_MAX:
            self._compact()

    def after(self, sequence: int) -> list[Event]:
        """Events that follow `sequence` without a gap. Raises: OutOfRange(START_OVER) where the log lacks some."""
        if not self.base <= sequence <= self.last:
            raise OutOfRange(
                "START_OVER",
                f"the log holds what came after {self.base}, up to {self.last}; {sequence} is outside",
                "subscribe from 0 again",
            )
        return self._events[sequence - self.base :]

    def _write(self, data: bytes) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        try:
            written = os.write(descriptor, data)
            if written < len(data):
                raise OSError(f"only {written} of {len(data)} bytes fit into {self.path}")
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, self._length)
            raise
        finally:
            os.close(descriptor)
        self._length += len(data)

    def _compact(self) -> None:
        folding = self._events[:-EVENTS_KEPT]
        at_base = folded([*self._at_base, *folding]).as_events()
        base, kept = folding[-1].sequence, self._events[-EVENTS_KEPT:]
        data = _header(base) + _lines(at_base) + _lines(kept)
        write_atomically(self.path, data)
        self.base, self._at_base, self._events, self._length = base, at_base, kept, len(data)


def _header(base: int) -> bytes:
    return json.dumps({"format": FORMAT, "base": base}).encode() + b"\n"


def _lines(events: Iterable[Event]) -> bytes:
    return b"".join(json_format.MessageToJson(event, indent=None).encode() + b"\n" for event in events)
