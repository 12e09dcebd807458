"""The gRPC face: Open Inference Protocol v2. A thin skin over the data plane.

Stock clients call `inference.GRPCInferenceService`; our messages have the same bytes under another package name
(protos/waypost/api/inference/v1/inference.proto says why), so the handlers are registered by hand. Answers always carry
raw contents: stock clients read nothing else reliably. Facts about the answering model are trailing metadata: initial
metadata would commit the call before it is known to succeed, and no client could retry it any more.

An error of one request of a stream is a message of that stream, which lives on; with metadata `triton_grpc_error: true`
it ends the stream as a status, as stock clients expect it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import grpc

from inference_host.calls import Answer, Call, refuse_unsupported
from inference_host.dataplane import EXTENSIONS, SERVER_NAME, DataPlane
from inference_host.signature import TensorSpec
from inference_host.tensors import Tensor, dtype_of, from_raw, from_values, to_raw
from waypost.api.inference.v1 import inference_pb2 as oip
from waypost.errors import Invalid, MeshError, Unavailable

SERVICE = "inference.GRPCInferenceService"

CONTENTS = {
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""Which list of InferTensorContents holds a datatype. FP16 and BF16 have none: they travel raw."""


class Face:
    """Answers the calls of `SERVICE`."""

    def __init__(self, plane: DataPlane, version: str) -> None:
        """version: of this software."""
        self._plane = plane
        self._version = version
        self._waiting_streams: set[asyncio.Task[Any]] = set()
        self._draining = False

    def handlers(self) -> grpc.GenericRpcHandler:
        unary: dict[str, Callable[..., Any]] = {
            "ServerLive": self._server_live,
            "ServerReady": self._server_ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._server_metadata,
            "ModelMetadata": self._model_metadata,
            "ModelInfer": self._model_infer,
            "RepositoryIndex": self._repository_index,
            "RepositoryModelLoad": self._repository_model_load,
            "RepositoryModelUnload": self._repository_model_unload,
        }
        methods: dict[str, Any] = {
            name: grpc.unary_unary_rpc_method_handler(
                behaviour, getattr(oip, f"{name}Request").FromString, getattr(oip, f"{name}Response").SerializeToString
            )
            for name, behaviour in unary.items()
        }
        methods["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(
            self._model_stream_infer,
            oip.ModelInferRequest.FromString,
            oip.ModelStreamInferResponse.SerializeToString,
        )
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    def drain(self) -> None:
        """Ends streams that wait for their callers; one that computes ends with its answer."""
        self._draining = True
        for task in list(self._waiting_streams):
            task.cancel()

    async def _server_live(self, request: oip.ServerLiveRequest, context: Any) -> oip.ServerLiveResponse:
        return oip.ServerLiveResponse(live=True)

    async def _server_ready(self, request: oip.ServerReadyRequest, context: Any) -> oip.ServerReadyResponse:
        return oip.ServerReadyResponse(ready=self._plane.ready())

    async def _model_ready(self, request: oip.ModelReadyRequest, context: Any) -> oip.ModelReadyResponse:
        return oip.ModelReadyResponse(ready=self._plane.model_ready(request.name, request.version))

    async def _server_metadata(self, request: oip.ServerMetadataRequest, context: Any) -> oip.ServerMetadataResponse:
        return oip.ServerMetadataResponse(name=SERVER_NAME, version=self._version, extensions=EXTENSIONS)

    async def _model_metadata(self, request: oip.ModelMetadataRequest, context: Any) -> oip.ModelMetadataResponse:
        metadata = self._plane.metadata(request.name, request.version)
        context.set_trailing_metadata(self._plane.facts(request.name, request.version))
        return oip.ModelMetadataResponse(
            name=metadata.name,
            versions=[metadata.version],
            platform=metadata.platform,
            inputs=_specs(metadata.signature.inputs),
            outputs=_specs(metadata.signature.outputs),
        )

    async def _model_infer(self, request: oip.ModelInferRequest, context: Any) -> oip.ModelInferResponse:
        response = await self._infer(request, context)
        context.set_trailing_metadata(self._plane.facts(request.model_name, request.model_version))
        return response

    async def _model_stream_infer(
        self, requests: AsyncIterator[oip.ModelInferRequest], context: Any
    ) -> AsyncIterator[oip.ModelStreamInferResponse]:
        metadata = {key.lower(): value for key, value in context.invocation_metadata() or ()}
        end_at_errors = metadata.get("triton_grpc_error") == "true"
        while (request := await self._next(requests)) is not None:
            try:
                response = await self._infer(request, context)
            except MeshError as error:
                if end_at_errors:
                    raise
                yield oip.ModelStreamInferResponse(error_message=str(error))
                continue
            if request.parameters["triton_enable_empty_final_response"].bool_param:
                response.parameters["triton_final_response"].bool_param = True
            yield oip.ModelStreamInferResponse(infer_response=response)

    async def _repository_index(self, request: oip.RepositoryIndexRequest, context: Any) -> oip.RepositoryIndexResponse:
        entries = self._plane.index(ready_only=request.ready)
        return oip.RepositoryIndexResponse(
            models=[
                oip.ModelIndex(name=entry.name, version=entry.version, state=entry.state, reason=entry.reason)
                for entry in entries
            ]
        )

    async def _repository_model_load(
        self, request: oip.RepositoryModelLoadRequest, context: Any
    ) -> oip.RepositoryModelLoadResponse:
        self._plane.refuse_repository_change("load", request.model_name or request.repository_name)

    async def _repository_model_unload(
        self, request: oip.RepositoryModelUnloadRequest, context: Any
    ) -> oip.RepositoryModelUnloadResponse:
        self._plane.refuse_repository_change("unload", request.model_name or request.repository_name)

    async def _infer(self, request: oip.ModelInferRequest, context: Any) -> oip.ModelInferResponse:
        with self._plane.meter.call() as measured:
            measured.deadline = self._plane.deadline_of(context.time_remaining(), parameters_of(request.parameters))
            return encode(await self._plane.infer(decode(request, measured.deadline)))

    async def _next(self, requests: AsyncIterator[oip.ModelInferRequest]) -> oip.ModelInferRequest | None:
        """The stream's next request; None at its end. Raises: Unavailable(DRAINING) once the host stops."""
        request = None if self._draining else await self._read(requests)
        if self._draining:
            raise Unavailable("DRAINING", "this host is stopping", "open the stream again: another replica answers")
        return request

    async def _read(self, requests: AsyncIterator[oip.ModelInferRequest]) -> oip.ModelInferRequest | None:
        """`drain` cancels the reading, not the call."""
        task = asyncio.current_task()
        assert task is not None
        self._waiting_streams.add(task)
        try:
            return await anext(requests, None)
        except asyncio.CancelledError:
            if not self._draining:
                raise
            task.uncancel()
            return None
        finally:
            self._waiting_streams.discard(task)


