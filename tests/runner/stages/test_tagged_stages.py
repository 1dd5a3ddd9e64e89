"""An experiment on tagged words through its three stages: a tiny encoder, real engines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.runner.tiny_sources import write_sentences
from tests.runner.tiny_tagged import TAGS, write_tagged, write_tiny_tagger

from sparse_transfer_api.contract import Stage
from sparse_transfer_api.errors import InputError
from sparse_transfer_api.records import Manifest, Plan
from sparse_transfer_api.spec import parse_experiment
from sparse_transfer_runner.packaging.evaluation import Evaluation
from sparse_transfer_runner.progress import Reporter
from sparse_transfer_runner.stages.runtime import StageRun
from sparse_transfer_runner.upstream import UpstreamOptions, make_foundation
from sparse_transfer_runner.use_cases.protocol import IGNORED
from sparse_transfer_runner.use_cases.tagging import entities

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dense encoder, a foundation made from it, and tagged sentences."""
    root = tmp_path_factory.mktemp("sources")
    write_tagged(root / "data", rows=160)
    write_sentences(root / "sentences.txt")
    make_foundation(
        UpstreamOptions(
            model=write_tiny_tagger(root / "dense", root / "data").as_uri(),
            data=root / "sentences.txt",
            output=root / "foundation",
            sparsity=0.5,
            calibration_rows=96,
            recovery_steps=0,
        ),
        Reporter(Stage.PREPARE, lambda _: None),
    )
    return root


def run(stage: Stage, sources: Path, output: Path, **more: Any) -> None:
    experiment = parse_experiment(
        {
            "apiVersion": "sparsetransfer.dev/v1alpha1",
            "kind": "SparseTransferExperiment",
            "metadata": {"name": "words"},
            "spec": {
                "useCase": "ner",
                "data": {"uri": (sources / "data").as_uri()},
                "model": {"uri": (sources / "foundation").as_uri()},
                "output": {"uri": output.as_uri()},
                "training": {"epochs": 6, "batchSize": 16, "learningRate": 0.003},
                "export": {"targets": ["onnxruntime", "openvino"]},
                "benchmark": {"batchSizes": [1]},
                **more,
            },
        },
        "test",
    )
    StageRun(experiment, stage, Reporter(stage, lambda _: None), threading.Event()).execute()


