"""Which control plane an agent turns to next."""

import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.links import upstreams as module
from edge_agent.links.upstreams import Upstreams
from tests.unit.control_plane.scenario import scenario
from waypost.api.link.v1.artifact_source_pb2 import ReadArtifactRequest, ReadArtifactResponse
from waypost.errors import Unavailable

ADDRESSES = ["cp1:7601", "cp2:7601", "cp3:7601"]


async def dialled(upstreams: Upstreams, times: int) -> list[str]:
    """Where it goes; nobody is there."""
    seen = []
    for _ in range(times):
        wire = await upstreams.dial()
        await wire.close()
        seen.append(upstreams.current)
    return seen


@given(st.integers())
def test_an_agent_goes_round_all_of_them_for_ever(seed: int) -> None:
    @scenario
    async def go() -> None:
        upstreams = Upstreams(" , ".join(ADDRESSES), None, random.Random(seed))
        seen = await dialled(upstreams, 7)
        assert set(seen[:3]) == set(ADDRESSES)
        assert seen[3:6] == seen[:3]
        await upstreams.close()

    go()


def test_a_fleet_spreads() -> None:
    @scenario
    async def go() -> None:
        firsts = set()
        for seed in range(20):
            upstreams = Upstreams(",".join(ADDRESSES), None, random.Random(seed))
            firsts |= set(await dialled(upstreams, 1))
            await upstreams.close()
        assert firsts == set(ADDRESSES)

    go()


def test_who_is_sent_elsewhere_goes_there_once_and_then_round_again() -> None:
    @scenario
    async def go() -> None:
        upstreams = Upstreams("cp1:7601", None, random.Random(1))
        assert await dialled(upstreams, 1) == ["cp1:7601"]
        upstreams.redirect("cp9:7601,cp8:7601")
        assert await dialled(upstreams, 3) == ["cp9:7601", "cp1:7601", "cp1:7601"]
        await upstreams.close()

    go()


def test_a_renewal_may_bring_other_addresses() -> None:
    @scenario
    async def go() -> None:
        upstreams = Upstreams("cp1:7601", None, random.Random(1))
        await dialled(upstreams, 1)
        await upstreams.renew("cp2:7601", None)
        await upstreams.renew("cp3:7601", None)
        assert await dialled(upstreams, 2) == ["cp3:7601", "cp3:7601"]
        await upstreams.close()

    go()


class Channel:
    """To a control plane that gives so many bytes of a file, and is away then."""

    def __init__(self, gives: bytes) -> None:
        self.gives = gives
        self.asked: list[int] = []
        """From which byte on, by call."""

    def unary_stream(self, path: str, **options: Any) -> Callable[[ReadArtifactRequest], AsyncIterator[Any]]:
        async def read(request: ReadArtifactRequest) -> AsyncIterator[ReadArtifactResponse]:
            self.asked.append(request.offset)
            if self.gives:
                yield ReadArtifactResponse(data=self.gives)
            raise Unavailable("UNAVAILABLE", "connection refused")

        return read

    async def close(self) -> None: ...


@pytest.mark.parametrize(("gives", "seen", "asked"), [(b"", b"", [7]), (b"bytes", b"bytes", [])])
def test_another_one_is_asked_for_a_file_only_before_its_first_byte(
    monkeypatch: pytest.MonkeyPatch, gives: bytes, seen: bytes, asked: list[int]
) -> None:
    """What came of one is kept by the caller, who asks for the rest: two beginnings make no file."""

    @scenario
    async def go() -> None:
        channels = {"cp1:7601": Channel(gives), "cp2:7601": Channel(b"")}
        monkeypatch.setattr(module, "open_aio_channel", lambda address, *, tls: channels[address])
        upstreams = Upstreams("cp1:7601,cp2:7601", None, random.Random(1))
        upstreams._current = "cp1:7601"
        got: list[bytes] = []

        async def read() -> None:
            async for piece in upstreams.read("sha256:1", 7):
                got.append(piece)

        with pytest.raises(Unavailable):
            await read()
        assert (b"".join(got), channels["cp1:7601"].asked, channels["cp2:7601"].asked) == (seen, [7], asked)
        await upstreams.close()

    go()
