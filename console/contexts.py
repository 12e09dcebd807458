"""Which platform a command speaks to, and the credential for it.

A context is one JSON file, readable by its owner only, because it holds a token or a session:

    <configuration>/contexts/<name>.json    one for each platform that this person uses
    <configuration>/current                 the name of the one that is meant when nobody says

The configuration is `$WAYPOST_CONFIG_DIR`, else `$XDG_CONFIG_HOME/waypost`, else `~/.config/waypost`. A command takes
`--context`, else `$WAYPOST_CONTEXT`, else the current one; either may also be the path of such a file, which is how
programs use the one that `waypost up` leaves in its data directory.
"""

import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from mesh.files import private_directory, write_atomically
from waypost.errors import Invalid, NotFound, Precondition

CONTEXT_VARIABLE = "WAYPOST_CONTEXT"
CONFIGURATION_VARIABLE = "WAYPOST_CONFIG_DIR"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@dataclass(frozen=True, slots=True)
class Context:
    """A platform, as its caller sees it."""

    name: str
    address: str
    """`host:port` of the control plane's API, over TLS; `http://host:port` is plaintext."""
    ca_pem: str
    """Roots to trust; empty means the roots of the system."""
    token: str
    """Empty: only people who log in use it."""
    data_dir: str = ""
    """Directory of the `waypost up` that this context came from; empty for a platform elsewhere."""
    session: str = ""
    """What a login gave; used in the place of `token`. Empty: nobody has logged in."""

    @property
    def proof(self) -> str | None:
        """What calls show; None for nothing."""
        return self.session or self.token or None


def configuration_directory() -> Path:
    """Where this person's contexts are kept; need not exist."""
    chosen = os.environ.get(CONFIGURATION_VARIABLE)
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "waypost"


def select(name: str | None) -> Context:
    """The context that a command shall use. Raises: NotFound, Precondition(NO_CONTEXT), Invalid(BAD_CONTEXT)."""
    return read(locate(name))


def locate(name: str | None) -> Path:
    """Its file. Raises: Precondition(NO_CONTEXT), Invalid(BAD_CONTEXT_NAME)."""
    chosen = name or os.environ.get(CONTEXT_VARIABLE) or current()
    if chosen is None:
        raise Precondition(
            "NO_CONTEXT",
            "no platform is known here",
            "start one with `waypost up`, or add one that runs elsewhere with `waypost context add`",
        )
    return Path(chosen) if _is_path(chosen) else _path(chosen)


def named(name: str) -> Context:
    """A context that is kept in the person's configuration. Raises: as `read`."""
    return read(_path(name))


def read(path: Path) -> Context:
    """Raises: NotFound(CONTEXT_NOT_FOUND), Invalid(BAD_CONTEXT)."""
    try:
        return Context(**json.loads(path.read_bytes()))
    except FileNotFoundError as error:
        raise NotFound(
            "CONTEXT_NOT_FOUND", f"there is no context at {path}", "`waypost context list` shows those there are"
        ) from error
    except (ValueError, TypeError) as error:
        raise Invalid("BAD_CONTEXT", f"{path} is not a context: {error}", "delete it, then add it again") from error


def write(path: Path, context: Context) -> None:
    """Writes one context, readable by its owner only."""
    write_atomically(path, json.dumps(asdict(context), indent=2).encode() + b"\n", mode=0o600)


def save(context: Context) -> None:
    """Keeps a context in the person's configuration. Raises: Invalid(BAD_CONTEXT_NAME)."""
    path = _path(context.name)
    private_directory(path.parent)
    write(path, context)


def names() -> list[str]:
    """Of all contexts that are kept, sorted."""
    return sorted(path.stem for path in (configuration_directory() / "contexts").glob("*.json"))


def current() -> str | None:
    """Name of the context that is meant when nobody says; None where there is none."""
    try:
        return (configuration_directory() / "current").read_text().strip() or None
    except FileNotFoundError:
        return None


def use(name: str) -> Context:
    """Makes a context the current one and returns it. Raises: NotFound(CONTEXT_NOT_FOUND)."""
    context = read(_path(name))
    write_atomically(configuration_directory() / "current", f"{name}\n".encode(), mode=0o600)
    return context


def remove(name: str) -> None:
    """Forgets a context; the platform is left alone. Raises: NotFound(CONTEXT_NOT_FOUND)."""
    read(_path(name))
    _path(name).unlink()
    if current() == name:
        (configuration_directory() / "current").unlink()


def _path(name: str) -> Path:
    if not _NAME.fullmatch(name):
        raise Invalid(
            "BAD_CONTEXT_NAME",
            f"{name!r} cannot name a context",
            "use letters, digits, dots, underscores and hyphens, or give the path of a context file",
        )
    return configuration_directory() / "contexts" / f"{name}.json"


def _is_path(chosen: str) -> bool:
    return "/" in chosen or chosen.endswith(".json")
