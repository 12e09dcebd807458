"""One server for one directory: everything put together, from the lock to the last subscriber."""

import asyncio
from pathlib import Path

import structlog

from mesh import clock, locks, serve
from mesh.files import private_directory, remove_leftovers
from mesh.identity import Identity
from training_platform.access import ACTIVATION_TOKEN, Access, activation_token
from training_platform.deployments import Deployments
from training_platform.follow import Follower
from training_platform.journal import LOG, Journal
from training_platform.layout import OURS, Digests, Directory
from training_platform.service import TrainingService
from training_platform.settings import ServeSettings
from waypost.api.training.v1 import training_pb2_grpc
from waypost.errors import Precondition

log = structlog.get_logger()

GRACE_S = 1.0  # for fetches under way when we are told to stop; subscribers resume them anyway


async def run(settings: ServeSettings, stop: asyncio.Event) -> None:
    """Serves until `stop`. Raises: MeshError."""
    root = settings.directory.resolve()
    private_directory(root / OURS)
    with locks.held(root / OURS / "lock", lambda pid: _in_use(root)):
        remove_leftovers(root / OURS)
        journal = Journal.open(root / OURS / LOG, now=clock.now())
        activation_token(root)
        digests = Digests()
        source = settings.name or root.name
        service = TrainingService(root, source, journal, digests, Access(root), Deployments(root))
        follower = Follower(Directory(root, digests), journal, service.bell)
        server = serve.grpc_server(authorise=service.authorise)
        training_pb2_grpc.add_TrainingServiceServicer_to_server(service, server)
        address = serve.listen(
            server, settings.listen, _identity(settings), insecure_flag="--insecure", insecure=settings.insecure
        )
        await server.start()
        log.info("serving", address=address, directory=str(root), token_file=str(root / OURS / ACTIVATION_TOKEN))
        try:
            await follower.run(stop)
        finally:
            service.bell.close()
            await server.stop(GRACE_S)


def _identity(settings: ServeSettings) -> Identity:
    if not settings.certificate or not settings.key:
        return Identity.local()
    return Identity(settings.certificate.read_bytes(), settings.key.read_bytes())


def _in_use(root: Path) -> Precondition:
    """Two servers would number their logs over one another."""
    hint = "stop the other server, or serve another directory"
    return Precondition("DIRECTORY_IN_USE", f"{root} is served by another process already", hint)