def decode(request: oip.ModelInferRequest, deadline: float | None) -> Call:
    """Raises: Invalid, Unsupported."""
    for tensor in request.inputs:
        refuse_unsupported(tensor.name, tensor.parameters)
    for output in request.outputs:
        refuse_unsupported(output.name, output.parameters)
    return Call(
        model=request.model_name,
        version=request.model_version,
        inputs=_inputs(request),
        id=request.id,
        outputs=[output.name for output in request.outputs],
        deadline=deadline,
    )


def encode(answer: Answer) -> oip.ModelInferResponse:
    return oip.ModelInferResponse(
        model_name=answer.model,
        model_version=answer.version,
        id=answer.id,
        outputs=[
            oip.InferOutputTensor(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
            for tensor in answer.outputs
        ],
        raw_output_contents=[to_raw(tensor) for tensor in answer.outputs],
    )


def parameters_of(parameters: Mapping[str, oip.InferParameter]) -> dict[str, object]:
    """Plain values by name; a parameter without one is left out."""
    found: dict[str, object] = {}
    for name, parameter in parameters.items():
        choice = parameter.WhichOneof("parameter_choice")
        if choice is not None:
            found[name] = getattr(parameter, choice)
    return found


def _inputs(request: oip.ModelInferRequest) -> Sequence[Tensor]:
    raw = request.raw_input_contents
    if not raw:
        return [_from_contents(tensor) for tensor in request.inputs]
    if len(raw) != len(request.inputs):
        raise Invalid(
            "BAD_REQUEST",
            f"{len(raw)} raw contents for {len(request.inputs)} inputs",
            "send one entry of raw_input_contents for each input, in their order, or none at all",
        )
    for tensor in request.inputs:
        if tensor.contents.ListFields():
            raise Invalid(
                "BAD_REQUEST", f"input {tensor.name!r} has contents beside raw_input_contents", "send one of the two"
            )
    return [
        from_raw(tensor.name, tensor.datatype, tuple(tensor.shape), data)
        for tensor, data in zip(request.inputs, raw, strict=True)
    ]


def _from_contents(tensor: oip.InferInputTensor) -> Tensor:
    dtype_of(tensor.name, tensor.datatype)
    field = CONTENTS.get(tensor.datatype)
    if field is None:
        raise Invalid(
            "BAD_REQUEST", f"input {tensor.name!r}: {tensor.datatype} has no typed contents", "use raw_input_contents"
        )
    for descriptor, _ in tensor.contents.ListFields():
        if descriptor.name != field:
            raise Invalid(
                "BAD_REQUEST",
                f"input {tensor.name!r} is {tensor.datatype} and its values are in {descriptor.name}",
                f"put them into {field}",
            )
    return from_values(tensor.name, tensor.datatype, tuple(tensor.shape), getattr(tensor.contents, field))


def _specs(specs: Sequence[TensorSpec]) -> list[oip.TensorMetadata]:
    return [oip.TensorMetadata(name=spec.name, datatype=spec.datatype, shape=spec.shape) for spec in specs]
