"""Control planes on one store sign with roots that each of them trusts."""

import asyncio

import pytest

from control_plane.peers.joining import agree_on_authority
from control_plane.store import open_stores
from waypost.errors import Precondition


def test_one_root_may_follow_the_other_and_a_stranger_is_refused() -> None:
    async def scenario() -> None:
        async with open_stores("sqlite://") as stores:
            for pins in (["old"], ["old", "new"], ["new", "old"], ["old", "new"], ["new", "old"], ["new"]):
                await agree_on_authority(stores.facts, pins)
            for pins in (["old"], ["other", "old"]):
                with pytest.raises(Precondition) as refused:
                    await agree_on_authority(stores.facts, pins)
                assert refused.value.reason == "AUTHORITY_DIFFERS"

    asyncio.run(scenario())
