"""Tokens with which agents join."""

import secrets

from console.client import Client
from waypost.api.control.v1.credential_pb2 import CreateCredentialRequest, CreateCredentialResponse, Credential

EXPIRES_S = 24 * 3600  # long enough to carry it to a site, short enough to be worthless when found later


def new_join_token(client: Client, edge_server: str, now: float) -> CreateCredentialResponse:
    """A token that enrols the agent of one edge server (full name), once, within a day. Raises: MeshError."""
    credential = Credential(description="join token")
    credential.expire_time.FromSeconds(int(now) + EXPIRES_S)
    id_ = f"join-{secrets.token_hex(4)}"
    request = CreateCredentialRequest(parent=edge_server, credential_id=id_, credential=credential)
    return client.call(client.credentials.CreateCredential, request)
