"""`waypost deploy`: a position gets a model version, and whoever waits hears how it goes."""

import itertools
import time
from dataclasses import replace
from typing import Annotated, Any

import typer

from console import following, messages, placement, rollout
from console.cli.options import NOTHING_ASKED, PositionOptions
from console.cli.session import Session, command, group
from console.kinds import EDGE_SERVER, POSITION, VERSION
from console.rollout import Outcome, Verdict
from waypost import names
from waypost.api.control.v1.position_pb2 import Position
from waypost.errors import DeadlineExceeded, Invalid, NotFound, Precondition

app = group("")

PUBLISHED_S = 10.0  # from a publication until it is known here: 0.3 s on an idle machine


@command(app, "deploy")
def deploy(
    session: Session,
    model_version: Annotated[
        str, typer.Argument(metavar="MODEL_VERSION", help="For example uav/path-prediction/lstm/3.")
    ],
    position: Annotated[
        str,
        typer.Option("--position", metavar="NAME", help="Made where it does not exist. tower-7: of that application."),
    ],
    asked: PositionOptions = NOTHING_ASKED,
    wait: Annotated[bool, typer.Option("--wait", help="Until it is in service, or never will be.")] = False,
    timeout: Annotated[float, typer.Option("--timeout", metavar="SECONDS", min=0, help="Of --wait.")] = 60.0,
) -> None:
    """Give a position a model version.

    What is not given stays as it is. Without --wait it returns as soon as the platform has accepted it.
    """
    started = time.monotonic()
    name = placement.position_name(position, model_version)
    if wait:
        _wait_for_version(session, VERSION.parse(model_version), timeout)
    placed = replace(asked, edge_server=asked.edge_server or _only_edge_server(session, name))
    wanted = placement.position_with(name, placed.wishes(model_version))
    accepted = session.resources.update(POSITION, *wanted, allow_missing=True)
    _say_accepted(session, accepted)
    if wait:
        _wait(session, accepted, started, timeout)
    elif session.json:
        session.show(accepted)


def _only_edge_server(session: Session, position: str) -> str | None:
    """For a position that is new, the one edge server there is. Raises: Invalid(NO_EDGE_SERVER)."""
    try:
        session.resources.get(POSITION, position)
    except NotFound:
        servers = [names.short(server.name) for server in session.resources.list(EDGE_SERVER)]
        if len(servers) != 1:
            known = f"there are {', '.join(servers)}" if servers else "`waypost edge-server create` makes one"
            raise Invalid(
                "NO_EDGE_SERVER", "where shall the position be?", f"say --edge-server NAME; {known}"
            ) from None
        return servers[0]
    return None


def _wait_for_version(session: Session, name: str, timeout_s: float) -> None:
    """Until the platform has checked it: it may have been published a moment ago."""
    first = _first_known(session, name, min(PUBLISHED_S, timeout_s))
    said = False
    for version in itertools.chain((first,), following.forms(session.client, name, within_s=timeout_s)):
        if version is None:
            raise _unknown_version(name)
        verdict = rollout.judge_version(version)
        if verdict.outcome is Outcome.ARRIVED:
            return
        if verdict.outcome is Outcome.FAILED:
            raise Precondition(verdict.reason, verdict.message, verdict.hint)
        if not said:
            session.note(f"{names.short(name)} is being imported")
            said = True
    raise DeadlineExceeded("STILL_IMPORTING", f"{names.short(name)} is still being imported after {timeout_s:g} s")


def _first_known(session: Session, name: str, within_s: float) -> Any:
    """The first form of the version that the platform shows. Raises: NotFound."""
    said = False
    for version in following.forms(session.client, name, within_s=within_s):
        if version is not None:
            return version
        if not said:
            session.note(f"{names.short(name)} is not known here yet; waiting {within_s:g} s, should it be on its way")
            said = True
    raise _unknown_version(name)


def _unknown_version(name: str) -> NotFound:
    return NotFound("NOT_FOUND", f"there is no model version {names.short(name)}", "`waypost model version list`")


def _say_accepted(session: Session, position: Position) -> None:
    version, place = names.short(position.spec.model_version), names.short(position.spec.edge_server)
    session.note(f"{names.short(position.name)}: {version} at {place}, generation {position.generation}")


def _wait(session: Session, accepted: Position, started: float, timeout_s: float) -> None:
    """Prints the states passed through. Raises: Precondition, NotFound, DeadlineExceeded."""
    states: list[dict[str, Any]] = []
    verdict, position = rollout.WAITING, accepted
    left_s = max(0.0, timeout_s - (time.monotonic() - started))
    for form in following.forms(session.client, accepted.name, within_s=left_s):
        if form is None:
            verdict = Verdict(Outcome.FAILED, "POSITION_DELETED", "the position was deleted", "")
            break
        position = form
        _note_state(session, position, time.monotonic() - started, states)
        verdict = rollout.judge(position, generation=accepted.generation)
        if verdict.outcome is not Outcome.WAITING:
            break
    _conclude(session, position, verdict, states, timeout_s)


def _note_state(session: Session, position: Position, after_s: float, states: list[dict[str, Any]]) -> None:
    state, message = messages.word(position.status, "state"), position.status.message
    if states and (states[-1]["state"], states[-1]["message"]) == (state, message):
        return
    states.append({"state": state, "message": message, "after_s": round(after_s, 3)})
    session.note(f"  {after_s:6.2f} s  {state:14}  {message}")


def _conclude(
    session: Session, position: Position, verdict: Verdict, states: list[dict[str, Any]], timeout_s: float
) -> None:
    if verdict.outcome is Outcome.WAITING:
        verdict = _too_late(position, timeout_s)
    if session.json:
        explained = {"outcome": str(verdict.outcome), "reason": verdict.reason, "message": verdict.message}
        session.show_json({**explained, "states": states, "position": position})
    if verdict.outcome is Outcome.ARRIVED:
        _say_endpoint(session, position)
        return
    kind = DeadlineExceeded if verdict.reason == "NOT_IN_TIME" else Precondition
    raise kind(verdict.reason, verdict.message, verdict.hint)


def _too_late(position: Position, timeout_s: float) -> Verdict:
    short = names.short(position.name)
    state = messages.word(position.status, "state")
    message = f"{short} is not in service after {timeout_s:g} s: it is {state}: {position.status.message}"
    hint = position.status.hint or f"it goes on by itself: `waypost watch {short}`, `waypost logs {short}`"
    return Verdict(Outcome.FAILED, "NOT_IN_TIME", message, hint)


def _say_endpoint(session: Session, position: Position) -> None:
    if session.json:
        return
    endpoint = position.status.endpoint
    rows = [("gateway", endpoint.gateway), ("position", endpoint.position), ("model name", endpoint.serve_as)]
    if endpoint.port:
        rows.append(("own port", str(endpoint.port)))
    for label, value in rows:
        print(f"{label + ':':12}{value}")
