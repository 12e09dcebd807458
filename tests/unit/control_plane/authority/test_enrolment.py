"""One join token, one key."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from control_plane.access import Secrets, sha256
from control_plane.authority import Authority
from control_plane.enrolment import EnrolmentService
from control_plane.store import Delete, Stores, open_stores
from control_plane.store.resources import CREDENTIAL, EDGE_SERVER, Resources
from tests.unit.control_plane.scenario import scenario
from waypost.api.control.v1.credential_pb2 import CREDENTIAL_KIND_API, CREDENTIAL_KIND_JOIN, Credential
from waypost.api.control.v1.edge_server_pb2 import EdgeServer
from waypost.api.link.v1.enrolment_pb2 import EnrolRequest, EnrolResponse
from waypost.errors import Denied, Invalid, NotFound, Precondition, Unauthenticated

NOW = 1_800_000_000.0
TOWER = "edgeServers/tower"
JOIN = f"{TOWER}/credentials/join"
TOKEN = "wp1_join.pin"


def request(key: ec.EllipticCurvePrivateKey) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


class World:
    def __init__(self, stores: Stores, directory: Path) -> None:
        self.stores = stores
        self.authority = Authority.open(directory, now=NOW)
        secrets = Secrets(stores, lambda: NOW)
        self.service = EnrolmentService(
            stores, secrets, self.authority, link_address="cp.example:7601", now=lambda: NOW
        )

    async def enrol(self, key: ec.EllipticCurvePrivateKey, token: str = TOKEN) -> EnrolResponse:
        return await self.service.Enrol(EnrolRequest(join_token=token, certificate_request=request(key)), None)


@asynccontextmanager
async def world(directory: Path) -> AsyncIterator[World]:
    async with open_stores("sqlite://") as stores:
        join = Credential(name=JOIN, uid="c1", kind=CREDENTIAL_KIND_JOIN, secret_sha256=sha256(TOKEN))
        api = Credential(name="credentials/a", kind=CREDENTIAL_KIND_API, secret_sha256=sha256("wp1_api"))
        await stores.records.commit(
            [
                EDGE_SERVER.encode(TOWER, EdgeServer(name=TOWER)),
                CREDENTIAL.encode(JOIN, join),
                CREDENTIAL.encode(api.name, api),
            ]
        )
        yield World(stores, directory)


@scenario
async def test_an_agent_gets_its_certificate_and_where_to_dial(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    async with world(tmp_path) as here:
        answer = await here.enrol(key)
        used = (await Resources(here.stores.records).get(CREDENTIAL, JOIN)).message
    leaf, root = x509.load_pem_x509_certificates(answer.certificate_chain.encode())
    leaf.verify_directly_issued_by(root)
    assert leaf.public_key() == key.public_key()
    assert answer.roots.encode() == here.authority.roots
    assert (answer.edge_server, answer.link_address) == (TOWER, "cp.example:7601")
    assert used.use_time.seconds == NOW
    assert len(used.used_by_key_sha256) == 64


@scenario
async def test_the_same_key_may_ask_again_and_another_may_not(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    async with world(tmp_path) as here:
        first, again = await here.enrol(key), await here.enrol(key)
        keys = [x509.load_pem_x509_certificate(a.certificate_chain.encode()).public_key() for a in (first, again)]
        assert keys[0] == keys[1]
        with pytest.raises(Precondition) as refused:
            await here.enrol(ec.generate_private_key(ec.SECP256R1()))
    assert refused.value.reason == "JOIN_TOKEN_USED"
    assert "create a new credential" in refused.value.hint


@scenario
async def test_of_two_keys_at_once_one_wins(tmp_path: Path) -> None:
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(8)]
    async with world(tmp_path) as here:
        answers = await asyncio.gather(*(here.enrol(key) for key in keys), return_exceptions=True)
    assert sum(isinstance(answer, EnrolResponse) for answer in answers) == 1
    assert sum(isinstance(answer, Precondition) for answer in answers) == 7


@scenario
async def test_no_token_a_wrong_one_and_one_of_another_kind_are_refused(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    async with world(tmp_path) as here:
        for token, error in (("", Unauthenticated), ("wp1_guess", Unauthenticated), ("wp1_api", Denied)):
            with pytest.raises(error):
                await here.enrol(key, token)


@scenario
async def test_a_bad_request_does_not_use_the_token_up(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        with pytest.raises(Invalid):
            await here.service.Enrol(EnrolRequest(join_token=TOKEN, certificate_request=b"nonsense"), None)
        await here.enrol(ec.generate_private_key(ec.SECP256R1()))


@scenario
async def test_the_token_of_a_deleted_edge_server_enrols_nobody(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await here.stores.records.commit([Delete(TOWER)])
        with pytest.raises(NotFound):
            await here.enrol(ec.generate_private_key(ec.SECP256R1()))
