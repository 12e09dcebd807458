"""Settings of `waypost backup` and `waypost restore`: where the control plane's data is, as it is told itself."""

from pathlib import Path
from typing import Annotated

from control_plane.settings import ENV_PREFIX
from mesh.settings import Positional, Settings

__all__ = ["ENV_PREFIX", "BackupSettings", "RestoreSettings"]


class BackupSettings(Settings):
    """Writes everything that a control plane knows into one file, while it goes on working.

    The file holds the authority's key and is readable by you alone: keep it where nobody else is."""

    file: Annotated[Path, Positional()]
    """File to write. It must not exist."""

    data_dir: Path = Path(".waypost/control-plane")
    """The control plane's data directory."""

    database_url: str = ""
    """postgresql://user@host/database where the store is there. Empty: SQLite in data_dir."""

    artifacts: bool = True
    """Files of model versions, too. Without them a restore needs that directory from elsewhere."""


class RestoreSettings(Settings):
    """Makes a control plane's data of a backup, in an empty data directory and an empty database.

    Start the control plane there afterwards. Edge servers keep whatever the backup does not know of, until you say
    otherwise with `waypost edge-server confirm`."""

    file: Annotated[Path, Positional()]
    """File that `waypost backup` wrote."""

    data_dir: Path = Path(".waypost/control-plane")
    """Data directory to make. It must not exist, or be empty."""

    database_url: str = ""
    """postgresql://user@host/database of an empty database for the store. Empty: SQLite in data_dir."""
