"""What there is to get, list, create, update and delete.

The services of `waypost.api.control.v1` are regular on purpose: `Get<Noun>`, `List<Noun>s`, `Create<Noun>`, with field
names that follow from the noun. So one table of kinds and one set of verbs serve them all, and a new resource is a new
row here.
"""

import importlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from console.client import PAGE_SIZE, Client
from waypost import names
from waypost.errors import Invalid

ANY = "-"  # a wildcard in the place of an id, in the parent of a list


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of resource."""

    noun: str
    """As the protos call it: `EdgeServer`."""
    collection: str
    """As names call it: `edgeServers`."""
    writable: tuple[str, ...]
    """Fields that people write, in the order they are shown in."""

    @property
    def snake(self) -> str:
        """`edge_server`: how fields are named after it."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", self.noun).lower()

    @property
    def words(self) -> str:
        """`edge server`: for people."""
        return self.snake.replace("_", " ")

    @property
    def owned(self) -> bool:
        """Whether it belongs to another resource, so that Create and List need a parent."""
        return len(names.FORMS[self.collection]) > 1

    def module(self) -> ModuleType:
        """Where its messages are."""
        return importlib.import_module(f"waypost.api.control.v1.{_file(self)}_pb2")

    def new(self, name: str = "") -> Any:
        """An empty resource of this kind."""
        return getattr(self.module(), self.noun)(name=name)

    def parse(self, name: str) -> str:
        """The full name for a short or full one. Raises: Invalid(BAD_NAME)."""
        return names.parse(name, self.collection)


PROJECT = Kind("Project", "projects", ("display_name", "description", "labels", "spec"))
APPLICATION = Kind("Application", "applications", ("display_name", "description", "labels"))
EDGE_SERVER = Kind("EdgeServer", "edgeServers", ("description", "labels", "spec"))
SUBSCRIPTION = Kind("Subscription", "subscriptions", ("spec",))
MODEL = Kind("Model", "models", ("display_name", "description", "labels"))
POSITION = Kind("Position", "positions", ("description", "labels", "spec"))
VERSION = Kind("ModelVersion", "versions", ("labels",))

KINDS = (PROJECT, APPLICATION, EDGE_SERVER, SUBSCRIPTION, MODEL, POSITION)
"""Kinds that specs may hold, in the order in which they can be made: owners and servers before positions."""


class Resources:
    """The verbs, for every kind. All raise MeshError."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def get(self, kind: Kind, name: str) -> Any:
        """name: full."""
        return getattr(self._call(kind, "Get", name=name), kind.snake)

    def list(self, kind: Kind, parent: str = "") -> Iterator[Any]:
        """All of a kind under a parent (full name, `-` for any id), page by page; no parent means everywhere."""
        owner = {"parent": parent or everywhere(kind)} if kind.owned else {}
        method = f"List{kind.noun}s"
        request = getattr(kind.module(), f"{method}Request")(page_size=PAGE_SIZE, **owner)
        return self.client.pages(getattr(_stub(kind, self.client), method), request, f"{kind.snake}s")

    def create(self, kind: Kind, resource: Message) -> Any:
        """Makes the resource that its name says."""
        name: str = resource.name  # type: ignore[attr-defined]
        request = {f"{kind.snake}_id": names.leaf(name), kind.snake: resource}
        if kind.owned:
            request["parent"] = names.parent(name)
        return getattr(self._call(kind, "Create", **request), kind.snake)

    def update(self, kind: Kind, resource: Message, paths: Sequence[str], **options: bool) -> Any:
        """Changes the fields that `paths` name. options: `allow_missing`, `validate_only` where the kind has them."""
        if f"Update{kind.noun}Request" not in kind.module().DESCRIPTOR.message_types_by_name:
            raise Invalid("CANNOT_UPDATE", f"a {kind.words} never changes", "delete it, then create it again")
        mask = FieldMask(paths=paths)
        return getattr(self._call(kind, "Update", **{kind.snake: resource}, update_mask=mask, **options), kind.snake)

    def delete(self, kind: Kind, name: str) -> None:
        """name: full."""
        self._call(kind, "Delete", name=name)

    def _call(self, kind: Kind, verb: str, **fields: Any) -> Any:
        method = f"{verb}{kind.noun}"
        request = getattr(kind.module(), f"{method}Request")(**fields)
        return self.client.call(getattr(_stub(kind, self.client), method), request)


def everywhere(kind: Kind) -> str:
    """The parent that means all of a kind: `projects/-/applications/-`."""
    return "/".join(f"{segment}/{ANY}" for segment in names.FORMS[kind.collection][:-1])


def kind_of(name: str) -> Kind | None:
    """The kind of a full name; None where the name is not a full one."""
    segments = name.split("/")
    for kind in (*KINDS, VERSION):
        if tuple(segments[::2]) == names.FORMS[kind.collection] and len(segments) % 2 == 0:
            return kind
    return None


def full_name(name: str) -> str:
    """The full name of a resource of whatever kind.

    A short one is read by its parts: project, application, position, model version. Everything else needs its full
    name. Raises: Invalid(BAD_NAME).
    """
    if kind_of(name) is not None:
        return name
    by_parts = {1: PROJECT, 2: APPLICATION, 3: POSITION, 4: VERSION}
    kind = by_parts.get(len(name.split("/")))
    if kind is None:
        raise Invalid("BAD_NAME", f"{name!r} is no name of a resource", f"a position's is {names.example('positions')}")
    return kind.parse(name)


def _file(kind: Kind) -> str:
    return MODEL.snake if kind is VERSION else kind.snake


def _stub(kind: Kind, client: Client) -> Any:
    file = _file(kind)
    service = importlib.import_module(f"waypost.api.control.v1.{file}_pb2_grpc")
    noun = MODEL.noun if kind is VERSION else kind.noun
    return getattr(service, f"{noun}ServiceStub")(client.channel)
