"""Configuration, statistics and settings in the form of stock servers."""

import logging
from dataclasses import replace

import pytest
import structlog
from google.protobuf import json_format

from inference_host.faces.oip_extensions import (
    as_json,
    config_message,
    log_settings,
    refuse_files,
    statistics_message,
    trace_settings,
)
from inference_host.values.calls import Config, Duration, Metadata, RunStatistics, Statistics
from inference_host.values.signature import Signature, TensorSpec
from inference_host.values.tensors import DTYPES
from mesh.metrics import Histogram
from waypost.errors import Denied, Unsupported


def config(version: str = "7", rows: int = 0, datatype: str = "FP32") -> Config:
    signature = Signature((TensorSpec("x", datatype, (-1, 3)),), (TensorSpec("y", datatype, (-1,)),))
    return Config(Metadata("m", version, "onnxruntime_onnx", signature), rows, 500 if rows else 0, 2, "model.onnx")


def test_a_configuration_has_the_json_of_stock_servers() -> None:
    assert as_json(config_message(config(rows=8))) == {
        "name": "m",
        "platform": "onnxruntime_onnx",
        "backend": "onnxruntime",
        "version_policy": {"specific": {"versions": [7]}},
        "max_batch_size": 8,
        "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [3]}],
        "output": [{"name": "y", "data_type": "TYPE_FP32", "dims": []}],
        "instance_group": [{"name": "m", "count": 2, "kind": "KIND_CPU"}],
        "default_model_filename": "model.onnx",
        "dynamic_batching": {"max_queue_delay_microseconds": 500, "preserve_ordering": False},
        "model_transaction_policy": {"decoupled": False},
    }


def test_without_batching_shapes_are_whole() -> None:
    message = as_json(config_message(config()))
    assert (message["max_batch_size"], message["input"][0]["dims"]) == (0, [-1, 3])
    assert "dynamic_batching" not in message


def test_rows_that_are_single_values_leave_no_shape_to_tell_without_them() -> None:
    """perf_analyzer cannot make an input without dimensions, nor would Triton take such a configuration."""
    scalars = Signature((TensorSpec("x", "FP32", (-1,)),), (TensorSpec("y", "FP32", (-1,)),))
    batched = config(rows=8)
    message = as_json(config_message(replace(batched, metadata=replace(batched.metadata, signature=scalars))))
    assert (message["max_batch_size"], message["input"][0]["dims"]) == (0, [-1])
    assert "dynamic_batching" not in message


@pytest.mark.parametrize("version", ["2026-11", "9" * 20])
def test_a_version_that_is_no_number_of_the_policys_size_has_no_place_in_it(version: str) -> None:
    assert "version_policy" not in as_json(config_message(config(version=version)))


@pytest.mark.parametrize("datatype", DTYPES)
def test_every_datatype_has_its_public_name(datatype: str) -> None:
    expected = "TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}"
    assert as_json(config_message(config(datatype=datatype)))["input"][0]["data_type"] == expected


def test_statistics_are_told_in_numbers() -> None:
    runs = RunStatistics(Duration(1, 10), Duration(1, 20), Duration(1, 30))
    model = Statistics(
        name="m",
        version="7",
        last_inference_ms=1_700_000_000_000,
        inference_count=2**53 + 1,
        execution_count=2,
        success=Duration(5, 100),
        fail=Duration(1, 7),
        queue=Duration(5, 50),
        compute_input=Duration(5, 1),
        compute_infer=Duration(5, 2),
        compute_output=Duration(5, 3),
        batches={8: runs, 1: runs},
        latency=Histogram(),
    )
    (told,) = as_json(statistics_message([model]))["model_stats"]
    assert (told["name"], told["last_inference"], told["inference_count"]) == ("m", 1_700_000_000_000, 2**53 + 1)
    assert told["inference_stats"]["success"] == {"count": 5, "ns": 100}
    assert [batch["batch_size"] for batch in told["batch_stats"]] == [1, 8]
    assert told["batch_stats"][0]["compute_infer"] == {"count": 1, "ns": 20}


def test_json_agrees_with_protobufs_own_but_for_its_strings_of_digits() -> None:
    message = config_message(config(rows=8))
    theirs = json_format.MessageToDict(message, preserving_proto_field_name=True)
    assert {name for name in as_json(message) if name not in theirs} == set()
    assert theirs["version_policy"] == {"specific": {"versions": ["7"]}}


@pytest.mark.parametrize("value", [None, "", [], "OFF", ["OFF"]])
def test_tracing_may_be_set_to_what_it_is(value: object) -> None:
    assert trace_settings({"trace_level": value}, by_hand=False) == {"trace_level": ["OFF"]}


@pytest.mark.parametrize("wanted", [{"trace_level": ["TIMESTAMPS"]}, {"trace_rate": "1"}, {"trace_level": 1}])
def test_tracing_cannot_be_switched_on(wanted: dict[str, object]) -> None:
    with pytest.raises(Denied):
        trace_settings(wanted, by_hand=False)
    with pytest.raises(Unsupported) as refused:
        trace_settings(wanted, by_hand=True)
    assert "server-timing" in refused.value.hint


@pytest.mark.parametrize(
    ("level", "expected"),
    [(logging.DEBUG, (True, True, 1)), (logging.INFO, (True, True, 0)), (logging.WARNING, (True, False, 0))],
)
def test_the_level_of_the_log_is_told(level: int, expected: tuple[bool, bool, int]) -> None:
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(level))
    try:
        told = log_settings({}, by_hand=True)
        assert (told["log_warning"], told["log_info"], told["log_verbose_level"]) == expected
        assert log_settings(told, by_hand=False) == told
        with pytest.raises(Denied):
            log_settings({"log_error": False}, by_hand=False)
        with pytest.raises(Unsupported):
            log_settings({"log_file": "/tmp/log"}, by_hand=True)
    finally:
        structlog.configure(**before)


def test_files_for_a_model_are_not_ignored() -> None:
    for name in ("config", "file:1/model.onnx"):
        with pytest.raises(Unsupported):
            refuse_files([name], by_hand=True)
    refuse_files(["unload_dependents"], by_hand=True)
