"""An engine that cannot run the model is left out, and the others' results stand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.runner.tiny_models import write_tiny_encoder
from tests.runner.trained_experiment import TrainedExperiment, labelled

from sparse_transfer_runner.engines.openvino import OpenVino
from sparse_transfer_runner.engines.protocol import EngineFailed
from sparse_transfer_runner.packaging.evaluation import Evaluation
from sparse_transfer_runner.stages import package

TEXTS = ["this film was good .", "it was bad", "what a great film", "dull"]
WHY = "openvino cannot run this: its process ended with SIGSEGV"
WHEN = {
    "while its forms are tried": (".scratch", 1),
    "when its files are scored": ("deployment/model.xml", 1),
    "when it is measured": ("deployment/model.xml", 2),
}


class _Fails:
    """Makes the engine fail when a file is loaded for the n-th time."""

    def __init__(self, file: str, turn: int) -> None:
        self.file, self.turn, self.works = file, turn, OpenVino.load

    def __call__(self, engine: OpenVino, model: Path, **settings: Any) -> Any:
        if self.file in model.as_posix():
            self.turn -= 1
            if self.turn == 0:
                raise EngineFailed(WHY)
        return self.works(engine, model, **settings)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_encoder(tmp_path_factory.mktemp("encoder") / "model")


def experiment(encoder: Path, targets: list[str]) -> TrainedExperiment:
    rows = labelled(TEXTS, ["good", "bad", "good", "bad"]) * 4
    return TrainedExperiment(
        encoder,
        {"train": rows, "val": rows, "test": rows},
        sharpness=30.0,
        spec={"export": {"targets": targets}, "benchmark": {"threads": 1, "batchSizes": [1]}},
    )


def fail(monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    fails = _Fails(*WHEN[when])
    monkeypatch.setattr(OpenVino, "load", lambda *args, **settings: fails(*args, **settings))


@pytest.mark.parametrize("when", WHEN)
def test_its_failure_leaves_the_other_engines_results(
    when: str, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = experiment(encoder, ["onnxruntime", "openvino"]).write(tmp_path / "film-reviews")
    fail(monkeypatch, when)
    outcome = package.run(context)
    root = context.work.path
    assert outcome.results is not None
    assert {found.name for found in outcome.results.engines} == {"onnxruntime"}
    evaluation = Evaluation.model_validate_json((root / "evaluation.json").read_bytes())
    assert {file.engine for file in evaluation.files} == {"onnxruntime"}
    assert WHY in evaluation.notes
    assert WHY in (root / "report.html").read_text()
    assert not list(root.rglob("*.xml"))
    assert not list(root.rglob("*.bin"))
    assert "openvino" not in outcome.licences
    assert "openvino" not in (root / "deployment" / "requirements.txt").read_text()


def test_the_headlines_failure_is_the_stages(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = experiment(encoder, ["openvino", "onnxruntime"]).write(tmp_path / "film-reviews")
    fail(monkeypatch, "when it is measured")
    with pytest.raises(EngineFailed, match="SIGSEGV"):
        package.run(context)
