"""Names of resources: full (`projects/uav/applications/path/positions/tower-7`) and short (`uav/path/tower-7`). Pure.

Every name has a collection, which says what the segments mean. People write either form; the API carries the full
one; `parse` turns what a person wrote into it.
"""

import re

from waypost.errors import Invalid

FORMS: dict[str, tuple[str, ...]] = {
    "projects": ("projects",),
    "applications": ("projects", "applications"),
    "models": ("projects", "applications", "models"),
    "versions": ("projects", "applications", "models", "versions"),
    "positions": ("projects", "applications", "positions"),
    "edgeServers": ("edgeServers",),
    "subscriptions": ("subscriptions",),
    "users": ("users",),
}
"""Collections with a full name of their own, and the segments that lead there."""

_ID = re.compile(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
_VERSION = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


def parse(name: str, collection: str) -> str:
    """The full name for a full or short one. Raises: Invalid(BAD_NAME) that shows the form expected."""
    form = FORMS[collection]
    segments = name.split("/")
    if len(segments) == 2 * len(form) and tuple(segments[::2]) == form:
        ids = segments[1::2]
    elif len(segments) == len(form):
        ids = segments
    else:
        raise Invalid(
            "BAD_NAME", f"{name!r} is not the name of one of {collection}", f"write it as {example(collection)}"
        )
    for segment, id_ in zip(form, ids, strict=True):
        check_id(id_, segment)
    return "/".join(f"{segment}/{id_}" for segment, id_ in zip(form, ids, strict=True))


def check_id(id_: str, collection: str) -> None:
    """Raises: Invalid(BAD_ID) where `id_` cannot name one of `collection`."""
    rule = _VERSION if collection == "versions" else _ID
    if not rule.fullmatch(id_):
        allowed = (
            "letters, digits, dots, underscores and hyphens"
            if collection == "versions"
            else "a-z, 0-9 and hyphens, beginning with a letter"
        )
        raise Invalid(
            "BAD_ID",
            f"{id_!r} cannot name one of {collection}",
            f"use 1 to 63 characters: {allowed}, not ending with a hyphen",
        )


def example(collection: str) -> str:
    """Both forms, for messages: `projects/{project}/...` or `{project}/...`."""
    full = "/".join(f"{segment}/{{{_singular(segment)}}}" for segment in FORMS[collection])
    brief = "/".join(f"{{{_singular(segment)}}}" for segment in FORMS[collection])
    return f"{brief} or {full}"


def short(full: str) -> str:
    """`uav/path/tower-7` for `projects/uav/applications/path/positions/tower-7`."""
    return "/".join(full.split("/")[1::2])


def parent(full: str) -> str:
    """The resource that owns this one; empty for what nobody owns."""
    return "/".join(full.split("/")[:-2])


def leaf(full: str) -> str:
    """The last id."""
    return full.rsplit("/", 1)[-1]


def _singular(segment: str) -> str:
    return {"edgeServers": "edge-server"}.get(segment, segment.removesuffix("s"))
