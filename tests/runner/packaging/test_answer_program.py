"""The program that answers questions, on a model whose logits are known."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.runner.tiny_models import WORDS, write_tiny_encoder

from sparse_transfer_api.records import AnswerRule
from sparse_transfer_runner.engines.onnxruntime import OnnxRuntime
from sparse_transfer_runner.packaging.deployment import _environment

LENGTH = 16
FILLERS = "the film was a film . "


def write_model(path: Path, *, none: float) -> None:
    """Writes a model that takes ``good`` for every answer, and ``[CLS]`` for none at all."""
    logits = np.zeros((len(WORDS), 2), dtype=np.float32)
    logits[WORDS.index("good")] = 10
    logits[WORDS.index("[CLS]")] = none / 2
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "input_ids"], ["logits"])],
        "answers",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["rows", "tokens"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["rows", "tokens", 2])],
        [numpy_helper.from_array(logits, "table")],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)


def answered(folder: Path, context: str, *, may_be_none: bool = True) -> dict[str, Any]:
    """Returns what the program says of a context."""
    rule = AnswerRule(may_be_none=may_be_none, max_tokens=4)
    plan = SimpleNamespace(max_sequence_length=LENGTH, answers=rule, inputs=["input_ids"])
    program = (
        _environment()
        .get_template("answer_questions.py.j2")
        .render(engine=OnnxRuntime(), plan=plan, program="predict.py")
    )
    (folder / "predict.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "predict.py", "what was it", context],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = write_tiny_encoder(tmp_path / "deployment")
    write_model(folder / "model.onnx", none=-20)
    return folder


@pytest.mark.parametrize("may_be_none", [True, False])
@pytest.mark.parametrize("words", [6, 9])
def test_a_certain_answer_is_certain_though_two_windows_hold_it(
    folder: Path, words: int, may_be_none: bool
) -> None:
    before = " ".join((FILLERS * 2).split()[:words])
    context = f"{before} good {FILLERS}"

    found = answered(folder, context, may_be_none=may_be_none)

    assert found["answer"] == "good"
    assert found["start"] == context.index("good")
    assert found["score"] > 0.99


def test_no_answer_is_as_certain_as_its_logits(folder: Path) -> None:
    write_model(folder / "model.onnx", none=20)

    assert answered(folder, f"{FILLERS * 3} good")["score"] == pytest.approx(0.5, abs=0.01)
    assert answered(folder, FILLERS * 3) == {
        "answer": None,
        "score": pytest.approx(1, abs=0.01),
        "start": None,
        "end": None,
    }


def test_places_are_those_of_the_file_whatever_its_line_ends(folder: Path, tmp_path: Path) -> None:
    text = "the film\r\nwas\r\ngood .\r\n"
    (tmp_path / "context.txt").write_bytes(b"\xef\xbb\xbf" + text.encode())

    found = answered(folder, str(tmp_path / "context.txt"))

    assert (found["start"], found["end"]) == (text.index("good"), text.index("good") + 4)
