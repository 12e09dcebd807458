"""One join token, one key; and a certificate for the next one, to whoever holds the key of the last."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from control_plane.access import Secrets, sha256
from control_plane.identity.authority import AGENT_LIFE, Authority
from control_plane.identity.enrolment import EnrolmentService, Place
from control_plane.store import Delete, Stores, open_stores
from control_plane.store.resources import CREDENTIAL, EDGE_SERVER, Resources
from mesh import certificates
from mesh.spiffe import agent_name
from tests.unit.control_plane.scenario import scenario
from waypost.api.control.v1.credential_pb2 import CREDENTIAL_KIND_API, CREDENTIAL_KIND_JOIN, Credential
from waypost.api.control.v1.edge_server_pb2 import EdgeServer
from waypost.api.link.v1.enrolment_pb2 import EnrolRequest, EnrolResponse, RenewRequest, RenewResponse
from waypost.errors import AlreadyExists, Denied, Invalid, MeshError, NotFound, Precondition, Unauthenticated

NOW = 1_800_000_000.0
TOWER = "edgeServers/tower"
JOIN = f"{TOWER}/credentials/join"
TOKEN = "wp1_join.pin"


GRACE = timedelta(days=90)

Key: TypeAlias = ec.EllipticCurvePrivateKey
request, new_key = certificates.request_for, certificates.new_key


class World:
    def __init__(self, stores: Stores, directory: Path) -> None:
        self.stores = stores
        self.now = NOW
        self.authority = Authority.open(directory, now=NOW)
        self.service = EnrolmentService(
            stores,
            Secrets(stores, lambda: self.now),
            self.authority,
            Place("cp.example:7601", lambda: b"the API's root"),
            renewal_grace=GRACE,
            now=lambda: self.now,
        )

    async def enrol(self, key: Key, token: str = TOKEN, name: str = "") -> EnrolResponse:
        asked = EnrolRequest(join_token=token, certificate_request=request(key), edge_server=name)
        return await self.service.Enrol(asked, None)

    async def renew(self, held: EnrolResponse | RenewResponse, key: Key, new_key: Key) -> RenewResponse:
        """With the key of `held`."""
        certificate = leaf(held).public_bytes(Encoding.DER)
        wanted = request(new_key)
        proof = certificates.signature(key, wanted)
        asked = RenewRequest(certificate=certificate, certificate_request=wanted, signature=proof)
        return await self.service.Renew(asked, None)


def leaf(answer: EnrolResponse | RenewResponse) -> x509.Certificate:
    return x509.load_pem_x509_certificate(answer.certificate_chain.encode())


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
    key = new_key()
    async with world(tmp_path) as here:
        answer = await here.enrol(key)
        used = (await Resources(here.stores.records).get(CREDENTIAL, JOIN)).message
    leaf, root = x509.load_pem_x509_certificates(answer.certificate_chain.encode())
    leaf.verify_directly_issued_by(root)
    assert leaf.public_key() == key.public_key()
    assert answer.roots.encode() == here.authority.roots
    assert (answer.edge_server, answer.link_address) == (TOWER, "cp.example:7601")
    assert answer.api_roots == "the API's root"
    assert used.use_time.seconds == NOW
    assert len(used.used_by_key_sha256) == 64


@scenario
async def test_the_same_key_may_ask_again_and_another_may_not(tmp_path: Path) -> None:
    key = new_key()
    async with world(tmp_path) as here:
        first, again = await here.enrol(key), await here.enrol(key)
        keys = [x509.load_pem_x509_certificate(a.certificate_chain.encode()).public_key() for a in (first, again)]
        assert keys[0] == keys[1]
        with pytest.raises(Precondition) as refused:
            await here.enrol(new_key())
    assert refused.value.reason == "JOIN_TOKEN_USED"
    assert "waypost edge-server join-token tower" in refused.value.hint


@scenario
async def test_of_two_keys_at_once_one_wins(tmp_path: Path) -> None:
    keys = [new_key() for _ in range(8)]
    async with world(tmp_path) as here:
        answers = await asyncio.gather(*(here.enrol(key) for key in keys), return_exceptions=True)
    assert sum(isinstance(answer, EnrolResponse) for answer in answers) == 1
    assert sum(isinstance(answer, Precondition) for answer in answers) == 7


@scenario
async def test_no_token_a_wrong_one_and_one_of_another_kind_are_refused(tmp_path: Path) -> None:
    key = new_key()
    async with world(tmp_path) as here:
        for token, error in (("", Unauthenticated), ("wp1_guess", Unauthenticated), ("wp1_api", Denied)):
            with pytest.raises(error):
                await here.enrol(key, token)


@scenario
async def test_a_bad_request_does_not_use_the_token_up(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        with pytest.raises(Invalid):
            await here.service.Enrol(EnrolRequest(join_token=TOKEN, certificate_request=b"nonsense"), None)
        await here.enrol(new_key())


@scenario
async def test_the_token_of_a_deleted_edge_server_enrols_nobody(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await here.stores.records.commit([Delete(TOWER)])
        with pytest.raises(NotFound):
            await here.enrol(new_key())


@scenario
async def test_a_token_for_several_agents_takes_as_many_keys_and_each_of_them_again(tmp_path: Path) -> None:
    keys = [new_key() for _ in range(3)]
    async with world(tmp_path) as here:
        await make_token(here, "wp1_thrice.pin", max_uses=3)
        for key in [*keys, *keys]:
            assert (await here.enrol(key, "wp1_thrice.pin")).edge_server == TOWER
        with pytest.raises(Precondition, match="is good 3 times and was used") as refused:
            await here.enrol(new_key(), "wp1_thrice.pin")
    assert refused.value.reason == "JOIN_TOKEN_USED"


@scenario
async def test_a_token_that_a_control_plane_before_this_one_marked_used_is_used(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        used = Credential(name=JOIN, kind=CREDENTIAL_KIND_JOIN, secret_sha256=sha256(TOKEN), used_by_key_sha256="5e")
        await here.stores.records.commit([CREDENTIAL.encode(JOIN, used)])
        with pytest.raises(Precondition):
            await here.enrol(new_key())


@scenario
async def test_a_token_for_one_edge_server_is_for_no_other(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        with pytest.raises(Denied) as refused:
            await here.enrol(new_key(), TOKEN, "mast")
        assert refused.value.reason == "WRONG_NAME"
        assert (await here.enrol(new_key(), TOKEN, "tower")).edge_server == TOWER


# ---- tokens that make edge servers -----------------------------------------------------------------------------------

FLEET, FLEET_TOKEN = "wp1_fleet.pin", "edgeServers/-/credentials/fleet"


async def make_fleet_token(here: World, max_uses: int = 100) -> None:
    await make_token(here, FLEET, "edgeServers/-", "mast-*", max_uses)


@scenario
async def test_an_edge_server_is_created_by_joining_in_the_commit_that_marks_the_token(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await make_fleet_token(here)
        before = await here.stores.records.revision()
        answer = await here.enrol(new_key(), FLEET, "mast-7")
        assert answer.edge_server == "edgeServers/mast-7"
        assert here.authority.agent(leaf(answer)).edge_server == "edgeServers/mast-7"
        assert await here.stores.records.revision() == before + 1
        made = (await Resources(here.stores.records).get(EDGE_SERVER, "edgeServers/mast-7")).message
        assert made.uid
        assert made.create_time.seconds == NOW


@scenario
async def test_the_answer_to_a_join_that_made_an_edge_server_may_be_lost(tmp_path: Path) -> None:
    key = new_key()
    async with world(tmp_path) as here:
        await make_fleet_token(here, max_uses=1)
        first, again = [await here.enrol(key, FLEET, "mast-7") for _ in range(2)]
        assert first.edge_server == again.edge_server
        with pytest.raises(Precondition):
            await here.enrol(key, FLEET, "mast-8")  # nor does it make a second one of it


@scenario
async def test_a_token_that_makes_edge_servers_takes_over_none_that_is_there(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await make_fleet_token(here)
        await here.enrol(new_key(), FLEET, "mast-7")
        with pytest.raises(AlreadyExists) as refused:
            await here.enrol(new_key(), FLEET, "mast-7")
        assert refused.value.reason == "EDGE_SERVER_EXISTS"
        assert "waypost edge-server join-token mast-7" in refused.value.hint


@scenario
async def test_machines_that_join_together_share_their_commits(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await make_fleet_token(here, max_uses=30)
        before = await here.stores.records.revision()
        joins = [here.enrol(new_key(), FLEET, f"mast-{number}") for number in range(40)]
        answers = await asyncio.gather(*joins, return_exceptions=True)
        made = [each.message.name async for each in Resources(here.stores.records).all(EDGE_SERVER)]
        used = (await Resources(here.stores.records).get(CREDENTIAL, FLEET_TOKEN)).message
        assert await here.stores.records.revision() <= before + 3
        assert len(await here.stores.events.newest()) == 30
    joined = {answer.edge_server for answer in answers if isinstance(answer, EnrolResponse)}
    assert len(joined) == 30
    assert joined == set(made) - {TOWER} == {use.edge_server for use in used.join_uses}
    refused = [answer for answer in answers if not isinstance(answer, EnrolResponse)]
    assert {getattr(error, "reason", error) for error in refused} == {"JOIN_TOKEN_USED"}


@scenario
async def test_of_two_machines_of_one_name_one_makes_the_edge_server(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await make_fleet_token(here)
        joins = [here.enrol(new_key(), FLEET, "mast-7") for _ in range(5)]
        answers = await asyncio.gather(*joins, return_exceptions=True)
    assert sum(isinstance(answer, EnrolResponse) for answer in answers) == 1
    assert sum(isinstance(answer, AlreadyExists) for answer in answers) == 4


@pytest.mark.parametrize(
    ("name", "error", "reason"),
    [
        ("", Invalid, "NAME_MISSING"),
        ("tower-8", Denied, "WRONG_NAME"),
        ("a-mast-8", Denied, "WRONG_NAME"),
        ("mast-8/x", Invalid, "BAD_ID"),
        ("mast-\n", Invalid, "BAD_ID"),
        ("mast-" + "x" * 80, Invalid, "BAD_ID"),
    ],
)
def test_a_name_that_the_pattern_does_not_cover_is_refused(
    tmp_path: Path, name: str, error: type[MeshError], reason: str
) -> None:
    @scenario
    async def refused() -> None:
        async with world(tmp_path) as here:
            await make_fleet_token(here)
            with pytest.raises(error) as caught:
                await here.enrol(new_key(), FLEET, name)
            assert caught.value.reason == reason

    refused()


# ---- renewal ---------------------------------------------------------------------------------------------------------


@scenario
async def test_the_holder_of_the_old_key_gets_a_certificate_for_a_new_one_again_and_again(tmp_path: Path) -> None:
    keys = [new_key() for _ in range(3)]
    async with world(tmp_path) as here:
        held: EnrolResponse | RenewResponse = await here.enrol(keys[0])
        for old, new in pairwise(keys):
            here.now += AGENT_LIFE.total_seconds() / 2
            before, held = held, await here.renew(held, old, new)
            assert leaf(held).public_key() == new.public_key()
            assert here.authority.agent(leaf(held)).edge_server == TOWER
            assert leaf(held).not_valid_after_utc - leaf(before).not_valid_after_utc == AGENT_LIFE / 2
        assert (held.link_address, held.api_roots) == ("cp.example:7601", "the API's root")


@scenario
async def test_a_renewal_whose_answer_was_lost_may_be_asked_for_again(tmp_path: Path) -> None:
    old, new = new_key(), new_key()
    async with world(tmp_path) as here:
        held = await here.enrol(old)
        lost, got = await here.renew(held, old, new), await here.renew(held, old, new)
        assert leaf(lost).public_key() == leaf(got).public_key()


@scenario
async def test_an_expired_certificate_is_renewed_within_the_grace_and_not_after(tmp_path: Path) -> None:
    key = new_key()
    async with world(tmp_path) as here:
        held = await here.enrol(key)
        here.now = NOW + (AGENT_LIFE + GRACE).total_seconds()
        await here.renew(held, key, new_key())
        here.now += 1
        with pytest.raises(Precondition, match="more than 90 days ago") as refused:
            await here.renew(held, key, new_key())
    assert refused.value.reason == "CERTIFICATE_TOO_OLD"
    assert "waypost edge-server join-token tower" in refused.value.hint


@scenario
async def test_who_has_the_certificate_and_not_its_key_gets_nothing(tmp_path: Path) -> None:
    key, thief = new_key(), new_key()
    async with world(tmp_path) as here:
        held = await here.enrol(key)
        with pytest.raises(Unauthenticated) as refused:
            await here.renew(held, thief, thief)
    assert refused.value.reason == "WRONG_SIGNATURE"


@scenario
async def test_only_certificates_of_agents_that_this_root_signed_are_renewed(tmp_path: Path) -> None:
    key = new_key()
    async with world(tmp_path / "ours") as here, world(tmp_path / "theirs") as there:
        with pytest.raises(Denied) as refused:
            await here.renew(await there.enrol(key), key, new_key())
        assert refused.value.reason == "NOT_AN_AGENT"
        with pytest.raises(Unauthenticated) as malformed:
            await here.service.Renew(RenewRequest(certificate=b"nonsense", certificate_request=request(key)), None)
        assert malformed.value.reason == "BAD_CERTIFICATE"


@scenario
async def test_the_certificate_of_a_deleted_edge_server_is_not_renewed(tmp_path: Path) -> None:
    key = new_key()
    async with world(tmp_path) as here:
        held = await here.enrol(key)
        await here.stores.records.commit([Delete(TOWER)])
        with pytest.raises(NotFound):
            await here.renew(held, key, new_key())


# ---- revocation ------------------------------------------------------------------------------------------------------


async def revoke(here: World) -> None:
    """Now."""
    revoked = EdgeServer(name=TOWER)
    revoked.revoke_time.FromMilliseconds(round(here.now * 1000))
    await here.stores.records.commit([EDGE_SERVER.encode(TOWER, revoked)])


async def make_token(here: World, secret: str, parent: str = TOWER, pattern: str = "", max_uses: int = 0) -> None:
    name = f"{parent}/credentials/{secret.removeprefix('wp1_').partition('.')[0]}"
    token = Credential(name=name, uid=secret, kind=CREDENTIAL_KIND_JOIN, secret_sha256=sha256(secret))
    token.edge_server_pattern, token.max_uses = pattern, max_uses
    token.create_time.FromMilliseconds(round(here.now * 1000))
    await here.stores.records.commit([CREDENTIAL.encode(name, token)])


@scenario
async def test_neither_certificates_nor_join_tokens_of_before_a_revocation_are_good_for_anything(
    tmp_path: Path,
) -> None:
    key = new_key()
    async with world(tmp_path) as here:
        await make_token(here, "wp1_unused.pin")
        held = await here.enrol(key)
        here.now += 0.7
        await revoke(here)
        here.now += 60
        for attempt in (here.renew(held, key, new_key()), here.enrol(key), here.enrol(key, "wp1_unused.pin")):
            with pytest.raises(Denied) as refused:
                await attempt
            assert refused.value.reason == "EDGE_SERVER_REVOKED"
            assert "waypost edge-server join-token tower" in refused.value.hint


@scenario
async def test_a_token_of_after_a_revocation_lets_in_and_its_certificate_counts_though_made_in_the_same_second(
    tmp_path: Path,
) -> None:
    key = new_key()
    async with world(tmp_path) as here:
        here.now += 0.2
        await revoke(here)
        here.now += 0.1
        await make_token(here, "wp1_new.pin")
        held = await here.enrol(key, "wp1_new.pin")
        await here.renew(held, key, new_key())


async def ask_for_authority(here: World, signed_with: Key | None = None) -> tuple[EnrolResponse, Key, Key]:
    """The answer, the agent's key, and that of its authority. signed_with: signs the latter's request instead."""
    key, authority_key = new_key(), new_key()
    asked = EnrolRequest(join_token=TOKEN, certificate_request=request(key), authority_request=request(authority_key))
    asked.authority_signature = certificates.signature(signed_with or key, asked.authority_request)
    return await here.service.Enrol(asked, None), key, authority_key


@scenario
async def test_an_agent_gets_an_authority_for_its_own_names_and_again_with_each_renewal(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        answer, key, authority_key = await ask_for_authority(here)
        made = x509.load_pem_x509_certificate(answer.authority_certificate.encode())
        assert made.public_key() == authority_key.public_key()
        assert made.extensions.get_extension_for_class(x509.NameConstraints).value.permitted_subtrees == [
            x509.UniformResourceIdentifier("tower.waypost"),
            x509.DNSName("tower.waypost"),
        ]
        here.now += AGENT_LIFE.total_seconds() / 2
        renewed = await renew_with_authority(here, answer, key, authority_key, signed_with=key)
        later = x509.load_pem_x509_certificate(renewed.authority_certificate.encode())
        assert later.not_valid_after_utc == made.not_valid_after_utc + AGENT_LIFE / 2
        with pytest.raises(Unauthenticated) as refused:
            await renew_with_authority(here, answer, key, new_key(), signed_with=new_key())
        assert refused.value.reason == "WRONG_SIGNATURE"


async def renew_with_authority(
    here: World, held: EnrolResponse, key: Key, authority_key: Key, *, signed_with: Key
) -> RenewResponse:
    wanted, authority = request(new_key()), request(authority_key)
    asked = RenewRequest(
        certificate=leaf(held).public_bytes(Encoding.DER),
        certificate_request=wanted,
        signature=certificates.signature(key, wanted),
        authority_request=authority,
        authority_signature=certificates.signature(signed_with, authority),
    )
    return await here.service.Renew(asked, None)


@scenario
async def test_an_authority_is_for_whoever_holds_the_key_of_the_rest_and_a_wrong_one_uses_no_token_up(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as here:
        with pytest.raises(Unauthenticated) as refused:
            await ask_for_authority(here, signed_with=new_key())
        assert refused.value.reason == "WRONG_SIGNATURE"
        asked = EnrolRequest(join_token=TOKEN, certificate_request=request(new_key()), authority_request=b"nonsense")
        with pytest.raises(Invalid, match="authority_request"):
            await here.service.Enrol(asked, None)
        answer, _, _ = await ask_for_authority(here)
        assert answer.authority_certificate


@scenario
async def test_whoever_asks_for_no_authority_gets_none(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        assert not (await here.enrol(new_key())).authority_certificate


@scenario
async def test_what_an_agent_certifies_makes_nobody_an_agent(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        answer, _, authority_key = await ask_for_authority(here)
        made = x509.load_pem_x509_certificate(answer.authority_certificate.encode())
        signer, key = certificates.Signer(made, authority_key), new_key()
        forged = signer.leaf(key.public_key(), "tower", agent_name("tower"), now=NOW, life=AGENT_LIFE)
        held = EnrolResponse(certificate_chain=certificates.pem(forged).decode())
        with pytest.raises(Denied) as refused:
            await here.renew(held, key, new_key())
        assert refused.value.reason == "NOT_AN_AGENT"
