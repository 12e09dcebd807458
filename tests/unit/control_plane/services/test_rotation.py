"""Rotating credentials: two good at a time, never none, and everything in one commit."""

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st

from control_plane.access import Secrets, sha256
from control_plane.domain.assignments import Conversions, policy_of
from control_plane.domain.assignments import Resources as Planned
from control_plane.services.rotation import OVERLAP_S, OVERLAP_S_MAX, next_id
from control_plane.store.resources import CREDENTIAL
from tests.unit.control_plane.services.api import APPLICATION, EDGE_SERVER, PROJECT, Api, with_api
from waypost import names
from waypost.api.control.v1 import credential_pb2 as pb
from waypost.api.control.v1 import project_pb2, role_binding_pb2
from waypost.api.control.v1.role_pb2 import ROLE_OPERATOR, ROLE_VIEWER
from waypost.errors import AlreadyExists, Invalid, NotFound, Precondition, Unauthenticated

XAPP = f"{APPLICATION}/credentials/xapp"


async def rotate(api: Api, name: str, id_: str = "", overlap_s: float | None = None) -> pb.RotateCredentialResponse:
    request = pb.RotateCredentialRequest(name=name, credential_id=id_)
    if overlap_s is not None:
        request.overlap.CopyFrom(Duration(seconds=int(overlap_s)))
    answer: pb.RotateCredentialResponse = await api.credential.RotateCredential(request)
    return answer


async def good(api: Api, secret: str, kind: pb.CredentialKind.ValueType = pb.CREDENTIAL_KIND_APPLICATION) -> bool:
    try:
        await Secrets(api.stores, api.clock).match(secret, kind)
    except Unauthenticated:
        return False
    return True


@with_api
async def test_both_are_good_for_the_overlap_and_then_the_new_one_alone(api: Api) -> None:
    await api.make_application()
    _, old = await api.credentials.issue(APPLICATION, "xapp", pb.Credential(description="north"))
    made = await rotate(api, XAPP)
    assert made.credential.name == f"{XAPP}-r2"
    assert (made.credential.replaces, made.credential.description) == (XAPP, "north")
    assert made.credential.secret_sha256 == sha256(made.secret)
    assert made.replaced.expire_time.seconds == int(api.clock.now_s + OVERLAP_S)
    assert await good(api, old)
    assert await good(api, made.secret)
    api.clock.now_s += OVERLAP_S
    assert not await good(api, old)
    assert await good(api, made.secret)


@with_api
async def test_a_position_is_told_of_both_with_their_ends(api: Api) -> None:
    """What goes to the monitors: the overlap holds, and ends, with the control plane away."""
    await api.make_application()
    _, old = await api.credentials.issue(APPLICATION, "xapp", pb.Credential())
    made = await rotate(api, XAPP, overlap_s=60)
    held = [stored.message async for stored in api.kit.resources.all(CREDENTIAL)]
    tokens = policy_of(Planned(1, [], [], held, frozenset(), {}, []), Conversions()).tokens[APPLICATION]
    assert {(token.sha256, token.expire_unix_s) for token in tokens} == {
        (sha256(old), int(api.clock.now_s) + 60),
        (sha256(made.secret), 0),
    }
    assert {token.credential for token in tokens} == {XAPP, f"{XAPP}-r2"}  # what is made of the old one ends with it


@with_api
async def test_no_third_is_good_at_the_same_time_and_what_has_expired_is_forgotten(api: Api) -> None:
    await api.make_application()
    await api.credentials.issue(APPLICATION, "xapp", pb.Credential())
    second = await rotate(api, XAPP, overlap_s=60)
    with pytest.raises(Precondition) as refused:
        await rotate(api, second.credential.name)
    assert refused.value.reason == "ROTATION_UNDER_WAY"
    api.clock.now_s += 60
    third = await rotate(api, second.credential.name, overlap_s=60)
    assert third.credential.name == f"{XAPP}-r3"
    listed = await api.credential.ListCredentials(pb.ListCredentialsRequest(parent=APPLICATION))
    assert {names.leaf(credential.name) for credential in listed.credentials} == {"xapp-r2", "xapp-r3"}


