"""`waypost apply`, `diff` and `export`: resources as YAML files, for people who keep them in git."""

import difflib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from console import kinds, specs
from console.cli.session import FAILED, Session, command, group
from console.cli.verbs import read_text
from console.kinds import KINDS, Kind
from console.specs import Document
from waypost import names
from waypost.errors import Invalid, MeshError, NotFound

app = group("")

SUFFIXES = (".yaml", ".yml")

FilesOption = Annotated[
    list[Path], typer.Option("--file", "-f", metavar="FILE|DIR", help="YAML, or a directory of it; - reads stdin.")
]


@command(app, "apply")
def apply(session: Session, file: FilesOption) -> None:
    """Make resources as YAML files say.

    Everything is read and checked before anything is written. A field at the top of a document that it does not name
    is left alone, and so is a resource that no document names. docs/reference/specs.md explains the form.
    """
    results = []
    for document in specs.in_order(_read(file)):
        with _located(document):
            what = _apply(session, document)
        results.append({"kind": document.kind.noun, "name": document.name, "result": what})
        session.say(f"{document.kind.words} {names.short(document.name)} {what}")
    if session.json:
        session.show_json(results)


@command(app, "diff")
def diff(
    session: Session,
    file: FilesOption,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="End with 1 where something would change.")] = False,
) -> None:
    """Show what `waypost apply` would change."""
    found = [(document, lines) for document in specs.in_order(_read(file)) if (lines := _difference(session, document))]
    if session.json:
        session.show_json([{"kind": d.kind.noun, "name": d.name, "diff": "\n".join(lines)} for d, lines in found])
    for _, lines in found:
        session.say("\n".join(lines))
    if not found:
        session.note("nothing would change")
    elif exit_code:
        raise typer.Exit(FAILED)


@command(app, "export")
def export(
    session: Session,
    name: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Only these and what they own: uav, uav/path/tower-7, edgeServers/edge-1."),
    ] = None,
) -> None:
    """Print resources as YAML, ready for `waypost apply`.

    What a subscription brought is left out, but for labels: its source brings it again. Tokens are never exported.
    """
    roots = [kinds.full_name(given) for given in name or ()]
    found = [(kind, resource) for kind in KINDS for resource in _under(session, kind, roots)]
    for root in roots:
        if not any(_is_under(resource, root) for _, resource in found):
            raise NotFound("NOT_FOUND", f"there is no {root}", "`waypost status` shows what there is")
    documents = [specs.export(kind, resource) for kind, resource in found]
    print("---\n".join(document for document in documents if document), end="")


def _apply(session: Session, document: Document) -> str:
    """Makes one resource as it should be; `created`, `updated` or `unchanged`."""
    kind, wanted = document.kind, document.resource
    current = _current(session, document)
    if current is None:
        session.resources.create(kind, wanted)
        return "created"
    paths = specs.changed(document, current)
    if not paths:
        return "unchanged"
    session.resources.update(kind, wanted, paths)
    return "updated"


@contextmanager
def _located(document: Document) -> Iterator[None]:
    """Says which document an error of the platform is about."""
    try:
        yield
    except MeshError as error:
        raise type(error)(error.reason, f"{document.where}: {error.message}", error.hint, **error.metadata) from error


def _difference(session: Session, document: Document) -> list[str]:
    """Lines of a unified diff; none where nothing would change."""
    current = _current(session, document)
    if current is not None and not specs.changed(document, current):
        return []
    before = "" if current is None else specs.dump(document.kind, current, document.given)
    after = specs.dump(document.kind, document.resource, document.given)
    now = "nothing" if current is None else f"now: {document.name}"
    return list(difflib.unified_diff(before.splitlines(), after.splitlines(), now, document.where, lineterm=""))


def _current(session: Session, document: Document) -> Any | None:
    try:
        return session.resources.get(document.kind, document.name)
    except NotFound:
        return None


def _under(session: Session, kind: Kind, roots: list[str]) -> list[Any]:
    """Resources of a kind that are one of the roots or owned by one, by name; all where there are no roots."""
    resources = sorted(session.resources.list(kind), key=lambda resource: str(resource.name))
    return [r for r in resources if not roots or any(_is_under(r, root) for root in roots)]


def _is_under(resource: Any, root: str) -> bool:
    return f"{resource.name}/".startswith(f"{root}/")


def _read(paths: list[Path]) -> Iterator[Document]:
    """All documents of files and directories. Raises: Invalid."""
    for path in paths:
        if str(path) == "-":
            yield from specs.load(sys.stdin.read(), "stdin")
            continue
        files = sorted(f for f in path.rglob("*") if f.suffix in SUFFIXES) if path.is_dir() else [path]
        if not files:
            raise Invalid("NO_SPECS", f"there is no YAML in {path}", f"files end in {' or '.join(SUFFIXES)}")
        for file in files:
            yield from specs.load(read_text(file), str(file))
