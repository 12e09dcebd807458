"""Credentials, and what they open."""

import asyncio
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from control_plane.access import Access, Secrets, bearer_token, sha256
from control_plane.store import Changes, Delete
from tests.unit.control_plane.services.api import APPLICATION, EDGE_SERVER, PIN, PROJECT, Api, with_api
from waypost import names
from waypost.api.control.v1 import credential_pb2 as pb
from waypost.api.control.v1 import platform_pb2, platform_pb2_grpc
from waypost.api.control.v1.role_pb2 import ROLE_OPERATOR, ROLE_VIEWER
from waypost.errors import AlreadyExists, Denied, Invalid, MeshError, NotFound, Unauthenticated


async def platform(api: Api, token: str | None) -> platform_pb2.GetPlatformResponse:
    async with api.as_caller(token) as channel:
        answer: platform_pb2.GetPlatformResponse = await platform_pb2_grpc.PlatformServiceStub(channel).GetPlatform(
            platform_pb2.GetPlatformRequest()
        )
        return answer


@with_api
async def test_the_kind_follows_from_the_parent_and_the_secret_is_kept_as_a_hash(api: Api) -> None:
    await api.make_application()
    await api.make_edge_server()
    for parent, kind, name in (
        ("", pb.CREDENTIAL_KIND_API, "credentials/c"),
        (PROJECT, pb.CREDENTIAL_KIND_API, f"{PROJECT}/credentials/c"),
        (APPLICATION, pb.CREDENTIAL_KIND_APPLICATION, f"{APPLICATION}/credentials/c"),
        (EDGE_SERVER, pb.CREDENTIAL_KIND_JOIN, f"{EDGE_SERVER}/credentials/c"),
    ):
        asked = pb.Credential(description="for tests", role=ROLE_VIEWER if kind == pb.CREDENTIAL_KIND_API else 0)
        request = pb.CreateCredentialRequest(parent=parent, credential_id="c", credential=asked)
        made = await api.credential.CreateCredential(request)
        assert (made.credential.name, made.credential.kind, made.credential.description) == (name, kind, "for tests")
        assert made.credential.secret_sha256 == sha256(made.secret)
        assert made.secret.startswith("wp1_")
        assert len(made.secret.partition(".")[0]) == 4 + 43
        assert made.credential.role == asked.role
        assert made.secret.partition(".")[2] == (PIN if kind == pb.CREDENTIAL_KIND_JOIN else "")
        listed = (await api.credential.ListCredentials(pb.ListCredentialsRequest(parent=parent))).credentials
        assert made.credential in listed
        with pytest.raises(AlreadyExists):
            await api.credential.CreateCredential(request)


@with_api
async def test_parents_that_cannot_hold_credentials_are_refused(api: Api) -> None:
    for parent in ("projects", "edgeServers", "nonsense", "subscriptions/s", "projects/-"):
        with pytest.raises(Invalid) as refused:
            await api.credential.CreateCredential(pb.CreateCredentialRequest(parent=parent, credential_id="c"))
        assert refused.value.metadata["field"] == "parent"
    for parent in (PROJECT, APPLICATION, EDGE_SERVER):
        with pytest.raises(NotFound):
            await api.credential.CreateCredential(
                pb.CreateCredentialRequest(
                    parent=parent, credential_id="c", credential={"role": ROLE_VIEWER if parent == PROJECT else 0}
                )
            )
    for name in ("", "c", "credentials", "projects/-/credentials/c", "credentials/C"):
        with pytest.raises(Invalid):
            await api.credential.DeleteCredential(pb.DeleteCredentialRequest(name=name))


@with_api
async def test_a_token_for_the_api_must_say_its_role_and_no_other_may(api: Api) -> None:
    await api.make_application()
    for parent, role in (("", 0), ("", 17), (PROJECT, 0), (APPLICATION, ROLE_OPERATOR)):
        request = pb.CreateCredentialRequest(parent=parent, credential_id="c", credential={"role": role})
        with pytest.raises(Invalid) as refused:
            await api.credential.CreateCredential(request)
        assert refused.value.metadata["field"] == "credential.role"


