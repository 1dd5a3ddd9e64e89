"""An experiment on questions through its three stages: a tiny encoder, windows, real engines."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.runner.stages import stage_process
from tests.runner.stages.stage_process import stage
from tests.runner.tiny_models import write_tiny_encoder
from tests.runner.tiny_questions import write_questions
from tests.runner.tiny_sources import write_sentences

from sparse_transfer_api.contract import ExitCode, Stage
from sparse_transfer_api.records import Manifest, Plan
from sparse_transfer_api.spec import SparseTransferSpec
from sparse_transfer_runner.packaging.evaluation import Evaluation
from sparse_transfer_runner.progress import Reporter
from sparse_transfer_runner.stages.prepare import check_data, check_model, make_plan
from sparse_transfer_runner.training.distillation import task_loss
from sparse_transfer_runner.training.hardware import to_tensors
from sparse_transfer_runner.upstream import UpstreamOptions, make_foundation
from sparse_transfer_runner.use_cases import use_case

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dense model that learned the task, a foundation made from it, and questions."""
    root = tmp_path_factory.mktemp("sources")
    write_questions(root / "data")
    write_sentences(root / "sentences.txt")
    write_answerer(root)
    make_foundation(
        UpstreamOptions(
            model=(root / "dense").as_uri(),
            data=root / "sentences.txt",
            output=root / "foundation",
            sparsity=0.5,
            calibration_rows=96,
            recovery_steps=0,
        ),
        Reporter(Stage.PREPARE, lambda _: None),
    )
    return root


def write_answerer(root: Path) -> None:
    """Trains a dense model on the questions: the baseline's rate is too low for a random one."""
    use, encoder = use_case("qa"), write_tiny_encoder(root / "encoder")
    spec = SparseTransferSpec.model_validate(
        {
            "useCase": "qa",
            "optimLevel": 0.1,
            "data": {"uri": (root / "data").as_uri()},
            "model": {"uri": encoder.as_uri()},
        }
    )
    plan = make_plan(spec, check_data(spec), check_model(spec))
    rows = use.load(root / "data", plan, "train", use.preprocessor(encoder))
    model = use.build(encoder, plan).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    order = torch.Generator().manual_seed(0)
    for _ in range(10):
        for batch in torch.randperm(len(rows), generator=order).split(16):
            inputs = to_tensors(rows.collate(batch.tolist()))
            targets = torch.as_tensor(rows.targets[batch.numpy()])
            loss = task_loss(model(**inputs).logits, targets, plan.problem_type)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
    use.save(model, root / "dense")
    use.preprocessor(encoder).save(root / "dense")


def environment(sources: Path, output: Path, **more: Any) -> dict[str, str]:
    spec = {
        "training": {"epochs": 6, "batchSize": 16, "learningRate": 0.005},
        **more,
    }
    return stage_process.environment("questions", "qa", sources, output, **spec)


def manifest_of(output: Path, folder: str) -> tuple[Path, Manifest]:
    (path,) = output.glob(f"*/*/{folder}-*/manifest.json")
    return path.parent, Manifest.model_validate_json(path.read_bytes())


