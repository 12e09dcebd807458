"""PURE: how Envoy's configuration names its own types in JSON."""

from typing import Any

Json = dict[str, Any]


def typed(type_: str, **fields: Any) -> Json:
    """A `google.protobuf.Any` that holds a message of Envoy's (`envoy.` is left out of the name)."""
    return {"@type": f"type.googleapis.com/envoy.{type_}", **fields}


def extension(name: str, type_: str, **fields: Any) -> Json:
    """An extension and its configuration (`envoy.` is left out of both names)."""
    return {"name": f"envoy.{name}", "typed_config": typed(type_, **fields)}
