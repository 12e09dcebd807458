"""The verbs that every kind of resource has, and the options that several share."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from google.protobuf.timestamp_pb2 import Timestamp

from console import columns
from console.cli.session import Session
from console.kinds import ANY, Kind
from mesh import clock
from waypost import names
from waypost.errors import Invalid

LabelOption = Annotated[
    list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="Set a label; may be given several times.")
]
RemoveLabelOption = Annotated[
    list[str] | None, typer.Option("--remove-label", metavar="KEY", help="Remove a label; may be given several times.")
]
DisplayNameOption = Annotated[str | None, typer.Option("--display-name", metavar="TEXT", help="Title, for people.")]
ProjectOption = Annotated[
    str | None, typer.Option("--project", metavar="PROJECT", help="In this project only. Empty: everywhere.")
]
ExpiresOption = Annotated[
    float | None, typer.Option("--expires-in-days", metavar="DAYS", help="Empty: it never expires.", min=0)
]
AllowedOption = Annotated[
    float, typer.Option("--minutes", metavar="MINUTES", help="For how long; 0: no longer.", min=0, max=7 * 24 * 60)
]
DescriptionOption = Annotated[str | None, typer.Option("--description", metavar="TEXT", help="What it is for.")]


def get(session: Session, kind: Kind, name: str) -> None:
    """Prints one resource."""
    session.show(session.resources.get(kind, kind.parse(name)))


def list_(session: Session, kind: Kind, under: str | None = None) -> None:
    """Prints all of a kind, or those that an owner has (any of their owners, short or full)."""
    found = list(session.resources.list(kind, parent_of(kind, under) if under else ""))
    if session.json:
        session.show_json(found)
    else:
        rows = columns.rows(kind, found, clock.now())
        session.table(columns.COLUMNS[kind].header, rows, nothing=f"no {kind.words}s")


def delete(session: Session, kind: Kind, name: str) -> None:
    """Deletes one resource."""
    session.resources.delete(kind, kind.parse(name))
    session.say(f"{kind.words} {names.short(kind.parse(name))} deleted")


def create(session: Session, kind: Kind, name: str, fields: Mapping[str, Any], labels: Iterable[str] | None) -> None:
    """Makes a resource with those of the fields that are not None."""
    resource = kind.new(kind.parse(name))
    set_fields(resource, fields)
    resource.labels.update(parse_labels(labels))
    done(session, kind, session.resources.create(kind, resource), "created")


def update(
    session: Session,
    kind: Kind,
    name: str,
    fields: Mapping[str, Any],
    labels: Iterable[str] | None,
    removed: Iterable[str] | None,
) -> None:
    """Changes those of the fields that are not None, and single labels."""
    resource = kind.new(kind.parse(name))
    update_paths(session, kind, resource, set_fields(resource, fields), labels, removed)


def update_paths(
    session: Session,
    kind: Kind,
    resource: Any,
    paths: Iterable[str],
    labels: Iterable[str] | None,
    removed: Iterable[str] | None,
) -> None:
    """Changes what `paths` name of a resource to what it says, and single labels.

    Labels can only be written all together: the etag that they were read with is sent along, and Conflict is raised
    where somebody else wrote in between.
    """
    named = [*paths]
    if labels or removed:
        current = session.resources.get(kind, resource.name)
        resource.labels.update(_merged(current.labels, labels, removed))
        resource.etag = current.etag
        named.append("labels")
    if not named:
        raise Invalid("NOTHING_TO_CHANGE", "nothing was given to change", "`--help` lists what can be changed")
    done(session, kind, session.resources.update(kind, resource, named), "updated")


def done(session: Session, kind: Kind, resource: Any, what: str) -> None:
    """Says what was done: a line for people, the resource for programs."""
    if session.json:
        session.show(resource)
    else:
        session.say(f"{kind.words} {names.short(resource.name)} {what}")


def allow_changes(session: Session, kind: Kind, name: str, minutes: float) -> None:
    """Has positions changed from now on whether or not a maintenance window is open; 0: only while one is again."""
    resource = kind.new(kind.parse(name))
    if minutes:
        resource.changes_allowed_until.FromSeconds(int(clock.now() + minutes * 60))
    allowed = session.resources.update(kind, resource, ["changes_allowed_until"])
    done(session, kind, allowed, f"may be changed for {minutes:g} min" if minutes else "is changed in its windows only")


def parent_of(kind: Kind, under: str) -> str:
    """The parent to list: the owner that is given, and `-` for each level below it. Raises: Invalid(BAD_NAME)."""
    segments = names.FORMS[kind.collection][:-1]
    parts = under.split("/")
    full = tuple(parts[::2]) == segments[: len(parts) // 2] and len(parts) % 2 == 0
    ids = parts[1::2] if full else parts
    if len(ids) > len(segments):
        raise Invalid("BAD_NAME", f"{under!r} does not own {kind.words}s", f"give {names.example(segments[-1])}")
    for segment, id_ in zip(segments, ids, strict=False):
        if id_ != ANY:
            names.check_id(id_, segment)
    ids = ids + [ANY] * (len(segments) - len(ids))
    return "/".join(f"{segment}/{id_}" for segment, id_ in zip(segments, ids, strict=True))


def expire_time(in_days: float) -> Timestamp:
    """So many days from now, to the second."""
    return Timestamp(seconds=int(clock.now() + in_days * 86400))


def parse_labels(pairs: Iterable[str] | None) -> dict[str, str]:
    """`KEY=VALUE` each. Raises: Invalid(BAD_LABEL)."""
    labels = {}
    for pair in pairs or ():
        key, separator, value = pair.partition("=")
        if not separator or not key:
            raise Invalid("BAD_LABEL", f"{pair!r} is no label", "write it as KEY=VALUE")
        labels[key] = value
    return labels


def _merged(labels: Mapping[str, str], given: Iterable[str] | None, removed: Iterable[str] | None) -> Mapping[str, str]:
    """`labels` with single ones set and removed."""
    gone = frozenset(removed or ())
    return {key: value for key, value in {**labels, **parse_labels(given)}.items() if key not in gone}


def set_fields(resource: Any, fields: Mapping[str, Any]) -> list[str]:
    """Sets those of the fields that are not None; their names."""
    given = {field: value for field, value in fields.items() if value is not None}
    for field, value in given.items():
        setattr(resource, field, value)
    return list(given)


def read_text(path: Path) -> str:
    """A file that the person named. Raises: Invalid(CANNOT_READ)."""
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid("CANNOT_READ", f"{path} cannot be read: {error}") from error
