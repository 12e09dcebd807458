"""Users' templates: how they are found, what they may be, and what is said where they fail."""

import asyncio
import sys
import traceback
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from inference_host.model.manifest import read
from inference_host.serving import loader
from inference_host.serving.execution import Execution
from inference_host.serving.loader import Warm
from inference_host.values.calls import SequenceLimits
from tests import models
from waypost.errors import Internal, Invalid, MeshError, Precondition

DOUBLES = """
import numpy as np

class Doubles:
    def load(self, context):
        self.factor = float((context.directory / "factor.txt").read_text())

    def preprocess(self, inputs):
        return inputs["x"]

    def predict(self, prepared):
        return prepared * self.factor

    def postprocess(self, predicted):
        return {"y": predicted.astype(np.float32)}
"""
SIGNATURE = {
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}],
}
FACTOR = {"factor.txt": "2.0"}
SAMPLES = '{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]}'


def package(
    directory: Path,
    code: str,
    *,
    class_name: str = "Doubles",
    samples: str = SAMPLES,
    signature: object = SIGNATURE,
    **declared: object,
) -> Path:
    declared |= {"signature": signature} if signature else {}
    return models.template(directory, code, class_name, samples=samples, model="m", files=FACTOR, **declared)


def warm(directory: Path) -> Warm:
    async def scenario() -> Warm:
        async with Execution(1) as execution:
            return await loader.warm_up(await loader.load(read(directory), execution, threads=1), execution)

    return asyncio.run(scenario())


def answer(directory: Path, value: np.ndarray) -> np.ndarray:
    async def scenario() -> np.ndarray:
        async with Execution(1) as execution:
            loaded = (await loader.warm_up(await loader.load(read(directory), execution, threads=1), execution)).loaded
            if loaded.steps.on_loop:
                return (await loaded.answer_on_loop({"x": value}, execution))["y"]
            return loaded.answer({"x": value})["y"]

    return asyncio.run(scenario())


def refusal(directory: Path) -> MeshError:
    with pytest.raises(Precondition) as refused:
        warm(directory)
    assert refused.value.hint
    return refused.value


def test_a_template_answers(tmp_path: Path) -> None:
    assert answer(package(tmp_path, DOUBLES), np.ones((1, 2), np.float32)).tolist() == [[2.0, 2.0]]


def test_a_template_may_be_asynchronous(tmp_path: Path) -> None:
    code = DOUBLES.replace("def load", "async def load").replace("def predict", "async def predict")
    directory = package(tmp_path, code)
    assert answer(directory, np.ones((1, 2), np.float32)).tolist() == [[2.0, 2.0]]


def test_a_template_never_holds_the_event_loop_up(tmp_path: Path) -> None:
    assert warm(package(tmp_path, DOUBLES)).inline_elements_max == 0


def test_a_graph_runs_inline_as_long_as_requests_are_small(tmp_path: Path) -> None:
    ready = warm(models.affine(tmp_path / "m.onnx"))
    assert 4 <= ready.inline_elements_max < 4 << 20


def test_rows_of_several_calls_go_through_a_template_together_where_it_says_so(tmp_path: Path) -> None:
    for name, code in (
        ("silent", DOUBLES),
        ("saying", DOUBLES.replace("    def load", "    batches = True\n\n    def load")),
    ):
        (tmp_path / name).mkdir()
        assert warm(package(tmp_path / name, code)).together.apart == (name == "saying")


def test_rows_of_an_asynchronous_template_never_go_together(tmp_path: Path) -> None:
    code = DOUBLES.replace("    def load", "    batches = True\n\n    def load").replace(
        "def predict", "async def predict"
    )
    assert not warm(package(tmp_path, code)).together.apart


def test_only_load_and_predict_are_needed(tmp_path: Path) -> None:
    code = """
class Doubles:
    def load(self, context): ...
    def predict(self, prepared):
        return prepared["x"] * 2
"""
    assert answer(package(tmp_path, code), np.ones((1, 2), np.float32)).tolist() == [[2.0, 2.0]]


def test_load_may_tell_the_signature(tmp_path: Path) -> None:
    code = DOUBLES.replace(
        "self.factor =",
        "from inference_host.values.signature import Signature, TensorSpec\n"
        "        spec = lambda name: TensorSpec(name, 'FP32', (-1, 2))\n"
        "        self.signature = Signature((spec('x'),), (spec('y'),))\n"
        "        self.factor =",
    )
    assert str(warm(package(tmp_path, code, signature=None)).loaded.signature) == "x FP32[-1, 2] -> y FP32[-1, 2]"


