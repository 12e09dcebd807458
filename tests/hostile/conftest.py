"""One platform for all of these tests."""

from collections.abc import Iterator

import pytest

from tests.hostile.world import World, world


@pytest.fixture(scope="session")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("hostile")) as made:
        yield made
