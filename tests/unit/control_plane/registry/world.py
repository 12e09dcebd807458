"""A registry on a store in memory, following a training platform in memory."""

import asyncio
import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from control_plane.artifacts.store import ArtifactStore
from control_plane.peers.artifacts import SpreadArtifacts
from control_plane.peers.calls import PeerCalls
from control_plane.peers.holdings import Holdings
from control_plane.peers.membership import Membership
from control_plane.registry.registry import Registry
from control_plane.sources.fake import FakePlatform, FakeSource
from control_plane.store import Peer, Stores, open_stores
from control_plane.store.observed_rows import report_row
from control_plane.store.resources import MODEL_VERSION, SUBSCRIPTION, Resources
from mesh.clock import RandomIds
from mesh.identity import Identity
from tests.unit.control_plane.scenario import until
from waypost.api.control.v1.model_pb2 import ModelVersion, ModelVersionState, Signature, TensorSpec
from waypost.api.control.v1.position_pb2 import PositionStatus, ServingVersion
from waypost.api.control.v1.subscription_pb2 import Subscription, SubscriptionSpec, SubscriptionStatus
from waypost.api.link.v1.agent_link_pb2 import PositionReport
from waypost.errors import Invalid

PROJECT_NAME = "projects/uav"
LAB = "subscriptions/lab"
APPLICATION_NAME = f"{PROJECT_NAME}/applications/path"
MODEL = f"{APPLICATION_NAME}/models/tcn"
SIGNATURE = Signature(inputs=[TensorSpec(name="x", datatype="FP32", shape=[-1, 4])])


def version_name(version: str) -> str:
    return f"{MODEL}/versions/{version}"


@dataclass
class FakeCheck:
    """Takes every package but those whose model.onnx begins with `broken`."""

    checked: list[list[str]] = field(default_factory=list)
    links: list[int] = field(default_factory=list)
    """How many names the bytes of each model.onnx had."""
    raises: Exception | None = None

    async def __call__(self, package: Path) -> Signature:
        self.checked.append(sorted(os.listdir(package)))
        self.links.append(os.stat(package / "model.onnx").st_nlink)
        if self.raises is not None:
            raise self.raises
        if (package / "model.onnx").read_bytes().startswith(b"broken"):
            raise Invalid("LOAD_FAILED", "the graph does not load", "export it again")
        return SIGNATURE


@dataclass
class World:
    stores: Stores
    artifacts: ArtifactStore
    packages: Path
    platforms: dict[str, FakePlatform] = field(default_factory=dict)
    check: FakeCheck = field(default_factory=FakeCheck)

    @property
    def resources(self) -> Resources:
        return Resources(self.stores.records)

    async def subscribe(self, platform: FakePlatform, name: str = LAB) -> None:
        subscription = Subscription(name=name, uid=RandomIds().uuid(), spec=SubscriptionSpec(project=PROJECT_NAME))
        self.platforms[subscription.uid] = platform
        await self.stores.records.commit([SUBSCRIPTION.encode(name, subscription)])

    async def version(self, version: str) -> ModelVersion | None:
        found = await self.resources.find(MODEL_VERSION, version_name(version))
        return found.message if found else None

    async def state(self, version: str) -> str:
        found = await self.version(version)
        return ModelVersionState.Name(found.state).removeprefix("MODEL_VERSION_STATE_") if found else ""

    async def status(self, name: str = LAB) -> SubscriptionStatus:
        rows = await self.stores.observed.read("subscription", [name])
        return SubscriptionStatus.FromString(rows.get(name, b""))

    async def sequence(self, name: str = LAB) -> int:
        return (await self.status(name)).sequence

    async def becomes(self, version: str, state: str) -> None:
        """Waits until a version has a state."""
        await until(lambda: self.state(version), lambda found: found == state, f"version {version} is {state}")

    async def heard(self, sequence: int, name: str = LAB) -> None:
        """Waits until a subscription has come as far as a sequence of its source."""
        await until(lambda: self.sequence(name), lambda found: found == sequence, f"{name} has come to {sequence}")

    async def serves(self, version: str) -> str:
        """An edge server reports that a version serves; returns the position."""
        serving = ServingVersion(model_version=version_name(version), weight=100, replicas_ready=1)
        report = PositionReport(uid="u", status=PositionStatus(serving=[serving]))
        position = f"{APPLICATION_NAME}/positions/tower"
        await self.stores.observed.put([report_row("edgeServers/e", position, report)])
        return position

    async def reasons(self) -> list[str]:
        """Of all events, oldest first."""
        return [event.reason for event in reversed(await self.stores.events.newest(limit=1000))]

    def registry(self, run: str = "") -> Registry:
        """run: of a control plane among others, which are in the store's roster; else of one alone."""
        membership = self._membership(run)
        return Registry(
            self.stores,
            self.spread(membership),
            lambda subscription: FakeSource(self.platforms[subscription.uid]),
            self.check,
            self.packages,
            Holdings(self.stores.claims, membership),
            ids=RandomIds(),
            rng=random.Random(1),
        )

    def spread(self, membership: Membership | None = None) -> SpreadArtifacts:
        return SpreadArtifacts(self.artifacts, membership or self._membership(), PeerCalls(Identity.local))

    def _membership(self, run: str = "") -> Membership:
        return Membership(self.stores, Peer("id", run or RandomIds().uuid(), "cp:7601", "cp:7601", "1"))

    @asynccontextmanager
    async def running(self, registry: Registry | None = None) -> AsyncIterator[None]:
        """A registry at work; leaving is its death, at whatever it was doing."""
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task((registry or self.registry()).run())
            try:
                yield
            finally:
                task.cancel()


@asynccontextmanager
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with open_stores("sqlite://") as stores:
        yield World(stores, ArtifactStore(tmp_path / "artifacts").open(), tmp_path / "packages")


@asynccontextmanager
async def subscribed(tmp_path: Path, platform: FakePlatform) -> AsyncIterator[World]:
    """A world with a subscription to the platform, and nobody at work yet."""
    async with world(tmp_path) as here:
        await here.subscribe(platform)
        yield here