def test_modules_of_two_packages_never_meet(tmp_path: Path) -> None:
    code = "from .features import FACTOR\n" + DOUBLES.replace("self.factor = ", "self.factor = FACTOR  #")
    for name, factor in (("one", 3.0), ("two", 5.0)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "features.py").write_text(f"FACTOR = {factor}")
        package(tmp_path / name, code)
    ones = np.ones((1, 2), np.float32)
    assert [answer(tmp_path / name, ones).tolist() for name in ("one", "two")] == [[[3.0, 3.0]], [[5.0, 5.0]]]


def test_a_package_cannot_take_a_librarys_place(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise RuntimeError('never')")
    warm(package(tmp_path, "import json\n" + DOUBLES))
    assert sys.path[0] != str(tmp_path)


def test_a_package_is_left_as_it_was(tmp_path: Path) -> None:
    warm(package(tmp_path, DOUBLES))
    assert not (tmp_path / "__pycache__").exists()


@pytest.mark.parametrize(
    ("code", "reason", "words"),
    [
        ("def", "TEMPLATE_FAILED", "SyntaxError"),
        ("import no_such_library", "MISSING_LIBRARY", "no_such_library"),
        ("class Other: ...", "BAD_TEMPLATE_CLASS", "Doubles"),
        ("class Doubles:\n  def load(self, context): ...", "TEMPLATE_INCOMPLETE", "predict"),
        ("class Doubles:\n  def __init__(self): 1 / 0", "TEMPLATE_FAILED", "ZeroDivisionError"),
        (DOUBLES.replace("factor.txt", "weights.txt"), "TEMPLATE_FAILED", "weights.txt"),
        (DOUBLES.replace("float((", "[0] * 10**14 or float(("), "OUT_OF_MEMORY", "memory"),
        (DOUBLES.replace("* self.factor", "* None"), "SAMPLE_FAILED", "TypeError"),
        (DOUBLES.replace("return prepared", "raise SystemExit(0)  #"), "SAMPLE_FAILED", "SystemExit"),
        ("import sys; sys.exit(0)", "TEMPLATE_FAILED", "SystemExit"),
        (DOUBLES.replace("float32", "float64"), "SAMPLE_FAILED", "float64"),
        (DOUBLES.replace('"y":', '"z":'), "SAMPLE_FAILED", "nothing for output 'y'"),
        (DOUBLES.replace("predicted.", "predicted[0]."), "SAMPLE_FAILED", "shape [2]"),
        (DOUBLES.replace("{", "list({").replace("}", "})[0]#"), "SAMPLE_FAILED", "str"),
    ],
)
def test_a_template_that_fails_has_a_reason(tmp_path: Path, code: str, reason: str, words: str) -> None:
    refused = refusal(package(tmp_path, code))
    assert refused.reason == reason
    assert words in refused.message


@pytest.mark.parametrize("template_class", ["template", ":Doubles", "template:"])
def test_a_class_is_named_as_module_and_class(tmp_path: Path, template_class: str) -> None:
    assert refusal(package(tmp_path, DOUBLES, templateClass=template_class)).reason == "BAD_TEMPLATE_CLASS"


def test_a_module_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert refusal(package(tmp_path, DOUBLES, templateClass="other:Doubles")).reason == "MISSING_FILE"


def test_a_template_without_samples_or_signature_is_refused(tmp_path: Path) -> None:
    assert refusal(package(tmp_path, DOUBLES, samples="")).reason == "NO_SAMPLES"
    assert refusal(package(tmp_path, DOUBLES, signature=None)).reason == "NO_SIGNATURE"


@pytest.mark.parametrize("samples", ["{", "[]", "3", "[3]", '{"inputs": []}', SAMPLES.replace("FP32", "FP64")])
def test_samples_that_do_not_fit_are_refused(tmp_path: Path, samples: str) -> None:
    assert refusal(package(tmp_path, DOUBLES, samples=samples)).reason == "BAD_SAMPLES"


def test_every_sample_goes_through_the_model(tmp_path: Path) -> None:
    assert len(warm(package(tmp_path, DOUBLES, samples=f"[{SAMPLES}, {SAMPLES}]")).samples) == 2
    code = DOUBLES.replace("prepared *", "1 / (prepared[0, 0] - 5.0) if prepared[0, 0] != 5 else None *")
    assert (
        refusal(package(tmp_path, code, samples=f"[{SAMPLES}, {SAMPLES.replace('[1, 2]}]', '[5, 2]}]')}]")).reason
        == "SAMPLE_FAILED"
    )


SUMS = """
import numpy as np

class Doubles:
    def load(self, context):
        self.begun = context.metrics.counter("begun_total")

    def start_sequence(self):
        self.begun.add()
        return {"total": 0.0, "steps": 0}

    def predict(self, prepared, state):
        state["steps"] += 1
        state["total"] = state["total"] + prepared["x"]
        if prepared["x"][0, 0] == 5:
            assert state["steps"] == 2, "the samples are one sequence"
        return {"y": state["total"].astype(np.float32)}
"""
FIVES = SAMPLES.replace("[1, 2]}]", "[5, 2]}]")


def sums(directory: Path, code: str = SUMS, *, keeps_state: bool = True) -> Path:
    return package(directory, code, samples=f"[{SAMPLES}, {FIVES}]", keepsState=keeps_state)


def test_samples_of_a_template_that_keeps_state_are_one_sequence(tmp_path: Path) -> None:
    for name, code in (("plain", SUMS), ("async", SUMS.replace("def start", "async def start"))):
        (tmp_path / name).mkdir()
        code = code if name == "plain" else code.replace("def predict", "async def predict")
        ready = warm(sums(tmp_path / name, code))
        assert ready.loaded.sequences == SequenceLimits(1024, 60.0)
        assert not ready.together.apart
        assert ready.inline_elements_max == 0


def test_what_samples_count_is_no_callers(tmp_path: Path) -> None:
    async def scenario() -> float | object:
        async with Execution(1) as execution:
            ready = await loader.prepare(read(sums(tmp_path)), execution, lambda: None)
            return ready.loaded.metrics.take()["begun_total"].value

    assert asyncio.run(scenario()) == 0.0


def test_a_template_bounds_what_it_remembers(tmp_path: Path) -> None:
    code = SUMS.replace("    def load", "    sequences_max = 7\n    sequence_idle_s = 0.5\n\n    def load")
    assert warm(sums(tmp_path, code)).loaded.sequences == SequenceLimits(7, 0.5)


@pytest.mark.parametrize(("code", "declared"), [(SUMS, False), (DOUBLES, True)])
def test_state_must_be_declared_and_what_is_declared_must_be_there(tmp_path: Path, code: str, declared: bool) -> None:
    refused = refusal(package(tmp_path, code, keepsState=declared))
    assert refused.reason == "STATE_MISMATCH"
    assert "keep" in refused.hint


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (SUMS.replace("def start", "async def start"), "only one of"),
        (SUMS.replace("def start_sequence", "start_sequence = 3\n    def other"), "no method"),
        (SUMS.replace("    def load", "    sequences_max = 0\n\n    def load"), "sequences_max is 0"),
        (SUMS.replace("    def load", "    sequence_idle_s = '9'\n\n    def load"), "sequence_idle_s is '9'"),
        (SUMS.replace("    def load", "    hung_after_s = True\n\n    def load"), "hung_after_s is True"),
        (SUMS.replace("return {'y'", "yield {'y'").replace('return {"y"', 'yield {"y"'), "predict yields"),
    ],
)
def test_a_template_that_cannot_be_right_is_refused_before_it_runs(tmp_path: Path, code: str, words: str) -> None:
    refused = refusal(sums(tmp_path, code))
    assert refused.reason == "BAD_TEMPLATE"
    assert words in refused.message


