"""What a revoked edge server's certificates and join tokens are worth: nothing.

There is no list of certificates. An edge server's record says when it was last revoked, and whatever was made until
then is refused, wherever it turns up: when a link is opened and while it stands, when files are read, when a
certificate is renewed, when somebody joins. Certificates carry whole seconds, so one of the second of the revocation is
refused too; one that is signed afterwards is therefore dated at least a second later, by `issue_time`.
"""

import math

from mesh.times import seconds
from waypost import names
from waypost.api.control.v1.edge_server_pb2 import EdgeServer
from waypost.errors import Denied


def revoked_at(edge_server: EdgeServer) -> float:
    """Seconds since the epoch; minus infinity where it never was."""
    return seconds(edge_server.revoke_time) if edge_server.HasField("revoke_time") else -math.inf


def issue_time(edge_server: EdgeServer, now: float) -> float:
    """What a certificate that is signed now is dated."""
    return max(now, revoked_at(edge_server) + 1)


def refuse_revoked(edge_server: EdgeServer, made: float, what: str = "the certificate") -> None:
    """Raises: Denied(EDGE_SERVER_REVOKED) unless `what` was made after the edge server was last revoked."""
    if made > revoked_at(edge_server):
        return
    raise Denied(
        "EDGE_SERVER_REVOKED",
        f"{edge_server.name} was revoked at {edge_server.revoke_time.ToJsonString()}, and {what} is older",
        f"to let it in again: `waypost edge-server join-token {names.leaf(edge_server.name)}`, and restart its agent "
        "with that",
        edge_server=edge_server.name,
    )
