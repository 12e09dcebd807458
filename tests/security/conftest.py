"""One real control plane and one real edge server, for all tests of a module: processes, TLS, two tenants."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.control_plane_process import ControlPlaneProcess, control_plane
from tests.security.edge import Edge, edge_server


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlaneProcess]:
    directory: Path = tmp_path_factory.mktemp("security")
    with control_plane(directory / "control-plane") as process:
        yield process


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    directory: Path = tmp_path_factory.mktemp("edge")
    with edge_server(directory) as running:
        yield running
