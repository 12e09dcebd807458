"""One platform for all tests of this folder: bringing it up costs seconds, and sharing it is how it is used."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import models
from tests.e2e.platform import Platform


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    directory = tmp_path_factory.mktemp("platform")
    platform = Platform(directory)
    platform.up()
    try:
        publish_models(platform, directory)
        yield platform
    finally:
        platform.down()
        left = [" ".join(process.cmdline()) for process in platform.processes()]
        assert not left, f"`waypost down` left these running: {left}"


def publish_models(platform: Platform, directory: Path) -> None:
    """lab/affine/1 doubles, lab/affine/2 triples, lab/mixed/1 is a different model altogether."""
    platform.publish(models.affine(directory / "a1.onnx", scale=2.0), "lab/affine/1")
    platform.publish(models.affine(directory / "a2.onnx", scale=3.0), "lab/affine/2")
    platform.publish(models.mixed(directory / "m1.onnx"), "lab/mixed/1")
    wanted = {"lab/affine/1", "lab/affine/2", "lab/mixed/1"}
    platform.until(lambda: wanted <= available(platform), "the three models are imported")


def available(platform: Platform) -> set[str]:
    """Versions that can be deployed, as APP/MODEL/VERSION."""
    versions = platform.json("model", "version", "list")
    names = [version["name"].split("/")[3::2] for version in versions if version["state"].endswith("AVAILABLE")]
    return {"/".join(name) for name in names}
