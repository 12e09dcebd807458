"""`failure.json`: why a host could not start or load, for the agent that started it.

It lies beside the settings file; a host that was started without one writes none.
"""

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

from inference_host.settings import ENV_PREFIX
from mesh.files import write_atomically
from waypost.errors import MeshError

FAILURE = "failure.json"


class FailureNote:
    """Of one start. argv: of `waypost host run`; settings that cannot be read are themselves a reason to write one."""

    def __init__(self, argv: Sequence[str]) -> None:
        parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        parser.add_argument("--settings", type=Path, default=os.environ.get(f"{ENV_PREFIX}SETTINGS"))
        file = parser.parse_known_args(argv)[0].settings
        self._path = Path(file).parent / FAILURE if file else None

    def write(self, error: MeshError) -> None:
        if self._path is not None and self._path.parent.is_dir():
            note = {"reason": error.reason, "message": error.message, "hint": error.hint}
            write_atomically(self._path, json.dumps(note).encode())

    def remove(self) -> None:
        """What an earlier start died of says nothing about this one."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
