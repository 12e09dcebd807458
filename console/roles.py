"""Roles as people write them. Pure."""

from waypost.api.control.v1.role_pb2 import Role
from waypost.errors import Invalid

WORDS = ("viewer", "developer", "operator", "admin")
"""The least first."""


def parse(text: str) -> Role.ValueType:
    """The role for `operator`. Raises: Invalid(BAD_ROLE)."""
    if text.lower() not in WORDS:
        raise Invalid("BAD_ROLE", f"{text!r} is no role", f"one of {', '.join(WORDS)}")
    return Role.Value(f"ROLE_{text.upper()}")


def word(role: Role.ValueType) -> str:
    """`operator`."""
    return Role.Name(role).removeprefix("ROLE_").lower()
