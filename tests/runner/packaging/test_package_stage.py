"""The whole stage on tiny models and real engines."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.runner.tiny_models import write_tiny_encoder
from tests.runner.trained_experiment import Row, TrainedExperiment

from sparse_transfer_api.errors import InputError, OutputVanished, Stopped
from sparse_transfer_api.records import Manifest
from sparse_transfer_api.results import Results
from sparse_transfer_runner.packaging.evaluation import Evaluation
from sparse_transfer_runner.packaging.remeasure import remeasure
from sparse_transfer_runner.stages import package
from sparse_transfer_runner.stages.context import StageContext, StageOutcome

_GOOD, _BAD = ("good", "great", "fine"), ("bad", "dull", "weak")


def _texts(rows: int, seed: int) -> list[tuple[str, int]]:
    random = np.random.default_rng(seed)
    found = []
    for _ in range(rows):
        label = int(random.integers(2))
        words = random.choice(_GOOD if label else _BAD, size=random.integers(1, 5))
        found.append((f"this film was {' '.join(words)} .", label))
    return found


def _splits(row: Callable[[str, int], Row], *names: str) -> dict[str, list[Row]]:
    sizes = {"train": 80, "val": 60, "test": 90}
    return {
        name: [row(*each) for each in _texts(sizes[name], seed)] for seed, name in enumerate(names)
    }


def _single(text: str, label: int) -> Row:
    return {"text": text, "label": label}


_ALL = ("train", "val", "test")


@dataclasses.dataclass(frozen=True)
class _Packaged:
    context: StageContext
    outcome: StageOutcome

    @property
    def root(self) -> Path:
        work = self.context.work
        return work.folder.path if work.folder.manifest() else work.path

    @property
    def results(self) -> Results:
        assert self.outcome.results is not None
        return self.outcome.results

    @property
    def evaluation(self) -> Evaluation:
        return Evaluation.model_validate_json((self.root / "evaluation.json").read_bytes())

    def by_role(self, engine: str) -> dict[str, str]:
        return {f.role: f.path for f in self.evaluation.files if f.engine == engine}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_encoder(tmp_path_factory.mktemp("encoder") / "model")


def _package(root: Path, experiment: TrainedExperiment) -> _Packaged:
    context = experiment.write(root)
    return _Packaged(context, package.run(context))


def _experiment(
    encoder: Path, rows: Mapping[str, Sequence[Row]], **fields: Any
) -> TrainedExperiment:
    return TrainedExperiment(encoder, rows, sharpness=30.0, **fields)


@pytest.fixture(scope="module")
def sparse(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> _Packaged:
    root = tmp_path_factory.mktemp("sparse") / "film-reviews"
    return _package(root, _experiment(encoder, _splits(_single, *_ALL)))


def test_each_engine_gets_a_file_and_what_it_is_compared_with(sparse: _Packaged) -> None:
    assert sparse.by_role("onnxruntime") == {
        "dense-fp32": "reference/dense-fp32.onnx",
        "dense-int8": "reference/onnxruntime/dense-int8.onnx",
        "sparse-int8": "deployment/model.onnx",
    }
    assert sparse.by_role("openvino") == {
        "dense-fp32": "reference/dense-fp32.onnx",
        "dense-int8": "reference/openvino/dense-int8.xml",
        "sparse-int8": "deployment/model.xml",
    }
    for file in sparse.evaluation.files:
        assert (sparse.root / file.path).is_file()
        assert file.shipped == (file.role == "sparse-int8")
    assert not (sparse.root / ".scratch").exists()


def test_sparsity_is_counted_in_each_shipped_file(sparse: _Packaged) -> None:
    shipped = [file for file in sparse.evaluation.files if file.shipped]
    assert [file.sparsity for file in shipped] == [pytest.approx(0.8, abs=0.01)] * 2
    assert sparse.results.sparsity == shipped[0].sparsity
    assert all(file.sparsity == 0 for file in sparse.evaluation.files if not file.shipped)
    layers = {layer.name for layer in sparse.evaluation.layers}
    assert "bert.encoder.layer.1.attention.self.value.weight" in layers


def test_files_agree_with_the_models_that_were_trained(sparse: _Packaged) -> None:
    for file in sparse.evaluation.files:
        assert file.label_agreement >= 0.9
        if file.role == "dense-fp32" and file.engine == "onnxruntime":
            assert file.label_agreement == 1
            assert file.largest_difference is not None
            assert file.largest_difference < 1e-4


def test_every_ratio_comes_from_the_recorded_latencies(sparse: _Packaged) -> None:
    latencies = {
        (p.engine, p.path, p.arithmetic, p.batch): p.median_ms for p in sparse.evaluation.latencies
    }
    roles = sparse.by_role("openvino")
    result = next(r for r in sparse.results.engines if (r.name, r.batch) == ("openvino", 16))
    dense = latencies["openvino", roles["dense-fp32"], "default", 16]
    assert result.speedup == round(dense / result.latency_ms, 4)
    assert result.latency_ms == latencies["openvino", roles["sparse-int8"], "default", 16]
    headline = sparse.results.headline
    assert (headline.engine, headline.batch, headline.sequence) == ("onnxruntime", 1, 32)


def test_recovery_relates_the_headline_file_to_the_baseline(sparse: _Packaged) -> None:
    metric = sparse.results.metric
    assert (metric.name, metric.split, metric.samples) == ("accuracy", "test", 90)
    file = next(f for f in sparse.evaluation.files if f.path == "deployment/model.onnx")
    assert metric.value == file.metric
    assert metric.baseline is not None
    if sparse.results.recovery is not None:
        assert sparse.results.recovery == pytest.approx(metric.value / metric.baseline, abs=1e-3)
        assert metric.interval is not None


def test_the_stage_leaves_a_report_and_names_its_artifacts(sparse: _Packaged) -> None:
    report = (sparse.root / "report.html").read_text()
    assert "film-reviews" in report
    names = {artifact.name for artifact in sparse.outcome.artifacts}
    assert {"deployment", "report", "evaluation", "model-onnxruntime", "model-openvino"} <= names
    assert sparse.outcome.provenance["engines"].keys() == {"onnxruntime", "openvino"}
    assert sparse.outcome.provenance["isa"] == sparse.results.engines[0].isa
    assert sparse.outcome.licences["onnxruntime"] == "MIT"
    assert sparse.outcome.licences["foundation"] == "Apache-2.0"


@pytest.mark.parametrize("program", ["predict.py", "predict_openvino.py"])
def test_the_deployed_program_runs_without_torch(sparse: _Packaged, program: str) -> None:
    deployment = sparse.root / "deployment"
    text = "this film was great good ."
    code = (
        "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0]);"
        "heavy = {'torch', 'transformers', 'onnx', 'sparse_transfer_runner'} & set(sys.modules);"
        "sys.exit(f'needs {heavy}' if heavy else 0)"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code, str(deployment / program), text, "bad ."],
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    scores = [json.loads(line) for line in finished.stdout.splitlines()]
    assert [set(each) for each in scores] == [{"0", "1"}] * 2
    assert all(sum(each.values()) == pytest.approx(1, abs=1e-3) for each in scores)


def test_the_deployed_program_is_short(sparse: _Packaged) -> None:
    lines = (sparse.root / "deployment" / "predict.py").read_text().splitlines()
    code = [line for line in lines if line and not line.startswith(("import", '"""'))]
    assert len(code) <= 12