WITH_SIGNATURE = f"from inference_host.values.signature import Signature, TensorSpec\n{DOUBLES}    signature = "


@pytest.mark.parametrize(
    ("signature", "words"),
    [
        ("5", "signature is int"),
        ("Signature(('x',), ())", "inputs of its signature have a str among them"),
        (
            "Signature((), (TensorSpec('y', 'FLOAT', (2,)),))",
            "outputs of its signature have 'y' with the datatype 'FLOAT'",
        ),
        ("Signature((TensorSpec('x', 'FP32', (-2,)),), ())", "'x' with the shape (-2,)"),
    ],
)
def test_a_signature_that_is_none_is_refused(tmp_path: Path, signature: str, words: str) -> None:
    refused = refusal(package(tmp_path, WITH_SIGNATURE + signature))
    assert refused.reason == "BAD_TEMPLATE"
    assert words in refused.message


@pytest.mark.parametrize(
    "signature", ["Signature((TensorSpec('x', 'FP32', (2,))), ())", "Signature((TensorSpec('x', 'FP32', 2),), ())"]
)
def test_a_tuple_of_one_without_its_comma_is_told(tmp_path: Path, signature: str) -> None:
    """By us, or by the class itself where it is compiled."""
    refused = refusal(package(tmp_path, WITH_SIGNATURE + signature))
    assert refused.reason in {"BAD_TEMPLATE", "TEMPLATE_FAILED"}
    assert "tuple" in refused.message


