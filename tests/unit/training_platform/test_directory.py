"""Publishing into the directory, and looking at it."""

import json
from pathlib import Path

import pytest
from google.protobuf import json_format

from training_platform import publish, withdraw
from training_platform.layout import Digests, Directory
from waypost.api.training.v1 import training_pb2
from waypost.errors import AlreadyExists, Invalid, MeshError, NotFound

KEY = ("water", "forecaster", "1")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "some.onnx"
    path.write_bytes(b"weights")
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "models"


def put(root: Path, model: Path, key=KEY, **options) -> training_pb2.PublishedVersion:
    return publish(root, *key, {"model.onnx": model}, now=1000.0, **options)


def look(root: Path):
    return Directory(root, Digests()).look()


def manifest(root: Path) -> Path:
    return root.joinpath(*KEY) / "manifest.json"


def rewrite(root: Path, **fields) -> None:
    manifest(root).write_text(json.dumps({**json.loads(manifest(root).read_text()), **fields}))


def test_what_is_published_is_found(root, model):
    published = put(root, model, metrics={"mae": 0.3}, description="first")
    found = look(root)
    assert found.versions == {KEY: published}
    assert (found.problems, found.unreadable) == ((), frozenset())
    assert found.applications["water"].uid
    assert found.models["water", "forecaster"].uid
    assert published.framework == "onnx"
    assert published.files[0].size_bytes == 7
    assert dict(published.metrics) == {"mae": 0.3}


def test_the_same_again_is_no_change(root, model):
    first = put(root, model)
    assert publish(root, *KEY, {"model.onnx": model}, now=2000.0) == first


def test_other_content_under_the_same_name_is_refused(root, model):
    put(root, model)
    with pytest.raises(AlreadyExists, match="with other content"):
        put(root, model, description="different")
    model.write_bytes(b"retrained")
    with pytest.raises(AlreadyExists):
        put(root, model)
    assert look(root).problems == ()


def test_a_second_version_leaves_the_descriptions_alone(root, model):
    put(root, model)
    before = look(root)
    put(root, model, ("water", "forecaster", "2"))
    after = look(root)
    assert (after.applications, after.models) == (before.applications, before.models)
    assert len(after.versions) == 2


def test_a_withdrawn_version_is_not_found_until_it_is_published_again(root, model):
    put(root, model)
    withdraw(root, *KEY)
    assert look(root).versions == {}
    assert look(root).problems == ()
    put(root, model)
    assert KEY in look(root).versions


def test_only_what_is_published_can_be_withdrawn(root):
    with pytest.raises(NotFound):
        withdraw(root, *KEY)
    with pytest.raises(Invalid):
        withdraw(root, "..", "x", "y")


def test_a_template_brings_its_files_in_folders(root, model):
    published = publish(
        root,
        *KEY,
        {"template.py": model, "weights/model.onnx": model},
        now=1.0,
        template_class="template:Steer",
        idempotent=True,
    )
    assert look(root).versions == {KEY: published}
    assert published.framework == "template"
    assert published.idempotency == training_pb2.IDEMPOTENCY_IDEMPOTENT
    assert not published.keeps_state


def test_a_template_says_that_it_keeps_state(root, model):
    published = publish(root, *KEY, {"template.py": model}, now=1.0, template_class="template:T", keeps_state=True)
    assert published.keeps_state
    assert look(root).versions == {KEY: published}


def test_a_publication_that_fails_leaves_nothing_behind(root, model, monkeypatch):
    def fail(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("os.rename", fail)
    with pytest.raises(OSError, match="no space left"):
        put(root, model)
    assert [path.name for path in (root / "water/forecaster").iterdir()] == ["model.json"]
    assert look(root).versions == {}


def test_work_in_progress_is_not_seen(root, model):
    put(root, model)
    manifest(root).parent.rename(root / "water/forecaster/.1.tmp")
    found = look(root)
    assert (found.versions, found.problems) == ({}, ())


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"template_class": "not a class"}, KEY),
        ({"keeps_state": True}, KEY),
        ({"template_class": "template:T", "keeps_state": True, "idempotent": True}, KEY),
        ({"metrics": {"mae": float("nan")}}, KEY),
        ({}, ("Water", "forecaster", "1")),
        ({}, ("water", "forecaster", "../1")),
    ],
)
def test_what_makes_no_good_manifest_is_not_published(root, model, options, key):
    with pytest.raises(Invalid):
        put(root, model, key, **options)
    assert not root.exists()


