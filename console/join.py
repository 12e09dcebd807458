"""Tokens with which agents join."""

import secrets

from console.client import Client
from console.kinds import EDGE_SERVER
from waypost.api.control.v1.credential_pb2 import CreateCredentialRequest, CreateCredentialResponse, Credential

EXPIRES_S = 24 * 3600  # long enough to carry it to a site, short enough to be worthless when found later


def tokens_of(name: str) -> str:
    """Parent of an edge server's join tokens, given its name; or of those that make edge servers, given a pattern.

    Raises: Invalid(BAD_NAME).
    """
    return "edgeServers/-" if "*" in name else EDGE_SERVER.parse(name)


def new_join_token(
    client: Client, name: str, now: float, *, uses: int = 1, expires_s: float = EXPIRES_S
) -> CreateCredentialResponse:
    """A token that enrols the agent of an edge server, or makes edge servers whose names fit a pattern (`tower-*`).

    Raises: MeshError.
    """
    credential = Credential(description="join token", max_uses=uses)
    if "*" in name:
        credential.edge_server_pattern = name
    credential.expire_time.FromSeconds(int(now + expires_s))
    id_ = f"join-{secrets.token_hex(4)}"
    request = CreateCredentialRequest(parent=tokens_of(name), credential_id=id_, credential=credential)
    return client.call(client.credentials.CreateCredential, request)
