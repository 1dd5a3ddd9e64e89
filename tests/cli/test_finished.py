"""Finding a finished experiment by its keys, and writing its report again."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sparse_transfer_api.contract import MANIFEST, PLAN, Stage
from sparse_transfer_api.errors import AccessError, InputError
from sparse_transfer_api.keys import stage_key
from sparse_transfer_api.records import (
    Manifest,
    ModelSource,
    Plan,
    SplitInfo,
    StageResult,
    TrainingSettings,
)
from sparse_transfer_api.results import Headline, MetricResult, Recommended, Results
from sparse_transfer_api.spec import parse_experiment
from sparse_transfer_cli.finished import find_finished
from sparse_transfer_cli.verbs.report import write_report

_DOCUMENT = {
    "apiVersion": "sparsetransfer.dev/v1alpha1",
    "kind": "SparseTransferExperiment",
    "metadata": {"name": "film-reviews"},
    "spec": {"useCase": "sentiment", "data": {"uri": "file:///data"}},
}
_DIGESTS = {"data": "d" * 64}
_TEACHER = "teacherkey"


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """An output place with one finished experiment, and the prepare folder of another one."""
    spec = parse_experiment(_DOCUMENT, "test").spec
    root = tmp_path / "runs" / "default" / "film-reviews"
    prepare_key = stage_key(spec, Stage.PREPARE, None, {})
    train_key = stage_key(spec, Stage.TRAIN, prepare_key, _DIGESTS)
    package_key = stage_key(spec, Stage.PACKAGE, train_key, {})
    write_stage(root, Stage.PREPARE, "anotherkey", _DIGESTS)
    prepare = write_stage(root, Stage.PREPARE, prepare_key, _DIGESTS)
    (prepare / PLAN).write_bytes(plan().to_json())
    history = [{"phase": "transfer", "step": 1, "epoch": 0.5, "loss": 0.5}]
    train = write_stage(root, Stage.TRAIN, train_key, {})
    (train / "history.json").write_text(json.dumps(history))
    teacher = root / f"teacher-{_TEACHER}"
    teacher.mkdir()
    (teacher / "history.json").write_text(json.dumps([{**history[0], "phase": "baseline"}]))
    package = write_stage(root, Stage.PACKAGE, package_key, {}, results())
    (package / "evaluation.json").write_text('{"files": [], "latencies": [], "layers": []}')
    return tmp_path / "runs"


def write_stage(
    root: Path, stage: Stage, key: str, digests: dict[str, str], results: Results | None = None
) -> Path:
    folder = root / f"{stage}-{key}"
    folder.mkdir(parents=True)
    manifest = Manifest(
        stage=stage,
        key=key,
        created=datetime.now(UTC),
        files=[],
        result=StageResult(
            stage=stage, key=key, outcome="Succeeded", reason="Completed", digests=digests
        ),
        results=results,
        provenance={"experiment": _DOCUMENT},
    )
    (folder / MANIFEST).write_bytes(manifest.to_json())
    return folder


def results() -> Results:
    return Results(
        metric=MetricResult(name="accuracy", baseline=0.8, value=0.79, samples=10, split="test"),
        recovery=0.9875,
        sparsity=0.8,
        zero_share=0.5,
        size_bytes=1000,
        compressed_size_bytes=500,
        dense_size_bytes=4000,
        headline=Headline(engine="onnxruntime", batch=1),
        recommended=Recommended(file="deployment/model.onnx", engine="onnxruntime", reason="only"),
    )


def plan() -> Plan:
    settings = TrainingSettings(epochs=1, learning_rate=1e-4, batch_size=8, seed=0, recipe="{}")
    return Plan(
        use_case="nlp-sentiment_analysis",
        level=0.5,
        band="MediumSparseInt8",
        problem_type="single_label_classification",
        columns={},
        labels=["a", "b"],
        splits=[SplitInfo(name="train", file="train.csv", samples=10, digest="a")],
        evaluation_split="test",
        choice_split="val",
        data_digest="d",
        model=ModelSource(
            uri="file:///m", digest="m", format="f", architecture="A", sparsity=0.8, parameters=1
        ),
        quantize=True,
        training=settings,
        teacher_key=_TEACHER,
        total_steps=1,
        expected_memory_bytes=1,
    )


@pytest.mark.parametrize("where", ["", "default", "default/film-reviews"])
def test_a_result_is_found_from_any_folder_above_it(output: Path, where: str) -> None:
    assert find_finished(output / where).results.recovery == 0.9875


def test_a_result_is_found_from_its_folder_and_from_a_file_in_it(output: Path) -> None:
    package = find_finished(output).package
    assert find_finished(package).package == package
    assert find_finished(package / MANIFEST).package == package


def test_the_newest_of_several_results_is_taken(output: Path) -> None:
    root = output / "default" / "film-reviews"
    newer = write_stage(root, Stage.PACKAGE, "newer", {}, results())
    assert find_finished(output).package == newer


def test_the_stages_are_found_by_their_keys_wherever_the_output_was_moved(
    output: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "elsewhere"
    output.rename(moved)
    stages = find_finished(moved).stages()
    assert sorted(stages) == ["prepare", "teacher", "train"]
    assert all(folder.is_relative_to(moved) for folder in stages.values())
    assert (stages["prepare"] / PLAN).exists()


def test_missing_stages_are_said_to_be_missing(output: Path) -> None:
    finished = find_finished(output)
    shutil.rmtree(finished.stages()[Stage.TRAIN])
    with pytest.raises(AccessError, match="run the experiment again"):
        finished.stages()


def test_an_unfinished_stage_is_no_result(output: Path) -> None:
    package = find_finished(output).package
    (package / MANIFEST).unlink()
    with pytest.raises(AccessError, match="no finished experiment here"):
        find_finished(output)


def test_a_damaged_manifest_is_named(output: Path) -> None:
    manifest = find_finished(output).package / MANIFEST
    manifest.write_text("{")
    with pytest.raises(InputError, match="not a manifest"):
        find_finished(output)


def test_the_report_is_written_again_without_touching_the_recorded_one(
    output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("jinja2", reason="pip install 'sparse-transfer[runner]'")
    monkeypatch.chdir(tmp_path)
    before = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
    write_report(str(output), None)
    html = (tmp_path / "film-reviews-report.html").read_text("utf-8")
    assert "dense baseline" in html
    assert "sparse transfer" in html
    assert before == {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}


def test_a_report_that_cannot_be_written_is_explained(output: Path, tmp_path: Path) -> None:
    pytest.importorskip("jinja2", reason="pip install 'sparse-transfer[runner]'")
    with pytest.raises(AccessError, match="choose another --output"):
        write_report(str(output), tmp_path / "missing" / "report.html")
