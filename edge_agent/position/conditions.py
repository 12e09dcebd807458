"""What is true of a position, condition by condition, and what keeps it from being as specified. Pure."""

from collections.abc import Iterable, Iterator

from edge_agent.failure import Failure, condition
from edge_agent.position.diff import Phase
from edge_agent.position.picture import Picture, label
from mesh.times import timestamp
from waypost.api.control.v1 import condition_pb2 as pb

ARTIFACT, HOSTS, ROUTE, MONITOR, CHANGES = (
    "ArtifactReady",
    "HostsReady",
    "RouteReady",
    "MonitorConnected",
    "ChangesApplied",
)

NOT_ANSWERING = Failure(
    "NOT_ANSWERING",
    "it misses its health checks, or says itself that it cannot serve",
    "it is ended and started again if it stays so",
)
_LEAVING = Failure("DELETING", "the position is leaving")
_CHANGING = Failure(
    "ROUTE_CHANGING", "the gateway has not confirmed the newest route: until it does, calls may go by the one before"
)


def conditions(picture: Picture) -> Iterator[pb.Condition]:
    """One of each type, in the order in which a deployment comes by them."""
    yield condition(ARTIFACT, _artifact(picture))
    yield condition(HOSTS, _hosts(picture))
    yield condition(ROUTE, _route(picture))
    yield condition(MONITOR, _monitor(picture))
    yield condition(CHANGES, picture.held)


def dated(found: Iterable[pb.Condition], before: Iterable[pb.Condition], now: float) -> list[pb.Condition]:
    """With the time when the status of each last changed. now: Unix seconds."""
    known = {old.type: old for old in before}
    return [_dated(new, known.get(new.type), now) for new in found]


def trouble(picture: Picture) -> Failure | None:
    """The first thing that keeps the position from being as specified, and does not pass by itself in a moment."""
    candidates = (
        picture.refusal,
        _rejection(picture),
        picture.fetch_failures.get(picture.wanted.version.digest),
        _host_failure(picture),
        picture.route_failure,
        picture.proof.failure if picture.proof else None,
        _monitor_failure(picture),
    )
    return next((failure for failure in candidates if failure is not None), None)


# ---- one by one: None is TRUE, a Failure is FALSE and why ------------------------------------------------------------


def _artifact(picture: Picture) -> Failure | None:
    digest = picture.wanted.version.digest
    loaded = any(view.version.digest == digest and view.ready for view in picture.hosts)
    if picture.wanted.deleting or loaded or digest in picture.fetched:
        return None
    failure = picture.fetch_failures.get(digest) or _rejection(picture)
    return failure or Failure("FETCHING", f"{label(picture.wanted.version)} is being fetched")


def _hosts(picture: Picture) -> Failure | None:
    if picture.wanted.deleting:
        return _LEAVING
    if failure := picture.refusal or _rejection(picture) or _host_failure(picture):
        return failure
    least = picture.wanted.replicas_min
    return None if picture.ready >= least else Failure("STARTING", f"{picture.ready} of {least} replicas are ready")


def _route(picture: Picture) -> Failure | None:
    if picture.wanted.deleting:
        return _LEAVING
    if picture.route_failure is not None:
        return picture.route_failure
    if not any(view.ready for view in picture.hosts):
        return Failure("NO_HOSTS", "no host is ready to be routed to")
    if not picture.settled:
        return _CHANGING
    if picture.proof is None:
        return Failure("NOT_PROVED", "no inference through the gateway has succeeded yet")
    return picture.proof.failure


def _monitor(picture: Picture) -> Failure | None:
    if picture.monitor.connected:
        return None
    return _monitor_failure(picture) or Failure("STARTING", "the position's monitor is starting")


# ---- why -------------------------------------------------------------------------------------------------------------


def _rejection(picture: Picture) -> Failure | None:
    verdict = picture.rejection
    if verdict is None:
        return None
    return Failure(
        "REJECTED",
        f"{label(picture.wanted.version)} was rejected here ({verdict.reason}: {verdict.evidence})",
        "deploy another version, or clear the rejection to let the position try this one again",
    )


def _host_failure(picture: Picture) -> Failure | None:
    """Of the host of the wanted version that was started most often without success."""
    amiss = [
        view
        for view in picture.hosts
        if view.version.digest == picture.wanted.version.digest
        and view.replica.phase is not Phase.DRAINING
        and (view.failure is not None or view.replica.phase is Phase.SILENT)
    ]
    if not amiss:
        return None
    worst = max(amiss, key=lambda view: (view.starts, view.replica.id))
    failure = worst.failure or NOT_ANSWERING
    times = f" (start {worst.starts})" if worst.starts > 1 else ""
    message = f"a replica of {label(worst.version)} does not run{times}: {failure.message}"
    return Failure(failure.reason, message, failure.hint)


def _monitor_failure(picture: Picture) -> Failure | None:
    if not picture.monitor.missed:
        return None
    if (failure := picture.monitor.failure) is not None:
        return Failure(failure.reason, f"the position's monitor does not run: {failure.message}", failure.hint)
    return Failure(
        "MONITOR_LOST",
        "the position's monitor is not connected: xApps that are registered are served, new ones cannot register",
        "it is started again by itself; if it stays so, read its log: waypost logs POSITION",
    )


def _dated(new: pb.Condition, last: pb.Condition | None, now: float) -> pb.Condition:
    new.since.CopyFrom(last.since if last is not None and last.status == new.status else timestamp(now))
    return new
