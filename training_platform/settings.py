"""The flags of each subcommand of `waypost training`."""

from pathlib import Path
from typing import Annotated, Literal

from mesh.settings import Positional, Settings


class ServeSettings(Settings):
    """Serve a directory of models to deployment platforms, over training.v1."""

    directory: Annotated[Path, Positional()]
    """Directory that `publish` fills; made where it is missing."""
    listen: str = "127.0.0.1:7610"
    """Address to listen on; port 0 takes a free one. Beyond loopback it needs a certificate."""
    name: str = ""
    """What this platform calls itself to its subscribers; empty means the directory's name."""
    certificate: Path | None = None
    """PEM file with the server's certificate chain; with it, TLS is spoken."""
    key: Path | None = None
    """PEM file with the certificate's key."""
    insecure: bool = False
    """Listen beyond loopback without TLS: everybody on that network may read and change what is sent."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """debug, info, warning or error."""


class PublishSettings(Settings):
    """Publish one version of a model."""

    directory: Annotated[Path, Positional()]
    """Directory of the training platform."""
    version: Annotated[str, Positional()]
    """APPLICATION/MODEL/VERSION, such as water/forecaster/3."""
    onnx: Path | None = None
    """An ONNX model: the version is this one file, and is served by the default template."""
    package: Path | None = None
    """A directory whose files, all of them, are the version."""
    template_class: str = ""
    """module:Class in the package, of the code around the model; empty for a package with a model.onnx alone."""
    metric: tuple[str, ...] = ()
    """NAME=NUMBER, as training measured it: mae=0.31. May be given several times."""
    description: str = ""
    """For people."""
    parent_version: str = ""
    """Version of the same model that this one descends from."""
    idempotent: bool | None = None
    """yes or no: whether calls may be repeated when an answer was lost. Without it: yes for ONNX, no for templates."""
    keeps_state: bool = False
    """The template has start_sequence: it remembers the calls of a sequence, so a position has one replica of it."""


class WithdrawSettings(Settings):
    """Take a version back: it cannot be deployed any more; where it serves it goes on serving."""

    directory: Annotated[Path, Positional()]
    """Directory of the training platform."""
    version: Annotated[str, Positional()]
    """APPLICATION/MODEL/VERSION."""


class TokenSettings(Settings):
    """Show the activation token that a deployment platform needs to subscribe."""

    directory: Annotated[Path, Positional()]
    """Directory of the training platform."""
    new: bool = False
    """Make a new one: the old one activates nobody any more. Subscribers that are activated stay so."""


class StatusSettings(Settings):
    """Show what is published, what is not and why, and where it serves."""

    directory: Annotated[Path, Positional()]
    """Directory of the training platform."""
