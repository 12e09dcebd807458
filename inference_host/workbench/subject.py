"""The model under measurement, as its host tells of it: what it takes, and how many rows went together."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference_host.model.manifest import SAMPLES
from inference_host.serving.loader import SAMPLE_SIZES
from inference_host.values.signature import Signature, TensorSpec
from inference_host.workbench import client, samples
from inference_host.workbench.client import Client, Method, Parts
from inference_host.workbench.figures import Batches
from inference_host.workbench.samples import Sample
from waypost.api.inference.v1 import inference_pb2, repository_pb2, statistics_pb2
from waypost.errors import Invalid, MeshError, Precondition

OIP = "/inference.GRPCInferenceService"


@dataclass(frozen=True, slots=True)
class Subject:
    """The model under load."""

    model: str
    signature: Signature


async def subject_of(connection: Client, wanted: str) -> Subject:
    """Raises: Invalid(SEVERAL_MODELS); NotFound, Unavailable as the host says."""
    name = wanted or await _only_model(connection)
    request = inference_pb2.ModelMetadataRequest(name=name).SerializeToString()
    answer = await connection.call(f"{OIP}/ModelMetadata", request)
    found = inference_pb2.ModelMetadataResponse.FromString(answer)
    return Subject(name, Signature(_specs(found.inputs), _specs(found.outputs)))


async def _only_model(connection: Client) -> str:
    request = repository_pb2.RepositoryIndexRequest(ready=True).SerializeToString()
    answer = await connection.call(f"{OIP}/RepositoryIndex", request)
    models = repository_pb2.RepositoryIndexResponse.FromString(answer).models
    if len(models) != 1:
        found = ", ".join(model.name for model in models) or "none"
        raise Invalid("SEVERAL_MODELS", f"the host serves several models: {found}", "choose one with --name")
    return str(models[0].name)


def _written(package: Path | None) -> Sequence[Sample]:
    """The samples of a package, or those beside a file; none where there is no such file."""
    if package is None:
        return ()
    path = (package if package.is_dir() else package.parent) / SAMPLES
    return samples.read(path) if path.is_file() else ()


def _specs(messages: Any) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(spec.name, spec.datatype, tuple(spec.shape)) for spec in messages)


async def requests_for(connection: Client, subject: Subject, package: Path | None) -> Sequence[Parts]:
    """What is sent in turn: the samples of the package, else the first made-up size that the model takes.

    Raises: Precondition(NO_SAMPLES | BAD_SAMPLES).
    """
    if written := _written(package):
        return [client.framed(samples.to_grpc(sample, subject.model)) for sample in written]
    refusal: MeshError | None = None
    for size in SAMPLE_SIZES:
        message = samples.to_grpc(samples.made_up(subject.signature, size), subject.model)
        try:
            await connection.call(f"{OIP}/ModelInfer", message)
        except MeshError as error:
            refusal = refusal or error
        else:
            return [client.framed(message)]
    assert refusal is not None
    raise Precondition(
        "NO_SAMPLES",
        f"no made-up request went through {subject.model}: {refusal.message}",
        f"name a package with a {SAMPLES} besides: waypost host bench DIR --target HOST:PORT",
    )


class Counted:
    """The host's own statistics, when the window opens and when it closes."""

    def __init__(self, connection: Client, model: str) -> None:
        """connection: one with nothing else to do."""
        self._connection = connection
        self._request = statistics_pb2.ModelStatisticsRequest(name=model).SerializeToString()
        self._answers: list[asyncio.Future[bytes | MeshError]] = []

    def ask(self) -> None:
        answer: asyncio.Future[bytes | MeshError] = asyncio.get_running_loop().create_future()
        self._answers.append(answer)
        self._connection.begin(Method.at(f"{OIP}/ModelStatistics"), client.framed(self._request), answer.set_result)

    async def batches(self) -> Batches | None:
        """None for a host that does not tell."""
        before, after = [await answer for answer in self._answers]
        if isinstance(before, MeshError) or isinstance(after, MeshError):
            return None
        (_, first), (_, last) = _counts(before), _counts(after)
        runs = {rows: count - first.get(rows, 0) for rows, count in last.items()}
        rows = _counts(after)[0] - _counts(before)[0]
        return Batches({size: count for size, count in runs.items() if count}, rows)


def _counts(answer: bytes) -> tuple[int, Mapping[int, int]]:
    """Rows answered, and runs by rows."""
    (model,) = statistics_pb2.ModelStatisticsResponse.FromString(answer).model_stats
    return model.inference_count, {each.batch_size: each.compute_infer.count for each in model.batch_stats}
