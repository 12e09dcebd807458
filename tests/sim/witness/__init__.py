"""Sees everything that happens in a run, and says when something happened that never may.

The witness stands outside: it reads disks, wires, commits, tables of gateways and starts of processes, never what our
code believes. It looks at every step that can be seen from there: each message, each page that is written, each commit,
each start, drain, end and table. What must hold has a name and a sentence (laws.py); the first that is broken ends the
run.
"""

from tests.sim.processes import ProcessLoop
from tests.sim.witness.book import Book
from tests.sim.witness.commits import Commits
from tests.sim.witness.disks import Disks
from tests.sim.witness.machines import Machines
from tests.sim.witness.wires import Wires


class Witness:
    def __init__(self, loop: ProcessLoop, traced: int, incarnation: str) -> None:
        self.book = Book(loop, traced)
        self.commits = Commits(self.book, incarnation)
        self.disks = Disks(self.book, self.commits)
        self.wires = Wires(self.book, self.disks)
        self.machines = Machines(self.book, self.disks)

    def restored(self, incarnation: str) -> None:
        """A backup is the store from now on, with an incarnation of its own."""
        self.book.note(f"the database is restored from a backup: {incarnation}")
        self.commits.incarnation = incarnation
        self.wires.restored()
