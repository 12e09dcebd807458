"""How this agent gets its identity: once, for a join token, from the control plane's EnrolmentService.

A join token `wp1_<random>.<pin>` carries the sha256 of the root's public key. So the first connection need not be
trusted blindly: the chain that the server shows is searched for a certificate with that very key, and the call is made
over TLS that trusts this root and nothing else. The key is made here, never leaves, and lies on the disk before the
token is used: should the answer get lost, the same token and the same key get it again.

    <data_dir>/identity/   key.pem   certificate.pem   roots.pem   enrolment.json (who we are, and where the link is)
"""

import asyncio
import hashlib
import json
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from edge_agent.backoff import delay_s
from edge_agent.settings import AgentSettings
from edge_agent.storage import storage_errors
from mesh.files import private_directory, write_atomically
from mesh.identity import CERTIFICATE, KEY, ROOTS, Identity
from mesh.serve import split_address
from waypost.api.link.v1.enrolment_pb2 import EnrolRequest, EnrolResponse
from waypost.api.link.v1.enrolment_pb2_grpc import EnrolmentServiceStub
from waypost.errors import DeadlineExceeded, Denied, Precondition, Unavailable
from waypost.rpc import Tls, open_aio_channel

log = structlog.get_logger()

FACTS = "enrolment.json"
PATIENCE_S = 10.0  # for one connection or one answer
HINT = "create a join token for the edge server, and name its file with --join-token"


@dataclass(frozen=True, slots=True)
class Enrolment:
    """Who this agent is."""

    identity: Identity
    edge_server: str
    """Full name."""
    link_address: str


async def enrolled(settings: AgentSettings, directory: Path) -> Enrolment:
    """The identity in `directory`; one is got first where there is none, for as long as the control plane is away.

    Raises: Precondition(NOT_ENROLLED | BAD_JOIN_TOKEN | WRONG_EDGE_SERVER | JOIN_TOKEN_USED), Denied(PIN_MISMATCH),
    Unauthenticated, Unavailable(STORAGE_FAILED).
    """
    if not (directory / FACTS).exists():
        await _enrol_for_ever(settings, directory)
    with storage_errors(directory):
        facts = json.loads((directory / FACTS).read_text())
        identity = Identity.load(directory)
    wanted = settings.edge_server and f"edgeServers/{settings.edge_server.removeprefix('edgeServers/')}"
    if wanted and wanted != facts["edge_server"]:
        raise Precondition(
            "WRONG_EDGE_SERVER",
            f"this data directory is that of {facts['edge_server']}, not of {wanted}",
            "give the edge server a data directory of its own, with --data-dir",
        )
    return Enrolment(identity, facts["edge_server"], settings.control_plane or facts["link_address"])


async def _enrol_for_ever(settings: AgentSettings, directory: Path) -> None:
    token = _token(settings)
    failures = 0
    while True:
        try:
            await _enrol(settings, directory, token)
            return
        except (Unavailable, DeadlineExceeded) as error:
            failures += 1
            log.warning("enrolment_waits", why=error.message, again_s=delay_s(failures))
            await asyncio.sleep(delay_s(failures))


async def _enrol(settings: AgentSettings, directory: Path, token: str) -> None:
    address = _api_address(settings)
    roots = await _trusted_roots(settings, address, token)
    with storage_errors(directory):
        key_pem = _key(private_directory(directory))
    request = EnrolRequest(join_token=token, certificate_request=_certificate_request(key_pem))
    async with open_aio_channel(address, tls=Tls(roots=roots)) as channel:
        stub: Any = EnrolmentServiceStub(channel)
        response: EnrolResponse = await stub.Enrol(request, timeout=PATIENCE_S)
    facts = {"edge_server": response.edge_server, "link_address": response.link_address}
    with storage_errors(directory):
        write_atomically(directory / CERTIFICATE, response.certificate_chain.encode())
        write_atomically(directory / ROOTS, response.roots.encode())
        write_atomically(directory / FACTS, json.dumps(facts).encode())  # last: it says that all is there
    log.info("enrolled", edge_server=response.edge_server, link=response.link_address)


