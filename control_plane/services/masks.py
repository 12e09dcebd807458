"""Field masks (AIP-134): which parts of a resource an update replaces.

A path names a field, or a field of a field: `spec.replicas.min`. What it names is taken over as it is in the request:
an unset field clears the stored one. `*` means all that may be changed. A path that does not exist, goes into a map or
a list, or may not be written is refused, never ignored.
"""

from collections.abc import Iterable, Sequence
from typing import NoReturn, TypeVar

from google.protobuf.message import Message

from waypost.errors import Invalid

M = TypeVar("M", bound=Message)


def merged(current: M, update: M, paths: Sequence[str], writable: Sequence[str]) -> M:
    """`current` with what `paths` name taken from `update`.

    writable: paths that may be changed, with all below them; what no path at all means.
    Raises: Invalid(BAD_MASK).
    """
    result = type(current)()
    result.CopyFrom(current)
    for path in _expanded(paths, writable):
        _check(type(current), path, writable)
        _copy(update, result, path.split("."))
    return result


def _expanded(paths: Sequence[str], writable: Sequence[str]) -> Iterable[str]:
    if "*" in paths and len(paths) > 1:
        _refuse("*", "stands alone in a mask")
    return writable if not paths or "*" in paths else paths


def _check(message: type[Message], path: str, writable: Sequence[str]) -> None:
    _walk(message, path)
    if not any(path == allowed or path.startswith(f"{allowed}.") for allowed in writable):
        _refuse(path, "cannot be changed", f"what can be changed: {', '.join(writable)}")


def _walk(message: type[Message], path: str) -> None:
    """Refuses what is no field of the message."""
    descriptor = message.DESCRIPTOR
    names = path.split(".")
    for depth, name in enumerate(names):
        field = descriptor.fields_by_name.get(name)
        if field is None:
            _refuse(path, f"is not a field of {message.DESCRIPTOR.name}", f"{descriptor.name} has no {name!r}")
        if depth + 1 == len(names):
            return
        if field.message_type is None or isinstance(field.default_value, list | dict):
            _refuse(path, f"goes into {name!r}, which can only be replaced as a whole")
        descriptor = field.message_type


def _copy(source: Message, target: Message, path: Sequence[str]) -> None:
    """Makes one field of `target` what it is in `source`, and touches no message that stays unset."""
    name, rest = path[0], path[1:]
    if rest:
        if source.HasField(name) or target.HasField(name):
            _copy(getattr(source, name), getattr(target, name), rest)
        return
    target.ClearField(name)
    only = type(source)()
    only.CopyFrom(source)
    for field, _ in source.ListFields():
        if field.name != name:
            only.ClearField(field.name)
    target.MergeFrom(only)


def _refuse(path: str, problem: str, hint: str = "") -> NoReturn:
    raise Invalid("BAD_MASK", f"update_mask: {path!r} {problem}", hint, field="update_mask")
