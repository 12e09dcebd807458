"""A position for tests of xApps: real gRPC on loopback, no platform, any model that fits in a function.

    double = FakeModel([TensorSpec("x", "FP32", (-1, 3))], lambda inputs: {"y": inputs["x"] * 2})
    with FakePosition(double) as fake:
        with waypost.connect(fake.address, position=fake.name, token=fake.token) as position:
            assert position.infer([1, 2, 3])["y"].tolist() == [[2, 4, 6]]

It answers as gateway, monitor and host do together, and can be told to misbehave as they may: be slow, refuse, lose
an answer, forget tokens, be given another model while calls flow. The SDK's own tests run against it.
"""

import hashlib
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, NoReturn, Self

import grpc
import numpy as np

from waypost import names
from waypost.api.inference.v1 import inference_pb2
from waypost.api.xapp.v1 import access_pb2
from waypost.errors import Invalid, MeshError, NotFound, Unauthenticated
from waypost.rpc import MESSAGE_BYTES_MAX
from waypost.rpc.status import DETAILS_KEY, grpc_code, to_status
from waypost.tensors import DTYPES, Array, TensorSpec, from_raw, to_raw

CALLS_AT_ONCE = 16

_DATATYPES = {dtype: name for name, dtype in DTYPES.items() if name != "BF16"}


@dataclass(frozen=True, slots=True)
class FakeModel:
    """A function from arrays by input name to arrays by output name, under a version's name."""

    inputs: Sequence[TensorSpec]
    predict: Callable[[Mapping[str, Array]], Mapping[str, Array]]
    version: str = "projects/test/applications/test/models/test/versions/1"

    @property
    def digest(self) -> str:
        return "sha256:" + hashlib.sha256(self.version.encode()).hexdigest()


