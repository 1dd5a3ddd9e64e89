"""What a recorded result says, of manifests in which only the essential stands."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from tests.runner.audit.recorded_experiment import EXPERIMENT, Written, write_results

from sparse_transfer_api.contract import Stage
from sparse_transfer_api.errors import OutputVanished
from sparse_transfer_api.keys import planned_digests
from sparse_transfer_api.records import StageResult
from sparse_transfer_api.spec import Output, SparseTransferExperiment
from sparse_transfer_runner.progress import Reporter
from sparse_transfer_runner.stages.context import plan_in
from sparse_transfer_runner.stages.runtime import StageRun
from sparse_transfer_runner.storage.file import FilePlace


@pytest.fixture
def experiment(tmp_path: Path) -> SparseTransferExperiment:
    output = Output(uri=(tmp_path / "runs").as_uri())
    spec = EXPERIMENT.spec.model_copy(update={"output": output})
    return EXPERIMENT.model_copy(update={"spec": spec})


@pytest.fixture
def written(experiment: SparseTransferExperiment, tmp_path: Path) -> Written:
    return write_results(FilePlace(tmp_path / "runs"), experiment.spec)


def recorded(experiment: SparseTransferExperiment, stage: Stage) -> StageResult:
    """Returns what a Job gets that only asks for the record."""
    reporter = Reporter(stage, lambda _: None)
    stop = threading.Event()
    result = StageRun(experiment, stage, reporter, stop, recorded_only=True).execute()
    assert result.recorded
    return StageResult.from_termination_message(result.to_termination_message())


def test_prepare_says_again_what_it_resolved(
    experiment: SparseTransferExperiment, written: Written
) -> None:
    resolved = recorded(experiment, Stage.PREPARE).resolved
    plan = plan_in(written.prepare)
    assert resolved is not None
    assert (resolved.use_case, resolved.level, resolved.band) == (
        "nlp-sentiment_analysis",
        0.5,
        "MediumSparseInt8",
    )
    assert resolved.model == plan.model.uri
    assert resolved.digests == planned_digests(plan)
    assert resolved.recipe is None, "plans of earlier versions do not say"
    settings = {"epochs": 1.5, "learningRate": 1e-4, "batchSize": 8, "seed": 0, "precision": "fp32"}
    assert settings.items() <= resolved.settings.items()
    assert settings.items() <= resolved.settings["baseline"].items()
    assert "recipe" not in resolved.settings, "its text may be long"


def test_package_gives_its_results_and_artifacts_again(
    experiment: SparseTransferExperiment, written: Written
) -> None:
    result = recorded(experiment, Stage.PACKAGE)
    manifest = written.package.manifest()
    assert manifest is not None
    assert result.results == manifest.results is not None
    assert result.artifacts == manifest.artifacts != []
    assert all("://" in artifact.uri for artifact in result.artifacts)
    assert result.manifest_uri == f"{written.package.place.uri}/manifest.json"


def test_train_has_neither(experiment: SparseTransferExperiment, written: Written) -> None:
    result = recorded(experiment, Stage.TRAIN)
    assert (result.resolved, result.results, result.artifacts) == (None, None, [])
    assert result.key == written.train.key


def test_what_is_not_recorded_has_vanished(experiment: SparseTransferExperiment) -> None:
    with pytest.raises(OutputVanished, match="no recorded result of prepare"):
        recorded(experiment, Stage.PREPARE)
