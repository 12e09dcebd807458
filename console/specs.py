"""Resources as YAML, for people who keep them in git. Pure: text in, values out, and back.

    kind: Position
    name: uav/path-prediction/tower-7
    labels: {site: north}
    spec:
      model_version: uav/path-prediction/lstm/3
      edge_server: edge-1
      replicas: {min: 1, max: 2}

A document says what should be: a field at the top (labels, description, spec) that it names is set whole, one that it
does not name is left alone. The field names are those of the protos, so there is no second schema to keep.

The law that everything here obeys: what `export` writes, applied, changes nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import yaml
from google.protobuf.message import Message

from console import messages, spec_reader
from console.kinds import KINDS, POSITION, SUBSCRIPTION, Kind
from console.spec_reader import Entry, bad, unknown_key
from waypost import names
from waypost.errors import Invalid

DOCUMENTS_MAX = 10_000  # of one apply: a thousand edge servers with ten positions each
LINE_CHARACTERS = 100  # of what export writes

BY_NOUN = {kind.noun: kind for kind in KINDS}


@dataclass(frozen=True, slots=True)
class Document:
    """One resource that should be."""

    kind: Kind
    resource: Any
    """A message of that kind, with its full name and nothing else but the fields that were given."""
    given: tuple[str, ...]
    """Fields at the top that the document names."""
    where: str
    """`specs/tower.yaml:12`."""

    @property
    def name(self) -> str:
        """The full one."""
        return str(self.resource.name)


def load(text: str, source: str) -> list[Document]:
    """The documents of one file. Raises: Invalid(BAD_SPEC) with file and line."""
    return [_document(node, source) for node in spec_reader.compose(text, source)]


def _document(node: yaml.Node, source: str) -> Document:
    entries = spec_reader.entries(node, source)
    where = spec_reader.place(node, source)
    kind = _kind(entries.pop("kind", None), where, source)
    name = entries.pop("name", None)
    if name is None:
        raise bad(where, f"this {kind.words} has no name", f"write `name: {names.example(kind.collection)}`")
    resource = kind.new(spec_reader.named(kind, spec_reader.scalar_text(name.value, source), name.where))
    for entry in entries.values():
        _check_writable(kind, entry)
        spec_reader.fill(resource, resource.DESCRIPTOR.fields_by_name[entry.key], entry.value, source)
    return Document(kind, resource, tuple(field for field in kind.writable if field in entries), where)


def _kind(entry: Entry | None, where: str, source: str) -> Kind:
    known = ", ".join(BY_NOUN)
    if entry is None:
        raise bad(where, "this document does not say what it describes", f"begin it with `kind:` and one of {known}")
    noun = spec_reader.scalar_text(entry.value, source)
    if noun not in BY_NOUN:
        raise bad(entry.where, f"{noun!r} is no kind of resource", f"one of {known}")
    return BY_NOUN[noun]


def _check_writable(kind: Kind, entry: Entry) -> None:
    if entry.key in kind.writable:
        return
    if entry.key in kind.new().DESCRIPTOR.fields_by_name:
        raise bad(entry.where, f"{entry.key!r} is written by the platform only", "leave it out")
    raise unknown_key(entry, ("kind", "name", *kind.writable))


def in_order(documents: Iterable[Document]) -> list[Document]:
    """As they can be made: owners first. Raises: Invalid(BAD_SPEC) where one resource is described twice."""
    found: dict[str, Document] = {}
    for document in documents:
        if document.name in found:
            raise bad(document.where, f"{document.name} is described in {found[document.name].where} already")
        found[document.name] = document
    if len(found) > DOCUMENTS_MAX:
        raise Invalid("BAD_SPEC", f"{len(found)} documents are more than {DOCUMENTS_MAX}", "apply them in parts")
    return sorted(found.values(), key=lambda document: (KINDS.index(document.kind), document.name))


def changed(document: Document, current: Message) -> list[str]:
    """Fields at the top that would change if the document were applied to what is now."""
    wanted = canonical(document.kind, document.resource)
    actual = canonical(document.kind, current)
    return [field for field in document.given if getattr(wanted, field) != getattr(actual, field)]


def canonical(kind: Kind, resource: Any) -> Any:
    """A copy in which what is left out is written as what it means: equal meanings are equal messages then."""
    copy = kind.new()
    copy.CopyFrom(resource)
    if kind is SUBSCRIPTION:
        copy.spec.ClearField("activation_token")  # never returned, so it cannot be compared
    if kind is POSITION:
        spec = copy.spec
        spec.replicas.min = spec.replicas.min or 1
        spec.replicas.max = spec.replicas.max or spec.replicas.min
        spec.serve_as = spec.serve_as or names.leaf(copy.name)
        spec.endpoint.SetInParent()
        spec.resources.SetInParent()
        for part in (spec.autoscaling.targets, spec.autoscaling.scale_up, spec.autoscaling.scale_down):
            part.SetInParent()
    return copy


def export(kind: Kind, resource: Any) -> str:
    """A document that describes the resource as it is now; empty where a person has nothing to say about it.

    Of what a subscription brings, only the labels are a person's: the rest is its source's to say.
    """
    imported = bool(getattr(resource, "subscription", ""))
    writable = ("labels",) if imported else kind.writable
    fields = tuple(field for field in writable if _is_set(resource, field))
    return "" if imported and not fields else dump(kind, resource, fields)


def dump(kind: Kind, resource: Any, fields: Iterable[str]) -> str:
    """A document with these fields, also where they are empty."""
    document: dict[str, Any] = {"kind": kind.noun, "name": names.short(resource.name)}
    document |= {field: _value(getattr(resource, field)) for field in fields}
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=LINE_CHARACTERS)


def _is_set(resource: Any, field: str) -> bool:
    value = getattr(resource, field)
    return bool(value.ListFields() if isinstance(value, Message) else value)


def _value(value: Any) -> Any:
    if isinstance(value, str):
        return value
    if not isinstance(value, Message):
        return dict(sorted(value.items()))
    fields = messages.plain(value)
    for field in fields:
        if (value.DESCRIPTOR.name, field) in spec_reader.REFERENCES:
            fields[field] = names.short(fields[field])
    return fields
