"""What counts as a package, and what is said where it is none."""

from pathlib import Path

import pytest

from inference_host.model.manifest import MODELS_MAX, Package, find, read, version_digest
from inference_host.values.signature import Signature, TensorSpec
from tests import models
from waypost.api.control.v1.model_pb2 import Artifact
from waypost.errors import Precondition

NAME = "projects/uav/applications/path/models/forecast/versions/7"


def package(directory: Path, **fields: object) -> Path:
    """A package with one graph."""
    models.affine(directory / "model.onnx")
    artifacts = [{"path": "model.onnx", "digest": "sha256:aa", "sizeBytes": "1"}]
    models.manifest(
        directory, **{"name": NAME, "framework": "onnx", "artifacts": artifacts, "digest": "sha256:ff", **fields}
    )
    return directory


def reason(path: Path) -> str:
    with pytest.raises(Precondition) as refused:
        find(path)
    assert refused.value.message
    assert refused.value.hint
    return refused.value.reason


def test_a_manifest_names_model_version_and_digest(tmp_path: Path) -> None:
    found = read(package(tmp_path))
    assert (found.model, found.version, found.full_name) == ("forecast", "7", NAME)
    assert (found.digest, found.model_file, found.template_class) == ("sha256:ff", tmp_path / "model.onnx", "")
    assert found.signature is None


def test_a_manifest_may_promise_a_signature(tmp_path: Path) -> None:
    spec = {"name": "x", "datatype": "FP32", "shape": ["-1", "4"]}
    found = read(package(tmp_path, signature={"inputs": [spec], "outputs": []}))
    assert found.signature == Signature((TensorSpec("x", "FP32", (-1, 4)),), ())


def test_fields_that_we_do_not_know_yet_are_skipped(tmp_path: Path) -> None:
    assert read(package(tmp_path, colour="blue")).version == "7"


def test_a_bare_graph_is_called_after_its_file(tmp_path: Path) -> None:
    found = read(models.affine(tmp_path / "tower.onnx"))
    assert (found.model, found.version, found.full_name) == ("tower", "1", "tower/1")
    assert found.digest.startswith("sha256:")


def test_a_directory_with_one_graph_is_called_after_itself(tmp_path: Path) -> None:
    models.affine(tmp_path / "tower" / "model.onnx")
    assert read(tmp_path / "tower").model == "tower"


def test_a_directory_of_models_is_a_repository(tmp_path: Path) -> None:
    models.affine(tmp_path / "one.onnx")
    models.affine(tmp_path / "two" / "model.onnx")
    package(tmp_path / "three")
    (tmp_path / "notes").mkdir()
    assert sorted(found.model for found in find(tmp_path)) == ["forecast", "one", "two"]


def test_a_template_has_no_graph(tmp_path: Path) -> None:
    (tmp_path / "template.py").write_text("")
    models.manifest(
        tmp_path,
        name=NAME,
        framework="template",
        templateClass="template:Forecast",
        artifacts=[{"path": "template.py", "digest": "sha256:aa"}],
    )
    digest = version_digest([Artifact(path="template.py", digest="sha256:aa")])
    assert read(tmp_path) == Package(
        tmp_path, "forecast", "7", NAME, digest, None, "template:Forecast", keeps_state=False
    )


def test_state_is_declared_by_the_manifest_and_where_there_is_none_by_nobody(tmp_path: Path) -> None:
    models.affine(tmp_path / "bare.onnx")
    assert read(tmp_path / "bare.onnx").keeps_state is None
    (tmp_path / "template.py").write_text("")
    models.manifest(tmp_path, framework="template", templateClass="template:T", keepsState=True)
    assert read(tmp_path).keeps_state is True


