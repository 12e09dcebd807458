"""The certificates that our two ports show, kept young while we run.

The link always shows one of our own, signed anew at half of its life. The API shows the operator's where there is one:
its files are read again now and then, so that whatever renews them need not restart us. A connection that stands keeps
the certificate that it has seen; the next one sees the new one.

What clients of the API trust lies in `ca.pem`, for those who come by it on this machine.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

import structlog
from cryptography import x509

from control_plane.artifacts.store import disk_explained
from control_plane.identity.authority import Authority
from control_plane.identity.identities import api_identity, certificate_names, root_of
from control_plane.settings import ControlPlaneSettings
from mesh.certificates import pem, pin
from mesh.files import write_where_other
from mesh.identity import Identity, LiveIdentity
from waypost.errors import MeshError

log = structlog.get_logger()

LOOK_S = 600.0  # certificates live for weeks, and whoever renews one does so days before its end


class OwnIdentity:
    """ca_pem: the file to keep. now: seconds since the epoch. Raises what Authority.identity and api_identity raise."""

    def __init__(
        self, settings: ControlPlaneSettings, authority: Authority, ca_pem: Path, now: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._ca_pem = ca_pem
        self._authority = authority
        self._now = now
        own = self._own()
        self.link = LiveIdentity(own)
        self.api = LiveIdentity(api_identity(settings, own))
        self._keep_roots()

    @property
    def api_roots(self) -> bytes:
        """PEM of what clients of the API trust."""
        return pem(root_of(self.api.current.certificate)) if self._settings.certificate else self._authority.roots

    @property
    def api_pin(self) -> str:
        """By which the API is known to who has no certificate yet: what join tokens carry."""
        return pin(x509.load_pem_x509_certificate(self.api_roots))

    def refresh(self) -> None:
        """Looks again. Raises as at first; what is shown stays then."""
        own = self._own()
        for port, live, fresh in (("link", self.link, own), ("api", self.api, api_identity(self._settings, own))):
            if fresh != live.current:
                live.current = fresh
                log.info("certificate_renewed", port=port)
        self._keep_roots()

    async def run(self) -> None:
        """For ever. What cannot be renewed now, on a full disk for one, is shown on as it is until the next look."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                self.refresh()
            except MeshError as error:
                log.error("certificate_not_renewed", reason=error.reason, why=error.message, hint=error.hint)

    def _keep_roots(self) -> None:
        with disk_explained(self._ca_pem, "it is written then"):
            write_where_other(self._ca_pem, self.api_roots, mode=0o644)

    def _own(self) -> Identity:
        return self._authority.identity(certificate_names(self._settings), now=self._now())
