"""The loop around the planner: look at everything, plan, commit what differs, wait for news.

It is woken by any commit and by any report of a position; a deploy therefore leaves for its edge server as soon as two
commits are on disk. Planning is a function of what is there now alone, so that waking for nothing costs a little time
and changes nothing, and missing a wake-up is mended by the next one. A plan over thousands of positions takes a tenth
of a second, in which this process does nothing else: so the loop rests after it for nine times as long, and then takes
up all that has come meanwhile at once.

What is committed was planned from parents that were read before, and the commit says so: where somebody else planned
in between (another replica of the control plane), it fails as a whole and the loop looks again. Positions that are in
deletion and gone from the edge lose their record in the same commit that takes the last word of them from the desired
state.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress

import structlog

from control_plane.domain.assignments import Conversions, Outcome, Resources, plan_resources
from control_plane.domain.types import Held
from control_plane.events import REPLACED, RETURNED, Recorder
from control_plane.mirror import Mirror
from control_plane.reports import Change, Reported, Reports
from control_plane.store import Delete, Put, RevisionConflict, Stores
from control_plane.store.base import COMMIT_CHANGES_MAX
from control_plane.store.resources import (
    CREDENTIAL,
    DESIRED,
    EDGE_SERVER,
    MODEL_VERSION,
    POSITION,
    desired_name,
    encode_desired,
)
from mesh import clock
from waypost import names
from waypost.api.control.v1.edge_server_pb2 import EdgeServerStatus
from waypost.api.link.v1.agent_link_pb2 import PositionReport

log = structlog.get_logger()

REPLAN_S = 60.0  # how late the expiry of a token, which nothing announces, may reach the desired state
REST_FACTOR = 9.0  # times what a plan took: while changes pour in, planning takes a tenth of the process and no more


class Reconciler:
    """One per control plane; `run` may be called again after it raised."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._mirror = Mirror(stores.records, POSITION, MODEL_VERSION, CREDENTIAL, EDGE_SERVER, DESIRED)
        self._reports = Reports(stores.observed)
        self._recorder = Recorder(stores.events, clock.now)
        self._conversions = Conversions()
        self._planned_for_s = 0.0
        self._held: Mapping[str, Held] = {}
        self._replaced: Mapping[str, str] = {}
        self._ruled: set[str] = set()
        """Positions with a rule for the absence of their edge server: of these every report may matter."""
        self._began_s = clock.now()

    async def run(self) -> None:
        """For ever; cancel it to end. Raises what the store raises."""
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        while True:
            if await self._has_news() or loop.time() >= due_s:
                again_in_s = await self._plan()
                due_s = loop.time() + min(REPLAN_S, again_in_s)
                await asyncio.sleep(REST_FACTOR * self._planned_for_s)
            with suppress(TimeoutError):
                async with asyncio.timeout_at(due_s):
                    await self._stores.news(self._mirror.revision, self._reports.sequence)

    async def _has_news(self) -> bool:
        """Catches up; True where something that planning looks at has changed."""
        changed = await self._mirror.refresh(self._stores.known_revision)
        reported = await self._reports.refresh()
        planned = [name for name in changed if not name.startswith(desired_name(""))]
        if planned:
            positions = self._mirror.of(POSITION).items()
            self._ruled = {
                name for name, each in positions if each.message.spec.on_disconnect.HasField("replace_after")
            }
        return bool(planned) or any(map(self._matters, reported))

    def _matters(self, change: Change) -> bool:
        """Whether planning looks at what changed."""
        if _planned_from(change.before) != _planned_from(change.after):
            return True
        of_rule = change.position in self._ruled if change.position else bool(self._ruled)
        return of_rule and (bool(change.position) or _presence(change.before) != _presence(change.after))

    async def _plan(self) -> float:
        """Plans and commits, anew where somebody else wrote in between. Returns seconds until the next plan is due."""
        while True:
            began_s = asyncio.get_running_loop().time()
            outcome = plan_resources(self._resources(), now_s=clock.now(), conversions=self._conversions)
            self._planned_for_s = asyncio.get_running_loop().time() - began_s
            try:
                await self._commit(outcome)
            except RevisionConflict as conflict:
                log.info("plan_conflict", name=conflict.name, expected=conflict.expected, actual=conflict.actual)
                await self._mirror.refresh(await self._stores.records.revision())  # theirs may not be known here yet
            else:
                await self._tell(outcome)
                return max(0.0, outcome.look_again_s - clock.now())

    def _resources(self) -> Resources:
        return Resources(
            revision=self._mirror.revision,
            positions=[each.message for each in self._mirror.of(POSITION).values()],
            versions=[each.message for each in self._mirror.of(MODEL_VERSION).values()],
            credentials=[each.message for each in self._mirror.of(CREDENTIAL).values()],
            edge_servers=frozenset(self._mirror.of(EDGE_SERVER)),
            desired={_server(name): each.message.upserts for name, each in self._mirror.of(DESIRED).items()},
            reports=[(server, report) for server, _, report in self._reports.all()],
            statuses=self._reports.statuses,
            observed_since_s=self._began_s,
            specified={
                name: each.message
                for name, each in self._mirror.of(EDGE_SERVER).items()
                if each.message.HasField("spec")
            },
        )

    async def _commit(self, outcome: Outcome) -> None:
        """Raises RevisionConflict."""
        changes: list[Put | Delete] = [encode_desired(server, items) for server, items in outcome.changed.items()]
        changes += [Delete(desired_name(server)) for server in outcome.abandoned]
        changes += [Delete(position) for position in outcome.finished]
        for start in range(0, len(changes), COMMIT_CHANGES_MAX):  # the first: a position may go after its assignment
            now = changes[start : start + COMMIT_CHANGES_MAX]
            await self._stores.records.commit(now, expect={change.name: self._revision(change.name) for change in now})
        if changes:
            log.info("planned", servers=len(outcome.changed), finished=len(outcome.finished))
        if outcome.finished:
            await self._reports.forget(outcome.finished)

    def _revision(self, name: str) -> int:
        """Of what was planned from; 0 where there was nothing."""
        if name.startswith(desired_name("")):
            desired = self._mirror.of(DESIRED).get(name)
            return desired.revision if desired else 0
        return self._mirror.of(POSITION)[name].revision

    async def _tell(self, outcome: Outcome) -> None:
        """An event for each position that newly does not get what it asks for, or is elsewhere than it asks for.

        Once, of however many control planes: the one that committed a move tells of it, and what needs no commit is
        told once for each spec and reason.
        """
        for position, why in outcome.held.items():
            if self._held.get(position) != why:
                await self._tell_held(position, why)
        for position, server in outcome.replaced.items():
            if self._replaced.get(position) != server and server in outcome.changed:
                await self._recorder.record(position, REPLACED, f"{names.leaf(server)} stands in for its edge server")
        for position in self._replaced.keys() - outcome.replaced.keys():
            if self._replaced[position] in outcome.changed:
                await self._recorder.record(position, RETURNED, "nobody stands in for its edge server any more")
        self._held, self._replaced = outcome.held, outcome.replaced

    async def _tell_held(self, position: str, why: Held) -> None:
        keeps = f"it keeps {names.short(why.keeps)}" if why.keeps else "it has no version to serve"
        told = self._mirror.of(POSITION)[position].message
        key = f"held/{told.uid}/{told.generation}/{why.reason}/{why.keeps}"
        await self._recorder.record(position, why.reason, f"the spec cannot be followed yet: {keeps}", key=key)


def _planned_from(reported: Reported | None) -> tuple[object, ...]:
    """What planning looks at of any position: most reports only bring figures."""
    if not isinstance(reported, PositionReport):
        return ()
    rejected = frozenset(rejection.digest for rejection in reported.status.rejected)
    return reported.uid, reported.gone, rejected


def _presence(reported: Reported | None) -> tuple[object, ...]:
    """What planning looks at of edge servers that somebody may stand in for."""
    if not isinstance(reported, EdgeServerStatus):
        return ()
    return reported.state, reported.connected_since_time.ToMilliseconds()


def _server(name: str) -> str:
    """The edge server of a desired state's record."""
    return name.removeprefix(desired_name(""))
