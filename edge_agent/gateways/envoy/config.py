"""PURE: a route table as the files that Envoy watches.

The version of a file is a digest of its content. What Envoy says of its own versions can therefore be compared with
what it should hold, whoever wrote it and when.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from edge_agent.gateways.envoy.clusters import clusters
from edge_agent.gateways.envoy.listeners import (
    dedicated_listener,
    main_listener,
    secret,
    witness_listener,
    witness_routes,
)
from edge_agent.gateways.envoy.routing import main_routes
from edge_agent.gateways.envoy.settings import EnvoySettings
from edge_agent.gateways.envoy.typed import Json
from edge_agent.gateways.routes import PositionRoute, RouteTable

ROUTES_KEPT_MAX = 1024  # rendered routes in memory, 5 KB each


@dataclass(frozen=True, slots=True)
class Resources:
    """The content of one watched file."""

    version: str
    text: str


def cds(table: RouteTable) -> Resources:
    """Who answers."""
    return _resources(_clusters(route) for route in _sorted(table))


def rds(table: RouteTable, settings: EnvoySettings) -> Resources:
    """Who is addressed."""
    return _resources([_json(main_routes(_sorted(table), settings.domain))])


def lds(table: RouteTable, settings: EnvoySettings) -> Resources:
    """Where calls come in."""
    dedicated = [dedicated_listener(settings, route) for route in _sorted(table) if route.dedicated_port]
    return _resources(map(_json, [main_listener(settings), witness_listener(settings), *dedicated]))


def witness(word: str) -> Resources:
    """What the witness shall say."""
    return _resources([_json(witness_routes(word))])


def sds(settings: EnvoySettings) -> Resources:
    """The certificate to listen with, where there is one."""
    return _resources([_json(secret(settings))])


NOTHING = Resources("nothing", '{"version_info":"nothing","resources":[]}')
"""What Envoy starts with: it opens no port before the first table, as nothing it could say would be true."""


@lru_cache(maxsize=ROUTES_KEPT_MAX)
def _clusters(route: PositionRoute) -> str:
    """The clusters of a position; a change of one position must not cost the work for all."""
    return ",".join(map(_json, clusters(route)))


def _sorted(table: RouteTable) -> list[PositionRoute]:
    return sorted(table.routes, key=lambda route: route.uid)


def _json(resource: Json) -> str:
    return json.dumps(resource, separators=(",", ":"), sort_keys=True)


def _resources(resources: Iterable[str]) -> Resources:
    text = ",".join(resources)
    version = hashlib.sha256(text.encode()).hexdigest()[:16]
    return Resources(version, f'{{"version_info":"{version}","resources":[{text}]}}')
