"""The replicas of one position, as ledger, driver and health checks together show them; and the lineup that keeps them.

The ledger says which ids were given out, the driver which of them run, the health checks which answer. An id that the
driver has never started is as good as one that ended; a process that the ledger does not know is still ours, because
the driver says so, and counts like any other. Pure.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from edge_agent.backoff import Restarts
from edge_agent.drivers.base import MONITOR, HostSet, Limits, Observed
from edge_agent.failure import Failure
from edge_agent.model_version import NO_VERSION, Version
from edge_agent.position.diff import Phase, Replica, shape
from edge_agent.position.picture import HostView
from edge_agent.position.record import Record

PhaseOf = Callable[[Observed], Phase]
"""What the health checks say of a running host."""

NEVER_STARTED = Restarts()


def host_views(
    record: Record,
    observed: Sequence[Observed],
    phase_of: PhaseOf,
    restarts: Mapping[str, Restarts],
    last_failures: Mapping[str, Failure],
    now_s: float,
) -> tuple[HostView, ...]:
    """All replicas, sorted by id. now_s: on the event loop's clock."""
    running = {seen.id: seen for seen in observed if seen.id != MONITOR}
    views = []
    for id_ in sorted(record.slots.keys() | running.keys()):
        due = restarts.get(id_, NEVER_STARTED).due_s <= now_s
        seen = running.get(id_)
        if seen is None:
            slot = record.slots[id_]
            waiting = Replica(id_, shape(slot.version.digest, slot.variant), slot.version.digest, Phase.ENDED, due=due)
            views.append(HostView(waiting, slot.version))
        else:
            views.append(_view(record, seen, phase_of, last_failures.get(id_), due=due))
    return tuple(views)


def _view(record: Record, seen: Observed, phase_of: PhaseOf, last: Failure | None, *, due: bool) -> HostView:
    version, variant = seen.version, seen.variant
    slot = record.slots.get(seen.id)
    if version == NO_VERSION and slot is not None:
        version, variant = slot.version, slot.variant
    phase = _phase(seen, phase_of)
    return HostView(
        replica=Replica(
            id=seen.id,
            shape=shape(version.digest, variant),
            digest=version.digest,
            phase=phase,
            age=round(seen.started_s * 1000),
            due=due,
        ),
        version=version,
        starts=seen.starts,
        pid=seen.pid,
        failure=None if phase is Phase.READY else seen.failure or last,
    )


def _phase(seen: Observed, phase_of: PhaseOf) -> Phase:
    if seen.draining:
        return Phase.DRAINING
    return phase_of(seen) if seen.running else Phase.ENDED


def host_sets(
    views: Collection[HostView],
    drained: Collection[str],
    started: Collection[str],
    *,
    package: Callable[[Version], Path],
    serve_as: str,
    limits: Limits,
) -> tuple[HostSet, ...]:
    """Everything that shall run or rest. drained: ids to go. started: ids to start now, be it once again."""
    groups: dict[tuple[Version, str], list[HostView]] = {}
    for view in views:
        if view.replica.phase is not Phase.DRAINING:
            variant = view.replica.shape.partition("/")[2]
            groups.setdefault((view.version, variant), []).append(view)
    return tuple(
        HostSet(
            version=version,
            variant=variant,
            package=package(version),
            serve_as=serve_as,
            limits=limits,
            replicas=_ids(members, lambda view: view.replica.id not in drained and _runs(view, started)),
            resting=_ids(members, lambda view: view.replica.id not in drained and not _runs(view, started)),
        )
        for (version, variant), members in groups.items()
    )


def _runs(view: HostView, started: Collection[str]) -> bool:
    return view.replica.phase is not Phase.ENDED or view.replica.id in started


def _ids(views: Collection[HostView], chosen: Callable[[HostView], bool]) -> tuple[str, ...]:
    return tuple(view.replica.id for view in views if chosen(view))