@pytest.fixture(scope="module")
def finished(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("runs")
    where = environment(sources, output)
    for name in ("prepare", "train", "package"):
        code, result = stage(name, where)
        assert code == 0, result.message
    return output


def predicted(folder: Path, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a deployed program where nothing of this project can be imported."""
    return subprocess.run(
        [sys.executable, program, *arguments],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_questions_become_a_sparse_int8_model(finished: Path) -> None:
    package, manifest = manifest_of(finished, "package")
    results = manifest.results
    assert results is not None
    assert results.metric.name == "f1"
    assert results.metric.samples == 60
    assert results.metric.value > 0.7
    assert results.metric.baseline is not None
    assert results.metric.baseline > 0.7
    assert results.recovery is not None
    assert results.metric.interval is not None
    assert results.metric.interval.low <= results.recovery <= results.metric.interval.high
    assert results.sparsity == pytest.approx(0.5, abs=0.01)
    assert {engine.name for engine in results.engines} == {"onnxruntime", "openvino"}
    assert "on 60 questions of test" in (package / "report.html").read_text()
    assert "on 60 questions of test" in (package / "deployment" / "README.md").read_text()


def test_every_file_gives_the_answers_of_its_model(finished: Path) -> None:
    package, _ = manifest_of(finished, "package")
    found = Evaluation.model_validate_json((package / "evaluation.json").read_bytes())
    exact = [file for file in found.files if file.role == "dense-fp32"]
    assert exact
    for file in exact:
        # OpenVINO may compute in bf16.
        assert file.label_agreement >= (1 if file.engine == "onnxruntime" else 0.9)


def test_the_plan_says_how_windows_slide_and_what_an_answer_may_be(finished: Path) -> None:
    prepare, _ = manifest_of(finished, "prepare")
    plan = Plan.model_validate_json((prepare / "plan.json").read_bytes())
    assert plan.problem_type == "question_answering"
    assert plan.max_sequence_length == 32
    assert plan.truncated_share == 0
    assert plan.answers is not None
    assert plan.answers.may_be_none
    assert plan.inputs == ["input_ids", "attention_mask", "token_type_ids"]


@pytest.mark.parametrize("program", ["predict.py", "predict_openvino.py"])
def test_the_deployed_folder_answers_from_a_text_or_a_file(
    program: str, finished: Path, sources: Path, tmp_path: Path
) -> None:
    package, _ = manifest_of(finished, "package")
    deployment = shutil.copytree(package / "deployment", tmp_path / "deployment")
    rows = json.loads((sources / "data" / "test.json").read_text())
    longest = max(rows, key=lambda row: (bool(row["answers"]["text"]), len(row["context"])))
    (tmp_path / "context.txt").write_text(longest["context"])

    from_text = predicted(deployment, program, longest["question"], longest["context"])
    from_file = predicted(deployment, program, longest["question"], str(tmp_path / "context.txt"))

    assert from_text.returncode == 0, from_text.stderr
    assert from_file.stdout == from_text.stdout
    answer = json.loads(from_text.stdout)
    assert set(answer) == {"answer", "score", "start", "end"}
    assert 0 < answer["score"] <= 1
    if answer["answer"] is not None:
        assert longest["context"][answer["start"] : answer["end"]] == answer["answer"]


def test_the_deployed_program_scores_as_the_report_says(finished: Path, sources: Path) -> None:
    package, manifest = manifest_of(finished, "package")
    assert manifest.results is not None
    rows = json.loads((sources / "data" / "test.json").read_text())[:12]
    right = 0
    for row in rows:
        done = predicted(package / "deployment", "predict.py", row["question"], row["context"])
        said = json.loads(done.stdout)["answer"]
        right += said == next(iter(row["answers"]["text"]), None)
    assert right / len(rows) == pytest.approx(manifest.results.metric.value, abs=0.3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("what was it",), "usage: python predict.py"),
        (("what was it", ""), "the context is empty"),
        (("what " * 40, "it was good"), "the question takes 40 tokens"),
    ],
)
def test_the_program_says_what_it_cannot_take(
    arguments: tuple[str, ...], message: str, finished: Path
) -> None:
    package, _ = manifest_of(finished, "package")
    done = predicted(package / "deployment", "predict.py", *arguments)
    assert done.returncode == 1
    assert message in done.stderr


def test_a_question_longer_than_the_window_is_named(sources: Path, tmp_path: Path) -> None:
    data = shutil.copytree(sources / "data", tmp_path / "data")
    row = json.loads((data / "val.jsonl").read_text().splitlines()[0])
    long = {**row, "id": "long", "question": "what was it " * 9}
    with (data / "val.jsonl").open("a") as file:
        file.write(json.dumps(long) + "\n")
    where = environment(sources, tmp_path / "runs", data={"uri": data.as_uri()})

    code, result = stage("prepare", where)

    assert code == ExitCode.INPUT
    assert "1 questions are too long" in result.message
    assert "val.jsonl:61: the question takes 27 tokens" in result.message
