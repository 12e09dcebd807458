"""xapp.v1 AccessService of a host that was started by hand: who asks may call.

At a position the monitor grants access and hears of closed loops. A host on somebody's own machine, which asks nobody
for credentials, stands in for it, so that an xApp's code runs against it unchanged:

    waypost.connect("http://127.0.0.1:8000", position="local/host/iris", token="none")

The position may have any name. Where the host serves several models, its last part says which one is meant.
"""

from collections.abc import Sequence

from inference_host.serving.dataplane import DataPlane
from inference_host.transport.methods import Caller, Method, immediate
from waypost import names
from waypost.api.xapp.v1 import access_pb2 as pb
from waypost.errors import NotFound

SERVICE = "waypost.api.xapp.v1.AccessService"
UID = "00000000-0000-0000-0000-000000000000"
TOKEN = "none"
LIFETIME_S = 1 << 30  # a token that nobody checks need not be renewed


class Face:
    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane

    def methods(self) -> Sequence[Method]:
        answers = {
            "Register": immediate(pb.RegisterRequest, self._register),
            "Renew": immediate(pb.RenewRequest, self._renew),
            "ReportLoops": immediate(pb.ReportLoopsRequest, _report),
        }
        return tuple(Method(f"/{SERVICE}/{name}", answer) for name, answer in answers.items())

    def _register(self, request: pb.RegisterRequest, caller: Caller) -> pb.RegisterResponse:
        """Raises: NotFound(UNKNOWN_MODEL)."""
        model = self._meant(request.position)
        return pb.RegisterResponse(
            access_token=TOKEN,
            expires_in_s=LIFETIME_S,
            position_uid=UID,
            model=model,
            idempotent=self._idempotent(model),
        )

    def _renew(self, request: pb.RenewRequest, caller: Caller) -> pb.RenewResponse:
        """Raises: NotFound(UNKNOWN_MODEL)."""
        idempotent = self._idempotent(self._meant(request.position))
        return pb.RenewResponse(access_token=TOKEN, expires_in_s=LIFETIME_S, idempotent=idempotent)

    def _meant(self, position: str) -> str:
        """The name of the model. Raises: NotFound(UNKNOWN_MODEL)."""
        served = [each.package.model for each in self._plane.served]
        meant = names.leaf(position)
        model = served[0] if len(served) == 1 else meant
        if model not in served:
            hint = f"end the position's name with one of {', '.join(served)}"
            raise NotFound("UNKNOWN_MODEL", f"this host serves no model {meant!r}", hint)
        return model

    def _idempotent(self, model: str) -> bool:
        warm = next(each.warm for each in self._plane.served if each.package.model == model)
        return warm is not None and warm.loaded.is_graph


def _report(request: pb.ReportLoopsRequest, caller: Caller) -> pb.ReportLoopsResponse:
    return pb.ReportLoopsResponse(accepted=len(request.loops))