@dataclass(slots=True)
class FakePosition:
    """Starts when entered; every attribute may be changed while it runs."""

    model: FakeModel
    name: str = "projects/test/applications/test/positions/test"
    uid: str = "00000000-0000-4000-8000-000000000001"
    token: str = "wp1_test"
    serve_as: str = "test"
    idempotent: bool = True
    token_lifetime_s: int = 600
    delay_s: float = 0.0
    """Seconds that each inference takes."""
    address: str = field(default="", init=False)
    calls: Counter[str] = field(default_factory=Counter, init=False)
    """Calls that arrived, by method: `ModelInfer`, `Register`, ..."""
    steps: list[dict[str, int | str | bool]] = field(default_factory=list, init=False)
    """What inferences said of sequences: `sequence_id`, `sequence_start`, `sequence_end`. The model sees none of it."""
    loops: list[access_pb2.LoopReport] = field(default_factory=list, init=False)
    """Closed loops that were reported."""
    _failures: dict[str, deque[MeshError]] = field(default_factory=dict, init=False)
    _granted: set[str] = field(default_factory=set, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _server: grpc.Server | None = field(default=None, init=False)

    def fail(self, method: str, *errors: MeshError) -> None:
        """The next calls of a method end with these errors, one each.

        An error whose reason is the bare name of its code (`Unavailable("UNAVAILABLE", "Socket closed")`) arrives
        like one that no Waypost server has said: a broken connection, or a gateway.
        """
        self._failures.setdefault(method, deque()).extend(errors)

    def forget_tokens(self) -> None:
        """Every access token granted so far is refused from now on."""
        self._granted.clear()

    def start(self) -> None:
        options = [
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
            ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
        ]
        self._server = grpc.server(ThreadPoolExecutor(CALLS_AT_ONCE, "fake-position"), options=options)
        self._server.add_generic_rpc_handlers((self._access_service(), self._inference_service()))
        wanted = self.address.removeprefix("http://") or "127.0.0.1:0"
        port = self._server.add_insecure_port(wanted)
        self.address = f"http://127.0.0.1:{port}"
        self._server.start()

    def stop(self) -> None:
        """Breaks every connection; `start` listens again at the same address."""
        if self._server is not None:
            self._server.stop(grace=None).wait()
            self._server = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _access_service(self) -> grpc.GenericRpcHandler:
        return grpc.method_handlers_generic_handler(
            "waypost.api.xapp.v1.AccessService",
            {
                "Register": self._method("Register", self._register, access_pb2.RegisterRequest, open_to_all=True),
                "Renew": self._method("Renew", self._renew, access_pb2.RenewRequest),
                "ReportLoops": self._method("ReportLoops", self._report_loops, access_pb2.ReportLoopsRequest),
            },
        )

    def _inference_service(self) -> grpc.GenericRpcHandler:
        return grpc.method_handlers_generic_handler(
            "inference.GRPCInferenceService",
            {
                "ModelMetadata": self._method("ModelMetadata", self._metadata, inference_pb2.ModelMetadataRequest),
                "ModelInfer": self._method("ModelInfer", self._infer, inference_pb2.ModelInferRequest),
            },
        )

    def _method(
        self, method: str, behaviour: Callable[[Any], Any], request: Any, *, open_to_all: bool = False
    ) -> "grpc.RpcMethodHandler[Any, Any]":
        def call(message: Any, context: grpc.ServicerContext) -> Any:
            metadata = dict(context.invocation_metadata())
            try:
                self._admit(method, metadata, open_to_all)
                answer = behaviour(message)
            except MeshError as error:
                _abort(context, error)
            context.set_trailing_metadata(self._headers())
            return answer

        return grpc.unary_unary_rpc_method_handler(
            call, request.FromString, lambda message: message.SerializeToString()
        )

    def _admit(self, method: str, metadata: Mapping[str, str | bytes], open_to_all: bool) -> None:
        with self._lock:
            self.calls[method] += 1
        if failures := self._failures.get(method):
            raise failures.popleft()
        if metadata.get("waypost-position") not in (self.name, self.uid, names.short(self.name)):
            raise NotFound("NOT_FOUND", "no route")  # as a gateway says it
        if not open_to_all and str(metadata.get("authorization")).removeprefix("Bearer ") not in self._granted:
            raise Unauthenticated("BAD_TOKEN", "the access token is not valid", "register again")

    def _headers(self) -> tuple[tuple[str, str], ...]:
        return (
            ("waypost-model-version", self.model.version),
            ("waypost-model-digest", self.model.digest),
            ("waypost-position-generation", "1"),
            ("waypost-replica", "r-fake00"),
        )

    def _register(self, request: access_pb2.RegisterRequest) -> access_pb2.RegisterResponse:
        if request.application_token != self.token:
            raise Unauthenticated("BAD_TOKEN", "the application token is not known here")
        return access_pb2.RegisterResponse(
            access_token=self._grant(),
            expires_in_s=self.token_lifetime_s,
            position_uid=self.uid,
            model=self.serve_as,
            idempotent=self.idempotent,
        )

    def _renew(self, request: access_pb2.RenewRequest) -> access_pb2.RenewResponse:
        return access_pb2.RenewResponse(
            access_token=self._grant(), expires_in_s=self.token_lifetime_s, idempotent=self.idempotent
        )

    def _grant(self) -> str:
        token = f"access-{self.calls['Register']}-{self.calls['Renew']}"
        self._granted.add(token)
        return token

    def _report_loops(self, request: access_pb2.ReportLoopsRequest) -> access_pb2.ReportLoopsResponse:
        self.loops.extend(request.loops)
        return access_pb2.ReportLoopsResponse(accepted=len(request.loops))

    def _metadata(self, request: inference_pb2.ModelMetadataRequest) -> inference_pb2.ModelMetadataResponse:
        answer = inference_pb2.ModelMetadataResponse(name=request.name, platform="fake")
        for spec in self.model.inputs:
            answer.inputs.add(name=spec.name, datatype=spec.datatype, shape=spec.shape)
        return answer

    def _infer(self, request: inference_pb2.ModelInferRequest) -> inference_pb2.ModelInferResponse:
        time.sleep(self.delay_s)
        if request.model_name != self.serve_as:
            raise NotFound("UNKNOWN_MODEL", f"no model {request.model_name!r} here")
        if "sequence_id" in request.parameters:
            self.steps.append({name: _value(given) for name, given in request.parameters.items()})
        outputs = self.model.predict(self._arrays(request))
        answer = inference_pb2.ModelInferResponse(model_name=request.model_name, id=request.id)
        for name, array in outputs.items():
            datatype = _DATATYPES[np.asarray(array).dtype]
            answer.outputs.add(name=name, datatype=datatype, shape=array.shape)
            answer.raw_output_contents.append(to_raw(array, datatype))
        return answer

    def _arrays(self, request: inference_pb2.ModelInferRequest) -> dict[str, Array]:
        given = [(tensor.name, tensor.datatype) for tensor in request.inputs]
        wanted = [(spec.name, spec.datatype) for spec in self.model.inputs]
        if given != wanted:
            raise Invalid("BAD_INPUTS", f"the model takes {wanted}, got {given}")
        return {
            tensor.name: from_raw(raw, tensor.datatype, tensor.shape)
            for tensor, raw in zip(request.inputs, request.raw_input_contents, strict=True)
        }


def _value(parameter: inference_pb2.InferParameter) -> int | str | bool:
    value: int | str | bool = getattr(parameter, str(parameter.WhichOneof("parameter_choice")))
    return value


def _abort(context: grpc.ServicerContext, error: MeshError) -> NoReturn:
    if error.reason != error.code.name:
        context.set_trailing_metadata(((DETAILS_KEY, to_status(error).SerializeToString()),))
    context.abort(grpc_code(error.code), error.message)
    raise AssertionError("abort raises")
