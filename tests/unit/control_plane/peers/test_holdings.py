"""Who lives, and who works at what."""

import asyncio

import pytest

from control_plane.store import Fence, Peer
from tests.unit.control_plane.peers.world import peer, plane, shared
from tests.unit.control_plane.scenario import scenario
from waypost.errors import Precondition


@scenario
async def test_control_planes_find_one_another_and_miss_who_leaves() -> None:
    async with shared() as stores:
        one, two = await plane(stores, "one"), await plane(stores, "two")
        assert await one.membership.beat() == set()
        assert one.membership.others == {"two!": (await stores.roster.all())[1]}
        assert two.membership.lives("one!")
        await two.membership.close()
        assert await one.membership.beat() == {"two!"}
        assert not one.membership.lives("two!")


@scenario
async def test_one_that_was_given_up_takes_its_place_again() -> None:
    async with shared() as stores:
        one, two = await plane(stores, "one"), await plane(stores, "two")
        (row,) = [each for each in await stores.roster.all() if each.run == "two!"]
        await stores.roster.remove(row)
        assert await one.membership.beat() == set()  # it had never seen the other
        await two.membership.beat()
        await one.membership.beat()
        assert one.membership.lives("two!")


@scenario
async def test_a_copied_data_directory_is_told() -> None:
    async with shared() as stores:
        one, copy = await plane(stores, "one"), await plane(stores, "two")
        copy.membership.me = peer("one")
        await stores.roster.join(Peer("one", "copy!", "a:1", "a:1", "1"))
        with pytest.raises(Precondition) as refused:
            await one.membership.beat()
        assert refused.value.reason == "DATA_DIR_COPIED"


@scenario
async def test_work_has_one_holder_and_goes_to_another_when_that_one_is_gone() -> None:
    async with shared() as stores:
        one, two = await plane(stores, "one"), await plane(stores, "two")
        await one.membership.beat()
        await one.holdings.want({"a", "b"})
        await two.holdings.want({"a", "b"})
        assert one.holdings.holds("a")
        assert not two.holdings.holds("a")
        before = one.holdings.fence("a")
        await one.membership.close()
        await two.membership.beat()
        woken = asyncio.ensure_future(anext(two.holdings.changes()))
        await asyncio.sleep(0)
        await two.holdings.look()
        await woken
        assert two.holdings.holds("a")
        after = two.holdings.fence("a")
        assert before
        assert after
        assert after.epoch > before.epoch
        await one.holdings.look()
        assert one.holdings.fence("a") is None


@scenario
async def test_work_that_is_wanted_no_more_is_dropped() -> None:
    async with shared() as stores:
        one = await plane(stores, "one")
        await one.holdings.want({"a", "b"})
        await one.holdings.want({"b"})
        assert not one.holdings.holds("a")
        assert (await stores.claims.read({"a", "b"})).keys() == {"b"}


@scenario
async def test_the_next_process_of_a_lone_control_plane_takes_up_its_work_at_once() -> None:
    async with shared() as stores:
        await (await plane(stores, "one")).holdings.want({"a"})
        after = await plane(stores, "one")
        await after.holdings.want({"a"})
        assert after.holdings.fence("a") == Fence("a", 1)  # both are named alike here; a real run is a UUID
