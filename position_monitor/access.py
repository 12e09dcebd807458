"""What xApps ask of a position besides inference (xapp.v1 AccessService), served behind the gateway.

Register takes an application token; everything else takes the access token that it gave. No header of the gateway is
trusted. What is not known yet (the agent was not heard) is UNAVAILABLE: nothing was executed, try again. A token that
is not known yet is waited for: it may be on its way from the control plane.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import structlog

from mesh import clock
from mesh.tokens import Claims, Verifier
from position_monitor.board import Board
from position_monitor.convert import endpoints_to
from position_monitor.tokens import Brake, Issuer, shown, still_good
from position_monitor.window import Loop, Loops, Window
from waypost.api.link.v1.monitor_link_pb2 import OrderedToken
from waypost.api.xapp.v1 import access_pb2 as pb
from waypost.api.xapp.v1.access_pb2_grpc import AccessServiceServicer
from waypost.errors import Exhausted, Invalid, Unauthenticated

log = structlog.get_logger()

CLIENT_CHARS_MAX = 63
LOOPS_MAX = 1000  # in one report: a second of the busiest xApp that we can imagine
TOKEN_ARRIVES_S = 1.0  # from its making to the last position: some 40 ms were measured, a loaded machine takes longer
EARLY_MAX = 64  # callers with an unknown token that wait for it at a time; further ones are refused at once
WATCHERS_MAX = 256  # each costs a stream and some 20 KB; Resolve serves any number


class AccessService(AccessServiceServicer):
    """Serves AccessService of one position."""

    def __init__(self, board: Board, issuer: Issuer, verifier: Verifier) -> None:
        self._board = board
        self._issuer = issuer
        self._verifier = verifier
        self._brake = Brake()
        self._watchers = 0
        self._early = 0

    async def Register(self, request: pb.RegisterRequest, context: Any) -> pb.RegisterResponse:  # noqa: N802
        orders = self._board.known()
        self._check_position(request.position)
        client = _client(request.client)
        now = clock.now()
        try:
            token = await self._shown_soon(request.application_token, now)
        except Unauthenticated as error:
            log.warning("register_refused", client=client, reason=error.reason)
            await self._brake.press()
            raise
        access_token, expires_in_s = self._issuer.issue(token, client, now)
        log.info("registered", client=client, credential=token.credential)
        return pb.RegisterResponse(
            access_token=access_token,
            expires_in_s=expires_in_s,
            position_uid=self._board.uid,
            model=self._board.serve_as,
            idempotent=orders.idempotent,
        )

    async def _shown_soon(self, secret: str, now: float) -> OrderedToken:
        """Who has made a token a moment ago is here before its hash: an unknown one waits for the next orders a little.

        Raises: Unauthenticated.
        """
        self._early += 1
        try:
            async with asyncio.timeout(TOKEN_ARRIVES_S if self._early <= EARLY_MAX else 0):
                while True:
                    changed = self._board.changed
                    try:
                        return shown(secret, self._board.known().tokens, now)
                    except Unauthenticated as error:
                        if error.reason != "BAD_TOKEN":
                            raise
                        refusal = error
                    await changed.wait()
        except TimeoutError:
            raise refusal from None
        finally:
            self._early -= 1

    async def Renew(self, request: pb.RenewRequest, context: Any) -> pb.RenewResponse:  # noqa: N802
        claims = self._caller(request.position, context)
        now = clock.now()
        orders = self._board.known()
        token = still_good(claims.subject, orders.tokens, now)
        access_token, expires_in_s = self._issuer.issue(token, claims.client, now)
        return pb.RenewResponse(access_token=access_token, expires_in_s=expires_in_s, idempotent=orders.idempotent)

    async def Resolve(self, request: pb.ResolveRequest, context: Any) -> pb.ResolveResponse:  # noqa: N802
        self._caller(request.position, context)
        return pb.ResolveResponse(endpoints=self._endpoints())

    async def WatchEndpoints(  # noqa: N802
        self, request: pb.WatchEndpointsRequest, context: Any
    ) -> AsyncIterator[pb.WatchEndpointsResponse]:
        self._caller(request.position, context)
        if self._watchers >= WATCHERS_MAX:
            message = f"{WATCHERS_MAX} callers watch the endpoints of {self._board.position} already"
            raise Exhausted("TOO_MANY_WATCHERS", message, "call Resolve now and then instead")
        self._watchers += 1
        try:
            async for endpoints in self._changes():
                yield pb.WatchEndpointsResponse(endpoints=endpoints)
        finally:
            self._watchers -= 1

    async def ReportLoops(self, request: pb.ReportLoopsRequest, context: Any) -> pb.ReportLoopsResponse:  # noqa: N802
        self._caller(request.position, context)
        if len(request.loops) > LOOPS_MAX:
            message = f"the report has {len(request.loops)} loops, at most {LOOPS_MAX} are taken at a time"
            raise Invalid("TOO_MANY_LOOPS", message, "report more often, or in several calls")
        loops = [Loop(loop.duration_ms, loop.deadline_ms, loop.failed) for loop in request.loops]
        plausible = [loop for loop in loops if loop.plausible]
        self._board.count(Window(loops=Loops.of(plausible)))
        return pb.ReportLoopsResponse(accepted=len(plausible))

    def _caller(self, position: str, context: Any) -> Claims:
        """Who calls. Raises: Unauthenticated, Invalid(WRONG_POSITION)."""
        metadata = dict(context.invocation_metadata() or ())
        claims = self._verifier.verify(str(metadata.get("authorization", "")), clock.now())
        self._check_position(position)
        return claims

    def _check_position(self, named: str) -> None:
        if not self._board.answers_to(named):
            raise Invalid(
                "WRONG_POSITION",
                f"the request names position {named[:200]!r}, this is {self._board.position}",
                "name the position that the call is addressed to, or leave it empty",
                position=self._board.position,
            )

    def _endpoints(self) -> pb.EndpointSet:
        return endpoints_to(self._board.known(), self._board.serve_as)

    async def _changes(self) -> AsyncIterator[pb.EndpointSet]:
        """The endpoints now and again when they differ; a slow reader misses what is past."""
        sent = None
        while True:
            changed = self._board.changed
            endpoints = self._endpoints()
            if endpoints != sent:
                sent = endpoints
                yield endpoints
            await changed.wait()


def _client(name: str) -> str:
    """Goes into logs and tokens. Raises: Invalid(BAD_CLIENT)."""
    if len(name) > CLIENT_CHARS_MAX or not name.isprintable():
        message = f"the client's name has {len(name)} characters, or some that cannot be printed"
        raise Invalid("BAD_CLIENT", message, f"use at most {CLIENT_CHARS_MAX} printable characters")
    return name
