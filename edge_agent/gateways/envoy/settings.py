"""Where the embedded gateway listens, and where it keeps its files."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from edge_agent.gateways.routes import split_address
from mesh.serve import is_loopback, refuse_insecure
from waypost.errors import Precondition


@dataclass(frozen=True, slots=True)
class EnvoySettings:
    """Of one gateway. The agent has them as `--gateway-listen` and so on, which is how errors name them."""

    data_dir: Path
    """The gateway's own directory: configuration, log, process."""
    runtime_dir: Path
    """Private directory for its sockets; its path must be short."""
    listen: str = "127.0.0.1:7680"
    """ip:port for gRPC and HTTP alike. Dedicated ports are opened on the same address."""
    domain: str = "edge.local"
    """Domain of this edge server: `<uid>.<domain>` addresses a position."""
    concurrency: int = 1
    """Threads that carry calls. One carries thousands a second, and each more costs memory."""
    certificate: Path | None = None
    """PEM chain to listen with TLS; replaced by rename, it is taken up without a restart. None: plaintext."""
    key: Path | None = None
    """Its private key; None: it stands in the same file."""
    insecure: bool = False
    """Listen beyond loopback without TLS: for networks where everybody may read and change what is sent."""

    @property
    def host(self) -> str:
        return split_address(self.listen)[0]

    @property
    def port(self) -> int:
        return split_address(self.listen)[1]

    @property
    def address(self) -> str:
        return f"{'https' if self.certificate else 'http'}://{self.listen}"

    @property
    def admin_socket(self) -> Path:
        return self.runtime_dir / "envoy.sock"

    @property
    def witness_socket(self) -> Path:
        return self.runtime_dir / "witness.sock"


def refuse_unusable(settings: EnvoySettings) -> None:
    """Raises: Precondition(BAD_ADDRESS, BAD_CERTIFICATE, INSECURE_ADDRESS)."""
    try:
        host = settings.host
    except ValueError as error:
        message = f"--gateway-listen cannot be {settings.listen!r}: {error}"
        raise Precondition("BAD_ADDRESS", message, "write ip:port") from error
    if settings.certificate is not None:
        _refuse_bad_certificate(settings.certificate, settings.key)
    elif not is_loopback(host):
        refuse_insecure(settings.listen, insecure=settings.insecure, insecure_flag="--gateway-insecure")


def _refuse_bad_certificate(certificate: Path, key: Path | None) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except OSError as error:  # ssl.SSLError is one
        message = (
            f"the gateway cannot listen with {certificate} and {key or 'the key in it'}: {error.strerror or error}"
        )
        hint = "--gateway-certificate is a PEM chain, --gateway-key its private key"
        raise Precondition("BAD_CERTIFICATE", message, hint) from error
