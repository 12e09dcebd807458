"""The training platform's port: each credential that is none, for each method; plaintext against TLS; a wrong root."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from mesh.identity import CERTIFICATE, KEY, ROOTS
from tests import certificates
from tests.integration.test_training import Platform, activated, platform
from tests.security.calls import methods_of, outcome
from tests.security.test_peers import answered
from training_platform.access import activation_token
from waypost.api.training.v1 import training_pb2

METHODS = methods_of(training_pb2)
ACTIVATE = next(method for method in METHODS if method.descriptor.name == "Activate")
CREDENTIALS: dict[str, tuple[Callable[[Platform], str | None], str]] = {
    "none": (lambda serving: None, "NO_TOKEN"),
    "a guess": (lambda serving: "wts1_guess", "BAD_TOKEN"),
    "a long one": (lambda serving: "wts1_" + "A" * 4000, "BAD_TOKEN"),
    "the activation token": (lambda serving: activation_token(serving.root), "BAD_TOKEN"),
}


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with platform(tmp_path_factory.mktemp("models")) as running:
        yield running


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Over TLS, with a certificate for localhost."""
    directory: Path = certificates.for_localhost(tmp_path_factory.mktemp("certificate"))
    shown = ("--certificate", str(directory / CERTIFICATE), "--key", str(directory / KEY))
    with platform(tmp_path_factory.mktemp("secured"), *shown) as running:
        yield running


@pytest.mark.parametrize("credential", CREDENTIALS)
def test_nothing_but_activation_answers_without_an_access_token(serving: Platform, credential: str) -> None:
    make, reason = CREDENTIALS[credential]

    async def scenario() -> None:
        async with grpc.aio.insecure_channel(serving.address) as channel:
            for method in METHODS:
                answer = await outcome(channel, method, method.empty(), make(serving))
                expected = "BAD_TOKEN" if method is ACTIVATE else reason
                assert answer == ("UNAUTHENTICATED", expected), method.short

    asyncio.run(scenario())


def test_an_access_token_of_one_platform_opens_no_other(serving: Platform, tmp_path: Path) -> None:
    async def scenario(elsewhere: Platform) -> None:
        token = await activated(elsewhere)
        fetch = next(method for method in METHODS if method.descriptor.name == "Fetch")
        async with grpc.aio.insecure_channel(serving.address) as channel:
            assert await outcome(channel, fetch, fetch.empty(), token) == ("UNAUTHENTICATED", "BAD_TOKEN")
        async with grpc.aio.insecure_channel(elsewhere.address) as channel:
            assert (await outcome(channel, fetch, fetch.empty(), token))[0] != "UNAUTHENTICATED"

    with platform(tmp_path / "elsewhere") as elsewhere:
        asyncio.run(scenario(elsewhere))


@pytest.mark.parametrize(
    "sent", [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", b"\x00" * 64]
)
def test_with_a_certificate_it_speaks_no_plaintext(secured: Platform, sent: bytes) -> None:
    reply = answered(secured.address, sent)
    assert b"HTTP" not in reply
    assert not reply.startswith(b"\x00\x00")


def test_a_subscriber_does_not_speak_to_a_platform_under_another_root(secured: Platform, tmp_path: Path) -> None:
    port = secured.address.rpartition(":")[2]
    stranger = (certificates.for_localhost(tmp_path) / ROOTS).read_bytes()
    request = training_pb2.ActivateRequest(subscriber="s", activation_token=activation_token(secured.root))

    async def activate(credentials: grpc.ChannelCredentials) -> str:
        async with grpc.aio.secure_channel(f"localhost:{port}", credentials) as channel:
            return (await outcome(channel, ACTIVATE, request, None))[0]

    assert asyncio.run(activate(grpc.ssl_channel_credentials(stranger))) == "UNAVAILABLE"
