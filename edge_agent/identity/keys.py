"""A position's signing key and the key set that its tokens are checked by. Made here, certified by nobody else."""

from edge_agent.machine.layout import PositionPaths
from edge_agent.machine.storage import storage_errors
from mesh.files import private_directory, write_atomically
from mesh.tokens import jwks, new_signing_key


def ensure_keys(paths: PositionPaths) -> None:
    """Both files exist and belong together. The key is never replaced: tokens that were given out must stay good.

    Raises: Exhausted(DISK_FULL), Unavailable(STORAGE_FAILED).
    """
    if paths.signing_key.exists() and paths.jwks.exists():
        return
    with storage_errors(paths.home):
        private_directory(paths.home)
        if not paths.signing_key.exists():
            write_atomically(paths.signing_key, new_signing_key())
        write_atomically(paths.jwks, jwks(paths.signing_key.read_bytes()).encode())