def test_the_deployment_says_what_it_is(sparse: _Packaged) -> None:
    deployment = sparse.root / "deployment"
    readme = (deployment / "README.md").read_text()
    assert "A sparse INT8 model" in readme
    assert f"{sparse.results.metric.value:.4f}" in readme
    assert "| openvino" in readme
    requirements = (deployment / "requirements.txt").read_text().split()
    assert {line.partition("==")[0] for line in requirements} == {
        "numpy", "onnxruntime", "openvino", "tokenizers",
    }  # fmt: skip
    assert json.loads((deployment / "labels.json").read_text()) == ["0", "1"]
    assert (deployment / "config.json").is_file()
    assert (deployment / "tokenizer.json").is_file()


def test_a_package_is_measured_again_without_torch(sparse: _Packaged) -> None:
    _complete(sparse)
    code = (
        "import sys, pathlib; from sparse_transfer_runner.packaging.remeasure import remeasure;"
        "found = remeasure(pathlib.Path(sys.argv[1]), engines=['onnxruntime'], threads=1);"
        "assert not {'torch', 'transformers'} & set(sys.modules), 'torch was imported';"
        "print(found.engines[0].model_dump_json())"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code, str(sparse.root)], capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    again = json.loads(finished.stdout)
    assert (again["name"], again["threads"], again["sequence"]) == ("onnxruntime", 1, 32)
    assert again["metric"] == sparse.results.engines[0].metric


