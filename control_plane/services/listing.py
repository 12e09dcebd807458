"""Lists: which names a parent means, and one page of them.

`projects/uav/applications/-` as a parent means every application of `uav`: a `-` stands for any id.
"""

import re
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from google.protobuf.message import Message

from control_plane.access import caller
from control_plane.domain.check import full_name
from control_plane.services.kit import Kit
from control_plane.services.pages import page_size
from control_plane.store.base import SCAN_LIMIT
from control_plane.store.resources import Kind
from waypost.names import FORMS

M = TypeVar("M", bound=Message)

_ANY = "-"


@dataclass(frozen=True, slots=True)
class Listing:
    """Names `{parent}/{collection}/{id}` where each `-` of the parent is any id."""

    parent: str
    collection: str

    @property
    def prefix(self) -> str:
        """What all of these names begin with."""
        whole = f"{self.parent}/{self.collection}/".lstrip("/")
        return whole.partition(f"{_ANY}/")[0] if f"/{_ANY}/" in whole else whole

    @property
    def pattern(self) -> re.Pattern[str]:
        segments = [
            r"[^/]+" if segment == _ANY else re.escape(segment) for segment in self.parent.split("/") if segment
        ]
        return re.compile("/".join([*segments, self.collection, r"[^/]+"]))

    @property
    def is_exact(self) -> bool:
        """One parent is meant, which ought to exist."""
        return bool(self.parent) and _ANY not in self.parent.split("/")


def listing(parent: str, parent_collection: str, collection: str) -> Listing:
    """Raises: Invalid(INVALID_FIELD) where `parent` is no name, with or without `-`, of `parent_collection`."""
    segments = parent.split("/")
    checked = ["x" if segment == _ANY and index % 2 else segment for index, segment in enumerate(segments)]
    full_name("/".join(checked), parent_collection, "parent")
    assert len(segments) == 2 * len(FORMS[parent_collection])
    return Listing(parent, collection)


class PageRequest(Protocol):
    """What every request for a list has."""

    @property
    def page_size(self) -> int: ...

    @property
    def page_token(self) -> str: ...


async def list_page(
    kit: Kit, kind: Kind[M], wanted: Listing, request: PageRequest, *, parent_kind: Kind[Any] | None = None
) -> tuple[list[M], str]:
    """(resources by rising name that the caller may see, token of the next page).

    Raises: Invalid(BAD_PAGE_TOKEN | INVALID_FIELD), NotFound where the one parent that is meant does not exist.
    """
    query = f"{kind.kind}\n{wanted.parent}"
    after = kit.pages.open(query, request.page_token)
    found, after = await _collect(kit, kind, wanted, page_size(request.page_size), after)
    if not found and parent_kind is not None and wanted.is_exact:
        await kit.resources.get(parent_kind, wanted.parent)
    return found, kit.pages.seal(query, after)


async def _collect(kit: Kit, kind: Kind[M], wanted: Listing, size: int, after: str) -> tuple[list[M], str]:
    """Up to `size` resources after a name, and the last one's name where there are more."""
    pattern, sees, found, last = wanted.pattern, caller().sees, list[M](), ""
    while True:
        page = await kit.stores.records.scan(
            wanted.prefix, kind=kind.kind, limit=min(size + 1, SCAN_LIMIT), after=after
        )
        for record in page.records:
            if not (pattern.fullmatch(record.name) and sees(record.name)):
                continue
            if len(found) == size:
                return found, last
            found.append(kind.decode(record))
            last = record.name
        if not (after := page.after):
            return found, ""
