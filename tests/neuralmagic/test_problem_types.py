"""SparseML trains for one label, for several labels and for a value, with the native losses."""

from __future__ import annotations

import json
import random
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("sparseml", reason="make test-neuralmagic")

from tests.neuralmagic.tiny_experiment import TinyExperiment
from tests.runner.tiny_models import random_batch, tiny_classifier
from tests.runner.tiny_sources import BAD, GOOD

from sparse_transfer_runner.neuralmagic.backend import SparseMlBackend
from sparse_transfer_runner.recipes import SPARSEML, parse_recipe
from sparse_transfer_runner.training.backend import NativeBackend, Teacher
from sparse_transfer_runner.training.distillation import (
    PROBLEM_MULTI,
    PROBLEM_REGRESSION,
    PROBLEM_SINGLE,
    task_loss,
)

DISTILLATION = """
modifiers:
  - !EpochRangeModifier {start_epoch: 0.0, end_epoch: 2.0}
  - !SetLearningRateModifier {start_epoch: 0.0, learning_rate: 0.1}
  - !DistillationModifier {hardness: 0.9, temperature: 2.0}
"""
TARGETS = {
    PROBLEM_SINGLE: torch.tensor([0, 1, 2, 1]),
    PROBLEM_MULTI: torch.tensor([[1.0, 0, 1], [0, 0, 1], [1, 1, 0], [0, 1, 0]]),
    PROBLEM_REGRESSION: torch.tensor([0.1, 2.0, -1.0, 0.5]),
}


@pytest.mark.parametrize(("problem", "targets"), TARGETS.items(), ids=TARGETS)
def test_both_backends_have_the_same_loss(problem: str, targets: Tensor) -> None:
    labels = 1 if problem == PROBLEM_REGRESSION else 3
    student, teacher = (tiny_classifier(seed, labels) for seed in (0, 1))
    with torch.no_grad():
        teacher.get_parameter("classifier.weight").mul_(100)
    batch, rows = random_batch(2, rows=4), torch.arange(4)
    native = NativeBackend(
        student, parse_recipe(DISTILLATION), problem, teacher=Teacher(teacher, nullcontext)
    )
    recipe = parse_recipe(DISTILLATION, backend=SPARSEML)
    sparseml = SparseMlBackend(student, recipe, problem, steps_per_epoch=4, teacher=teacher)
    sparseml.begin(torch.optim.SGD(student.parameters(), lr=0.1))
    for backend in (native, sparseml):
        backend.enter(0.0)
    with torch.no_grad():
        expected, got = (each.loss(batch, targets, rows) for each in (native, sparseml))
        alone = task_loss(student(**batch).logits, targets, problem)
    assert float(got) == pytest.approx(float(expected), rel=1e-4)
    assert abs(float(got) - float(alone)) > 0.05


def labels_of(text: list[str], telling: str) -> list[str]:
    tone = "positive" if telling in GOOD else "negative"
    return [tone, "about a film"] if "film" in text else [tone]


def score_of(_: list[str], telling: str) -> float:
    return 0.5 + 0.1 * ([*BAD, *GOOD].index(telling) - 2)


KINDS = {
    "several labels a row": (PROBLEM_MULTI, labels_of),
    "a value a row": (PROBLEM_REGRESSION, score_of),
}


def write_rows(folder: Path, target: Any) -> Path:
    """Writes reviews of which one word tells nearly all."""
    folder.mkdir()
    words = random.Random(0)
    for split, count in (("train", 120), ("val", 40), ("test", 40)):
        lines = []
        for _ in range(count):
            telling = words.choice([*GOOD, *BAD])
            text = words.choices(("a", "film", "it", "the", "this"), k=words.randint(2, 8))
            row = {"text": " ".join([*text, telling]), "label": target(text, telling)}
            lines.append(json.dumps(row))
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.parametrize(("problem", "target"), KINDS.values(), ids=KINDS)
def test_a_whole_training_works(problem: str, target: Any, sources: Path) -> None:
    data = write_rows(sources / f"data-{problem}", target)
    trained = TinyExperiment(
        sources,
        "SparseML",
        name=problem.replace("_", "-"),
        spec={"data": {"uri": data.as_uri()}},
    ).trained()
    assert trained.plan.problem_type == problem
    assert trained.plan.training.backend == SPARSEML
    for name, mask in trained.masks.items():
        assert torch.equal(trained.weights[name] != 0, mask.bool()), name
    (score,) = trained.headline.values()
    assert score is not None
    assert score > 0.7