def _token(settings: AgentSettings) -> str:
    if settings.join_token is None:
        raise Precondition("NOT_ENROLLED", "this agent has no identity yet, and no join token to get one", HINT)
    try:
        token = settings.join_token.read_text().strip()
    except OSError as error:
        message = f"the join token cannot be read from {settings.join_token}: {error.strerror}"
        raise Precondition("BAD_JOIN_TOKEN", message, HINT) from error
    if not token.startswith("wp1_"):
        raise Precondition("BAD_JOIN_TOKEN", f"{settings.join_token} holds no join token (wp1_...)", HINT)
    return token


def _api_address(settings: AgentSettings) -> str:
    if settings.api:
        return settings.api
    if not settings.control_plane:
        raise Precondition("NOT_ENROLLED", "nobody says where to enrol", "name the control plane's API with --api")
    host, port = split_address(settings.control_plane)
    return f"{f'[{host}]' if ':' in host else host}:{port - 1}"


# ---- whom to trust ---------------------------------------------------------------------------------------------------


async def _trusted_roots(settings: AgentSettings, address: str, token: str) -> bytes:
    """PEM of the root that the operator named, or that the pin names. Raises: Denied(PIN_MISMATCH), Unavailable."""
    if settings.ca is not None:
        with storage_errors(settings.ca):
            return settings.ca.read_bytes()
    _, separator, pin = token.partition(".")
    if not separator:
        raise Precondition("BAD_JOIN_TOKEN", "the join token carries no pin", "name the root's file with --ca")
    for certificate in await asyncio.to_thread(fetch_chain, *split_address(address)):
        if pin_of(certificate) == pin:
            return ssl.DER_cert_to_PEM_cert(certificate).encode()
    raise Denied(
        "PIN_MISMATCH",
        f"{address} does not show the root that the join token names: it is another control plane, or somebody else",
        "look at the address; create the join token with the control plane that answers there",
    )


def fetch_chain(host: str, port: int) -> list[bytes]:
    """The certificates (DER) that a TLS server shows, leaf first. Nothing is believed of them. Raises: Unavailable."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])  # gRPC servers hang up on others
    try:
        with (
            socket.create_connection((host, port), timeout=PATIENCE_S) as plain,
            context.wrap_socket(plain, server_hostname=host) as tls,
        ):
            return _shown(tls)
    except OSError as error:
        raise Unavailable(
            "CONTROL_PLANE_UNREACHABLE", f"{host}:{port} does not answer: {error}", "look at --api"
        ) from error


def _shown(tls: ssl.SSLSocket) -> list[bytes]:
    """The whole chain. Python says it publicly from 3.13 on; before, only the object below knows."""
    if hasattr(tls, "get_unverified_chain"):
        return list(tls.get_unverified_chain())
    inner: Any = tls._sslobj  # type: ignore[attr-defined]
    return [ssl.PEM_cert_to_DER_cert(certificate.public_bytes()) for certificate in inner.get_unverified_chain()]


def pin_of(certificate: bytes) -> str:
    """sha256 of the SubjectPublicKeyInfo of a certificate (DER), hex."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = x509.load_der_x509_certificate(certificate).public_key()
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


# ---- our own key -----------------------------------------------------------------------------------------------------


def _key(directory: Path) -> bytes:
    """PEM; made at the first call and kept."""
    from mesh.tokens import new_signing_key  # the same kind of key: EC P-256

    if not (directory / KEY).exists():
        write_atomically(directory / KEY, new_signing_key())
    return (directory / KEY).read_bytes()


def _certificate_request(key_pem: bytes) -> bytes:
    """PKCS #10, DER. Only its public key is read; the name comes from the token."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

    key = load_pem_private_key(key_pem, password=None)
    assert isinstance(key, EllipticCurvePrivateKey)
    return x509.CertificateSigningRequestBuilder(x509.Name([])).sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
