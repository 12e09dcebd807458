"""Names and certificates of the two ports, and the first credential."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from control_plane.access import Secrets
from control_plane.identity.authority import Authority
from control_plane.identity.identities import advertised_address, api_identity, certificate_names, root_of
from control_plane.services.admin_token import keep_admin_token
from control_plane.services.credential import CredentialService
from control_plane.services.kit import make_kit
from control_plane.settings import ControlPlaneSettings
from control_plane.store import Delete, Stores, open_stores
from mesh.clock import RandomIds
from mesh.identity import Identity
from tests.unit.control_plane.scenario import scenario
from waypost.api.control.v1.credential_pb2 import CREDENTIAL_KIND_API
from waypost.errors import Invalid, Precondition, Unauthenticated

NOW = 1_800_000_000.0


def settings(**given: object) -> ControlPlaneSettings:
    return ControlPlaneSettings(**given)


def test_the_certificate_carries_every_name_that_we_are_reached_by_and_no_wildcard() -> None:
    names = certificate_names(
        settings(
            listen="0.0.0.0:7600",
            link_listen="10.0.0.7:7601",
            advertise_address="cp.example:7601",
            advertise_names=("waypost.example", "localhost"),
        )
    )
    assert {"localhost", "127.0.0.1", "::1", "10.0.0.7", "cp.example", "waypost.example"} < set(names)
    assert "0.0.0.0" not in names
    assert len(names) == len(set(names))


def test_agents_are_told_an_address_that_they_can_reach() -> None:
    assert advertised_address(settings(), "127.0.0.1:7601") == "127.0.0.1:7601"
    assert advertised_address(settings(advertise_address="cp.example:443"), "0.0.0.0:7601") == "cp.example:443"
    host, _, port = advertised_address(settings(), "0.0.0.0:7601").rpartition(":")
    assert host not in ("", "0.0.0.0")
    assert port == "7601"


def test_a_certificate_of_the_operator_is_shown_and_our_root_is_trusted(tmp_path: Path) -> None:
    own = Authority.open(tmp_path / "own", now=NOW).identity(["localhost"], now=NOW)
    theirs = Authority.open(tmp_path / "theirs", now=NOW)
    theirs.identity(["api.example"], now=NOW)
    given = settings(certificate=tmp_path / "theirs/certificate.pem", key=tmp_path / "theirs/key.pem")
    shown = api_identity(given, own)
    assert root_of(shown.certificate) == root_of(theirs.roots)
    assert shown.roots == own.roots
    assert api_identity(settings(), own) is own


@pytest.mark.parametrize("given", [{"certificate": "only.pem"}, {"certificate": "no.pem", "key": "no.key"}])
def test_half_a_certificate_or_none_where_it_was_named_is_refused(given: dict[str, str]) -> None:
    with pytest.raises(Invalid) as refused:
        api_identity(settings(**given), Identity.local())
    assert refused.value.reason == "BAD_CERTIFICATE"


def test_what_is_no_pem_is_refused() -> None:
    with pytest.raises(Invalid):
        root_of(b"nonsense")


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(Precondition):
        certificate_names(settings(listen="nonsense"))


# ---- the first credential --------------------------------------------------------------------------------------------


class Store:
    """A store, and starts of a control plane on it."""

    def __init__(self, stores: Stores, path: Path) -> None:
        self.stores = stores
        self.path = path

    async def start(self, *, is_store_shared: bool = False) -> str:
        """The secret in the file after a start; empty where there is none."""
        credentials = CredentialService(make_kit(self.stores, now=lambda: NOW, ids=RandomIds()), pin=str)
        await keep_admin_token(self.stores, credentials, self.path, is_store_shared=is_store_shared)
        return self.path.read_text().strip() if self.path.exists() else ""

    async def caller(self, secret: str) -> str:
        return (await Secrets(self.stores, lambda: NOW).match(secret, CREDENTIAL_KIND_API)).name


@asynccontextmanager
async def new_store(directory: Path) -> AsyncIterator[Store]:
    async with open_stores("sqlite://") as stores:
        yield Store(stores, directory / "admin.token")


@scenario
async def test_the_first_start_writes_a_token_and_later_ones_keep_it(tmp_path: Path) -> None:
    async with new_store(tmp_path) as store:
        first = await store.start()
        assert await store.caller(first) == "credentials/admin"
        assert await store.start() == first
        assert store.path.stat().st_mode & 0o777 == 0o600


@scenario
async def test_a_lost_token_is_replaced_and_the_old_one_is_good_no_more(tmp_path: Path) -> None:
    async with new_store(tmp_path) as store:
        first = await store.start()
        store.path.unlink()
        second = await store.start()
        assert await store.caller(second) == "credentials/admin"
        with pytest.raises(Unauthenticated):
            await store.caller(first)


@scenario
async def test_another_replica_on_the_same_store_does_not_replace_it(tmp_path: Path) -> None:
    async with new_store(tmp_path) as store:
        first = await store.start(is_store_shared=True)
        store.path.unlink()
        assert await store.start(is_store_shared=True) == ""
        assert await store.caller(first) == "credentials/admin"


@scenario
async def test_a_deleted_credential_stays_deleted(tmp_path: Path) -> None:
    async with new_store(tmp_path) as store:
        first = await store.start()
        await store.stores.records.commit([Delete("credentials/admin")])
        assert await store.start() == first
        with pytest.raises(Unauthenticated):
            await store.caller(first)
