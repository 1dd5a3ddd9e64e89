"""The train stage of a real model in a process that may not hold its whole batch."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.runner.tiny_models import WORDS
from transformers import BertConfig, BertModel, BertTokenizerFast

from sparse_transfer_api.contract import ENV_EXPERIMENT, ENV_TERMINATION_LOG
from sparse_transfer_api.records import StageResult

BATCH, TOKENS = 128, 120
MIB = 1 << 20
UNLIMITED = 1 << 44
BELOW_A_BATCH = 200 * MIB
"""A batch takes some 500 MiB for its backward pass, a quarter of it 130."""


@dataclass(frozen=True)
class Ended:
    """How a stage ended."""

    result: StageResult
    progress: list[dict[str, Any]]
    log: str


@dataclass(frozen=True)
class Experiment:
    """An experiment at level 0: the dense model, fine-tuned."""

    root: Path
    sources: Path

    def run(self, stage: str, allowance: int = UNLIMITED) -> Ended:
        document = {
            "apiVersion": "sparsetransfer.dev/v1alpha1",
            "kind": "SparseTransferExperiment",
            "metadata": {"name": "long-texts"},
            "spec": {
                "useCase": "sentiment",
                "optimLevel": 0,
                "data": {"uri": (self.sources / "data").as_uri()},
                "model": {"uri": (self.sources / "model").as_uri()},
                "output": {"uri": (self.root / "runs").as_uri()},
                "training": {"batchSize": BATCH, "epochs": 1, "seed": 1, "precision": "Fp32"},
                "export": {"targets": ["onnxruntime"]},
                "benchmark": {"batchSizes": [1], "threads": 1},
            },
        }
        done = subprocess.run(
            [sys.executable, "-m", "tests.runner.limited_runner", str(allowance), stage],
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                ENV_EXPERIMENT: json.dumps(document),
                ENV_TERMINATION_LOG: str(self.root / "termination-log"),
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        records = [json.loads(line) for line in done.stdout.splitlines()]
        assert records, done.stderr
        result = StageResult.model_validate(records[-1])
        assert done.returncode == result.exit_code
        return Ended(result, records[:-1], done.stderr)

    def read(self, stage: str, name: str) -> str:
        (path,) = (self.root / "runs" / "default" / "long-texts").glob(f"{stage}-*/{name}")
        return path.read_text()


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Long texts, and a BERT whose activations are many times its weights."""
    root = tmp_path_factory.mktemp("sources")
    words = random.Random(0)
    (root / "data").mkdir()
    for split, count in (("train", 2 * BATCH), ("val", 8), ("test", 8)):
        lines = ["text,label"]
        for _ in range(count):
            label = words.choice(("negative", "positive"))
            text = words.choices(("a", "film", "it", "the", "this"), k=TOKENS - 3)
            text.insert(words.randrange(8), "good" if label == "positive" else "bad")
            lines.append(f"{' '.join(text)},{label}")
        (root / "data" / f"{split}.csv").write_text("\n".join(lines) + "\n")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=512,
        max_position_embeddings=128,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    BertModel(config).save_pretrained(root / "model")
    (root / "model" / "vocab.txt").write_text("\n".join(WORDS))
    tokenizer = BertTokenizerFast(vocab=str(root / "model" / "vocab.txt"))
    tokenizer.save_pretrained(root / "model")
    return root


def test_a_batch_that_does_not_fit_is_worked_on_in_parts_to_the_same_result(
    tmp_path: Path, sources: Path
) -> None:
    whole, parts = (Experiment(tmp_path / name, sources) for name in ("whole", "parts"))
    for experiment in (whole, parts):
        experiment.root.mkdir()
        assert experiment.run("prepare").result.outcome == "Succeeded"
    plain = whole.run("train").result
    assert "memory" not in plain.message
    ended = parts.run("train", BELOW_A_BATCH)
    assert ended.result.outcome == "Succeeded", ended.log
    expected = json.loads(whole.read("train", "history.json"))
    found = json.loads(parts.read("train", "history.json"))
    assert [point["step"] for point in found] == [point["step"] for point in expected]
    for one, other in zip(found, expected, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-3)
    sizes = {point.get("microBatch") for point in found}
    assert len(sizes) == 1
    (size,) = sizes
    assert size in (16, 32, 64)
    told = f"batches of {BATCH} rows were worked on {size} at a time"
    assert told in ended.result.message
    assert "out of memory with 128 rows at once" in ended.log
    assert any(each["metrics"].get("microBatch") == size for each in ended.progress)
    packaged = parts.run("package").result
    assert packaged.outcome == "Succeeded", packaged.message
    assert told in parts.read("package", "report.html")