@with_api
async def test_to_revoke_the_old_one_makes_room_at_once(api: Api) -> None:
    await api.make_application()
    await api.credentials.issue(APPLICATION, "xapp", pb.Credential())
    second = await rotate(api, XAPP)
    await api.credential.DeleteCredential(pb.DeleteCredentialRequest(name=XAPP))
    assert (await rotate(api, second.credential.name)).credential.name == f"{XAPP}-r3"


@with_api
async def test_the_new_one_lives_as_long_as_the_old_was_made_to_and_the_old_never_longer(api: Api) -> None:
    await api.make_application()
    asked = pb.Credential()
    asked.expire_time.FromSeconds(int(api.clock.now_s) + 3600)
    await api.credentials.issue(APPLICATION, "xapp", asked)
    api.clock.now_s += 3000
    made = await rotate(api, XAPP)
    assert made.replaced.expire_time == asked.expire_time
    assert made.credential.expire_time.seconds == int(api.clock.now_s) + 3600


@with_api
async def test_a_token_for_the_api_keeps_its_role_and_what_was_granted_to_it(api: Api) -> None:
    await api.make_application()
    _, old = await api.credentials.issue("", "ci", pb.Credential(role=ROLE_VIEWER))
    binding = role_binding_pb2.RoleBinding(subject="credentials/ci", role=ROLE_OPERATOR)
    await api.role_binding.CreateRoleBinding(
        role_binding_pb2.CreateRoleBindingRequest(parent=PROJECT, role_binding=binding)
    )
    made = await rotate(api, "credentials/ci", "ci-new", 0)
    assert (made.credential.name, made.credential.role) == ("credentials/ci-new", ROLE_VIEWER)
    assert not await good(api, old, pb.CREDENTIAL_KIND_API)
    listed = await api.role_binding.ListRoleBindings(role_binding_pb2.ListRoleBindingsRequest(parent=PROJECT))
    assert {(b.subject, b.role) for b in listed.role_bindings} == {
        ("credentials/ci", ROLE_OPERATOR),
        ("credentials/ci-new", ROLE_OPERATOR),
    }
    async with api.with_token(made.secret) as theirs:
        await theirs.project.ListProjects(project_pb2.ListProjectsRequest())


@with_api
async def test_what_cannot_be_rotated_is_refused_and_nothing_is_written(api: Api) -> None:
    await api.make_application()
    await api.make_edge_server()
    await api.credentials.issue(APPLICATION, "xapp", pb.Credential())
    await api.credentials.issue(APPLICATION, "other", pb.Credential())
    await api.credentials.issue(EDGE_SERVER, "join", pb.Credential())
    before = await api.stores.records.revision()
    with pytest.raises(AlreadyExists):
        await rotate(api, XAPP, "other")
    with pytest.raises(Precondition):
        await rotate(api, f"{EDGE_SERVER}/credentials/join")
    with pytest.raises(NotFound):
        await rotate(api, f"{APPLICATION}/credentials/none")
    for name, id_, overlap_s in (("", "", 0), (XAPP, "Bad Id", 0), (XAPP, "", OVERLAP_S_MAX + 1), (XAPP, "", -1)):
        with pytest.raises(Invalid):
            await rotate(api, name, id_, overlap_s)
    assert await api.stores.records.revision() == before


@given(st.from_regex(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True))
def test_the_next_id_is_another_one_that_is_allowed(id_: str) -> None:
    names.check_id(next_id(id_), "credentials")
    assert next_id(id_) != id_
    assert next_id(next_id(id_)) != next_id(id_)


def test_ids_count_on() -> None:
    assert [next_id(id_) for id_ in ("xapp", "xapp-r2", "xapp-r9")] == ["xapp-r2", "xapp-r3", "xapp-r10"]
