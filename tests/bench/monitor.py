"""The position monitor, as far as hosts can tell: the other end of link 3, in a process of its own.

    python -m tests.bench.monitor CONFIG        CONFIG: {"socket": ..., "replicas": {REPLICA: ORDERS}}

ORDERS is a HostOrders in JSON. It gives each host its orders, asks for counts once a second as a monitor does, and
writes what it hears to stdout: {"replica", "state"} and {"replica", "metrics"}, one line each. A real monitor would
need an agent beside it; hosts see no difference.
"""

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from google.protobuf import json_format

from mesh.identity import Identity
from mesh.link import LOCAL, DesiredState, Item, ParentSession, Refusal
from mesh.link_grpc import ServerWire
from mesh.serve import grpc_server, listen
from waypost.api.link.v1 import link_pb2 as pb
from waypost.api.link.v1.host_link_pb2 import HostMetrics, HostOrders, HostReport, HostState
from waypost.api.link.v1.host_link_pb2_grpc import HostLinkServiceServicer, add_HostLinkServiceServicer_to_server

PACE_S = 1.0  # position_monitor.hosts.PACE_S


class Monitor(HostLinkServiceServicer):
    """Serves HostLinkService to the replicas that it knows."""

    def __init__(self, orders: Mapping[str, HostOrders]) -> None:
        self._orders = orders

    async def ConnectHost(self, request_iterator: Any, context: Any) -> None:  # type: ignore[override]  # noqa: N802
        await _Host(self._orders).session.serve(ServerWire(context))


class _Host:
    """One session of one host (mesh.link.ParentHandler)."""

    def __init__(self, orders: Mapping[str, HostOrders]) -> None:
        self._orders = orders
        self.session = ParentSession(self, timing=LOCAL)

    async def admit(self, hello: pb.Hello) -> int:
        return hello.epoch + 1

    async def desired(self) -> DesiredState:
        replica = self.session.identity
        orders = self._orders[replica]
        item = Item(replica, orders.generation, orders.SerializeToString())
        return DesiredState.of("bench", orders.generation, [item])

    async def may_prune(self, held: pb.Applied) -> bool:
        return True

    async def accepted(self, version: int, refusals: Sequence[Refusal]) -> None:
        for refusal in refusals:
            self._tell(refused=refusal.error.message)

    async def status(self, items: Mapping[str, pb.StatusItem], full: bool) -> None:
        for item in items.values():
            self._tell(state=HostState.Name(HostReport.FromString(item.body).state))

    async def metrics(self, samples: Sequence[bytes]) -> None:
        for sample in map(HostMetrics.FromString, samples):
            self._tell(metrics=_as_dict(sample))

    async def events(self, events: Sequence[pb.ChildEvent]) -> None: ...

    async def link_changed(self, connected: bool) -> None:
        if connected:
            self.session.set_interest([self.session.identity], PACE_S)

    def _tell(self, **what: object) -> None:
        sys.stdout.write(json.dumps({"replica": self.session.identity, **what}) + "\n")
        sys.stdout.flush()


def _as_dict(sample: HostMetrics) -> dict[str, Any]:
    return json_format.MessageToDict(
        sample, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


async def main(given: Mapping[str, Any]) -> None:
    orders = {replica: json_format.ParseDict(each, HostOrders()) for replica, each in given["replicas"].items()}
    server = grpc_server()
    add_HostLinkServiceServicer_to_server(Monitor(orders), server)
    listen(server, given["socket"], Identity.local())
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main(json.loads(Path(sys.argv[1]).read_text())))
