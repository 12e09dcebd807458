"""What a manifest may say. Pure."""

import math
import re

from mesh.packages import FILES_MAX, is_digest, is_path
from waypost import names
from waypost.api.training.v1 import training_pb2
from waypost.errors import Invalid

WITHDRAWN = "withdrawn"  # a file of this name beside the manifest takes the version back

_INTEGERS = (f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64))
DATATYPES = frozenset(("BOOL", "BYTES", "FP16", "BF16", "FP32", "FP64", *_INTEGERS))
"""Of the Open Inference Protocol."""

Key = tuple[str, str, str]
"""Application, model, version."""

_CLASS = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def key_of(version: training_pb2.PublishedVersion | training_pb2.VersionKey) -> Key:
    return (version.application, version.model, version.version)


def check_key(key: Key) -> None:
    """Raises: Invalid(BAD_ID)."""
    for id_, collection in zip(key, ("applications", "models", "versions"), strict=True):
        names.check_id(id_, collection)


def check(version: training_pb2.PublishedVersion) -> None:
    """Raises: Invalid(BAD_MANIFEST) that says which field is wrong; BAD_ID for the names."""
    check_key(key_of(version))
    if not 1 <= len(version.files) <= FILES_MAX:
        raise _bad(f"files must name 1 to {FILES_MAX} files, got {len(version.files)}")
    paths = [file.path for file in version.files]
    if len(set(paths)) < len(paths):
        raise _bad("files names the same path twice")
    for file in version.files:
        check_path(file.path)
        if not is_digest(file.digest):
            raise _bad(f"digest of {file.path} must be sha256: and 64 hex digits, got {file.digest!r}")
    _check_framework(version)
    if version.keeps_state and version.idempotency == training_pb2.IDEMPOTENCY_IDEMPOTENT:
        raise _bad("a version that keeps state is not idempotent: a call that is repeated would count twice")
    for tensor in (*version.inputs, *version.outputs):
        if not tensor.name or tensor.datatype not in DATATYPES:
            raise _bad(f"tensor {tensor.name!r} has datatype {tensor.datatype!r}, which is not one of the protocol's")
    for name, value in version.metrics.items():
        if not math.isfinite(value):
            raise _bad(f"metric {name} is {value}")


def check_path(path: str) -> None:
    """A file's path inside its package. Raises: Invalid(BAD_MANIFEST)."""
    if not is_path(path) or path == WITHDRAWN:
        raise _bad(f"{path!r} cannot be the path of a file inside a package")


def _check_framework(version: training_pb2.PublishedVersion) -> None:
    if version.framework == "onnx":
        if version.template_class:
            raise _bad("template_class is for framework `template` only")
        if version.keeps_state:
            raise _bad("keeps_state is for framework `template` only")
    elif version.framework == "template":
        if not _CLASS.fullmatch(version.template_class):
            raise _bad(f"template_class must be module:Class, got {version.template_class!r}")
    else:
        raise _bad(f"framework must be onnx or template, got {version.framework!r}")


def _bad(message: str) -> Invalid:
    return Invalid("BAD_MANIFEST", message)