def test_measuring_again_takes_other_points(sparse: _Packaged) -> None:
    _complete(sparse)
    found = remeasure(
        sparse.root, engines=["openvino"], batch_sizes=[2], sequence_lengths=[8, 16], threads=1
    )
    assert [(r.batch, r.sequence) for r in found.engines] == [(2, 8), (2, 16)]
    assert found.recommended.engine == "openvino"
    assert len(found.evaluation.files) == len(sparse.evaluation.files)


def test_only_a_finished_package_can_be_measured_again(sparse: _Packaged, tmp_path: Path) -> None:
    _complete(sparse)
    with pytest.raises(InputError, match="not a finished package"):
        remeasure(tmp_path)
    with pytest.raises(InputError, match="no files for deepsparse; it has onnxruntime, openvino"):
        remeasure(sparse.root, engines=["deepsparse"])


def test_a_second_attempt_replaces_what_the_first_left(encoder: Path, tmp_path: Path) -> None:
    context = _experiment(
        encoder,
        _splits(_single, "train", "val"),
        spec={"export": {"targets": ["openvino"]}, "benchmark": {"batchSizes": [1]}},
    ).write(tmp_path / "run")
    left = context.work.path / "deployment" / "model.onnx"
    left.parent.mkdir(parents=True)
    left.write_text("of a killed attempt")
    outcome = package.run(context)
    assert not left.exists()
    assert outcome.results is not None
    assert outcome.results.metric.split == "val"
    assert outcome.results.headline.engine == "openvino"


_QUICK = {"export": {"targets": ["onnxruntime"]}, "benchmark": {"batchSizes": [1]}}


