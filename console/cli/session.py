"""What every command has in common: which platform, how to print, how to fail.

    @command(app, "get")
    def get(session: Session, name: NameArgument) -> None:
        session.show(session.resources.get(POSITION, POSITION.parse(name)))

A parameter whose type is a dataclass stands for one option per field (options.py).

`command` gives each function `--context` and `--output`, opens nothing before the command asks for it, closes it
afterwards, and turns every MeshError into `error:`, `hint:` and an exit code.
"""

import dataclasses
import functools
import inspect
import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:  # these load gRPC, which `--help` must not wait for
    from google.protobuf.message import Message

    from console.client import Client
    from console.kinds import Resources
    from waypost.errors import MeshError

FAILED = 1
USAGE = 2
NOT_FOUND = 3
UNREACHABLE = 4
TIMED_OUT = 5
INTERRUPTED = 130

F = TypeVar("F", bound=Callable[..., None])


class Output(StrEnum):
    table = "table"
    json = "json"


ContextOption = Annotated[
    str | None,
    typer.Option("--context", metavar="NAME", envvar="WAYPOST_CONTEXT", help="Platform: a context's name or file."),
]
OutputOption = Annotated[
    Output, typer.Option("--output", "-o", envvar="WAYPOST_OUTPUT", help="Tables for people, JSON for programs.")
]


class Session:
    """One run of one command."""

    def __init__(self, context: str | None, output: Output) -> None:
        self.context = context
        """As given; None means whatever `contexts.select` finds."""
        self._open = ExitStack()
        self.output = output

    @functools.cached_property
    def client(self) -> "Client":
        """The platform that is meant. Raises: MeshError where none is known."""
        from console import contexts
        from console.client import Client

        return self._open.enter_context(Client(contexts.select(self.context)))

    @functools.cached_property
    def resources(self) -> "Resources":
        """The verbs for every kind of resource on that platform."""
        from console.kinds import Resources

        return Resources(self.client)

    @property
    def json(self) -> bool:
        """Whether a program reads."""
        return self.output is Output.json

    def show(self, message: "Message") -> None:
        """Prints one message: everything that is set."""
        from console import messages
        from mesh import clock

        print(messages.to_json(message) if self.json else messages.outline(message, clock.now()))

    def show_json(self, value: "Message | Iterable[Message | Mapping[str, Any]] | Mapping[str, Any]") -> None:
        """Prints JSON, whatever `--output` says."""
        from console import messages

        print(messages.to_json(value))

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]], *, nothing: str) -> None:
        """Prints a table; `nothing` where it has no rows."""
        from mesh import text

        if rows:
            print(text.table(header, rows, width=terminal_width()))
        else:
            self.note(nothing)

    def say(self, line: str) -> None:
        """Prints a line for people only: a program gets JSON and nothing else."""
        if not self.json:
            print(line, flush=True)

    def note(self, line: str) -> None:
        """Prints a line beside the result, to stderr: what is piped on stays clean."""
        print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        self._open.close()


def terminal_width() -> int | None:
    """Columns of the terminal that stdout is; None where it is none, so that lines stay whole in a pipe."""
    return os.get_terminal_size(sys.stdout.fileno()).columns if sys.stdout.isatty() else None


def group(help: str) -> typer.Typer:  # noqa: A002  typer's own word
    """An empty group of commands."""
    return typer.Typer(help=help, rich_markup_mode=None, no_args_is_help=True, add_completion=False)


def command(app: typer.Typer, name: str, *, platform: bool = True) -> Callable[[F], F]:
    """Registers a function whose first parameter is the session as the command `name` of a group.

    platform: whether it speaks to a platform, so that `--context` has a meaning.
    """

    def register(function: F) -> F:
        app.command(name)(_with_session(function, platform))
        return function

    return register


def _with_session(function: Callable[..., None], platform: bool) -> Callable[..., None]:
    @functools.wraps(function)
    def run(*, output: Output, context: str | None = None, **arguments: Any) -> None:
        session = Session(context, output)
        with guarded():
            try:
                function(session, **_gathered(own, arguments))
            finally:
                session.close()

    _, *own = inspect.signature(function).parameters.values()
    shared = [_keyword("context", ContextOption, None)] if platform else []
    options = itertools.chain.from_iterable(map(_options, own))
    signature = inspect.Signature([*options, *shared, _keyword("output", OutputOption, Output.table)])
    run.__signature__ = signature  # type: ignore[attr-defined]
    return run


def _options(parameter: inspect.Parameter) -> Iterator[inspect.Parameter]:
    """Itself, or one for each field of a dataclass."""
    if fields := _fields(parameter):
        yield from (_keyword(field.name, field.type, field.default) for field in fields)
    else:
        yield parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)


def _gathered(parameters: Iterable[inspect.Parameter], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What a function with these parameters is called with, from the values of all options."""
    gathered = {}
    for parameter in parameters:
        if fields := _fields(parameter):
            gathered[parameter.name] = parameter.annotation(**{field.name: arguments[field.name] for field in fields})
        else:
            gathered[parameter.name] = arguments[parameter.name]
    return gathered


def _fields(parameter: inspect.Parameter) -> Sequence["dataclasses.Field[Any]"]:
    """Of a dataclass; none for any other parameter."""
    return dataclasses.fields(parameter.annotation) if dataclasses.is_dataclass(parameter.annotation) else ()


def _keyword(name: str, annotation: Any, default: object) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


@contextmanager
def guarded() -> Iterator[None]:
    """Turns what a command raises into `error:`, `hint:` and an exit code."""
    from waypost.errors import MeshError  # loads gRPC; `--help` never comes here

    try:
        yield
    except KeyboardInterrupt as interrupt:
        raise typer.Exit(INTERRUPTED) from interrupt
    except (typer.Exit, BrokenPipeError):
        raise
    except OSError as error:  # a full disk, a directory that is not ours
        print_error(str(error), "")
        raise typer.Exit(FAILED) from error
    except MeshError as error:
        report(error)
        raise typer.Exit(exit_code(error)) from error


def report(error: "MeshError") -> None:
    """Prints what failed and what to do next to stderr."""
    print_error(error.message, error.hint)


def print_error(message: str, hint: str) -> None:
    """The one form that every error of the command line has."""
    print(f"error: {message}" + (f"\n\nhint: {hint}" if hint else ""), file=sys.stderr)


def exit_code(error: "MeshError") -> int:
    """As `waypost --help` documents them."""
    from waypost.errors import DeadlineExceeded, Invalid, NotFound

    if error.reason == "PLATFORM_UNREACHABLE":
        return UNREACHABLE
    codes = {Invalid: USAGE, NotFound: NOT_FOUND, DeadlineExceeded: TIMED_OUT}
    return codes.get(type(error), FAILED)
