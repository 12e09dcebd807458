"""Observed rows: which exist, who writes them, what their bytes are.

| kind            | name                            | body                          | written by         |
|-----------------|---------------------------------|-------------------------------|--------------------|
| POSITION_REPORT | edge server + "/" + position    | link.v1.PositionReport        | fleet, from status |
| EDGE_SERVER     | `edgeServers/{edge_server}`     | control.v1.EdgeServerStatus   | fleet              |
| SUBSCRIPTION    | `subscriptions/{subscription}`  | control.v1.SubscriptionStatus | registry           |

A position's report is kept per edge server, because after a move two servers speak of it for a while; what counts is
the report of the server that the spec names, with the uid of the position as it is now. The whole report is kept, not
its status alone: the planner needs `gone`.
"""

from collections.abc import Iterable

from control_plane.store.base import Fence, ObservedRow, ObservedStore
from waypost.api.control.v1.edge_server_pb2 import EdgeServerStatus
from waypost.api.control.v1.subscription_pb2 import SubscriptionStatus
from waypost.api.link.v1.agent_link_pb2 import PositionReport

POSITION_REPORT = "position_report"
EDGE_SERVER = "edge_server"
SUBSCRIPTION = "subscription"


def report_name(edge_server: str, position: str) -> str:
    return f"{edge_server}/{position}"


def split_report_name(name: str) -> tuple[str, str]:
    """(edge server, position) of a position report's row."""
    collection, edge_server, position = name.split("/", 2)
    return f"{collection}/{edge_server}", position


def report_row(edge_server: str, position: str, report: PositionReport, fence: Fence | None = None) -> ObservedRow:
    return ObservedRow(
        POSITION_REPORT, report_name(edge_server, position), report.SerializeToString(deterministic=True), fence
    )


def edge_server_row(edge_server: str, status: EdgeServerStatus, fence: Fence | None = None) -> ObservedRow:
    return ObservedRow(EDGE_SERVER, edge_server, status.SerializeToString(deterministic=True), fence)


def subscription_row(subscription: str, status: SubscriptionStatus, fence: Fence | None = None) -> ObservedRow:
    return ObservedRow(SUBSCRIPTION, subscription, status.SerializeToString(deterministic=True), fence)


async def read_reports(
    observed: ObservedStore, pairs: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], PositionReport]:
    """By (edge server, position)."""
    wanted = {report_name(*pair): pair for pair in pairs}
    rows = await observed.read(POSITION_REPORT, wanted)
    return {wanted[name]: PositionReport.FromString(body) for name, body in rows.items()}


async def read_edge_servers(observed: ObservedStore, wanted: Iterable[str]) -> dict[str, EdgeServerStatus]:
    rows = await observed.read(EDGE_SERVER, set(wanted))
    return {name: EdgeServerStatus.FromString(body) for name, body in rows.items()}
