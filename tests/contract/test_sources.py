"""Every model source against the same suite, and what only the one over gRPC has to promise."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from control_plane.sources.base import ModelSource
from control_plane.sources.fake import ACTIVATION_TOKEN, FakePlatform, FakeSource, FakeTrainingService
from control_plane.sources.grpc import GrpcSource
from mesh import serve
from mesh.identity import Identity
from tests.contract.source_suite import Follow, SourceSuite, published, scenario, take
from waypost.api.control.v1.subscription_pb2 import Subscription, SubscriptionSpec
from waypost.api.training.v1.training_pb2_grpc import add_TrainingServiceServicer_to_server
from waypost.errors import Precondition, Unauthenticated


class TestFake(SourceSuite):
    token = ACTIVATION_TOKEN

    @pytest.fixture
    def follow(self) -> Follow:
        @asynccontextmanager
        async def followed(platform: FakePlatform, token: str) -> AsyncIterator[ModelSource]:
            yield FakeSource(platform, token)

        return followed


Serve = Callable[[FakePlatform], AbstractAsyncContextManager[str]]


@pytest.fixture
def served() -> Serve:
    """A platform behind a real server; gives its address."""

    @asynccontextmanager
    async def running(platform: FakePlatform) -> AsyncIterator[str]:
        server = serve.grpc_server()
        add_TrainingServiceServicer_to_server(FakeTrainingService(platform), server)
        address = serve.listen(server, "127.0.0.1:0", Identity.local())
        await server.start()
        try:
            yield address
        finally:
            await server.stop(None)

    return running


def subscription(address: str, token: str = ACTIVATION_TOKEN, uid: str = "u1") -> Subscription:
    spec = SubscriptionSpec(endpoint=address, project="projects/p", activation_token=token)
    return Subscription(name="subscriptions/lab", uid=uid, spec=spec)


class TestGrpc(SourceSuite):
    token = ACTIVATION_TOKEN

    @pytest.fixture
    def follow(self, served: Serve, tmp_path: Path) -> Follow:
        @asynccontextmanager
        async def followed(platform: FakePlatform, token: str) -> AsyncIterator[ModelSource]:
            async with served(platform) as address:
                source = GrpcSource(subscription(address, token), tmp_path)
                try:
                    yield source
                finally:
                    await source.close()

        return followed

    @scenario
    async def test_the_activation_token_is_used_once_and_not_by_the_next_process(
        self, served: Serve, tmp_path: Path
    ) -> None:
        platform = published()
        async with served(platform) as address:
            first = GrpcSource(subscription(address), tmp_path)
            await first.activate()
            await first.close()
            second = GrpcSource(subscription(address, token="used up"), tmp_path)
            assert await second.activate() == "lab"
            assert len(await take(second, 0, 4)) == 4
            await second.close()
        assert (tmp_path / "u1.json").stat().st_mode & 0o777 == 0o600

    @scenario
    async def test_an_access_token_that_is_good_no_more_is_replaced(self, served: Serve, tmp_path: Path) -> None:
        platform = published()
        async with served(platform) as address:
            source = GrpcSource(subscription(address), tmp_path)
            await source.activate()
            platform.revoked = True
            with pytest.raises(Unauthenticated):
                await take(source, 0, 1)
            await source.activate()
            assert len(await take(source, 0, 4)) == 4
            await source.close()

    @scenario
    async def test_a_subscription_made_anew_activates_anew(self, served: Serve, tmp_path: Path) -> None:
        async with served(published()) as address:
            first = GrpcSource(subscription(address), tmp_path)
            await first.activate()
            await first.forget()
            assert os.listdir(tmp_path) == []
            second = GrpcSource(subscription(address, token="wrong", uid="u2"), tmp_path)
            with pytest.raises(Unauthenticated):
                await second.activate()
            await second.close()

    @scenario
    async def test_each_subscription_is_a_subscriber_of_its_own(self, served: Serve, tmp_path: Path) -> None:
        platform = published()
        async with served(platform) as address:
            for uid in ("u1", "u2"):  # of another control plane, say: the platform keeps one report for each
                source = GrpcSource(subscription(address, uid=uid), tmp_path)
                await source.activate()
                await source.close()
        assert len(platform.subscribers) == 2

    @scenario
    async def test_plaintext_to_another_machine_is_refused(self, tmp_path: Path) -> None:
        source = GrpcSource(subscription("192.0.2.1:7610"), tmp_path)
        with pytest.raises(Precondition) as refused:
            await source.activate()
        assert refused.value.reason == "INSECURE_ADDRESS"
        assert "ca_pem" in refused.value.hint
