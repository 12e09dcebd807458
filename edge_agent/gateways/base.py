"""The seam to whatever carries the calls of xApps to the hosts: Envoy today.

A gateway is given whole route tables and makes itself equal to the newest. It runs beside the agent, not inside it:
what it carries goes on while the agent is away, by the table that it was given last.
"""

from dataclasses import dataclass
from typing import Protocol

from edge_agent.gateways.routes import RouteTable


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of a table."""

    hash: str
    """RouteTable.hash, live from now on."""
    changed: bool
    """False where it was live already and nothing was done."""


class Gateway(Protocol):
    """Carries calls by the last table applied.

    Promises (tests/contract/gateway_suite.py):
    - a table is live as a whole when `apply` returns: every route leads to the hosts that it names, by their weights,
      and to nobody else. Until then, and where it fails, calls go to hosts of the table before or of this one;
    - calls in flight end where they began, also when their host or their whole position has left the table;
    - applying a table that is live does nothing;
    - the gateway outlives this object, and the next one finds it again.
    """

    name: str

    @property
    def address(self) -> str:
        """Where xApps call, gRPC and HTTP alike: `http://127.0.0.1:7680`."""

    async def version(self) -> str:
        """Of the gateway's software: `envoy 1.40.0`."""

    async def start(self) -> None:
        """Makes the gateway run; does nothing where it runs as it should.

        Raises: Precondition(ADDRESS_IN_USE, INSECURE_ADDRESS, ...); Unavailable(GATEWAY_FAILED) with its last words.
        """

    async def apply(self, table: RouteTable) -> Applied:
        """Makes this table live, and starts the gateway where it does not run. Calls are taken one after another.

        Raises: Precondition(BAD_ROUTES, ADDRESS_IN_USE, ROUTES_REJECTED): the table before stays live;
        Unavailable(HOSTS_UNREACHABLE): likewise, as hosts that were to take over do not answer the gateway;
        Unavailable(GATEWAY_FAILED, GATEWAY_SILENT): what is live is not known, apply again; besides what `start` and
        the disk raise.
        """

    async def current(self) -> str | None:
        """Hash of the table that is live; None where that is not known or the gateway does not run."""

    async def stop(self, *, grace_s: float) -> bool:
        """Takes no new calls, lets those in flight end within `grace_s` seconds, ends the gateway.

        Returns whether there was one to end.
        """
