"""The reference training platform as a process, with subscribers that come and go."""

import asyncio
import contextlib
import datetime
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mesh import clock
from tests.waiting import PATIENCE_S, until, wait_until
from training_platform import publish, withdraw
from training_platform.access import activation_token
from training_platform.catalogue import Event, folded
from waypost.api.training.v1 import training_pb2, training_pb2_grpc
from waypost.errors import DataLoss, Denied, MeshError, NotFound, OutOfRange, Unauthenticated, Unavailable
from waypost.rpc import Tls, open_aio_channel


class Platform:
    """`python -m training_platform serve`, started and killed at will, always at the same address."""

    def __init__(self, root: Path, *options: str) -> None:
        self.root = root
        self.options = options
        self.address = "127.0.0.1:0"
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "training_platform", "serve", str(self.root), "--listen", self.address]
        self.process = subprocess.Popen([*command, *self.options], stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if line.startswith("{") and (told := json.loads(line))["event"] == "serving":
                self.address = told["address"]
                break
        else:
            raise AssertionError("it ended before it served")
        threading.Thread(target=self.process.stderr.read, daemon=True).start()  # else its pipe fills up

    def kill(self, number: int = signal.SIGKILL) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE_S)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code


@contextlib.contextmanager
def platform(root: Path, *options: str):
    server = Platform(root, *options)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@contextlib.asynccontextmanager
async def client(server: Platform, token: str | None = None, tls: Tls | None = None):
    async with open_aio_channel(server.address, token=token, tls=tls) as channel:
        yield training_pb2_grpc.TrainingServiceStub(channel)


async def activated(server: Platform, subscriber: str = "test") -> str:
    async with client(server) as stub:
        request = training_pb2.ActivateRequest(subscriber=subscriber, activation_token=activation_token(server.root))
        return (await stub.Activate(request, timeout=PATIENCE_S)).access_token


class Subscriber:
    """Keeps its cursor and what it heard, as a deployment platform does in its store."""

    def __init__(self, server: Platform, token: str) -> None:
        self.server = server
        self.token = token
        self.cursor = 0
        self.heard: list[Event] = []

    async def follow(self) -> None:
        """For ever, through every loss of the connection; cancel it to kill the subscriber."""
        while True:
            try:
                async with client(self.server, self.token) as stub:
                    async for event in stub.Subscribe(training_pb2.SubscribeRequest(after_sequence=self.cursor)):
                        self.take(event)
            except Unavailable:
                await asyncio.sleep(0.02)

    def take(self, event: Event) -> None:
        self.heard.append(event)
        self.cursor = event.sequence or self.cursor

    def versions(self) -> list[int]:
        return sorted(int(key[2]) for key in folded(self.heard).versions)


def scenario(run: Callable[[Platform], Awaitable[None]], root: Path, *options: str) -> None:
    with platform(root, *options) as server:
        asyncio.run(run(server))


def put(root: Path, number: int, content: bytes = b"weights") -> None:
    source = root.parent / f"source-{number}"
    source.write_bytes(content)
    publish(root, "water", "forecaster", str(number), {"model.onnx": source}, now=1000.0)


@contextlib.asynccontextmanager
async def following(subscriber: Subscriber) -> AsyncIterator[None]:
    task = asyncio.create_task(subscriber.follow())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def test_a_subscriber_gets_what_is_there_and_then_what_comes(tmp_path):
    root = tmp_path / "models"

    async def run(server: Platform) -> None:
        subscriber = Subscriber(server, await activated(server))
        async with following(subscriber):
            await until(subscriber.versions, lambda found: found == [1])
            started = time.monotonic()
            put(root, 2)
            await until(subscriber.versions, lambda found: found == [1, 2])
            assert time.monotonic() - started < 2.0  # 0.15 s on an idle machine
            withdraw(root, "water", "forecaster", "1")
            await until(subscriber.versions, lambda found: found == [2])
        kinds = [event.WhichOneof("event") for event in subscriber.heard]
        assert kinds.index("application_published") < kinds.index("model_published") < kinds.index("version_published")
        assert kinds.count("snapshot_end") == 1

    put(root, 1)
    scenario(run, root)


