"""What is found out before a control plane joins others on a store."""

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


async def refuse_other_authority(facts: Facts, pin: str) -> None:
    """One mesh has one authority: an agent that one control plane let in could not speak to another.

    The key itself is never in the store: whoever can read the database must not be able to make identities.
    Raises: Precondition(AUTHORITY_DIFFERS).
    """
    kept = await facts.keep(AUTHORITY, pin)
    if kept != pin:
        raise Precondition(
            "AUTHORITY_DIFFERS",
            f"this control plane signs with the root {pin[:12]}..., the others on its store with {kept[:12]}...",
            "copy ca.pem and ca.key from identity/ of one that runs into ours, or name them with --ca-certificate"
            " and --ca-key",
        )
