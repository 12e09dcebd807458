"""The first credential, for whoever sets the platform up: its secret lies in a file that only this user can read.

It is made with the store. Where the file is lost, the next start makes a new secret, and the old one is good no more;
where the credential was deleted, it stays deleted: by then somebody else can let people in.
"""

import asyncio
from pathlib import Path

import structlog

from control_plane.services.credential import CredentialService
from control_plane.store import Delete, Stores
from control_plane.store.resources import CREDENTIAL, Resources
from mesh.files import write_atomically
from waypost.api.control.v1.credential_pb2 import Credential
from waypost.api.control.v1.role_pb2 import ROLE_ADMIN
from waypost.errors import AlreadyExists

log = structlog.get_logger()

ADMIN = "admin"
DESCRIPTION = "made at the first start; its secret is in admin.token in the control plane's data directory"


async def keep_admin_token(
    stores: Stores, credentials: CredentialService, path: Path, *, is_store_shared: bool
) -> None:
    """Makes the credential where the store is new, or where its secret is lost and the store is ours alone."""
    known = await Resources(stores.records).find(CREDENTIAL, f"credentials/{ADMIN}")
    is_new = await stores.records.revision() == 0
    is_lost = known is not None and not is_store_shared and not await asyncio.to_thread(path.exists)
    if not (is_new or is_lost):
        return
    if known is not None:
        await stores.records.commit([Delete(known.message.name)], expect={known.message.name: known.revision})
    try:
        _, secret = await credentials.issue("", ADMIN, Credential(description=DESCRIPTION, role=ROLE_ADMIN))
    except AlreadyExists:
        return  # another control plane began on the same new store, and was faster: the file is in its directory
    write_atomically(path, f"{secret}\n".encode())
    log.info("admin_token_written", path=str(path))
