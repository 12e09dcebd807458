"""`waypost model` and `waypost model version`."""

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from console import upload
from console.cli import verbs
from console.cli.session import Session, command, group
from console.cli.verbs import DescriptionOption, DisplayNameOption, LabelOption, RemoveLabelOption
from console.kinds import MODEL, VERSION
from mesh import text
from waypost.api.control.v1.model_pb2 import CreateModelVersionRequest, ModelVersion
from waypost.errors import AlreadyExists, Invalid

app = group("Models and their versions: what positions serve.")
version_app = group("Versions of models; one never changes.")
app.add_typer(version_app, name="version")

Name = Annotated[str, typer.Argument(metavar="NAME", help="For example uav/path-prediction/lstm.")]
VersionName = Annotated[str, typer.Argument(metavar="NAME", help="For example uav/path-prediction/lstm/3.")]
Owner = Annotated[str | None, typer.Argument(metavar="OWNER", help="Only those of this project or application.")]
VersionOwner = Annotated[
    str | None, typer.Argument(metavar="OWNER", help="Only those of this project, application or model.")
]
OnnxOption = Annotated[Path | None, typer.Option("--onnx", metavar="FILE", help="Upload this ONNX file as a version.")]
PackageOption = Annotated[
    Path | None,
    typer.Option(
        "--package", metavar="DIR", help="Upload this directory as a version: a model, its samples, a template."
    ),
]
TemplateOption = Annotated[
    str | None, typer.Option("--template", metavar="MODULE:CLASS", help="The template's class in the package.")
]
KeepsStateOption = Annotated[
    bool, typer.Option("--keeps-state", help="The template remembers the calls of a sequence (it has start_sequence).")
]


@command(app, "create")
def create(
    session: Session,
    name: Name,
    onnx: OnnxOption = None,
    package: PackageOption = None,
    template: TemplateOption = None,
    keeps_state: KeepsStateOption = False,
    version: Annotated[str | None, typer.Option("--version", metavar="ID", help="Its version: 1, 2026-11.")] = None,
    display_name: DisplayNameOption = None,
    description: DescriptionOption = None,
    label: LabelOption = None,
) -> None:
    """Create a model, or bring a version of one by hand with --onnx or --package.

    The model may exist already when a version is brought.
    """
    fields = {"display_name": display_name, "description": description}
    if onnx is None and package is None:
        verbs.create(session, MODEL, name, fields, label)
        return
    if version is None:
        raise Invalid("NO_VERSION", "a version needs an id", "give it with --version 1")
    full = MODEL.parse(name)
    wanted = _version(onnx, package, template, description, keeps_state=keeps_state)
    with contextlib.suppress(AlreadyExists):
        session.resources.create(MODEL, MODEL.new(full))
    _upload(session, onnx or package or Path(), wanted)
    request = CreateModelVersionRequest(parent=full, model_version_id=version, model_version=wanted)
    made = session.client.call(session.client.models.CreateModelVersion, request).model_version
    verbs.done(session, VERSION, made, "uploaded; the platform checks it now")


@command(app, "get")
def get(session: Session, name: Name) -> None:
    """Show everything about one model."""
    verbs.get(session, MODEL, name)


@command(app, "list")
def list_(session: Session, owner: Owner = None) -> None:
    """List models."""
    verbs.list_(session, MODEL, owner)


@command(app, "update")
def update(
    session: Session,
    name: Name,
    display_name: DisplayNameOption = None,
    description: DescriptionOption = None,
    label: LabelOption = None,
    remove_label: RemoveLabelOption = None,
) -> None:
    """Change a model's texts and labels; a subscription's has labels only."""
    fields = {"display_name": display_name, "description": description}
    verbs.update(session, MODEL, name, fields, label, remove_label)


@command(app, "delete")
def delete(session: Session, name: Name) -> None:
    """Delete a model that has no versions."""
    verbs.delete(session, MODEL, name)


@command(version_app, "get")
def get_version(session: Session, name: VersionName) -> None:
    """Show everything about one version of a model."""
    verbs.get(session, VERSION, name)


@command(version_app, "list")
def list_versions(session: Session, owner: VersionOwner = None) -> None:
    """List versions of models."""
    verbs.list_(session, VERSION, owner)


@command(version_app, "update")
def update_version(
    session: Session, name: VersionName, label: LabelOption = None, remove_label: RemoveLabelOption = None
) -> None:
    """Change a version's labels: nothing else of it ever changes."""
    verbs.update(session, VERSION, name, {}, label, remove_label)


@command(version_app, "delete")
def delete_version(session: Session, name: VersionName) -> None:
    """Delete a version that no position names."""
    verbs.delete(session, VERSION, name)


def _version(
    onnx: Path | None, package: Path | None, template: str | None, description: str | None, *, keeps_state: bool
) -> ModelVersion:
    if onnx is not None and package is not None:
        raise Invalid("TWO_MODELS", "--onnx and --package exclude each other", "give one of them")
    if template is None:
        if keeps_state:
            raise Invalid("NO_TEMPLATE", "--keeps-state is for a template", "name its class with --template")
        return ModelVersion(framework="onnx", idempotent=True, description=description or "")
    if package is None:
        raise Invalid("NO_PACKAGE", "--template names a class inside a package", "give its directory with --package")
    return ModelVersion(
        framework="template", template_class=template, keeps_state=keeps_state, description=description or ""
    )


def _upload(session: Session, path: Path, version: ModelVersion) -> None:
    for artifact, file in upload.artifacts_of(path):
        upload.upload(session.client, artifact, file)
        session.note(f"{artifact.path}  {text.size(artifact.size_bytes)}  {artifact.digest[:19]}")
        version.artifacts.append(artifact)
