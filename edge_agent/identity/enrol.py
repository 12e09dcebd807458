"""How this agent joins: once, for a join token, by the control plane's EnrolmentService; and how it renews what it got.

A join token `wp1_<random>.<pin>` carries the sha256 of the root's public key. So the first connection need not be
trusted blindly: the chain that the server shows is searched for a certificate with that very key, and the call is made
over TLS that trusts this root and nothing else. The key is made here, never leaves, and lies on the disk before the
token is used: should the answer get lost, the same token and the same key get it again (enrolment.py).

A renewal needs neither token nor client certificate: the old key signs the request for the new one. Both ask for an
authority besides, for the key that the agent certifies its monitors and hosts with.
"""

import asyncio
import hashlib
import socket
import ssl
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from edge_agent.backoff import delay_s
from edge_agent.identity.enrolment import Enrolment, EnrolmentFile, new_authority_key
from edge_agent.machine.storage import storage_errors
from edge_agent.settings import AgentSettings
from mesh import certificates
from mesh.identity import Identity
from mesh.serve import split_address
from waypost.api.link.v1.enrolment_pb2 import EnrolRequest, EnrolResponse, RenewRequest, RenewResponse
from waypost.api.link.v1.enrolment_pb2_grpc import EnrolmentServiceStub
from waypost.errors import DeadlineExceeded, Denied, Precondition, Unavailable
from waypost.rpc import Tls, open_aio_channel

log = structlog.get_logger()

PATIENCE_S = 10.0  # for one connection or one answer
HINT = "create a join token for the edge server, and name its file with --join-token"


async def enrolled(settings: AgentSettings, directory: Path) -> Enrolment:
    """The enrolment in `directory`; where there is none the agent joins first, however long the control plane is away.

    Raises: Precondition(NOT_ENROLLED | BAD_JOIN_TOKEN | WRONG_EDGE_SERVER | JOIN_TOKEN_USED), Denied(PIN_MISMATCH),
    Unauthenticated, Unavailable(STORAGE_FAILED).
    """
    kept = EnrolmentFile(directory)
    wanted = settings.edge_server and f"edgeServers/{settings.edge_server.removeprefix('edgeServers/')}"
    enrolment = kept.read()
    if enrolment is None:
        return await _join_for_ever(settings, kept, wanted)
    if wanted and wanted != enrolment.edge_server:
        raise Precondition(
            "WRONG_EDGE_SERVER",
            f"this data directory is that of {enrolment.edge_server}, not of {wanted}",
            "give the edge server a data directory of its own, with --data-dir",
        )
    if not enrolment.authority_key:
        enrolment = replace(enrolment, authority_key=new_authority_key())
        kept.keep(enrolment)
    return enrolment


async def _join_for_ever(settings: AgentSettings, kept: EnrolmentFile, wanted: str) -> Enrolment:
    token = read_token(settings)
    failures = 0
    while True:
        try:
            return await join(settings, kept, token, expected=wanted)
        except (Unavailable, DeadlineExceeded) as error:
            failures += 1
            log.warning("enrolment_waits", why=error.message, again_s=delay_s(failures))
            await asyncio.sleep(delay_s(failures))


async def join(settings: AgentSettings, kept: EnrolmentFile, token: str, *, expected: str) -> Enrolment:
    """What the token gives, kept. expected: full name of the edge server; empty: any. Raises: as `enrolled`."""
    address = api_address(settings)
    roots = await _trusted_roots(settings, address, token)
    key_pem = kept.joining_key()
    key, authority_key = certificates.read_key(key_pem), new_authority_key()
    request = EnrolRequest(
        join_token=token,
        certificate_request=certificates.request_for(key),
        edge_server=expected.removeprefix("edgeServers/"),
        authority_request=certificates.request_for(certificates.read_key(authority_key)),
    )
    request.authority_signature = certificates.signature(key, request.authority_request)
    async with open_aio_channel(address, tls=Tls(roots=roots)) as channel:
        stub: Any = EnrolmentServiceStub(channel)
        response: EnrolResponse = await stub.Enrol(request, timeout=PATIENCE_S)
    enrolment = Enrolment(
        Identity(response.certificate_chain.encode(), key_pem, response.roots.encode()),
        response.edge_server,
        response.link_address,
        address,
        response.api_roots.encode() or roots,
        digest(token),
        authority_key,
        response.authority_certificate.encode(),
    )
    kept.keep(enrolment)
    log.info("enrolled", edge_server=response.edge_server, link=response.link_address)
    return enrolment