@with_api
async def test_a_caller_is_known_by_its_credential(api: Api) -> None:
    answer = await api.platform.GetPlatform(platform_pb2.GetPlatformRequest())
    assert (answer.caller, answer.version, answer.link_address) == ("credentials/tester", "1.2.3", "cp:7601")
    assert answer.incarnation == api.stores.records.incarnation
    assert answer.revision == await api.stores.records.revision()


@with_api
async def test_nobody_is_answered_without_a_good_credential(api: Api) -> None:
    for token, reason in (
        (None, "CREDENTIAL_MISSING"),
        ("wp1_guess", "CREDENTIAL_UNKNOWN"),
        ("guess", "CREDENTIAL_MALFORMED"),
    ):
        with pytest.raises(Unauthenticated) as refused:
            await platform(api, token)
        assert refused.value.reason == reason
        assert "authorization" in refused.value.hint


@with_api
async def test_a_revoked_credential_is_refused_at_once(api: Api) -> None:
    _, token = await api.credentials.issue("", "guest", pb.Credential(role=ROLE_VIEWER))
    assert (await platform(api, token)).caller == "credentials/guest"
    await api.credential.DeleteCredential(pb.DeleteCredentialRequest(name="credentials/guest"))
    with pytest.raises(Unauthenticated):
        await platform(api, token)


@with_api
async def test_an_expired_credential_is_refused(api: Api) -> None:
    expire = Timestamp(seconds=int(api.clock.now_s) + 60)
    _, token = await api.credentials.issue("", "guest", pb.Credential(expire_time=expire, role=ROLE_VIEWER))
    assert (await platform(api, token)).caller == "credentials/guest"
    api.clock.now_s += 61
    with pytest.raises(Unauthenticated) as refused:
        await platform(api, token)
    assert refused.value.reason == "CREDENTIAL_EXPIRED"
    with pytest.raises(Invalid) as already:
        await api.credentials.issue("", "late", pb.Credential(expire_time=expire, role=ROLE_VIEWER))
    assert already.value.metadata["field"] == "credential.expire_time"


@with_api
async def test_secrets_of_another_kind_do_not_open_the_api(api: Api) -> None:
    await api.make_application()
    await api.make_edge_server()
    for parent in (APPLICATION, EDGE_SERVER):
        _, token = await api.credentials.issue(parent, "c", pb.Credential())
        with pytest.raises(Denied) as refused:
            await platform(api, token)
        assert refused.value.reason == "WRONG_CREDENTIAL_KIND"


@with_api
async def test_methods_that_access_does_not_know_are_denied(api: Api) -> None:
    """Deny by default: a service that somebody forgot to think of answers nobody."""
    access = Access(Secrets(api.stores, api.clock))
    for method in ("/waypost.api.training.v1.TrainingService/Activate", "/waypost.api.link.v1.AgentLinkService/X"):
        with pytest.raises(Denied):
            await access.authorise(method, None, None)
    await access.authorise("/waypost.api.link.v1.EnrolmentService/Enrol", None, None)


@with_api
async def test_a_credential_written_elsewhere_is_known_with_the_next_call(api: Api) -> None:
    secrets = Secrets(api.stores, api.clock)
    with pytest.raises(MeshError):
        await secrets.match("wp1_x", pb.CREDENTIAL_KIND_API)
    made = [await api.credentials.issue("", f"c{n}", pb.Credential(role=ROLE_VIEWER)) for n in range(3)]
    matches = [secrets.match(secret, pb.CREDENTIAL_KIND_API) for _, secret in made]
    assert [found.name for found in await asyncio.gather(*matches)] == [f"credentials/c{n}" for n in range(3)]


@with_api
async def test_a_slow_look_at_the_store_never_brings_a_revoked_credential_back(api: Api) -> None:
    """One call reads the creation and is held up; another reads creation and revocation, and is done first."""
    secrets = Secrets(api.stores, api.clock)
    with pytest.raises(Unauthenticated):
        await secrets.match("wp1_x", pb.CREDENTIAL_KIND_API)
    changes, held, go_on = api.stores.records.changes, asyncio.Event(), asyncio.Event()

    async def slow_changes(since: int) -> Changes:
        found = await changes(since)
        if not held.is_set():
            held.set()
            await go_on.wait()
        return found

    object.__setattr__(api.stores.records, "changes", slow_changes)
    _, secret = await api.credentials.issue("", "guest", pb.Credential(role=ROLE_VIEWER))
    async with asyncio.TaskGroup() as tasks:
        slow = tasks.create_task(_is_refused(secrets, secret))
        await held.wait()
        await api.stores.records.commit([Delete("credentials/guest")])
        assert await _is_refused(secrets, secret)
        go_on.set()
    assert slow.result()
    assert await _is_refused(secrets, secret)