@pytest.fixture(scope="module")
def finished(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("runs")
    for stage in (Stage.PREPARE, Stage.TRAIN, Stage.PACKAGE):
        run(stage, sources, output)
    return output


def folder(output: Path, stage: str) -> Path:
    (found,) = (output / "default" / "words").glob(f"{stage}-*")
    return found


def manifest(output: Path) -> Manifest:
    return Manifest.model_validate_json((folder(output, "package") / "manifest.json").read_bytes())


def ran(output: Path, program: str, *texts: str) -> subprocess.CompletedProcess[str]:
    """Runs a deployed program, in a process that does not know the runner."""
    done = subprocess.run(
        [sys.executable, str(folder(output, "package") / "deployment" / program), *texts],
        env=dict(os.environ) | {"PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done


def printed(output: Path, program: str, *texts: str) -> list[list[dict[str, Any]]]:
    """Returns the entities of each text that a deployed program prints."""
    return [json.loads(line) for line in ran(output, program, *texts).stdout.splitlines()]


def test_words_get_a_sparse_int8_tagger_as_good_as_its_dense_self(finished: Path) -> None:
    results = manifest(finished).results

    assert results is not None
    assert results.metric.name == "f1"
    assert results.metric.samples == 40
    assert results.metric.value > 0.9
    assert results.recovery is not None and results.recovery > 0.9
    assert results.metric.interval is not None
    assert results.sparsity == pytest.approx(0.5, abs=0.02)
    assert {engine.name for engine in results.engines} == {"onnxruntime", "openvino"}


def measured(finished: Path) -> Evaluation:
    """Returns what package measured of each file."""
    return Evaluation.model_validate_json(
        (folder(finished, "package") / "evaluation.json").read_bytes()
    )


def test_what_a_search_chooses_by_is_measured_on_rows_that_are_not_reported(finished: Path) -> None:
    results = manifest(finished).results
    scored = {
        file.role: file.choice_metric
        for file in measured(finished).files
        if file.engine == "onnxruntime"
    }

    dense, shipped = scored["dense-fp32"], scored["sparse-int8"]
    assert dense and shipped
    assert results is not None
    assert results.choice_recovery == pytest.approx(shipped / dense, abs=1e-3)


def test_every_file_gives_the_trained_models_tags(finished: Path) -> None:
    files = measured(finished).files

    assert len(files) >= 4
    for file in files:
        assert file.label_agreement > 0.95, file.path


def test_the_share_of_words_without_an_answer_is_recorded(finished: Path) -> None:
    plan = Plan.model_validate_json((folder(finished, "prepare") / "plan.json").read_bytes())
    recorded = json.loads((folder(finished, "train") / "evaluation.json").read_bytes())

    assert plan.labels == list(TAGS)
    assert plan.truncated_share == 0
    assert recorded["metrics"]["unseen_words"] == 0
    assert set(recorded["metrics"]) == {"f1", "precision", "recall", "accuracy", "unseen_words"}


def test_outputs_beyond_a_sentence_are_left_out_of_what_is_compared(finished: Path) -> None:
    with np.load(folder(finished, "train") / "predictions-test.npz") as saved:
        logits, targets = saved["logits"], saved["targets"]

    assert logits.shape == (*targets.shape, len(TAGS))
    lengths = [int(np.flatnonzero(row != IGNORED).max()) + 2 for row in targets]
    assert all(not row[length:].any() for row, length in zip(logits, lengths, strict=True))


@pytest.mark.parametrize("program", ["predict.py", "predict_openvino.py"])
def test_the_deployed_programs_print_the_entities_of_a_text(finished: Path, program: str) -> None:
    text = "  The film was fine good. It is bad"

    found, nothing = printed(finished, program, text, "")

    assert nothing == []
    assert [(each["label"], each["text"]) for each in found] == [
        ("good", "fine good"),
        ("bad", "bad"),
    ]
    for each in found:
        assert text[each["start"] : each["end"]] == each["text"]
        assert 0.3 < each["score"] <= 1


def test_the_deployed_program_scores_on_the_datas_words_as_reported(
    finished: Path, sources: Path
) -> None:
    rows = list(map(json.loads, (sources / "data" / "test.jsonl").read_text().splitlines()))
    found: set[tuple[int, str, str, int]] = set()
    true: set[tuple[int, str, str, int]] = set()

    answers = printed(finished, "predict.py", *(json.dumps(row["tokens"]) for row in rows))

    for number, (row, answer) in enumerate(zip(rows, answers, strict=True)):
        found |= {(number, each["label"], each["text"], each["start"]) for each in answer}
        for kind, first, last in entities(row["ner_tags"]):
            start = len("".join(f"{word} " for word in row["tokens"][:first]))
            true.add((number, kind, " ".join(row["tokens"][first : last + 1]), start))
    results = manifest(finished).results
    assert results is not None
    f1 = 2 * len(found & true) / (len(found) + len(true))
    assert f1 == pytest.approx(results.metric.value, abs=0.02)


def test_the_deployed_program_says_what_it_cuts(finished: Path) -> None:
    assert ran(finished, "predict.py", "It was good").stderr == ""

    done = ran(finished, "predict.py", "It was good " + "film " * 100)

    assert done.stderr.startswith("beyond ")
    assert " tokens nothing is read of: It was good film" in done.stderr
    assert [each["text"] for each in json.loads(done.stdout)] == ["good"]


def test_without_prefixes_the_program_tags_every_word(sources: Path, tmp_path: Path) -> None:
    data = write_tagged(tmp_path / "data", rows=40, prefixes=False)
    more = {"training": {"epochs": 1}, "export": {"targets": ["onnxruntime"]}}
    for stage in (Stage.PREPARE, Stage.TRAIN, Stage.PACKAGE):
        run(
            stage,
            sources,
            tmp_path,
            useCase="token-classification",
            data={"uri": data.as_uri()},
            model={"uri": (sources / "dense").as_uri()},
            optimLevel=0,
            **more,
        )

    text = "It was good."
    (found,) = printed(tmp_path, "predict.py", text)

    assert [each["text"] for each in found] == ["It", "was", "good", "."]
    assert {each["label"] for each in found} <= {"bad", "good", "other"}
    assert all(text[each["start"] : each["end"]] == each["text"] for each in found)


def test_words_of_different_number_than_tags_end_prepare(sources: Path, tmp_path: Path) -> None:
    data = write_tagged(tmp_path / "data")
    with (data / "val.jsonl").open("a") as file:
        file.write('{"tokens": ["a", "film"], "ner_tags": ["O"]}\n')

    with pytest.raises(InputError, match="1 problem") as caught:
        run(Stage.PREPARE, sources, tmp_path / "runs", data={"uri": data.as_uri()})

    assert caught.value.problems[0].line == 41
