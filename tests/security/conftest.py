"""One real control plane for all of these tests: a process, TLS, two projects."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.control_plane_process import ControlPlaneProcess, control_plane


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlaneProcess]:
    directory: Path = tmp_path_factory.mktemp("security")
    with control_plane(directory / "control-plane") as process:
        yield process
