"""Who is called what in this mesh: SPIFFE URIs, made and read.

X.509 can constrain the *host* of a URI and not its path, and an agent is an intermediate authority for its own monitors
and hosts, so the edge server stands in the host part:

    spiffe://waypost/control-plane          the control plane
    spiffe://<edge server>.waypost/agent    the agent of `edgeServers/<edge server>`

An edge server's id is a DNS label, so the two can never meet.
"""

TRUST_DOMAIN = "waypost"
CONTROL_PLANE = f"spiffe://{TRUST_DOMAIN}/control-plane"


def agent_name(edge_server: str) -> str:
    """SPIFFE URI of the agent of an edge server, given its id: `tower-7` -> `spiffe://tower-7.waypost/agent`."""
    return f"spiffe://{edge_server}.{TRUST_DOMAIN}/agent"


def edge_server_of(spiffe: str) -> str | None:
    """The edge server's id in an agent's URI; None for every other name."""
    host, slash, path = spiffe.removeprefix("spiffe://").partition("/")
    edge_server, dot, domain = host.partition(".")
    is_agent = spiffe.startswith("spiffe://") and (slash, path, dot, domain) == ("/", "agent", ".", TRUST_DOMAIN)
    return edge_server if is_agent and edge_server else None
