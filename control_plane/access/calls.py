"""Every call to the API comes through here: who is it, and may they?"""

from contextvars import ContextVar
from typing import Any

from control_plane.access import rules
from control_plane.access.oidc import Oidc
from control_plane.access.roles import NOBODY, Caller
from control_plane.access.secrets import LOG_IN, Secrets
from mesh.times import seconds
from waypost import names
from waypost.api.control.v1.credential_pb2 import CREDENTIAL_KIND_API, CREDENTIAL_KIND_SESSION
from waypost.api.control.v1.watch_pb2 import WatchResponse
from waypost.errors import Unauthenticated

_caller: ContextVar[Caller] = ContextVar("caller", default=NOBODY)


def caller() -> Caller:
    """Who the current call comes from; NOBODY outside of an authorised call."""
    return _caller.get()


class Access:
    """`authorise` and `shows` go to `mesh.serve.grpc_server`."""

    def __init__(self, secrets: Secrets, oidc: Oidc | None = None) -> None:
        """oidc: whose tokens are taken besides ours."""
        self._secrets = secrets
        self._oidc = oidc

    async def authorise(self, method: str, context: Any, request: Any) -> None:
        """method: `/package.Service/Method`. Raises: Unauthenticated, Denied."""
        if rules.needs(method).is_open:
            return
        calling = await self._known(bearer_token(context.invocation_metadata()))
        _caller.set(calling)
        rules.judge(method, request, calling)

    def shows(self, method: str, response: Any) -> bool:
        """Whether the caller, as he was last judged, may see what a stream is about to say."""
        if not isinstance(response, WatchResponse):
            return True  # about the one resource that the request names, and `authorise` has judged that
        change = response.WhichOneof("change")
        if change is None or change == "snapshot_end":
            return True
        return caller().sees(response.deleted if change == "deleted" else getattr(response, change).name)

    async def _known(self, token: str) -> Caller:
        if token.startswith("wp1_"):
            return await self._ours(token)
        if self._oidc is not None and token.count(".") == 2:
            return await self._theirs(self._oidc, token)
        raise _malformed()

    async def _theirs(self, oidc: Oidc, token: str) -> Caller:
        person = await oidc.person(token)
        await self._secrets.refresh()
        return Caller(person.name, "", self._secrets.grants_of(*person.subjects), person.expires_s)

    async def _ours(self, token: str) -> Caller:
        credential = await self._secrets.match(token, CREDENTIAL_KIND_API, CREDENTIAL_KIND_SESSION)
        is_session = credential.kind == CREDENTIAL_KIND_SESSION
        subject = names.parent(credential.name) if is_session else credential.name
        grants = self._secrets.grants_of(subject, own=None if is_session else credential)
        return Caller(subject, credential.name, grants, seconds(credential.expire_time))


def bearer_token(metadata: Any) -> str:
    """The token of the one `authorization` entry. Raises: Unauthenticated."""
    values = [value for key, value in metadata or () if key == "authorization"]
    if not values:
        raise Unauthenticated("CREDENTIAL_MISSING", "the call carries no token", LOG_IN)
    scheme, _, token = str(values[0]).partition(" ")
    if len(values) > 1 or scheme.lower() != "bearer" or not token:
        raise _malformed()
    return token


def _malformed() -> Unauthenticated:
    return Unauthenticated("CREDENTIAL_MALFORMED", "the `authorization` metadata is not one Bearer token", LOG_IN)
