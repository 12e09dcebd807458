"""Packages: what a host loads.

    a directory with manifest.json    a model version as the registry knows it (ProtoJSON of control.v1.ModelVersion)
    a directory with template.py      by hand: the one class in it that has a `predict`
    a directory with one .onnx file   by hand: the file, and `samples.json` if it is there
    an .onnx file                     by hand
    a directory of any of these       by hand: a repository, one model each

A `Package` says where the files are and what the version is called; nothing of it is loaded yet.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from google.protobuf import json_format

from inference_host.model.template_source import template_class
from inference_host.values.signature import Signature, TensorSpec
from mesh.packages import MANIFEST, is_path, version_digest
from waypost import names
from waypost.api.control.v1 import model_pb2
from waypost.errors import Invalid, Precondition

SAMPLES, TEMPLATE = "samples.json", "template.py"
MODELS_MAX = 64  # in a repository served by hand; each costs memory from the start
MANIFEST_BYTES_MAX = 1 << 20
_DIGEST = re.compile("(sha256:[0-9a-f]+)?")


@dataclass(frozen=True, slots=True)
class Package:
    directory: Path
    model: str
    """Id of the model, its name for callers."""
    version: str
    """Id of the version."""
    full_name: str
    """Of the model version; for a file served by hand `model/version`. Goes into headers: ASCII."""
    digest: str
    """`sha256:<hex>` over its artifacts."""
    model_file: Path | None
    """The graph, for `onnx`."""
    template_class: str = ""
    """`module:Class` inside the directory; empty for `onnx`."""
    signature: Signature | None = None
    """As promised by the manifest."""
    keeps_state: bool | None = None
    """Whether the manifest says that the template keeps state from call to call; None where there is no manifest."""

    @property
    def samples_file(self) -> Path | None:
        path = self.directory / SAMPLES
        return path if path.is_file() else None


def find(path: Path) -> list[Package]:
    """The packages at `path`, one or a repository of them. Raises as `read`, and Precondition(NO_MODEL)."""
    if path.is_file() or _is_package(path) or not path.is_dir():
        return [read(path)]
    children = [child for child in sorted(path.iterdir()) if _looks_like_one(child)]
    graphs = [child for child in children if child.is_file()]
    if not children:
        raise Precondition(
            "NO_MODEL",
            f"{path} holds neither {MANIFEST} nor {TEMPLATE} nor an .onnx file",
            "name a model or its package; `waypost host init DIR` begins one",
        )
    if len(children) > MODELS_MAX:
        raise Precondition(
            "TOO_MANY_MODELS",
            f"{path} holds {len(children)} models, a host serves at most {MODELS_MAX}",
            "serve them from several directories, by several hosts",
        )
    if len(children) == len(graphs) == 1:
        return [_bare(graphs[0], graphs[0].stem)]
    return _distinct([read(child) for child in children])


def read(path: Path) -> Package:
    """The package at `path`: a directory with a manifest, a template or one graph, or a graph.

    Raises: Precondition(NO_MODEL | BAD_MANIFEST | MISSING_FILE | UNSAFE_PATH | UNKNOWN_FRAMEWORK | BAD_TEMPLATE_CLASS |
    TEMPLATE_FAILED).
    """
    if path.is_file():
        return _bare(path, path.stem)
    if (path / MANIFEST).is_file():
        return _from_manifest(path)
    if (path / TEMPLATE).is_file():
        return _from_template(path)
    graphs = sorted(path.glob("*.onnx"))
    if len(graphs) == 1:
        return _bare(graphs[0], path.resolve().name)
    if not path.exists():
        raise Precondition("MISSING_FILE", f"{path} does not exist", "name an .onnx file or a package directory")
    found = f"{len(graphs)} .onnx files and no {MANIFEST}"
    raise Precondition("NO_MODEL", f"{path} holds {found}", f"give it a {MANIFEST}, or name one of the files")


def to_proto(signature: Signature) -> model_pb2.Signature:
    return model_pb2.Signature(inputs=_to_specs(signature.inputs), outputs=_to_specs(signature.outputs))


def _looks_like_one(path: Path) -> bool:
    if path.is_dir():
        return _is_package(path) or any(path.glob("*.onnx"))
    return path.suffix == ".onnx"


def _is_package(path: Path) -> bool:
    return (path / MANIFEST).is_file() or (path / TEMPLATE).is_file()


def _distinct(packages: list[Package]) -> list[Package]:
    seen: dict[str, Package] = {}
    for package in packages:
        other = seen.setdefault(package.model, package)
        if other is not package:
            places = f"{other.directory} and {package.directory}"
            raise Precondition(
                "SAME_MODEL_TWICE", f"model {package.model!r} is in {places}", "serve one version at a time"
            )
    return packages


def _bare(graph: Path, model: str) -> Package:
    return Package(
        directory=graph.parent,
        model=model,
        version="1",
        full_name=f"{quote(model)}/1",
        digest=version_digest([_artifact(graph)]),
        model_file=graph,
    )


def _from_template(directory: Path) -> Package:
    model = directory.resolve().name
    files = sorted(path for path in directory.iterdir() if path.is_file() and not path.name.startswith("."))
    return Package(
        directory=directory,
        model=model,
        version="1",
        full_name=f"{quote(model)}/1",
        digest=version_digest(map(_artifact, files)),
        model_file=None,
        template_class=f"{Path(TEMPLATE).stem}:{template_class(directory / TEMPLATE)}",
    )


def _from_manifest(directory: Path) -> Package:
    version = _parsed(directory / MANIFEST)
    files = [_inside(directory, artifact.path) for artifact in version.artifacts]
    return Package(
        directory=directory,
        model=names.leaf(names.parent(version.name)) or directory.name,
        version=names.leaf(version.name) or "1",
        full_name=version.name or f"{quote(directory.name)}/1",
        digest=version.digest or version_digest(version.artifacts),
        model_file=_graph(version, files),
        template_class=version.template_class,
        signature=_to_signature(version.signature),
        keeps_state=version.keeps_state,
    )


def _parsed(path: Path) -> model_pb2.ModelVersion:
    version = model_pb2.ModelVersion()
    try:
        if path.stat().st_size > MANIFEST_BYTES_MAX:
            raise ValueError(f"it is larger than {MANIFEST_BYTES_MAX} bytes")
        json_format.Parse(path.read_bytes(), version, ignore_unknown_fields=True)
        if version.name:
            names.parse(version.name, "versions")
        if not _DIGEST.fullmatch(version.digest):
            raise ValueError(f"{version.digest!r} is no digest")
    except (OSError, ValueError, Invalid, json_format.ParseError) as error:
        raise Precondition("BAD_MANIFEST", f"{path} cannot be read: {error}", "publish the version again") from error
    return version


def _inside(directory: Path, artifact: str) -> Path:
    """Where an artifact is. A path that leads outside is an attack or a mistake; neither is served."""
    if not is_path(artifact):
        raise Precondition("UNSAFE_PATH", f"{artifact!r} cannot be a path inside a package", "publish it anew")
    path = directory / artifact
    if not path.is_file():
        hint = "fetch the package again; the manifest names files that are not there"
        raise Precondition("MISSING_FILE", f"{artifact} is missing from {directory}", hint)
    return path


def _graph(version: model_pb2.ModelVersion, files: Iterable[Path]) -> Path | None:
    if version.template_class:
        return None
    if version.framework not in ("", "onnx"):
        raise Precondition(
            "UNKNOWN_FRAMEWORK",
            f"framework {version.framework!r} of {version.name} is served by no template",
            "export the model to ONNX, or name a template_class",
        )
    graphs = [path for path in files if path.suffix == ".onnx"]
    named = [path for path in graphs if path.name == "model.onnx"]
    if len(graphs) != 1 and len(named) != 1:
        raise Precondition(
            "NO_MODEL", f"{version.name} has {len(graphs)} .onnx files", "call the one to serve `model.onnx`"
        )
    return graphs[0] if len(graphs) == 1 else named[0]


def _to_signature(message: model_pb2.Signature) -> Signature | None:
    if not message.inputs and not message.outputs:
        return None
    return Signature(_from_specs(message.inputs), _from_specs(message.outputs))


def _from_specs(messages: Iterable[model_pb2.TensorSpec]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(spec.name, spec.datatype, tuple(spec.shape)) for spec in messages)


def _to_specs(specs: Iterable[TensorSpec]) -> list[model_pb2.TensorSpec]:
    return [model_pb2.TensorSpec(name=spec.name, datatype=spec.datatype, shape=spec.shape) for spec in specs]


def _artifact(path: Path) -> model_pb2.Artifact:
    """A file at the top of its package. Raises: OSError."""
    with path.open("rb") as file:
        return model_pb2.Artifact(path=path.name, digest=f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}")