@pytest.mark.parametrize("path", ["", "/etc/x", "../x", "a/../x", "a//b", "./a", "manifest.json", "a\0b", "x" * 300])
def test_paths_that_leave_the_package_are_refused(root, model, path):
    with pytest.raises(Invalid):
        publish(root, *KEY, {path: model}, now=1.0)


def test_a_missing_file_is_named(root, tmp_path):
    with pytest.raises(NotFound, match=r"gone\.onnx"):
        put(root, tmp_path / "gone.onnx")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"framework": "tarot"}, "tarot"),
        ({"files": []}, "files"),
        ({"version": "2"}, "its directory is called '1'"),
        ({"colour": "blue"}, "colour"),
        ({"files": [{"path": "model.onnx", "digest": "md5:1", "sizeBytes": 7}]}, "md5:1"),
        ({"files": [{"path": "model.onnx", "digest": "sha256:" + "0" * 64, "sizeBytes": 7}]}, "has not the bytes"),
        ({"files": [{"path": "gone", "digest": "sha256:" + "0" * 64, "sizeBytes": 7}]}, "No such file"),
        ({"inputs": [{"name": "x", "datatype": "FLOAT"}]}, "FLOAT"),
    ],
)
def test_a_broken_manifest_is_a_problem_and_nothing_more(root, model, fields, said):
    put(root, model)
    put(root, model, ("water", "forecaster", "2"))
    rewrite(root, **fields)
    found = look(root)
    assert list(found.versions) == [("water", "forecaster", "2")]
    assert found.unreadable == {KEY}
    [problem] = found.problems
    assert problem.path == "water/forecaster/1"
    assert said in problem.message


def test_a_manifest_that_is_no_json_is_a_problem(root, model):
    put(root, model)
    manifest(root).write_text("{")
    assert [problem.reason for problem in look(root).problems] == ["BAD_MANIFEST"]


def test_a_broken_application_hides_what_is_in_it_but_takes_nothing_back(root, model):
    put(root, model)
    (root / "water/application.json").write_text('{"application": "wine"}')
    found = look(root)
    assert found.unreadable == {("water",)}
    assert (found.applications, found.versions) == ({}, {})


def test_folders_that_cannot_be_names_are_problems(root, model):
    put(root, model)
    (root / "Not A Name").mkdir()
    assert [(problem.path, problem.reason) for problem in look(root).problems] == [("Not A Name", "BAD_ID")]


def test_a_manifest_written_by_hand_may_leave_out_what_its_place_says(root, model):
    published = put(root, model)
    for path in (root / "water/application.json", root / "water/forecaster/model.json"):
        path.unlink()
    message = training_pb2.PublishedVersion()
    message.CopyFrom(published)
    for field in ("application", "model", "version"):
        message.ClearField(field)
    manifest(root).write_text(json_format.MessageToJson(message, preserving_proto_field_name=True))
    found = look(root)
    assert found.versions == {KEY: published}
    assert found.applications["water"] == training_pb2.PublishedApplication(application="water")


def test_an_empty_folder_is_no_application(root):
    (root / "water/forecaster/1").mkdir(parents=True)
    found = look(root)
    assert (found.applications, found.models, found.problems) == ({}, {}, ())


def test_bytes_that_change_after_the_first_look_are_noticed(root, model):
    put(root, model)
    directory = Directory(root, Digests())
    assert KEY in directory.look().versions
    (manifest(root).parent / "model.onnx").write_bytes(b"WEIGHTS")
    assert [problem.reason for problem in directory.look().problems] == ["FILE_CHANGED"]


def test_a_directory_that_is_served_and_vanishes_is_not_an_empty_one(root, model):
    put(root, model)
    with pytest.raises(MeshError, match="is it still mounted"):
        Directory(root, Digests()).look_served()