def test_a_killed_subscriber_resumes_and_misses_nothing(tmp_path):
    root = tmp_path / "models"

    async def run(server: Platform) -> None:
        subscriber = Subscriber(server, await activated(server))
        for number in range(1, 8):
            async with following(subscriber):
                await until(subscriber.versions, lambda found, count=number: len(found) == count)
            put(root, number + 1)
        sequences = [event.sequence for event in subscriber.heard if event.sequence]
        assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))

    put(root, 1)
    scenario(run, root)


def test_a_platform_killed_while_versions_are_published_misses_and_doubles_nothing(tmp_path):
    root, count, rng = tmp_path / "models", 60, random.Random(7)

    async def run(server: Platform) -> None:
        subscriber = Subscriber(server, await activated(server))
        async with following(subscriber):
            await until(lambda: subscriber.heard)
            publisher = asyncio.create_task(asyncio.to_thread(publish_all))
            for _ in range(4):
                seen = len(subscriber.heard)
                await until(lambda: len(subscriber.heard), lambda heard, seen=seen: heard > seen + rng.randrange(6))
                await asyncio.to_thread(server.kill)
                await asyncio.to_thread(server.start)
            await publisher
            await until(subscriber.versions, lambda found: len(found) == count)
        sequences = [event.sequence for event in subscriber.heard if event.sequence]
        assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))
        published = [
            event.version_published.version for event in subscriber.heard if event.HasField("version_published")
        ]
        assert sorted(published, key=int) == [str(number) for number in range(count)]

    def publish_all() -> None:
        for number in range(count):
            put(root, number, os.urandom(100_000))
            time.sleep(0.03)

    scenario(run, root)


def test_a_publisher_that_is_killed_leaves_nothing_to_see(tmp_path):
    root, model = tmp_path / "models", tmp_path / "large.onnx"
    model.write_bytes(os.urandom(64 << 20))
    command = [
        sys.executable,
        "-m",
        "training_platform",
        "publish",
        str(root),
        "water/forecaster/1",
        "--onnx",
        str(model),
    ]

    def start_and_kill() -> None:
        publisher = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        wait_until(lambda: any((root / "water/forecaster").glob(".1.*/model.onnx")), every_s=0.001)
        publisher.kill()
        publisher.wait()

    async def run(server: Platform) -> None:
        subscriber = Subscriber(server, await activated(server))
        async with following(subscriber):
            await asyncio.to_thread(start_and_kill)
            assert not (root / "water/forecaster/1").exists()
            await asyncio.to_thread(subprocess.run, command, check=True, stdout=subprocess.DEVNULL)
            await until(subscriber.versions, lambda found: found == [1])

    scenario(run, root)


def status(root: Path) -> str:
    command = [sys.executable, "-m", "training_platform", "status", str(root)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_files_are_fetched_by_digest_from_any_offset(tmp_path):
    root, content = tmp_path / "models", os.urandom(600_000)
    digest = "sha256:" + hashlib.sha256(content).hexdigest()

    async def run(server: Platform) -> None:
        subscriber = Subscriber(server, await activated(server))
        async with following(subscriber):
            await until(subscriber.versions, lambda found: found == [1])
        async with client(server, subscriber.token) as stub:

            async def fetch(digest: str, offset: int = 0) -> list[bytes]:
                request = training_pb2.FetchRequest(digest=digest, offset=offset)
                return [piece.data async for piece in stub.Fetch(request, timeout=PATIENCE_S)]

            pieces = await fetch(digest)
            assert b"".join(pieces) == content
            assert max(map(len, pieces)) <= 256 * 1024
            assert b"".join(await fetch(digest, 500_001)) == content[500_001:]
            assert await fetch(digest, len(content)) == []
            with pytest.raises(OutOfRange):
                await fetch(digest, len(content) + 1)
            with pytest.raises(NotFound):
                await fetch("sha256:" + "0" * 64)
            (root / "water/forecaster/1/model.onnx").write_bytes(content[::-1])
            with pytest.raises(DataLoss):
                await fetch(digest)

    put(root, 1, content)
    scenario(run, root)


def test_a_published_version_that_is_changed_stays_what_it_was(tmp_path):
    root = tmp_path / "models"

    async def run(server: Platform) -> None:
        subscriber = Subscriber(server, await activated(server))
        async with following(subscriber):
            await until(subscriber.versions, lambda found: found == [1])
            manifest = root / "water/forecaster/1/manifest.json"
            manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "description": "better"}))
            put(root, 2)
            await until(subscriber.versions, lambda found: found == [1, 2])
        assert [event.version_published.description for event in subscriber.heard].count("better") == 0
        told = await asyncio.to_thread(status, root)
        assert "water/forecaster/1: its manifest is not the one that was published" in told

    put(root, 1)
    scenario(run, root)


