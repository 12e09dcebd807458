"""The one who talks to the gateway: all positions' routes, as one table, applied one after the other.

A position puts its route here and later finds it acknowledged, or why not. Tables are whole, so that what was put
while one was on its way travels with the next. A route that the gateway refuses must not hold back the routes of other
positions: where a table with several changes fails, they are tried one by one, and only the bad one is left out.

Every second the gateway is asked what is live. Where that is not what it was given (it was restarted, or lost its
files), the table is applied again.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping

import structlog

from edge_agent.backoff import delay_s
from edge_agent.gateways.base import Gateway
from edge_agent.gateways.routes import PositionRoute, RouteTable
from mesh.waiting import news_within
from waypost.errors import MeshError

log = structlog.get_logger()

LOOK_EVERY_S = 1.0  # how long a gateway that came back without routes may stay unnoticed
RETRY_MAX_S = 5.0  # between attempts with a table that was refused

Routes = Mapping[str, PositionRoute]


class Router:
    """Put the routes of all positions before `run`: what is missing from the first table is gone from the gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._wanted: dict[str, PositionRoute] = {}
        self._live: dict[str, PositionRoute] = {}
        self._live_hash: str | None = None
        self._errors: dict[str, MeshError] = {}
        self._failures = 0
        self._news = asyncio.Event()
        self._wake: Callable[[str], None] = lambda uid: None
        self.restarts = 0
        """How often the gateway was found without the table that it had been given."""

    def on_change(self, wake: Callable[[str], None]) -> None:
        """From now on `wake(uid)` is called when what is said here about a position has changed."""
        self._wake = wake

    def adopt(self, route: PositionRoute) -> None:
        """What the gateway was given before the agent was started again, and most likely carries still."""
        self._wanted[route.uid] = self._live[route.uid] = route

    def put(self, route: PositionRoute) -> None:
        """From now on this is the position's route."""
        if self._wanted.get(route.uid) != route:
            self._wanted[route.uid] = route
            self._failures = 0
            self._news.set()

    def drop(self, uid: str) -> None:
        """From now on the position has no route."""
        if self._wanted.pop(uid, None) is not None:
            self._failures = 0
            self._news.set()

    def live(self, uid: str) -> PositionRoute | None:
        """The route that the gateway acknowledged last."""
        return self._live.get(uid)

    def acknowledged(self, uid: str) -> bool:
        """Whether calls follow exactly what was last put, or that there is no route after `drop`."""
        return self._live_hash is not None and self._live.get(uid) == self._wanted.get(uid)

    def error(self, uid: str) -> MeshError | None:
        """Why the position's route is not live."""
        return self._errors.get(uid)

    async def run(self) -> None:
        """Applies, for ever; cancel it to end."""
        while True:
            self._news.clear()
            await self._converge()
            pause_s = min(RETRY_MAX_S, delay_s(self._failures)) if self._failures else LOOK_EVERY_S
            news = await news_within(self._news, pause_s)
            if self._live_hash is not None and not news:
                await self._look()

    async def _look(self) -> None:
        if await self._gateway.current() != self._live_hash:
            log.warning("gateway_lost_its_routes", gateway=self._gateway.name)
            self._live_hash = None
            self.restarts += 1
            self._tell(self._wanted)

    async def _converge(self) -> None:
        wanted = dict(self._wanted)
        changed = {uid for uid in wanted.keys() | self._live.keys() if wanted.get(uid) != self._live.get(uid)}
        if not changed and self._live_hash is not None:
            return
        known, error = self._live_hash is not None, await self._apply(wanted)
        if error is None:
            self._note(changed | self._errors.keys() if known else {*changed, *wanted}, None)
        elif known:
            await self._one_by_one(wanted, changed, error)
        else:
            self._note(changed or set(wanted), error)
        self._failures = self._failures + 1 if self._errors else 0

    async def _one_by_one(self, wanted: Routes, changed: set[str], error: MeshError) -> None:
        """All changes that the gateway takes; where it refused the last one tried, the table before is confirmed."""
        for uid in sorted(changed):
            if len(changed) > 1:
                error_of_this = await self._apply(_with(self._live, uid, wanted.get(uid)))
            else:
                error_of_this = error
            self._note({uid}, error_of_this)
        if self._errors:
            await self._apply(dict(self._live))

    async def _apply(self, routes: Routes) -> MeshError | None:
        table = RouteTable(tuple(routes.values()))
        before = self._live
        try:
            applied = await self._gateway.apply(table)
        except MeshError as error:
            log.warning("routes_refused", reason=error.reason, why=error.message)
            return error
        if applied.changed:
            log.info("routes_applied", routes=len(routes), hash=applied.hash[:12])
        self._live, self._live_hash = dict(routes), applied.hash
        self._tell({uid for uid in routes.keys() | before.keys() if routes.get(uid) != before.get(uid)})
        return None

    def _note(self, uids: Collection[str], error: MeshError | None) -> None:
        for uid in uids:
            if error is not None:
                self._errors[uid] = error
            else:
                self._errors.pop(uid, None)
        self._tell(uids)

    def _tell(self, uids: Collection[str]) -> None:
        for uid in uids:
            self._wake(uid)


def _with(routes: Routes, uid: str, route: PositionRoute | None) -> dict[str, PositionRoute]:
    others = {key: value for key, value in routes.items() if key != uid}
    return others if route is None else {**others, uid: route}
