"""Whom a certificate names is looked up once, and judged anew when the roots are others."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from control_plane.fleet.caller import LinkAccess
from control_plane.identity.authority import Authority
from control_plane.store import open_stores
from control_plane.store.resources import Resources
from mesh import certificates
from tests.unit.control_plane.scenario import scenario
from waypost.errors import Denied

NOW = 1_800_000_000.0


@dataclass
class Call:
    """As much of grpc's context as is looked at."""

    pem: bytes

    def auth_context(self) -> dict[str, list[bytes]]:
        return {"x509_pem_cert": [self.pem]}


@scenario
async def test_a_certificate_is_judged_anew_when_its_root_is_trusted_no_more(tmp_path: Path) -> None:
    authority = Authority.open(tmp_path, now=NOW)
    chain = authority.issue(certificates.request_for(certificates.new_key()), "tower", now=NOW)
    call = Call(chain.encode().split(b"-----END CERTIFICATE-----")[0] + b"-----END CERTIFICATE-----\n")
    async with open_stores("sqlite://") as stores:
        access = LinkAccess(Resources(stores.records), authority)
        first = access.certificate(call)
        assert first.edge_server == "edgeServers/tower"
        assert access.certificate(Call(bytes(call.pem))) is first
        authority.rotate(now=NOW)
        assert access.certificate(call).edge_server == "edgeServers/tower"
        authority.finish_rotation()
        with pytest.raises(Denied):
            access.certificate(call)