def test_nobody_is_served_without_a_token(tmp_path):
    async def run(server: Platform) -> None:
        async with client(server) as stub:
            with pytest.raises(Unauthenticated, match="needs an access token"):
                await anext(stub.Subscribe(training_pb2.SubscribeRequest()))
            with pytest.raises(Unauthenticated):
                await anext(stub.Fetch(training_pb2.FetchRequest(digest="sha256:0")))
            with pytest.raises(Unauthenticated):
                await stub.ReportDeployment(training_pb2.ReportDeploymentRequest())
            with pytest.raises(Unauthenticated):
                await stub.Activate(training_pb2.ActivateRequest(subscriber="x", activation_token="guess"))

    scenario(run, tmp_path / "models")


def test_a_cursor_from_another_log_has_to_start_over(tmp_path):
    async def run(server: Platform) -> None:
        token = await activated(server)
        async with client(server, token) as stub:
            with pytest.raises(OutOfRange) as caught:
                await anext(stub.Subscribe(training_pb2.SubscribeRequest(after_sequence=17)))
            assert caught.value.reason == "START_OVER"

    scenario(run, tmp_path / "models")


def test_deployments_come_back_to_training(tmp_path):
    root = tmp_path / "models"

    async def run(server: Platform) -> None:
        token = await activated(server, "edge")
        key = training_pb2.VersionKey(application="water", model="forecaster", version="1")
        deployed = training_pb2.DeployedVersion(version=key, positions=["projects/p/applications/water/positions/tank"])
        async with client(server, token) as stub:
            await stub.ReportDeployment(training_pb2.ReportDeploymentRequest(subscriber="edge", versions=[deployed]))
            with pytest.raises(Denied):
                await stub.ReportDeployment(training_pb2.ReportDeploymentRequest(subscriber="other"))
        told = await asyncio.to_thread(status, root)
        assert "serves at projects/p/applications/water/positions/tank" in told

    put(root, 1)
    scenario(run, root)


def test_it_ends_at_once_though_subscribers_are_there(tmp_path):
    async def run(server: Platform) -> None:
        subscriber = Subscriber(server, await activated(server))
        async with following(subscriber):
            await until(lambda: subscriber.heard)
            started = time.monotonic()
            assert await asyncio.to_thread(server.kill, signal.SIGTERM) == 0
            assert time.monotonic() - started < 3.0
            await asyncio.to_thread(server.start)

    scenario(run, tmp_path / "models")


def serve_that_fails(root: Path, *options: str) -> str:
    command = [sys.executable, "-m", "training_platform", "serve", str(root), *options]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert ended.returncode == 1
    return ended.stderr


def test_one_directory_has_one_server(tmp_path):
    with platform(tmp_path / "models"):
        assert "is served by another process" in serve_that_fails(tmp_path / "models", "--listen", "127.0.0.1:0")


def test_beyond_loopback_it_wants_tls(tmp_path):
    told = serve_that_fails(tmp_path / "models", "--listen", "0.0.0.0:0")
    assert "there is no TLS" in told
    assert "--insecure" in told


def test_a_taken_port_is_named(tmp_path):
    with platform(tmp_path / "one") as first:
        assert f"{first.address} is taken" in serve_that_fails(tmp_path / "two", "--listen", first.address)


def test_it_speaks_tls(tmp_path):
    certificate, key = self_signed(tmp_path)

    async def run(server: Platform) -> None:
        tls = Tls(roots=certificate.read_bytes(), server_name="localhost")
        async with client(server, tls=tls) as stub:
            request = training_pb2.ActivateRequest(subscriber="x", activation_token=activation_token(server.root))
            assert (await stub.Activate(request, timeout=PATIENCE_S)).source == "Trainers"
        async with client(server) as stub:
            with pytest.raises(MeshError):
                await stub.Activate(request, timeout=5.0)

    options = ("--certificate", str(certificate), "--key", str(key), "--name", "Trainers")
    scenario(run, tmp_path / "models", *options)


def self_signed(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.fromtimestamp(clock.now(), datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths
