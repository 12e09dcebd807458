"""What control planes commit: which desired states there ever were, and under which numbers."""

from collections.abc import Sequence

from control_plane.store.base import Delete, Put
from control_plane.store.resources import DESIRED
from mesh.link_core import EMPTY, Item, hash_of
from tests.sim.witness.book import Book
from waypost.api.link.v1 import link_pb2


class Commits:
    def __init__(self, book: Book, incarnation: str) -> None:
        self._book = book
        self.incarnation = incarnation
        """Of the store that is committed to now."""
        self.confirmed: set[tuple[str, str]] = set()
        """(edge server, incarnation) where somebody has said that a restored store is meant."""
        self._planned: dict[str, set[str]] = {}
        self._bodies: dict[tuple[str, str, str, int], bytes] = {}

    def committed(self, changes: Sequence[Put | Delete], revision: int) -> None:
        for change in changes:
            if isinstance(change, Put) and change.kind == DESIRED.kind:
                self._book.happened += 1
                self._plan(change.name.removeprefix("desired/"), change.body)
        self._book.note(f"revision {revision}: {', '.join(change.name for change in changes)}"[:200])

    def planned(self, edge_server: str) -> set[str]:
        """Hashes of all desired states that it was ever to hold."""
        return {EMPTY.hash, *self._planned.get(edge_server, ())}

    def _plan(self, server: str, body: bytes) -> None:
        items = [Item(item.name, item.generation, item.body) for item in link_pb2.Desired.FromString(body).upserts]
        self._planned.setdefault(server, set()).add(hash_of(items))
        for item in items:
            known = self._bodies.setdefault((self.incarnation, server, item.name, item.generation), item.body)
            how = f"{item.name} {item.generation} on {server}"
            self._book.must("numbers-are-used-once", known == item.body, how)
