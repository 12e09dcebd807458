"""docs/reference/templates.md: its templates load and answer as it says, and its tables leave nothing out."""

import asyncio
import dataclasses
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inference_host.model.manifest import read
from inference_host.model.template import Context, Memory, Template
from inference_host.model.template_metrics import METRICS_MAX, NAME
from inference_host.serving import loader
from inference_host.serving.execution import HUNG_MAX, Execution
from inference_host.serving.loader import Warm
from inference_host.values import oip_json
from inference_host.values.calls import SEQUENCE_ID_CHARS_MAX as ID_CHARS_MAX
from tests import models
from tests.conformance import hosts
from tests.conformance.hosts import RunningHost
from tests.docs.pages import REFERENCE, blocks, rows

PAGE = (REFERENCE / "templates.md").read_text()
ROWS = list(rows(PAGE))
PYTHON = blocks(PAGE, "python")
TEMPLATES = {re.findall(r"^class (\w+):", code, re.MULTILINE)[0]: code for code in PYTHON if "def load" in code}
SAMPLES = dict(zip(TEMPLATES, blocks(PAGE, "json"), strict=True))


def package(directory: Path, name: str) -> Path:
    """As a training platform publishes it."""
    keeps_state = "start_sequence" in TEMPLATES[name]
    return models.template(directory, TEMPLATES[name], name, samples=SAMPLES[name], keepsState=keeps_state)


def warm(directory: Path) -> Warm:
    async def scenario() -> Warm:
        async with Execution(1) as execution:
            return await loader.prepare(read(directory), execution, lambda: None)

    return asyncio.run(scenario())


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_answers_its_samples_as_the_page_says(tmp_path: Path, name: str) -> None:
    loaded = warm(package(tmp_path, name)).loaded
    steps = loaded if loaded.sequences is None else loaded.within(Memory())
    for sample in json.loads(SAMPLES[name]):
        inputs = {tensor.name: tensor.array for tensor in oip_json.inputs_of(sample)}
        given = steps.answer(inputs)
        for expected in oip_json.inputs_of({"inputs": sample["outputs"]}):
            np.testing.assert_allclose(given[expected.name], expected.array)


def test_the_metrics_of_the_page_are_made(tmp_path: Path) -> None:
    loaded = warm(package(tmp_path, "Counting")).loaded
    loaded.answer({"snr_db": np.array([1, 3, 9], np.float32)})
    taken = loaded.metrics.take()
    assert (taken["weak_signals_total"].value, taken["threshold_db"].value) == (1.0, 3.0)
    assert "spread_db" in taken


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHost]:
    directory = tmp_path_factory.mktemp("smooth")
    with hosts.by_hand(package(directory / "smooth", "Smooth"), directory / "log") as host:
        yield host


def test_curl_begins_a_sequence(host: RunningHost) -> None:
    (call,) = blocks(PAGE, "sh")
    done = subprocess.run(
        ["bash", "-c", call.replace("127.0.0.1:8000", host.address)], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["outputs"][0]["data"] == [8.0]


@pytest.mark.parametrize("library", ["tritonclient", "waypost"])
def test_a_client_takes_its_steps(host: RunningHost, library: str) -> None:
    (client,) = [code for code in PYTHON if f"import {library}" in code]
    code = client.replace("127.0.0.1:8000", host.address)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[8.]", "[6.]", "[4.]"]


def named(heading: str) -> set[str]:
    return {name for row in ROWS if row.section == (heading,) for name in row.names}


def test_the_tables_name_every_attribute_and_field() -> None:
    public = {name for name, value in vars(Template).items() if not name.startswith("_") and not callable(value)}
    assert named("Attributes") == public
    assert named("The context") == {field.name for field in dataclasses.fields(Context)}
    methods = {name for name, value in vars(Template).items() if callable(value)}
    assert {name.partition("(")[0] for name in named("Methods")} == methods | {"start_sequence"}


def test_the_numbers_are_those_of_the_code() -> None:
    defaults = {row.names[0]: row.cells[1] for row in ROWS if row.section == ("Attributes",)}
    for name in ("hung_after_s", "sequences_max", "sequence_idle_s"):
        value: Any = getattr(Template, name)
        assert float(defaults[name]) == value
    assert f"at most {ID_CHARS_MAX} characters" in PAGE
    assert f"at most {METRICS_MAX} metrics" in PAGE
    assert NAME.fullmatch("x" * 64)
    assert not NAME.fullmatch("x" * 65)
    assert "gives four threads up" in PAGE
    assert HUNG_MAX == 4