async def renew(settings: AgentSettings, kept: EnrolmentFile, held: Enrolment) -> Enrolment:
    """The same with a new key and a new certificate, kept.

    Raises: Denied, Unauthenticated, Precondition(CERTIFICATE_TOO_OLD), NotFound where the control plane does not renew;
    Unavailable, DeadlineExceeded, Exhausted where trying again may help.
    """
    key = certificates.new_key()
    request = RenewRequest(
        certificate=held.leaf.public_bytes(Encoding.DER),
        certificate_request=certificates.request_for(key),
        authority_request=certificates.request_for(certificates.read_key(held.authority_key)),
    )
    old_key = certificates.read_key(held.identity.key)
    request.signature = certificates.signature(old_key, request.certificate_request)
    request.authority_signature = certificates.signature(old_key, request.authority_request)
    roots = _operators_roots(settings) or held.api_roots
    async with open_aio_channel(api_address(settings, held), tls=Tls(roots=roots)) as channel:
        stub: Any = EnrolmentServiceStub(channel)
        response: RenewResponse = await stub.Renew(request, timeout=PATIENCE_S)
    private = certificates.private_pem(key)
    renewed = replace(
        held,
        identity=Identity(response.certificate_chain.encode(), private, response.roots.encode()),
        link_address=response.link_address,
        api_roots=response.api_roots.encode() or held.api_roots,
        authority_certificate=response.authority_certificate.encode(),
    )
    kept.keep(renewed)
    return renewed


def read_token(settings: AgentSettings) -> str:
    """Raises: Precondition(NOT_ENROLLED | BAD_JOIN_TOKEN)."""
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


def digest(token: str) -> str:
    """By which a token is known again that was used."""
    return hashlib.sha256(token.encode()).hexdigest()


def api_address(settings: AgentSettings, held: Enrolment | None = None) -> str:
    """Where the EnrolmentService is. Raises: Precondition(NOT_ENROLLED | BAD_ADDRESS)."""
    known = settings.api or (held.api_address if held else "")
    if known:
        return known
    link = settings.control_plane or (held.link_address if held else "")
    if not link:
        raise Precondition("NOT_ENROLLED", "nobody says where to enrol", "name the control plane's API with --api")
    host, port = split_address(link.split(",")[0].strip())
    return f"{f'[{host}]' if ':' in host else host}:{port - 1}"


# ---- whom to trust ---------------------------------------------------------------------------------------------------


async def _trusted_roots(settings: AgentSettings, address: str, token: str) -> bytes:
    """PEM of the root that the operator named, or that the pin names. Raises: Denied(PIN_MISMATCH), Unavailable."""
    if (roots := _operators_roots(settings)) is not None:
        return roots
    _, separator, pin = token.partition(".")
    if not separator:
        raise Precondition("BAD_JOIN_TOKEN", "the join token carries no pin", "name the root's file with --ca")
    for der in await asyncio.to_thread(fetch_chain, *split_address(address)):
        shown = x509.load_der_x509_certificate(der)
        is_root = shown.issuer == shown.subject  # the same key also stands in the bridge from a root before
        if is_root and certificates.pin(shown) == pin:
            return ssl.DER_cert_to_PEM_cert(der).encode()
    raise Denied(
        "PIN_MISMATCH",
        f"{address} does not show the root that the join token names: it is another control plane, or somebody else",
        "look at the address; create the join token with the control plane that answers there",
    )


def _operators_roots(settings: AgentSettings) -> bytes | None:
    if settings.ca is None:
        return None
    with storage_errors(settings.ca):
        return settings.ca.read_bytes()


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
