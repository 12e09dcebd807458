"""What every model source promises (control_plane/sources/base.py), as tests. `test_sources.py` runs them on each one.

A case gives the source under test and a hand on the training platform behind it (`FakePlatform`): what the source is
for is to tell faithfully what happens there.
"""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any

import pytest

from control_plane.sources.base import ModelSource
from control_plane.sources.fake import FakePlatform
from waypost.api.training.v1.training_pb2 import DeployedVersion, SubscribeResponse, VersionKey
from waypost.errors import MeshError, NotFound, OutOfRange, Unauthenticated, Unavailable

CONTENT = bytes(range(256)) * 2048  # half a megabyte: two pieces

Follow = Callable[[FakePlatform, str], AbstractAsyncContextManager[ModelSource]]
"""The source under test, following a platform with an activation token."""


def scenario(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*arguments: Any, **keywords: Any) -> None:
        asyncio.run(asyncio.wait_for(test(*arguments, **keywords), 20))

    return run


async def take(source: ModelSource, after: int, count: int) -> list[SubscribeResponse]:
    """The next `count` events after a cursor."""
    events: list[SubscribeResponse] = []
    async with aclosing(source.follow(after)) as stream:
        async for event in stream:
            events.append(event)
            if len(events) == count:
                return events
    raise AssertionError("a source never ends by itself")


async def fetch(source: ModelSource, digest: str, offset: int = 0, *, into: bytearray | None = None) -> bytes:
    """into: filled as pieces come, to see what came before it broke."""
    received = bytearray() if into is None else into
    async for piece in source.fetch(digest, offset):
        received += piece
    return bytes(received)


def kinds(events: list[SubscribeResponse]) -> list[str | None]:
    return [event.WhichOneof("event") for event in events]


def published() -> FakePlatform:
    """One application, model and version; sequence 3."""
    platform = FakePlatform("lab")
    platform.publish_application("uav", display_name="UAV")
    platform.publish_model("uav", "path", type="regression")
    platform.publish_version("uav", "path", "1", {"model.onnx": CONTENT}, metrics={"mae": 0.25})
    return platform


class SourceSuite:
    """Subclasses give a fixture `follow` of type `Follow` and the right activation `token`."""

    token: str

    @scenario
    async def test_activation_names_the_platform_and_may_be_repeated(self, follow: Follow) -> None:
        async with follow(published(), self.token) as source:
            assert [await source.activate(), await source.activate()] == ["lab", "lab"]

    @scenario
    async def test_a_wrong_activation_token_is_unauthenticated(self, follow: Follow) -> None:
        async with follow(published(), "wrong") as source:
            with pytest.raises(Unauthenticated):
                await source.activate()

    @scenario
    async def test_who_starts_from_nothing_gets_a_snapshot_and_its_end(self, follow: Follow) -> None:
        async with follow(published(), self.token) as source:
            await source.activate()
            events = await take(source, 0, 4)
        assert kinds(events) == ["application_published", "model_published", "version_published", "snapshot_end"]
        assert [event.sequence for event in events] == [0, 0, 0, 3]
        assert events[0].application_published.display_name == "UAV"
        assert events[2].version_published.metrics == {"mae": 0.25}

    @scenario
    async def test_who_comes_back_gets_what_it_missed_and_what_follows(self, follow: Follow) -> None:
        platform = published()
        async with follow(platform, self.token) as source:
            await source.activate()
            async with aclosing(source.follow(2)) as events:
                assert (await anext(events)).sequence == 3
                platform.withdraw_version("uav", "path", "1")
                event = await anext(events)
        assert (event.sequence, event.WhichOneof("event")) == (4, "version_withdrawn")

    @scenario
    async def test_a_cursor_before_the_log_is_out_of_range(self, follow: Follow) -> None:
        platform = published()
        platform.forget_log()
        async with follow(platform, self.token) as source:
            await source.activate()
            with pytest.raises(OutOfRange):
                await take(source, 1, 1)
            assert len(await take(source, 0, 4)) == 4

    @scenario
    async def test_a_broken_stream_raises_and_may_be_followed_again(self, follow: Follow) -> None:
        platform = published()
        async with follow(platform, self.token) as source:
            await source.activate()
            async with aclosing(source.follow(2)) as events:
                await anext(events)
                platform.break_streams()
                with pytest.raises(MeshError):
                    await anext(events)
            assert [event.sequence for event in await take(source, 2, 1)] == [3]

    @scenario
    async def test_files_are_fetched_from_any_offset(self, follow: Follow) -> None:
        platform = published()
        digest = platform.publish_version("uav", "path", "2", {"model.onnx": CONTENT}).files[0].digest
        async with follow(platform, self.token) as source:
            await source.activate()
            assert await fetch(source, digest) == CONTENT
            assert await fetch(source, digest, 300_000) == CONTENT[300_000:]
            assert await fetch(source, digest, len(CONTENT)) == b""

    @scenario
    async def test_a_broken_fetch_gives_what_came_and_raises(self, follow: Follow) -> None:
        platform = published()
        digest = platform.publish_version("uav", "path", "2", {"model.onnx": CONTENT}).files[0].digest
        platform.fetch_breaks_after_bytes = 1000
        async with follow(platform, self.token) as source:
            await source.activate()
            received = bytearray()
            with pytest.raises(Unavailable):
                await fetch(source, digest, into=received)
        assert received == CONTENT[:1000]

    @scenario
    async def test_a_file_that_is_not_published_is_not_found(self, follow: Follow) -> None:
        async with follow(published(), self.token) as source:
            await source.activate()
            with pytest.raises(NotFound):
                await fetch(source, "sha256:" + "0" * 64)

    @scenario
    async def test_reports_arrive(self, follow: Follow) -> None:
        platform = published()
        deployed = DeployedVersion(
            version=VersionKey(application="uav", model="path", version="1"), positions=["projects/x/..."]
        )
        async with follow(platform, self.token) as source:
            await source.activate()
            await source.report([deployed])
            await source.report([])
        assert platform.reports == [[deployed], []]

    @scenario
    async def test_a_platform_that_is_away_is_unavailable_for_everything(self, follow: Follow) -> None:
        platform = published()
        async with follow(platform, self.token) as source:
            await source.activate()
            platform.away = True
            attempts: list[Callable[[], Awaitable[object]]] = [
                lambda: take(source, 0, 1),
                lambda: fetch(source, "sha256:" + "0" * 64),
                lambda: source.report([]),
            ]
            for attempt in attempts:
                with pytest.raises(Unavailable):
                    await attempt()
