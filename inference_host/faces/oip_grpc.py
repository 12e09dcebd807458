"""The gRPC face: Open Inference Protocol v2 and the extensions that stock clients call. Thin skins over the data plane.

Stock clients call `inference.GRPCInferenceService`; our messages have the same bytes under another package name
(protos/waypost/api/inference/v1/inference.proto says why). ModelInfer, of which there are thousands a second, is read
and written by hand (oip_codec); everything else is protobuf.

Facts about the answering model are trailing metadata: initial metadata would commit the call before it is known to
succeed, and no client could retry it any more.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import NoReturn

from google.protobuf.message import Message

from inference_host.faces import oip_extensions
from inference_host.faces.oip_codec import Codec
from inference_host.faces.oip_stream import Streams
from inference_host.faces.replies import tell
from inference_host.serving.dataplane import EXTENSIONS, SERVER_NAME, DataPlane
from inference_host.transport.auth import Gate
from inference_host.transport.methods import Caller, Method, Reply, Streaming, Unary, awaited, immediate
from inference_host.values.calls import Withdraw
from inference_host.values.signature import TensorSpec
from inference_host.values.tensors import Buffer
from waypost.api.inference.v1 import inference_pb2 as oip
from waypost.api.inference.v1 import model_config_pb2 as configs
from waypost.api.inference.v1 import repository_pb2 as repository
from waypost.api.inference.v1 import settings_pb2 as settings
from waypost.api.inference.v1 import shared_memory_pb2 as memory
from waypost.api.inference.v1 import statistics_pb2 as statistics

SERVICE = "inference.GRPCInferenceService"


class Face:
    """Answers the calls of `SERVICE`."""

    def __init__(self, plane: DataPlane, gate: Gate, version: str, tasks: asyncio.TaskGroup) -> None:
        """gate: knows who calls. version: of this software. tasks: for what does not answer at once."""
        self._plane = plane
        self._gate = gate
        self._version = version
        self._tasks = tasks
        self._codec = Codec()
        self._streams = Streams(plane, gate, self._codec, tasks)

    def methods(self) -> Sequence[Method]:
        tasks = self._tasks
        return (
            _method("ModelInfer", Unary(self._begin_infer, settles=True), quiet=True),
            _method("ModelStreamInfer", Streaming(self._streams.run), quiet=True),
            _method("ServerLive", immediate(oip.ServerLiveRequest, self._server_live), quiet=True),
            _method("ServerReady", immediate(oip.ServerReadyRequest, self._server_ready), quiet=True),
            _method("ModelReady", immediate(oip.ModelReadyRequest, self._model_ready), quiet=True),
            _method("ServerMetadata", immediate(oip.ServerMetadataRequest, self._server_metadata)),
            _method("ModelMetadata", immediate(oip.ModelMetadataRequest, self._model_metadata), quiet=True),
            _method("ModelConfig", immediate(configs.ModelConfigRequest, self._model_config)),
            _method("ModelStatistics", immediate(statistics.ModelStatisticsRequest, self._statistics), quiet=True),
            _method("RepositoryIndex", immediate(repository.RepositoryIndexRequest, self._index)),
            _method("RepositoryModelLoad", awaited(tasks, repository.RepositoryModelLoadRequest, self._load)),
            _method("RepositoryModelUnload", awaited(tasks, repository.RepositoryModelUnloadRequest, self._unload)),
            _method("TraceSetting", immediate(settings.TraceSettingRequest, self._trace_setting)),
            _method("LogSettings", immediate(settings.LogSettingsRequest, self._log_settings)),
            *_shared_memory(),
        )

    def drain(self) -> None:
        """Ends streams when they have answered what is under way."""
        self._streams.drain()

    # -- inference

    def _begin_infer(self, body: Buffer, caller: Caller, reply: Reply) -> Withdraw:
        arrived = self._plane.clock()
        call = self._codec.decode(body)
        call.arrived, call.deadline = arrived, caller.deadline
        if call.parameters:
            call.owner = self._gate.owner(caller.authorization)
        return self._plane.submit(call, partial(tell, reply, self._codec.encode))

    # -- who is here

    def _server_live(self, request: oip.ServerLiveRequest, caller: Caller) -> oip.ServerLiveResponse:
        return oip.ServerLiveResponse(live=True)

    def _server_ready(self, request: oip.ServerReadyRequest, caller: Caller) -> oip.ServerReadyResponse:
        return oip.ServerReadyResponse(ready=self._plane.ready())

    def _model_ready(self, request: oip.ModelReadyRequest, caller: Caller) -> oip.ModelReadyResponse:
        return oip.ModelReadyResponse(ready=self._plane.model_ready(request.name, request.version))

    def _server_metadata(self, request: oip.ServerMetadataRequest, caller: Caller) -> oip.ServerMetadataResponse:
        return oip.ServerMetadataResponse(name=SERVER_NAME, version=self._version, extensions=EXTENSIONS)

    def _model_metadata(self, request: oip.ModelMetadataRequest, caller: Caller) -> oip.ModelMetadataResponse:
        metadata = self._plane.metadata(request.name, request.version)
        caller.trailers = self._plane.facts(request.name, request.version)
        return oip.ModelMetadataResponse(
            name=metadata.name,
            versions=[metadata.version],
            platform=metadata.platform,
            inputs=map(_spec, metadata.signature.inputs),
            outputs=map(_spec, metadata.signature.outputs),
        )

    def _model_config(self, request: configs.ModelConfigRequest, caller: Caller) -> configs.ModelConfigResponse:
        config = self._plane.config(request.name, request.version)
        return configs.ModelConfigResponse(config=oip_extensions.config_message(config))

    def _statistics(
        self, request: statistics.ModelStatisticsRequest, caller: Caller
    ) -> statistics.ModelStatisticsResponse:
        return oip_extensions.statistics_message(self._plane.statistics(request.name, request.version))

    # -- the repository

    def _index(self, request: repository.RepositoryIndexRequest, caller: Caller) -> repository.RepositoryIndexResponse:
        entries = self._plane.index(ready_only=request.ready)
        return repository.RepositoryIndexResponse(
            models=[
                repository.ModelIndex(name=entry.name, version=entry.version, state=entry.state, reason=entry.reason)
                for entry in entries
            ]
        )

    async def _load(
        self, request: repository.RepositoryModelLoadRequest, caller: Caller
    ) -> repository.RepositoryModelLoadResponse:
        oip_extensions.refuse_files(request.parameters, by_hand=self._plane.place.by_hand)
        model = _model_of(request)
        await self._plane.load(model)
        return repository.RepositoryModelLoadResponse(model_name=model, is_loaded=True)

    async def _unload(
        self, request: repository.RepositoryModelUnloadRequest, caller: Caller
    ) -> repository.RepositoryModelUnloadResponse:
        model = _model_of(request)
        await self._plane.unload(model)
        return repository.RepositoryModelUnloadResponse(model_name=model, is_unloaded=True)

    # -- settings

    def _trace_setting(self, request: settings.TraceSettingRequest, caller: Caller) -> settings.TraceSettingResponse:
        if request.model_name:
            self._plane.model_ready(request.model_name, "")  # NotFound where there is none
        wanted = {name: list(value.value) for name, value in request.settings.items()}
        told = oip_extensions.trace_settings(wanted, by_hand=self._plane.place.by_hand)
        return settings.TraceSettingResponse(
            settings={name: settings.TraceSettingValue(value=value) for name, value in told.items()}
        )

    def _log_settings(self, request: settings.LogSettingsRequest, caller: Caller) -> settings.LogSettingsResponse:
        wanted = {name: _plain(value) for name, value in request.settings.items()}
        told = oip_extensions.log_settings(wanted, by_hand=self._plane.place.by_hand)
        return settings.LogSettingsResponse(settings={name: _log_value(value) for name, value in told.items()})


def _method(name: str, behaviour: Unary | Streaming, *, quiet: bool = False) -> Method:
    return Method(f"/{SERVICE}/{name}", behaviour, quiet=quiet)


def _shared_memory() -> list[Method]:
    """No region is there: the status is empty, whatever is to go is gone, and none can be added."""
    empty: dict[type[Message], Message] = {
        memory.SystemSharedMemoryStatusRequest: memory.SystemSharedMemoryStatusResponse(),
        memory.SystemSharedMemoryUnregisterRequest: memory.SystemSharedMemoryUnregisterResponse(),
        memory.CudaSharedMemoryStatusRequest: memory.CudaSharedMemoryStatusResponse(),
        memory.CudaSharedMemoryUnregisterRequest: memory.CudaSharedMemoryUnregisterResponse(),
    }
    answers: dict[type[Message], Callable[[Message, Caller], Message]] = {
        **{request: partial(_given, response) for request, response in empty.items()},
        memory.SystemSharedMemoryRegisterRequest: _refuse_region,
        memory.CudaSharedMemoryRegisterRequest: _refuse_region,
    }
    return [
        _method(request.DESCRIPTOR.name.removesuffix("Request"), immediate(request, answer))
        for request, answer in answers.items()
    ]


def _given(response: Message, request: Message, caller: Caller) -> Message:
    return response


def _refuse_region(request: Message, caller: Caller) -> NoReturn:
    raise oip_extensions.no_shared_memory()


def _model_of(request: repository.RepositoryModelLoadRequest | repository.RepositoryModelUnloadRequest) -> str:
    """In either layout that clients use."""
    return request.model_name or request.repository_name


def _spec(spec: TensorSpec) -> oip.TensorMetadata:
    return oip.TensorMetadata(name=spec.name, datatype=spec.datatype, shape=spec.shape)


def _plain(value: settings.LogSettingValue) -> object:
    choice = value.WhichOneof("parameter_choice")
    return None if choice is None else getattr(value, choice)


def _log_value(value: bool | int) -> settings.LogSettingValue:
    if isinstance(value, bool):
        return settings.LogSettingValue(bool_param=value)
    return settings.LogSettingValue(uint32_param=value)