def test_among_several_graphs_model_onnx_is_served(tmp_path: Path) -> None:
    package(tmp_path)
    models.affine(tmp_path / "other.onnx")
    artifacts = [{"path": name, "digest": "sha256:aa"} for name in ("other.onnx", "model.onnx")]
    models.manifest(tmp_path, name=NAME, framework="onnx", artifacts=artifacts)
    assert read(tmp_path).model_file == tmp_path / "model.onnx"


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    assert reason(tmp_path / "nowhere.onnx") == "MISSING_FILE"
    assert reason(tmp_path) == "NO_MODEL"


def test_an_artifact_that_is_not_there_is_told(tmp_path: Path) -> None:
    package(tmp_path)
    (tmp_path / "model.onnx").unlink()
    assert reason(tmp_path) == "MISSING_FILE"


@pytest.mark.parametrize("path", ["../model.onnx", "/etc/passwd", "a/../../b", ""])
def test_no_artifact_lies_outside_its_package(tmp_path: Path, path: str) -> None:
    assert reason(package(tmp_path, artifacts=[{"path": path, "digest": "sha256:aa"}])) == "UNSAFE_PATH"


def test_a_manifest_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{")
    assert reason(tmp_path) == "BAD_MANIFEST"


@pytest.mark.parametrize("fields", [{"name": "m/7\r\nx: y"}, {"digest": "sha256:ff\r\nx: y"}, {"digest": "md5:ff"}])
def test_what_would_go_into_headers_is_looked_at(tmp_path: Path, fields: dict[str, str]) -> None:
    assert reason(package(tmp_path, **fields)) == "BAD_MANIFEST"


def test_a_file_of_any_name_has_a_name_for_headers(tmp_path: Path) -> None:
    found = read(models.affine(tmp_path / "Türme 7.onnx"))
    assert found.model == "Türme 7"
    assert found.full_name.isascii()


def test_a_framework_without_a_template_is_told(tmp_path: Path) -> None:
    assert reason(package(tmp_path, framework="pytorch")) == "UNKNOWN_FRAMEWORK"


def test_a_model_may_not_be_there_twice(tmp_path: Path) -> None:
    package(tmp_path / "one")
    package(tmp_path / "two")
    assert reason(tmp_path) == "SAME_MODEL_TWICE"


def test_a_repository_has_a_bound(tmp_path: Path) -> None:
    for number in range(MODELS_MAX + 1):
        (tmp_path / f"m{number}.onnx").write_bytes(b"")
    assert reason(tmp_path) == "TOO_MANY_MODELS"


TEMPLATE = """
raise RuntimeError("nobody may run this to find out what it is")

class Shares:
    def mean(self): ...

class Smoothing:
    def load(self, context): ...
    async def predict(self, prepared): ...
"""


def test_a_directory_with_a_template_needs_no_manifest(tmp_path: Path) -> None:
    (tmp_path / "level").mkdir()
    (tmp_path / "level/template.py").write_text(TEMPLATE)
    found = read(tmp_path / "level")
    assert (found.model, found.version, found.template_class) == ("level", "1", "template:Smoothing")
    assert find(tmp_path / "level") == find(tmp_path) == [found]
    (tmp_path / "level/template.py").write_text(TEMPLATE + "#")
    assert read(tmp_path / "level").digest != found.digest


def test_a_package_is_called_after_its_directory_from_within_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models.affine(tmp_path / "tower" / "model.onnx")
    monkeypatch.chdir(tmp_path / "tower")
    assert read(Path()).model == "tower"
    Path("template.py").write_text(TEMPLATE)
    assert read(Path()).model == "tower"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("class A:\n    pass\n", "BAD_TEMPLATE_CLASS"),
        ("class A:\n    def predict(self, x): ...\nclass B:\n    def predict(self, x): ...\n", "BAD_TEMPLATE_CLASS"),
        ("class A\n", "TEMPLATE_FAILED"),
        ("\0", "TEMPLATE_FAILED"),
    ],
)
def test_a_template_that_is_none_is_refused_before_it_runs(tmp_path: Path, source: str, expected: str) -> None:
    (tmp_path / "template.py").write_text(source)
    assert reason(tmp_path) == expected
