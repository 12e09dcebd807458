"""A page of the ledger: one JSON document on disk that survives a kill at any moment.

The first line names format and checksum, the rest is the document:

    {"format": 1, "sha256": "9f8c..."}
    {"incarnation": "...", ...}

A page is replaced, never changed in place; the one before is kept as `<name>.previous`. A page that is torn or was
altered (its checksum tells) is set aside as `<name>.corrupt`, and the previous one is used. That is said loudly: what
was written last is lost then, and the sender has to say it again. A page of an older format is read by way of
`upgrades`; one of a newer format is refused, as this software would lose what it does not understand.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import structlog

from edge_agent.machine.storage import storage_errors
from mesh.files import write_atomically
from waypost.errors import DataLoss, Precondition

log = structlog.get_logger()

Upgrade = Callable[[Any], Any]
"""Turns a document of one format into one of the next."""


class Page:
    """One document. Methods block for one small file and its fsync."""

    def __init__(self, path: Path, form: int = 1, upgrades: Mapping[int, Upgrade] | None = None) -> None:
        self._path = path
        self._previous = path.with_name(f"{path.name}.previous")
        self._form = form
        self._upgrades = upgrades or {}
        self.damaged = False
        """True where the newest copy could not be read at the last `read`."""

    def read(self, *, only_look: bool = False) -> Any:
        """The document; None where there is none that can be read.

        only_look: a copy that is damaged stays where it is, as it is another's.
        Raises: Precondition(LEDGER_FORMAT); Unavailable(STORAGE_FAILED) from a disk that neither shows a page nor lets
        it be set aside: nobody must go on as if nothing had been written there.
        """
        self.damaged = False
        for path in (self._path, self._previous):
            try:
                return self._decoded(path)
            except FileNotFoundError:
                continue
            except (DataLoss, OSError) as error:
                self.damaged = True
                log.error("ledger_page_damaged", path=str(path), why=str(error))
                if not only_look and not self._set_aside(path) and isinstance(error, OSError):
                    with storage_errors(path):
                        raise
        return None

    def write(self, document: Any) -> None:
        """Replaces the document, durably. Raises: Exhausted(DISK_FULL), Unavailable(STORAGE_FAILED); unchanged then."""
        body = json.dumps(document, separators=(",", ":"), sort_keys=True).encode()
        header = json.dumps({"format": self._form, "sha256": hashlib.sha256(body).hexdigest()}).encode()
        with storage_errors(self._path):
            self._keep_previous()
            write_atomically(self._path, header + b"\n" + body)

    def _keep_previous(self) -> None:
        """A second name for the present copy; there is no moment without either."""
        temporary = self._path.with_name(f".{self._path.name}.link")
        temporary.unlink(missing_ok=True)
        try:
            os.link(self._path, temporary)
        except FileNotFoundError:
            return
        os.replace(temporary, self._previous)

    def _decoded(self, path: Path) -> Any:
        header, _, body = path.read_bytes().partition(b"\n")
        try:
            described = json.loads(header)
            form, checksum = int(described["format"]), described["sha256"]
        except (ValueError, KeyError, TypeError) as error:
            raise DataLoss("LEDGER_DAMAGED", f"{path} has no header") from error
        if hashlib.sha256(body).hexdigest() != checksum:
            raise DataLoss("LEDGER_DAMAGED", f"{path} is not what was written there")
        return self._upgraded(json.loads(body), form)

    def _upgraded(self, document: Any, form: int) -> Any:
        for step in range(form, self._form):
            if step not in self._upgrades:
                raise self._unreadable(form)
            document = self._upgrades[step](document)
        if form > self._form:
            raise self._unreadable(form)
        return document

    def _unreadable(self, form: int) -> Precondition:
        return Precondition(
            "LEDGER_FORMAT",
            f"{self._path} has format {form}, this agent reads formats up to {self._form}",
            "run the version of the agent that wrote it, or the one between",
        )

    def _set_aside(self, path: Path) -> bool:
        try:
            os.replace(path, path.with_name(f"{path.name}.corrupt"))
        except OSError as error:
            log.error("ledger_page_stays", path=str(path), why=str(error))
            return False
        return True
