"""Tokens, deployment reports and the command line."""

import stat
from pathlib import Path

import pytest

from training_platform import access as access_module
from training_platform.access import TOKENS_PER_SUBSCRIBER_MAX, Access, activation_token
from training_platform.app import main
from training_platform.deployments import Deployments
from waypost.api.training.v1 import training_pb2
from waypost.errors import DataLoss, Invalid, Unauthenticated


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


def test_an_activation_token_gives_access_that_survives_a_restart(tmp_path):
    token = Access(tmp_path).activate("edge", activation_token(tmp_path))
    assert Access(tmp_path).subscriber(bearer(token)) == "edge"


def test_secrets_are_private_and_access_tokens_only_hashes(tmp_path):
    token = Access(tmp_path).activate("edge", activation_token(tmp_path))
    ours = tmp_path / ".waypost"
    assert stat.S_IMODE(ours.stat().st_mode) == 0o700
    for path in ours.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert token not in path.read_text()


@pytest.mark.parametrize("metadata", [(), (("authorization", "Basic x"),), bearer("wrong"), bearer("")])
def test_without_a_good_token_nobody_is_admitted(tmp_path, metadata):
    with pytest.raises(Unauthenticated):
        Access(tmp_path).subscriber(metadata)


def test_a_wrong_activation_token_gives_nothing(tmp_path):
    activation_token(tmp_path)
    with pytest.raises(Unauthenticated):
        Access(tmp_path).activate("edge", "wta1_guess")
    with pytest.raises(Invalid):
        Access(tmp_path).activate("", activation_token(tmp_path))


def test_a_new_activation_token_replaces_the_old_one_but_not_access(tmp_path):
    old = activation_token(tmp_path)
    access = Access(tmp_path)
    granted = access.activate("edge", old)
    new = activation_token(tmp_path, renew=True)
    assert activation_token(tmp_path) == new != old
    with pytest.raises(Unauthenticated):
        access.activate("edge", old)
    assert access.subscriber(bearer(granted)) == "edge"


def test_of_many_tokens_the_latest_live(tmp_path):
    access = Access(tmp_path)
    tokens = [access.activate("edge", activation_token(tmp_path)) for _ in range(TOKENS_PER_SUBSCRIBER_MAX + 1)]
    assert access.subscriber(bearer(tokens[-1])) == access.subscriber(bearer(tokens[1])) == "edge"
    with pytest.raises(Unauthenticated):
        access.subscriber(bearer(tokens[0]))


def test_subscribers_are_bounded_and_those_that_are_there_may_come_again(tmp_path, monkeypatch):
    monkeypatch.setattr(access_module, "SUBSCRIBERS_MAX", 2)
    access = Access(tmp_path)
    for subscriber in ("one", "two", "one"):
        granted = access.activate(subscriber, activation_token(tmp_path))
    with pytest.raises(Invalid) as refused:
        access.activate("three", activation_token(tmp_path))
    assert refused.value.reason == "TOO_MANY_SUBSCRIBERS"
    assert access.subscriber(bearer(granted)) == "one"


def test_a_file_that_is_no_json_is_named(tmp_path):
    activation_token(tmp_path)
    (tmp_path / ".waypost/subscribers.json").write_text("{")
    with pytest.raises(DataLoss, match=r"subscribers\.json"):
        Access(tmp_path)


def test_the_last_report_of_a_subscriber_counts(tmp_path):
    activation_token(tmp_path)
    key = training_pb2.VersionKey(application="a", model="m", version="1")
    deployed = training_pb2.DeployedVersion(version=key, positions=["p1", "p2"])
    deployments = Deployments(tmp_path)
    deployments.report("edge", training_pb2.ReportDeploymentRequest(versions=[deployed]))
    deployments.report("other", training_pb2.ReportDeploymentRequest(versions=[deployed]))
    assert deployments.positions() == {("a", "m", "1"): {"p1", "p2"}}
    deployments.report("other", training_pb2.ReportDeploymentRequest())
    assert Deployments(tmp_path).positions() == {("a", "m", "1"): {"p1", "p2"}}
    deployments.report("edge", training_pb2.ReportDeploymentRequest())
    assert Deployments(tmp_path).positions() == {}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "some.onnx"
    path.write_bytes(b"weights")
    return path


def test_the_command_line_publishes_withdraws_and_tells(tmp_path, model, capsys):
    root = str(tmp_path / "models")
    assert main(["publish", root, "water/forecaster/1", "--onnx", str(model), "--metric", "mae=0.3"]) == 0
    assert "next: `waypost training serve" in capsys.readouterr().out
    assert main(["status", root]) == 0
    assert capsys.readouterr().out.split() == ["water/forecaster/1", "new"]
    assert main(["withdraw", root, "water/forecaster/1"]) == 0
    capsys.readouterr()
    assert main(["status", root]) == 0
    assert capsys.readouterr().out == "nothing is published\n"
    assert main(["token", root]) == 0
    first = capsys.readouterr().out
    assert main(["token", root]) == 0
    assert capsys.readouterr().out == first


def test_a_package_is_published_without_what_editors_and_python_leave_there(tmp_path, capsys):
    package = tmp_path / "package"
    for folder in ("parts", "parts/__pycache__", ".pytest_cache"):
        (package / folder).mkdir(parents=True)
    for name in ("template.py", "parts/weights.bin", ".hidden", "parts/__pycache__/x.pyc", ".pytest_cache/README.md"):
        (package / name).write_bytes(b"x")
    root = tmp_path / "models"
    arguments = ["--package", str(package), "--template-class", "template:T", "--idempotent", "yes"]
    assert main(["publish", str(root), "a/m/1", *arguments]) == 0
    assert "2 file(s)" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["a/m", "--onnx", "x"],
        ["a/m/1"],
        ["a/m/1", "--onnx", "x", "--package", "y"],
        ["a/m/1", "--onnx", "/nowhere/x.onnx"],
        ["a/m/1", "--onnx", "x", "--metric", "good"],
        ["a/m/1", "--onnx", "x", "--metric", "mae=good"],
        ["a/m/1", "--onnx", "x", "--idempotent", "perhaps"],
        ["a/m/1", "--package", "."],
    ],
)
def test_wrong_usage_is_told_with_a_hint(tmp_path, capsys, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    assert main(["publish", str(tmp_path), *arguments]) == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_without_a_command_the_commands_are_named(capsys):
    assert main([]) == 2
    assert "serve,publish,withdraw,token,status" in capsys.readouterr().err
    assert main(["--help"]) == 0
