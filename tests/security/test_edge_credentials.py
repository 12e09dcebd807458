"""Access tokens at the edge: each credential that is not one, at each door of a position, for each method behind it.

A door is a way in: the gateway's port as xApps use it, and the sockets of host and monitor behind it, which trust no
gateway. Methods come from the descriptors, so one that is added to a proto is tried by itself.
"""

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from inference_host.faces.oip_grpc import SERVICE
from mesh import clock
from mesh.tokens import mint, new_signing_key
from tests.integration.agent_world import POSITION, UID
from tests.security.calls import Method, methods_of, outcome
from tests.security.edge import EXPIRED, OTHER_UID, OURS, THEIRS, Edge
from waypost.api.inference.v1 import inference_pb2 as oip
from waypost.api.xapp.v1 import access_pb2, inference_pb2

INFERENCE = [*methods_of(oip, SERVICE), *methods_of(inference_pb2)]
ACCESS = [method for method in methods_of(access_pb2) if method.descriptor.name != "Register"]
METHODS = [*INFERENCE, *ACCESS]


def token(edge: Edge, **changes: Any) -> str:
    """A good one, but for the changes."""
    facts = {"audience": UID, "subject": f"credentials/{OURS}", "client": "test", "now": clock.now(), **changes}
    return mint(facts.pop("key", edge.key(UID)), **facts)


def tampered(edge: Edge) -> str:
    """One letter of what was signed is another."""
    header, claims, signature = token(edge).split(".")
    return ".".join((header, claims[:-2] + ("A" if claims[-2] != "A" else "B") + claims[-1], signature))


CREDENTIALS: dict[str, tuple[Callable[[Edge], str | None], str]] = {
    "none": (lambda edge: None, "NO_TOKEN"),
    "a guess": (lambda edge: "guess", "BAD_TOKEN"),
    "one that nobody signed": (lambda edge: "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9.", "BAD_TOKEN"),
    "one that somebody else signed": (lambda edge: token(edge, key=new_signing_key()), "BAD_TOKEN"),
    "one that was changed": (tampered, "BAD_TOKEN"),
    "an expired one": (lambda edge: token(edge, now=clock.now() - 86400), "TOKEN_EXPIRED"),
    "another position's": (lambda edge: token(edge, key=edge.key(OTHER_UID), audience=OTHER_UID), "WRONG_POSITION"),
    "another position's, made out to this one": (lambda edge: token(edge, key=edge.key(OTHER_UID)), "BAD_TOKEN"),
    "this position's, made out to another one": (lambda edge: token(edge, audience=OTHER_UID), "WRONG_POSITION"),
    "the application token itself": (lambda edge: OURS, "BAD_TOKEN"),
}

DOORS: dict[str, tuple[Callable[[Edge], str], list[Method]]] = {
    "gateway": (lambda edge: edge.agent.gateway, METHODS),
    "host": (lambda edge: f"unix:{edge.sockets}/{edge.replica}.sock", INFERENCE),
    "monitor": (lambda edge: f"unix:{edge.sockets}/monitor.sock", ACCESS),
}


def behind(edge: Edge, door: str) -> grpc.aio.Channel:
    address = DOORS[door][0](edge)
    options = [("grpc.default_authority", "localhost")] if address.startswith("unix:") else []
    return grpc.aio.insecure_channel(address, options=options)


async def outcomes(edge: Edge, door: str, shown: str | None, *, let_in: bool) -> dict[str, tuple[str, str]]:
    """Of all methods behind a door, by `Service/Method`. let_in: whether streams are to be said something."""
    async with behind(edge, door) as channel:
        found = {}
        for method in DOORS[door][1]:
            request = method.empty() if let_in or not method.descriptor.client_streaming else None
            found[method.short] = await outcome(channel, method, request, shown, ("waypost-position", UID))
        return found


@pytest.mark.parametrize("credential", CREDENTIALS)
@pytest.mark.parametrize("door", DOORS)
def test_no_door_opens_without_an_access_token_of_this_position(edge: Edge, door: str, credential: str) -> None:
    make, reason = CREDENTIALS[credential]
    answers = asyncio.run(outcomes(edge, door, make(edge), let_in=False))
    assert answers == dict.fromkeys(answers, ("UNAUTHENTICATED", reason))


@pytest.mark.parametrize("door", DOORS)
def test_a_good_token_opens_it(edge: Edge, door: str) -> None:
    answers = asyncio.run(outcomes(edge, door, token(edge), let_in=True))
    assert "UNAUTHENTICATED" not in {code for code, _ in answers.values()}


@pytest.mark.parametrize("credential", CREDENTIALS)
@pytest.mark.parametrize("path", ["/v2", "/v2/models/tower-7/infer", "/v2/models/tower-7", "/v2/repository/index"])
def test_over_http_neither(edge: Edge, path: str, credential: str) -> None:
    make, reason = CREDENTIALS[credential]
    shown = make(edge)
    headers = {"waypost-position": UID, **({} if shown is None else {"authorization": f"Bearer {shown}"})}
    body = None if path in ("/v2", "/v2/models/tower-7") else b"{}"
    request = urllib.request.Request(f"http://{edge.agent.gateway}{path}", data=body, headers=headers)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=10)
    with refused.value as answer:
        assert (answer.code, json.loads(answer.read())["reason"]) == (401, reason)


@pytest.mark.parametrize(
    ("secret", "reason"),
    [
        ("", "NO_TOKEN"),
        ("wp1_guess", "BAD_TOKEN"),
        (THEIRS, "BAD_TOKEN"),  # good at the other position, behind the same gateway
        (EXPIRED, "TOKEN_EXPIRED"),
        ("x" * 100_000, "BAD_TOKEN"),
    ],
    ids=["none", "a guess", "another tenant's", "an expired one", "a long one"],
)
@pytest.mark.parametrize("door", ["gateway", "monitor"])
def test_an_application_token_of_nobody_here_is_exchanged_for_nothing(
    edge: Edge, door: str, secret: str, reason: str
) -> None:
    register = next(method for method in methods_of(access_pb2) if method.descriptor.name == "Register")
    request = access_pb2.RegisterRequest(application_token=secret, client="thief")
    ours = access_pb2.RegisterRequest(application_token=OURS, client="xapp")

    async def scenario() -> None:
        async with behind(edge, door) as channel:
            place = ("waypost-position", UID)
            assert await outcome(channel, register, request, None, place) == ("UNAUTHENTICATED", reason)
            assert await outcome(channel, register, ours, None, place) == ("OK", "")

    asyncio.run(scenario())


def test_who_names_another_position_than_his_tokens_does_not_get_there(edge: Edge) -> None:
    """The token decides, whatever headers and bodies say."""
    method = next(method for method in ACCESS if method.descriptor.name == "Resolve")
    request = access_pb2.ResolveRequest(position=POSITION)
    foreign = token(edge, key=edge.key(OTHER_UID), audience=OTHER_UID)

    async def through_theirs() -> tuple[str, str]:
        async with behind(edge, "gateway") as channel:
            return await outcome(channel, method, request, foreign, ("waypost-position", OTHER_UID))

    assert asyncio.run(through_theirs()) == ("INVALID_ARGUMENT", "WRONG_POSITION")