def test_at_level_0_the_baseline_is_the_product(
    encoder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    packaged = _package(
        tmp_path / "run",
        _experiment(
            encoder,
            _splits(_single, *_ALL),
            sparsity=0,
            level=0,
            quantize=False,
            spec={"benchmark": {"batchSizes": [1]}},
        ),
    )
    assert capfd.readouterr().out == "", "standard output belongs to the stage's records"
    results = packaged.results
    assert (results.recovery, results.choice_recovery) == (1, 1)
    assert results.headline.speedup == 1
    assert results.metric.value == results.metric.baseline
    assert results.sparsity == 0
    assert packaged.by_role("onnxruntime") == {"dense-fp32": "deployment/model.onnx"}
    assert packaged.by_role("openvino") == {"dense-fp32": "deployment/model.xml"}
    assert "nothing was optimized" in results.recommended.reason


def test_below_a_quarter_the_product_is_dense_int8(encoder: Path, tmp_path: Path) -> None:
    packaged = _package(
        tmp_path / "run",
        _experiment(encoder, _splits(_single, *_ALL), sparsity=0, level=0.1, spec=_QUICK),
    )
    files = packaged.evaluation.files
    assert [(f.role, f.shipped) for f in files] == [
        ("dense-fp32", False),
        ("dense-int8", False),
        ("dense-int8", True),
    ]
    assert packaged.results.recommended.file == "deployment/model.onnx"
    assert packaged.results.sparsity == 0


def test_without_a_baseline_recovery_is_unknown(encoder: Path, tmp_path: Path) -> None:
    packaged = _package(
        tmp_path / "run",
        _experiment(
            encoder,
            _splits(_single, *_ALL),
            baseline=False,
            spec={**_QUICK, "baseline": {"mode": "None"}},
        ),
    )
    results = packaged.results
    assert (results.recovery, results.choice_recovery) == (None, None)
    assert results.metric.baseline is None
    assert results.metric.interval is None
    roles = packaged.by_role("onnxruntime")
    assert roles["sparse-fp32"] == "reference/product-fp32.onnx"
    assert results.engines[0].speedup_vs_dense_int8 is None
    stand_in = next(f for f in packaged.evaluation.files if f.role == "sparse-fp32")
    assert "no dense counterpart" in stand_in.notes[0]


def test_a_given_baseline_value_gives_a_recovery(encoder: Path, tmp_path: Path) -> None:
    packaged = _package(
        tmp_path / "run",
        _experiment(
            encoder,
            _splits(_single, *_ALL),
            baseline=False,
            spec={**_QUICK, "baseline": {"mode": "Given", "value": 0.9}},
        ),
    )
    results = packaged.results
    assert results.recovery == pytest.approx(results.metric.value / 0.9, abs=1e-4)
    shipped = next(file for file in packaged.evaluation.files if file.shipped)
    assert shipped.choice_metric is not None
    assert results.choice_recovery == pytest.approx(shipped.choice_metric / 0.9, abs=1e-4)
    assert results.metric.interval is not None


def test_a_given_value_no_better_than_a_constant_says_nothing(
    encoder: Path, tmp_path: Path
) -> None:
    packaged = _package(
        tmp_path / "run",
        _experiment(
            encoder,
            _splits(_single, *_ALL),
            baseline=False,
            spec={**_QUICK, "baseline": {"mode": "Given", "value": 0.4}},
        ),
    )
    assert packaged.results.recovery is None
    assert packaged.results.metric.baseline == 0.4


def test_a_sparse_product_may_stay_in_fp32(encoder: Path, tmp_path: Path) -> None:
    packaged = _package(
        tmp_path / "run",
        _experiment(encoder, _splits(_single, *_ALL), quantize=False, spec=_QUICK),
    )
    roles = packaged.by_role("onnxruntime")
    assert roles["sparse-fp32"] == "deployment/model.onnx"
    assert "dense-int8" in roles
    assert packaged.results.sparsity == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize(
    ("row", "metric", "arguments", "labels"),
    [
        pytest.param(
            lambda text, label: {"sentence1": text, "sentence2": "what is it", "label": label},
            "accuracy",
            ["this film was good .", "what is it"],
            ["0", "1"],
            id="pairs",
        ),
        pytest.param(
            lambda text, label: {"text": text, "label": ["seen", "liked"][: 1 + label]},
            "micro_f1",
            ["this film was good ."],
            ["liked", "seen"],
            id="several labels",
        ),
        pytest.param(
            lambda text, label: {"text": text, "label": label + len(text) / 100},
            "pearson",
            ["this film was good ."],
            ["label"],
            id="regression",
        ),
    ],
)
def test_other_kinds_of_text_tasks(
    row: Callable[[str, int], Row],
    metric: str,
    arguments: list[str],
    labels: list[str],
    encoder: Path,
    tmp_path: Path,
) -> None:
    packaged = _package(tmp_path / "run", _experiment(encoder, _splits(row, *_ALL), spec=_QUICK))
    assert packaged.results.metric.name == metric
    assert all(file.label_agreement > 0.5 for file in packaged.evaluation.files)
    program = packaged.root / "deployment" / "predict.py"
    finished = subprocess.run(
        [sys.executable, str(program), *arguments], capture_output=True, text=True, check=True
    )
    [scores] = [json.loads(line) for line in finished.stdout.splitlines()]
    assert list(scores) == labels


def test_an_unknown_metric_is_refused_with_those_that_are_known(
    encoder: Path, tmp_path: Path
) -> None:
    experiment = _experiment(
        encoder, _splits(_single, *_ALL), spec={"evaluation": {"metric": "acuracy"}}
    )
    with pytest.raises(InputError, match="accuracy"):
        package.run(experiment.write(tmp_path / "run"))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        pytest.param(lambda path: path.unlink(), "cannot be read", id="missing"),
        pytest.param(lambda path: path.write_bytes(b"?"), "cannot be read", id="damaged"),
        pytest.param(
            lambda path: np.savez(path, logits=np.zeros((3, 2)), targets=np.zeros(3)),
            "holds 3 rows, but test has 90",
            id="of other rows",
        ),
    ],
)
def test_predictions_that_do_not_fit_send_train_back_to_work(
    damage: Callable[[Path], object], said: str, encoder: Path, tmp_path: Path
) -> None:
    context = _experiment(encoder, _splits(_single, *_ALL), spec=_QUICK).write(tmp_path / "run")
    damage(context.earlier["train"].path / "predictions-test.npz")
    with pytest.raises(OutputVanished, match=said):
        package.run(context)


def test_the_stage_stops_when_asked_to_and_leaves_no_scratch(encoder: Path, tmp_path: Path) -> None:
    context = _experiment(encoder, _splits(_single, *_ALL), spec=_QUICK).write(tmp_path / "run")
    context.stop.set()
    with pytest.raises(Stopped):
        package.run(context)
    assert not (context.work.path / ".scratch").exists()


def _complete(packaged: _Packaged) -> None:
    """Writes the manifest, as the runtime does."""
    if packaged.context.work.folder.manifest() is None:
        packaged.context.work.complete(
            Manifest(
                stage="package",
                key="key",
                created="2026-01-01T00:00:00Z",  # type: ignore[arg-type]
                files=[],
                results=packaged.results,
            )
        )