async def _is_refused(secrets: Secrets, secret: str) -> bool:
    try:
        await secrets.match(secret, pb.CREDENTIAL_KIND_API)
    except Unauthenticated:
        return True
    return False


@pytest.mark.parametrize(
    "metadata",
    [
        [("authorization", "Bearer wp1_a"), ("authorization", "Bearer wp1_b")],
        [("authorization", "Basic wp1_a")],
        [("authorization", "wp1_a")],
        [("authorization", "")],
        [("authorization", b"\xff")],
    ],
)
def test_what_is_not_one_bearer_token_is_refused(metadata: Any) -> None:
    with pytest.raises(Unauthenticated):
        bearer_token(metadata)


def test_the_scheme_may_be_written_in_any_case() -> None:
    assert bearer_token([("authorization", "bearer wp1_a")]) == "wp1_a"


# ---- join tokens -----------------------------------------------------------------------------------------------------


@with_api
async def test_a_join_token_is_good_for_a_day_unless_it_is_said_for_how_long(api: Api) -> None:
    await api.make_edge_server()
    made, _ = await api.credentials.issue(EDGE_SERVER, "c", pb.Credential())
    assert made.expire_time.seconds == int(api.clock()) + 24 * 3600
    expire = Timestamp(seconds=int(api.clock()) + 60)
    asked, _ = await api.credentials.issue(EDGE_SERVER, "d", pb.Credential(expire_time=expire))
    assert asked.expire_time == expire


@with_api
async def test_a_token_that_makes_edge_servers_belongs_to_none_and_is_listed_and_revoked(api: Api) -> None:
    await api.make_edge_server()
    await api.credentials.issue(EDGE_SERVER, "bound", pb.Credential())
    asked = pb.Credential(edge_server_pattern="tower-*", max_uses=50)
    made, secret = await api.credentials.issue("edgeServers/-", "fleet", asked)
    assert (made.name, made.kind) == ("edgeServers/-/credentials/fleet", pb.CREDENTIAL_KIND_JOIN)
    assert (made.edge_server_pattern, made.max_uses) == ("tower-*", 50)
    assert secret.endswith(f".{PIN}")
    listed = await api.credential.ListCredentials(pb.ListCredentialsRequest(parent="edgeServers/-"))
    assert [names.leaf(credential.name) for credential in listed.credentials] == ["fleet", "bound"]
    await api.credential.DeleteCredential(pb.DeleteCredentialRequest(name=made.name))
    listed = await api.credential.ListCredentials(pb.ListCredentialsRequest(parent="edgeServers/-"))
    assert [names.leaf(credential.name) for credential in listed.credentials] == ["bound"]


@with_api
async def test_what_a_credential_may_not_say_is_refused_by_field(api: Api) -> None:
    await api.make_edge_server()
    for parent, asked, field in (
        ("edgeServers/-", pb.Credential(), "edge_server_pattern"),
        ("edgeServers/-", pb.Credential(edge_server_pattern="Tower *"), "edge_server_pattern"),
        ("edgeServers/-", pb.Credential(edge_server_pattern="a/*"), "edge_server_pattern"),
        (EDGE_SERVER, pb.Credential(edge_server_pattern="tower-*"), "edge_server_pattern"),
        (EDGE_SERVER, pb.Credential(max_uses=-1), "max_uses"),
        (EDGE_SERVER, pb.Credential(max_uses=1001), "max_uses"),
        ("", pb.Credential(max_uses=2), "max_uses"),
    ):
        with pytest.raises(Invalid) as refused:
            await api.credentials.issue(parent, "c", asked)
        assert refused.value.metadata["field"] == f"credential.{field}"
