"""AccessService without a wire: what it says before the agent was heard, and how many may watch."""

import asyncio
import hashlib
from collections.abc import AsyncIterator

import pytest

from mesh import clock, tokens
from position_monitor import access
from position_monitor.access import AccessService
from position_monitor.board import Board
from position_monitor.tokens import Issuer
from waypost.api.link.v1.monitor_link_pb2 import PositionOrders
from waypost.api.xapp.v1 import access_pb2 as pb
from waypost.errors import Exhausted, Unauthenticated, Unavailable

POSITION = "projects/uav/applications/path/positions/tower-7"
UID = "6f2c5a1e-0000-4000-8000-000000000001"
KEY = tokens.new_signing_key()


class Call:
    """The part of a gRPC context that the service looks at: a call with a good access token."""

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        token = tokens.mint(KEY, audience=UID, subject="credentials/c", client="cell-7", now=clock.now())
        return (("authorization", f"Bearer {token}"),)


def service(board: Board) -> AccessService:
    return AccessService(board, Issuer(KEY, UID), tokens.Verifier(board.jwks, UID))


def new_board() -> Board:
    return Board(POSITION, UID, tokens.jwks(KEY))


def orders(generation: int) -> PositionOrders:
    made = PositionOrders(position=POSITION, uid=UID)
    made.endpoints.generation = generation
    return made


async def watched(watch: AsyncIterator[pb.WatchEndpointsResponse]) -> int:
    async with asyncio.timeout(1):
        return (await anext(watch)).endpoints.generation


def test_before_the_agent_was_heard_everything_is_to_be_tried_again() -> None:
    async def scenario() -> None:
        asked = service(new_board())
        for answer in (asked.Register(pb.RegisterRequest(), Call()), asked.Resolve(pb.ResolveRequest(), Call())):
            with pytest.raises(Unavailable) as caught:
                await answer
            assert caught.value.reason == "NO_ORDERS"
            assert caught.value.hint

    asyncio.run(scenario())


def test_a_position_is_known_by_all_its_names() -> None:
    board = new_board()
    assert all(board.answers_to(name) for name in ("", UID, POSITION, "uav/path/tower-7"))
    assert not any(board.answers_to(name) for name in ("tower-7", "uav/path/tower-8", UID[:-1]))


def test_a_slow_watcher_sees_the_newest_endpoints_only() -> None:
    async def scenario() -> None:
        board = new_board()
        board.post(orders(1))
        watch = service(board).WatchEndpoints(pb.WatchEndpointsRequest(), Call())
        assert await watched(watch) == 1
        for generation in (2, 3, 3):
            board.post(orders(generation))
        assert await watched(watch) == 3
        board.post(orders(3))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await anext(watch)

    asyncio.run(scenario())


def test_watchers_are_bounded_and_make_room_when_they_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "WATCHERS_MAX", 1)

    async def scenario() -> None:
        board = new_board()
        board.post(orders(1))
        asked = service(board)
        first, second, third = (asked.WatchEndpoints(pb.WatchEndpointsRequest(), Call()) for _ in range(3))
        await watched(first)
        with pytest.raises(Exhausted) as caught:
            await watched(second)
        assert caught.value.reason == "TOO_MANY_WATCHERS"
        await first.aclose()
        assert await watched(third) == 1
        await third.aclose()

    asyncio.run(scenario())


def with_token(secret: str) -> PositionOrders:
    made = orders(1)
    made.tokens.add(credential="credentials/c", sha256=hashlib.sha256(secret.encode()).hexdigest())
    return made


def test_a_token_made_a_moment_ago_is_waited_for() -> None:
    async def scenario() -> None:
        board = new_board()
        board.post(orders(1))
        register = asyncio.ensure_future(service(board).Register(pb.RegisterRequest(application_token="wp1_x"), Call()))
        await asyncio.sleep(0)
        assert not register.done()
        board.post(with_token("wp1_x"))
        assert (await register).access_token

    asyncio.run(scenario())


def test_with_each_new_token_it_is_said_whether_calls_may_be_repeated_now() -> None:
    async def scenario() -> None:
        board = new_board()
        asked = service(board)
        for idempotent in (True, False):
            made = with_token("wp1_x")
            made.idempotent = idempotent
            board.post(made)
            registered = await asked.Register(pb.RegisterRequest(application_token="wp1_x"), Call())
            renewed = await asked.Renew(pb.RenewRequest(), Call())
            assert (registered.idempotent, renewed.idempotent) == (idempotent, idempotent)

    asyncio.run(scenario())


def test_a_token_that_nobody_brings_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        board = new_board()
        board.post(with_token("wp1_x"))
        with pytest.raises(Unauthenticated) as caught:
            await service(board).Register(pb.RegisterRequest(application_token="wp1_y"), Call())
        assert caught.value.reason == "BAD_TOKEN"

    monkeypatch.setattr(access, "TOKEN_ARRIVES_S", 0.0)
    asyncio.run(scenario())


def test_many_unknown_tokens_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        board = new_board()
        board.post(with_token("wp1_x"))
        async with asyncio.timeout(0.5):
            with pytest.raises(Unauthenticated):
                await service(board).Register(pb.RegisterRequest(application_token="wp1_y"), Call())

    monkeypatch.setattr(access, "EARLY_MAX", 0)
    asyncio.run(scenario())