def test_what_to_mend_is_the_template_where_it_raised_and_the_samples_where_they_do_not_fit(tmp_path: Path) -> None:
    assert "traceback" in refusal(package(tmp_path, DOUBLES.replace("* self.factor", "* None"))).hint
    assert "astype" in refusal(package(tmp_path, DOUBLES.replace("float32", "float64"))).hint
    picky = DOUBLES.replace("return prepared", "raise Invalid('ODD', 'an odd number of rows')  #")
    assert refusal(package(tmp_path, f"from waypost.errors import Invalid\n{picky}")).hint == "mend samples.json"


def test_a_bad_metric_is_told_as_such(tmp_path: Path) -> None:
    assert refusal(sums(tmp_path, SUMS.replace("begun_total", "1st"))).reason == "BAD_METRIC"


def test_the_log_has_the_traceback_of_a_template_that_cannot_be_loaded(tmp_path: Path) -> None:
    with capture_logs() as logs:
        refusal(package(tmp_path, DOUBLES.replace("factor.txt", "weights.txt")))
    (line,) = [line for line in logs if line["event"] == "template_failed"]
    frame = next(traceback.walk_tb(line["exc_info"].__traceback__))[0]
    assert (frame.f_code.co_name, Path(frame.f_code.co_filename).name) == ("load", "template.py")


def test_a_template_may_refuse_a_request(tmp_path: Path) -> None:
    code = "from waypost.errors import Invalid\n" + DOUBLES.replace(
        "return inputs",
        "if inputs['x'][0, 0] < 0: raise Invalid('NEGATIVE', 'no loads below zero')\n        return inputs",
    )
    with pytest.raises(Invalid) as refused:
        answer(package(tmp_path, code), -np.ones((1, 2), np.float32))
    assert refused.value.reason == "NEGATIVE"


def test_text_of_a_template_must_be_bytes(tmp_path: Path) -> None:
    signature = {"inputs": SIGNATURE["inputs"], "outputs": [{"name": "y", "datatype": "BYTES", "shape": [-1, 2]}]}
    for value, good in (("b'a'", True), ("'a'", False), ("None", False)):
        (tmp_path / value).mkdir()
        code = DOUBLES.replace("predicted.astype(np.float32)", f"np.full(predicted.shape, {value}, dtype=object)")
        directory = package(tmp_path / value, code, signature=signature)
        if good:
            warm(directory)
        else:
            assert "bytes" in refusal(directory).message


def test_what_a_template_raises_is_not_told_to_callers(tmp_path: Path) -> None:
    code = DOUBLES.replace("return inputs", "assert inputs['x'][0, 0] > 0, 'secret'\n        return inputs")
    with pytest.raises(Internal) as failed:
        answer(package(tmp_path, code), -np.ones((1, 2), np.float32))
    assert failed.value.reason == "MODEL_FAILED"
    assert "secret" not in str(failed.value)


def test_sizes_that_vary_are_tried_until_a_graph_takes_them(tmp_path: Path) -> None:
    """A model of 8 features whose graph does not say so."""
    models.affine(tmp_path / "fixed.onnx")
    assert warm(tmp_path / "fixed.onnx").samples[0]["x"].shape == (1, 4)
    models.features(tmp_path / "vague.onnx", 8)
    assert warm(tmp_path / "vague.onnx").samples[0]["x"].shape == (1, 8)
    models.features(tmp_path / "odd.onnx", 7)
    assert refusal(tmp_path / "odd.onnx").reason == "SAMPLE_FAILED"


def test_a_graph_that_is_not_as_promised_is_refused(tmp_path: Path) -> None:
    models.affine(tmp_path / "model.onnx")
    promised = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 5]}], "outputs": []}
    models.manifest(
        tmp_path, framework="onnx", artifacts=[{"path": "model.onnx", "digest": "sha256:aa"}], signature=promised
    )
    assert refusal(tmp_path).reason == "SIGNATURE_MISMATCH"
