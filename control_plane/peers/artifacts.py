"""Every file, wherever it was stored first.

Whoever is asked for an artifact that does not lie here asks its peers, fetches it and keeps it. So that no file dies
with the disk of the one that took it in, it lies with a peer, too, before it is called stored, where there is one. And
everybody fetches in the background what versions in the store consist of.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import structlog

from control_plane.artifacts.store import ArtifactStore, Pieces, check_digest
from control_plane.mirror import Mirror
from control_plane.peers.calls import PeerCalls
from control_plane.peers.membership import Membership
from control_plane.store import Peer, Stores
from control_plane.store.resources import MODEL_VERSION
from waypost.errors import MeshError, NotFound, Unavailable

log = structlog.get_logger()

AGAIN_S = 10.0  # at most, before what no peer could give is asked for again; whoever needs it at once asks itself


class SpreadArtifacts:
    """here: what lies on our own disk."""

    def __init__(self, here: ArtifactStore, membership: Membership, calls: PeerCalls) -> None:
        self._here = here
        self._membership = membership
        self._calls = calls

    def has(self, digest: str) -> bool:
        """It lies on our own disk."""
        return self._here.has(digest)

    def path(self, digest: str) -> Path:
        """As `ArtifactStore.path`."""
        return self._here.path(digest)

    async def write(self, digest: str, size_bytes: int, pieces: AsyncIterator[bytes]) -> None:
        """As `ArtifactStore.write`."""
        await self._here.write(digest, size_bytes, pieces)
        await self._give(digest)

    async def fetch(self, digest: str, size_bytes: int, pieces: Pieces) -> None:
        """As `ArtifactStore.fetch`: from elsewhere than from peers."""
        await self._here.fetch(digest, size_bytes, pieces)
        await self._give(digest)

    async def size_bytes(self, digest: str) -> int:
        """Raises NotFound (ARTIFACT_NOT_FOUND), Unavailable where a peer that may have it does not answer."""
        if self._here.has(digest):
            return self._here.size_bytes(digest)
        return (await self._find(digest))[1]

    async def ensure(self, digest: str) -> None:
        """It lies here afterwards. Raises NotFound, and what the transfer raises: asked again, it goes on."""
        if not self._here.has(digest):
            peer, size_bytes = await self._find(digest)
            await self._here.fetch(digest, size_bytes, partial(self._calls.fetch, peer, digest))
            log.info("artifact_copied", digest=digest, peer=peer.address, size_bytes=size_bytes)

    async def read(self, digest: str, offset: int = 0) -> AsyncGenerator[bytes, None]:
        """As `ArtifactStore.read`."""
        await self.ensure(digest)
        async for piece in self._here.read(digest, offset):
            yield piece

    async def _give(self, digest: str) -> None:
        """It lies with a peer afterwards, where one takes it."""
        for peer in self._membership.others.values():
            try:
                await self._calls.copy(peer, digest)
                return
            except MeshError as error:
                log.warning("artifact_not_taken", digest=digest, peer=peer.address, why=error.message)

    async def _find(self, digest: str) -> tuple[Peer, int]:
        """A peer that has it, and its bytes."""
        check_digest(digest)
        silent: MeshError | None = None
        for peer in self._membership.others.values():
            try:
                return peer, await self._calls.stat(peer, digest)
            except NotFound:
                continue
            except MeshError as error:
                silent = error
        if silent is not None:
            message = f"artifact {digest} is not stored here, and a peer that may have it does not answer: {silent}"
            raise Unavailable("PEER_UNREACHABLE", message, "try again", digest=digest) from silent
        raise NotFound("ARTIFACT_NOT_FOUND", f"artifact {digest} is not stored here", digest=digest)


class Copies:
    """Fetches what versions consist of, for one task."""

    def __init__(self, stores: Stores, artifacts: SpreadArtifacts, rng: random.Random) -> None:
        self._stores = stores
        self._artifacts = artifacts
        self._rng = rng

    async def run(self) -> None:
        """For ever. Raises what the store raises, and may be run again then."""
        mirror, missing = Mirror(self._stores.records, MODEL_VERSION), set[str]()
        while True:
            for name in await mirror.refresh(self._stores.known_revision):
                if stored := mirror.of(MODEL_VERSION).get(name):
                    missing.update(artifact.digest for artifact in stored.message.artifacts)
            missing = await self._copy(missing)
            with suppress(TimeoutError):
                async with asyncio.timeout(AGAIN_S * self._rng.uniform(0.5, 1) if missing else None):
                    await anext(self._stores.records.watch(mirror.revision))

    async def _copy(self, digests: set[str]) -> set[str]:
        """Those that could not be had."""
        missing: set[str] = set()
        for digest in sorted(digests):
            try:
                await self._artifacts.ensure(digest)
            except MeshError as error:
                missing.add(digest)
                log.debug("artifact_not_copied", digest=digest, why=error.message)
        return missing
