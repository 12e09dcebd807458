"""Gateways: a real proxy in front of the inference hosts, never one of ours.

    base      the seam: whole route tables down, an acknowledgement up
    routes    PURE: the one route model that every gateway is rendered from
    envoy/    the embedded default, one process beside the agent
    fake      in memory, for tests

`open_gateway` chooses.
"""

from edge_agent.gateways.base import Gateway
from edge_agent.machine.layout import Layout
from edge_agent.settings import AgentSettings


def open_gateway(settings: AgentSettings, layout: Layout) -> Gateway:
    """The gateway of this kind. Imports only the chosen one."""
    match settings.gateway:
        case "envoy":
            from edge_agent.gateways.envoy import EnvoyGateway, EnvoySettings

            return EnvoyGateway(
                EnvoySettings(
                    data_dir=layout.gateway,
                    runtime_dir=layout.runtime_dir,
                    listen=settings.gateway_listen,
                    domain=settings.gateway_domain,
                    certificate=settings.gateway_certificate,
                    key=settings.gateway_key,
                    insecure=settings.gateway_insecure,
                )
            )
