"""Tells a training platform where its versions serve: the loop back to training.

A report is the whole truth, and one is only sent where it differs from the last one that arrived. Observed rows change
every second wherever an agent is connected, so what positions report is kept in memory.
"""

import asyncio
from collections.abc import Iterable, Mapping

from control_plane.reports import Reports
from control_plane.sources.base import ModelSource
from control_plane.store import Stores
from control_plane.store.resources import MODEL_VERSION, Resources
from waypost.api.control.v1.model_pb2 import ModelVersion
from waypost.api.link.v1.agent_link_pb2 import PositionReport
from waypost.api.training.v1.training_pb2 import DeployedVersion, VersionKey

PACE_S = 1.0  # a rollout over many positions becomes a few reports


class Reporter:
    """For one session with one source."""

    def __init__(self, stores: Stores, subscription: str, source: ModelSource) -> None:
        self._stores = stores
        self._subscription = subscription
        self._source = source
        self._reports = Reports(stores.observed)
        self._told: list[DeployedVersion] | None = None

    async def run(self) -> None:
        """Reports whenever what serves has changed; for ever. Raises what the source raises."""
        await self.report()
        async for _ in self._stores.observed.watch(self._reports.sequence):
            await self.report()
            await asyncio.sleep(PACE_S)

    async def report(self) -> None:
        """Reports unless the source has heard the same from us in this session."""
        deployed = await self._deployed()
        if deployed != self._told:
            await self._source.report(deployed)
            self._told = deployed

    async def _deployed(self) -> list[DeployedVersion]:
        await self._reports.refresh()
        serving = serving_positions((position, report) for _, position, report in self._reports.all())
        versions = await Resources(self._stores.records).find_many(MODEL_VERSION, serving.keys())
        return deployed_versions(serving, versions, self._subscription)


def serving_positions(reports: Iterable[tuple[str, PositionReport]]) -> dict[str, set[str]]:
    """Positions by the full name of the model version that answers there."""
    serving: dict[str, set[str]] = {}
    for position, report in reports:
        for share in report.status.serving:
            if share.replicas_ready:
                serving.setdefault(share.model_version, set()).add(position)
    return serving


def deployed_versions(
    serving: Mapping[str, set[str]], versions: Mapping[str, ModelVersion], subscription: str
) -> list[DeployedVersion]:
    """What the source of `subscription` is told, by rising name."""
    return [
        DeployedVersion(version=_key(name), positions=sorted(serving[name]))
        for name in sorted(serving)
        if name in versions and versions[name].subscription == subscription
    ]


def _key(name: str) -> VersionKey:
    _, application, model, version = name.split("/")[1::2]
    return VersionKey(application=application, model=model, version=version)
