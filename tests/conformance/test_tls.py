"""A host with TLS: both protocols behind one handshake, and no plaintext where other machines can connect."""

import contextlib
import http.client
import json
import shutil
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from mesh import identity
from tests import certificates, models
from tests.conformance import hosts
from tests.conformance.hosts import RunningHost
from tests.conformance.test_process import infer
from waypost.rpc import Tls, open_channel


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificates.for_localhost(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def host(directory: Path) -> Iterator[RunningHost]:
    model = models.affine(directory / "m.onnx")
    flags = ("--tls", str(directory), "--insecure-no-auth")
    with hosts.by_hand(model, directory / "log", *flags, front="grpcio", listen="0.0.0.0:0") as host:
        yield host
        assert host.stop() == 0


def port(host: RunningHost, front: str = "h2") -> int:
    return int(host.grpc(front).rpartition(":")[2])


@pytest.mark.parametrize("front", hosts.FRONTS)
def test_grpc_is_spoken(host: RunningHost, directory: Path, front: str) -> None:
    roots = (directory / identity.ROOTS).read_bytes()
    with open_channel(f"localhost:{port(host, front)}", tls=Tls(roots)) as channel:
        for _ in range(20):
            assert infer(channel, "m").model_name == "m"


def test_http_is_spoken_on_the_same_port(host: RunningHost, directory: Path) -> None:
    context = ssl.create_default_context(cafile=str(directory / identity.ROOTS))
    connection = http.client.HTTPSConnection("localhost", port(host), context=context, timeout=10)
    for _ in range(3):
        connection.request("GET", "/v2/health/ready")
        assert json.loads(connection.getresponse().read()) == {"ready": True}
    connection.close()


def test_a_client_that_knows_both_protocols_gets_http(host: RunningHost, directory: Path) -> None:
    """curl, Go and Java offer both and mean REST; those of gRPC offer h2 alone."""
    context = ssl.create_default_context(cafile=str(directory / identity.ROOTS))
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection(("localhost", port(host)), timeout=10) as wire,
        context.wrap_socket(wire, server_hostname="localhost") as secured,
    ):
        assert secured.selected_alpn_protocol() == "http/1.1"


def test_plaintext_is_not_answered(host: RunningHost) -> None:
    with grpc.insecure_channel(f"localhost:{port(host)}") as channel, pytest.raises(grpc.RpcError):
        infer(channel, "m", timeout=2)
    with socket.create_connection(("localhost", port(host)), timeout=10) as wire:
        wire.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert not wire.recv(100).startswith(b"HTTP/")


def test_old_versions_are_not_spoken(host: RunningHost, directory: Path) -> None:
    context = ssl.create_default_context(cafile=str(directory / identity.ROOTS))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AES128-SHA256:@SECLEVEL=0")  # without forward secrecy: HTTP/2 forbids it
    with (
        socket.create_connection(("localhost", port(host)), timeout=10) as wire,
        pytest.raises(ssl.SSLError),
    ):
        context.wrap_socket(wire, server_hostname="localhost")


def test_a_handshake_that_stops_in_the_middle_harms_nobody(host: RunningHost, directory: Path) -> None:
    with contextlib.ExitStack() as silent:
        for _ in range(20):
            wire = silent.enter_context(socket.create_connection(("localhost", port(host)), timeout=10))
            wire.sendall(b"\x16\x03\x01\x02\x00\x01")
        test_http_is_spoken_on_the_same_port(host, directory)


def test_no_roots_are_needed(directory: Path, tmp_path: Path) -> None:
    for name in (identity.CERTIFICATE, identity.KEY):
        shutil.copy(directory / name, tmp_path)
    with hosts.by_hand(
        models.affine(tmp_path / "m.onnx"), tmp_path / "log", "--tls", str(tmp_path), front="grpcio"
    ) as host:
        test_grpc_is_spoken(host, directory, "grpcio")


@pytest.mark.parametrize("front", hosts.FRONTS)
def test_a_certificate_that_is_none_is_told(tmp_path: Path, front: str) -> None:
    for name in (identity.CERTIFICATE, identity.KEY):
        (tmp_path / name).write_text("nonsense")
    settings = {"model": str(models.affine(tmp_path / "m.onnx")), "tls": str(tmp_path), "listen": "127.0.0.1:0"}
    with hosts.at_position(tmp_path, front=front, **settings) as host:
        assert host.process.wait(hosts.START_S) == 1
    assert json.loads((tmp_path / "failure.json").read_text())["reason"] == "BAD_TLS"


def test_without_a_certificate_other_machines_are_not_listened_to(tmp_path: Path) -> None:
    """Credentials are not the only thing that others may read."""
    (tmp_path / "jwks.json").write_text('{"keys": []}')
    settings = {"model": str(models.affine(tmp_path / "m.onnx")), "jwks": str(tmp_path / "jwks.json")}
    with hosts.at_position(tmp_path, listen="0.0.0.0:0", position_uid="uid", **settings) as host:
        assert host.process.wait(hosts.START_S) == 1
    assert json.loads((tmp_path / "failure.json").read_text())["reason"] == "INSECURE_ADDRESS"
