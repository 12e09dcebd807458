"""Who is called what in this mesh: SPIFFE URIs, made and read.

X.509 can constrain the *host* of a URI and not its path, and an agent is an intermediate authority for its own monitors
and hosts, so the edge server stands in the host part:

    spiffe://waypost/control-plane          the control plane
    spiffe://<edge server>.waypost/agent    the agent of `edgeServers/<edge server>`
    spiffe://<edge server>.waypost/positions/<uid>/monitor            of a position there
    spiffe://<edge server>.waypost/positions/<uid>/hosts/<replica>    each of its inference hosts

An edge server's id is a DNS label, so the first two can never meet.

TLS libraries check whom they have dialled by DNS names, never by URIs; so whoever is dialled at the edge has one of
those too, below the same `<edge server>.waypost`. No resolver knows them.
"""

TRUST_DOMAIN = "waypost"
CONTROL_PLANE = f"spiffe://{TRUST_DOMAIN}/control-plane"


def agent_name(edge_server: str) -> str:
    """SPIFFE URI of the agent of an edge server, given its id: `tower-7` -> `spiffe://tower-7.waypost/agent`."""
    return f"spiffe://{edge_domain(edge_server)}/agent"


def monitor_name(edge_server: str, uid: str) -> str:
    """SPIFFE URI of the monitor of the position with this uid."""
    return f"spiffe://{edge_domain(edge_server)}/positions/{uid}/monitor"


def host_name(edge_server: str, uid: str, replica: str) -> str:
    """SPIFFE URI of one inference host of that position."""
    return f"spiffe://{edge_domain(edge_server)}/positions/{uid}/hosts/{replica}"


def edge_domain(edge_server: str) -> str:
    """What an agent's authority is constrained to: `tower-7` -> `tower-7.waypost`."""
    return f"{edge_server}.{TRUST_DOMAIN}"


def authority_title(edge_server: str) -> str:
    """Common name of an agent's authority. Certificates name whoever signed them by it, so all agree on it."""
    return f"waypost agent of {edge_server}"


def agent_dns(edge_server: str) -> str:
    """DNS name in the certificate that an agent shows to its monitors."""
    return f"agent.{edge_domain(edge_server)}"


def monitor_dns(edge_server: str, uid: str) -> str:
    """DNS name in the certificate that a monitor shows to its hosts."""
    return f"monitor.{uid}.{edge_domain(edge_server)}"


def host_dns(edge_server: str, uid: str, replica: str) -> str:
    """DNS name in a host's certificate."""
    return f"{replica}.{uid}.{edge_domain(edge_server)}"


def edge_server_of(spiffe: str) -> str | None:
    """The edge server's id in an agent's URI; None for every other name."""
    host, slash, path = spiffe.removeprefix("spiffe://").partition("/")
    edge_server, dot, domain = host.partition(".")
    is_agent = spiffe.startswith("spiffe://") and (slash, path, dot, domain) == ("/", "agent", ".", TRUST_DOMAIN)
    return edge_server if is_agent and edge_server else None
