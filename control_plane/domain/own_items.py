"""What an edge server is told of itself, besides its positions: when these may be changed. Pure."""

from waypost.api.control.v1.edge_server_pb2 import EdgeServer
from waypost.api.link.v1.agent_link_pb2 import EdgeServerAssignment
from waypost.api.link.v1.link_pb2 import Item


def own_item(server: EdgeServer, before: Item | None, revision: int) -> Item | None:
    """The item named after the edge server; None where its spec says nothing that the agent keeps.

    An agent that is too old to know such items refuses it, and says so: it serves on, and keeps no windows.
    before: the one that is stored; the same again where it says the same. revision: of what is planned from; a new
    generation is higher, as with positions (plan.py).
    """
    windows = server.spec.maintenance_windows
    if not windows:
        return None
    message = EdgeServerAssignment(edge_server=server.name, maintenance_windows=windows)
    if server.HasField("changes_allowed_until"):
        message.changes_allowed_until.CopyFrom(server.changes_allowed_until)
    if before is not None and EdgeServerAssignment.FromString(before.body) == message:
        return before
    generation = max(revision, before.generation if before else 0) + 1
    return Item(name=server.name, generation=generation, body=message.SerializeToString(deterministic=True))
