"""What the protocol's extensions ask of a host beside inference: configuration, statistics, settings.

Values of the data plane become messages here. The gRPC face sends them; the HTTP face sends `as_json` of them, which is
the JSON of stock servers: numbers are numbers, and enums have the public names.

Settings are told as they are. Whoever asks to change one is refused, unless it is so already: at a position because
xApps may not reconfigure what others use, on a host that was started by hand because that is when it was set.
"""

import logging
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import structlog
from google.protobuf.message import Message

from inference_host.values.calls import Config, Duration, Statistics
from inference_host.values.signature import TensorSpec
from waypost.api.inference.v1 import model_config_pb2 as configs
from waypost.api.inference.v1 import statistics_pb2 as statistics
from waypost.errors import Denied, MeshError, Unsupported

VERSION_DIGITS_MAX = 18  # the policy's versions are 64-bit numbers
MEMORY_HINT = "send raw tensors; on the same machine a Unix socket (--listen unix:PATH) is the quickest way"
Settings: TypeAlias = Mapping[str, object]


def config_message(config: Config) -> configs.ModelConfig:
    metadata = config.metadata
    rows = _told_rows(config)
    message = configs.ModelConfig(
        name=metadata.name,
        platform=metadata.platform,
        backend=metadata.platform.partition("_")[0],
        max_batch_size=config.batch_rows_max if rows else 0,
        input=[
            configs.ModelInput(name=spec.name, data_type=_data_type(spec), dims=spec.shape[rows:])
            for spec in metadata.signature.inputs
        ],
        output=[
            configs.ModelOutput(name=spec.name, data_type=_data_type(spec), dims=spec.shape[rows:])
            for spec in metadata.signature.outputs
        ],
        instance_group=[
            configs.ModelInstanceGroup(name=metadata.name, count=config.instances, kind=configs.INSTANCE_KIND_CPU)
        ],
        default_model_filename=config.file,
        model_transaction_policy=configs.ModelTransactionPolicy(decoupled=False),
    )
    if metadata.version.isdecimal() and len(metadata.version) <= VERSION_DIGITS_MAX:
        message.version_policy.specific.versions.append(int(metadata.version))
    if config.sequences is not None:
        sequences = message.sequence_batching
        sequences.max_sequence_idle_microseconds = round(config.sequences.idle_s * 1e6)
        sequences.oldest.max_candidate_sequences = config.sequences.sequences_max
    elif rows:
        message.dynamic_batching.max_queue_delay_microseconds = config.batch_delay_us
    return message


def _told_rows(config: Config) -> int:
    """Leading dimensions that `dims` leave out: the batch's, where something is left behind it.

    Stock servers have no inputs without dimensions, and stock clients cannot make them.
    """
    return int(config.batching and all(len(spec.shape) > 1 for spec in config.metadata.signature.inputs))


def statistics_message(models: Iterable[Statistics]) -> statistics.ModelStatisticsResponse:
    return statistics.ModelStatisticsResponse(model_stats=map(_of_model, models))


def as_json(message: Message) -> dict[str, Any]:
    """Every field by its name, also where it is empty; submessages only where they are set."""
    found: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.default_value == []:  # `is_repeated` is younger than the oldest protobuf that we support
            found[field.name] = [_json_value(field, each) for each in value]
        elif field.message_type is None or message.HasField(field.name):
            found[field.name] = _json_value(field, value)
    return found


def trace_settings(wanted: Settings, *, by_hand: bool) -> dict[str, list[str]]:
    """The settings. wanted: what is to change; None and nothing mean the default. Raises: Denied, Unsupported."""
    current = {"trace_level": ["OFF"]}
    for name, value in wanted.items():
        if value not in (None, "", [], *current.get(name, []), current.get(name)):
            raise _fixed(name, value, by_hand, "a host writes no traces; its replies carry `server-timing`")
    return current


def log_settings(wanted: Settings, *, by_hand: bool) -> dict[str, bool | int]:
    """The settings, from the level that is logged at. wanted: what is to change. Raises: Denied, Unsupported."""
    log = structlog.get_logger()
    current: dict[str, bool | int] = {
        "log_error": log.is_enabled_for(logging.ERROR),
        "log_warning": log.is_enabled_for(logging.WARNING),
        "log_info": log.is_enabled_for(logging.INFO),
        "log_verbose_level": int(log.is_enabled_for(logging.DEBUG)),
    }
    for name, value in wanted.items():
        if current.get(name) != value:
            raise _fixed(name, value, by_hand, "start the host with another --log-level")
    return current


def refuse_files(parameters: Iterable[str], *, by_hand: bool) -> None:
    """A load request may bring a configuration and files; ours would ignore them. At a position it is denied anyway.

    Raises: Unsupported(UNSUPPORTED_PARAMETER).
    """
    for name in parameters:
        if by_hand and (name == "config" or name.startswith("file:")):
            hint = "put the model into the directory that the host serves, and load it without parameters"
            raise Unsupported("UNSUPPORTED_PARAMETER", f"{name!r} cannot come with a request to load a model", hint)


def no_shared_memory() -> Unsupported:
    return Unsupported("NO_SHARED_MEMORY", "a host shares no memory with its callers", MEMORY_HINT)


def _of_model(model: Statistics) -> statistics.ModelStatistics:
    return statistics.ModelStatistics(
        name=model.name,
        version=model.version,
        last_inference=model.last_inference_ms,
        inference_count=model.inference_count,
        execution_count=model.execution_count,
        inference_stats=statistics.InferStatistics(
            success=_duration(model.success),
            fail=_duration(model.fail),
            queue=_duration(model.queue),
            compute_input=_duration(model.compute_input),
            compute_infer=_duration(model.compute_infer),
            compute_output=_duration(model.compute_output),
        ),
        batch_stats=[
            statistics.InferBatchStatistics(
                batch_size=rows,
                compute_input=_duration(runs.compute_input),
                compute_infer=_duration(runs.compute_infer),
                compute_output=_duration(runs.compute_output),
            )
            for rows, runs in sorted(model.batches.items())
        ],
    )


def _duration(duration: Duration) -> statistics.StatisticDuration:
    return statistics.StatisticDuration(count=duration.count, ns=duration.ns)


def _data_type(spec: TensorSpec) -> configs.DataType.ValueType:
    return configs.DataType.Value(f"DATA_TYPE_{'STRING' if spec.datatype == 'BYTES' else spec.datatype}")


def _json_value(field: Any, value: Any) -> Any:
    if field.message_type is not None:
        return as_json(value)
    if field.enum_type is not None:
        name: str = field.enum_type.values_by_number[value].name
        return name.removeprefix("DATA_").removeprefix("INSTANCE_")  # public enums have shorter prefixes
    return value


def _fixed(name: str, value: object, by_hand: bool, hint: str) -> MeshError:
    what = f"{name} cannot become {value!r} here"
    if by_hand:
        return Unsupported("FIXED_SETTING", what, hint)
    return Denied("NOT_FOR_XAPPS", f"{what}: xApps may not reconfigure a position", "ask its operator")
