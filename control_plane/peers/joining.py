"""What is found out before a control plane joins others on a store."""

from collections.abc import Sequence
from pathlib import Path

from control_plane.store import Facts
from mesh.clock import Ids
from mesh.files import write_atomically
from waypost.errors import Precondition

ID = "control-plane.id"
AUTHORITY = "authority"
"""Fact: the pin of the authority that signs edge servers' certificates."""


def known_id(data_dir: Path, ids: Ids) -> str:
    """By which peers know this data directory, whatever process runs in it."""
    path = data_dir / ID
    if not path.exists():
        write_atomically(path, f"{ids.uuid()}\n".encode())
    return path.read_text().strip()


async def agree_on_authority(facts: Facts, pins: Sequence[str]) -> None:
    """One mesh has one authority: an agent that one control plane let in could not speak to another.

    pins: of all roots that we trust, the signing one first. It is enough to trust the one that others sign with: while
    one root follows another, two are good. The key itself is never in the store: whoever can read the database must not
    be able to make identities. Raises: Precondition(AUTHORITY_DIFFERS).
    """
    ours = pins[0]
    kept = await facts.keep(AUTHORITY, ours)
    if kept not in pins:
        raise Precondition(
            "AUTHORITY_DIFFERS",
            f"this control plane signs with the root {ours[:12]}..., the others on its store with {kept[:12]}...",
            "copy ca.pem and ca.key from identity/ of one that runs into ours, or name them with --ca-certificate"
            " and --ca-key",
        )
    if kept != ours:
        await facts.change(AUTHORITY, ours)
