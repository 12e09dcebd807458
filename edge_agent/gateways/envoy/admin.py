"""What Envoy says of itself: its admin interface, over a Unix socket that only we may open."""

import asyncio
import http.client
import json
import re
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from edge_agent.gateways.envoy.clusters import shown
from edge_agent.gateways.envoy.typed import Json
from edge_agent.gateways.envoy.unix_http import UnixConnection


@dataclass(frozen=True, slots=True)
class Standing:
    """How far Envoy is with the files that it watches."""

    versions: dict[str, str]
    """cds, rds, lds: versions taken in; absent before the first one."""
    refused: int
    """Files refused since its start, for their content or because they could not be read."""
    warming: int
    """Clusters and listeners taken in that carry no calls yet."""
    calls: int
    """Under way now."""


class Admin:
    def __init__(self, path: Path) -> None:
        self._path = path

    async def ready(self) -> bool:
        """Whether Envoy has started and loaded what was there."""
        return (await self._ask("GET", "/ready")).strip() == "LIVE"

    async def standing(self) -> Standing:
        """Raises: OSError where Envoy does not answer."""
        lines = (await self._ask("GET", "/stats")).splitlines()
        values = dict(line.split(": ", 1) for line in lines if ": " in line)

        def total(pattern: str) -> int:
            return sum(int(value) for name, value in values.items() if re.fullmatch(pattern, name))

        texts = {"cds": "cluster_manager.cds", "lds": "listener_manager.lds", "rds": "http.main.rds.main"}
        texts = {kind: values.get(f"{prefix}.version_text", "").strip('"') for kind, prefix in texts.items()}
        return Standing(
            versions={kind: text for kind, text in texts.items() if text},
            refused=total(r"(.*\.)?[clrs]ds\.(.*\.)?update_(rejected|failure)"),
            warming=total(r"cluster_manager\.warming_clusters|listener_manager\.total_listeners_warming"),
            calls=total(r"http\.(?!admin\.).*\.downstream_rq_active"),
        )

    async def healthy(self, clusters: Iterable[str]) -> dict[str, frozenset[str]]:
        """Addresses that pass their health checks, by cluster. Raises: OSError."""
        names = "|".join(re.escape(cluster) for cluster in clusters)
        answer = json.loads(await self._ask("GET", f"/clusters?format=json&filter=%5E({names})$"))
        return {
            status["name"]: frozenset(shown(host["address"]) for host in status.get("host_statuses", ()) if _well(host))
            for status in answer.get("cluster_statuses", ())
        }

    async def close_listeners(self) -> None:
        """No new connections from now on; callers are asked to leave those that they have. Raises: OSError."""
        await self._ask("POST", "/healthcheck/fail")
        await self._ask("POST", "/drain_listeners")

    async def _ask(self, method: str, path: str) -> str:
        return await asyncio.to_thread(self._ask_blocking, method, path)

    def _ask_blocking(self, method: str, path: str) -> str:
        with closing(UnixConnection(self._path)) as connection:
            try:
                return connection.ask(method, path)
            except http.client.HTTPException as error:
                raise ConnectionError(f"{self._path}: {error!r}") from error


def _well(host: Json) -> bool:
    health = host.get("health_status", {})
    return not (health.get("failed_active_health_check") or health.get("pending_active_hc"))
