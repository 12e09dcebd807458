"""Which control plane an agent turns to next."""

import random

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.upstreams import Upstreams
from tests.unit.control_plane.scenario import scenario

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
