"""The train stage, ended at any point of its work and run again."""

from __future__ import annotations

import json
import random
import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.runner.tiny_models import WORDS, write_tiny_encoder
from tests.runner.training.small_run import Killed

from sparse_transfer_api.contract import Stage
from sparse_transfer_api.errors import InputError, Stopped
from sparse_transfer_api.records import Manifest, Progress
from sparse_transfer_api.spec import parse_experiment
from sparse_transfer_runner.digests import digest_of_tree
from sparse_transfer_runner.progress import Reporter
from sparse_transfer_runner.stages.runtime import StageRun
from sparse_transfer_runner.training.memory_notes import MemoryNote
from sparse_transfer_runner.upstream import UpstreamOptions, make_foundation

Point = tuple[str, int]
"""An activity, and how many of its steps are done."""
START = "least-squares start"
GOOD, BAD = ("fine", "good", "great"), ("bad", "dull", "poor")


@dataclass
class Experiment:
    """An experiment in a folder, and ways to end its stages."""

    root: Path
    spec: dict[str, Any]

    def run(self, stage: Stage, ended: Callable[[Progress], None] = lambda _: None) -> list[Point]:
        """Runs a stage; returns the steps that were done.

        Args:
            stage: Which one.
            ended: Sees every step, and may end the stage by raising.
        """
        seen: list[Point] = []

        def note(progress: Progress) -> None:
            seen.append((progress.activity, progress.step or 0))
            ended(progress)

        self._execute(stage, note, threading.Event())
        return seen

    def stop_at(self, point: Point) -> None:
        """Asks the train stage to stop once a point is reached."""
        stop = threading.Event()

        def note(progress: Progress) -> None:
            if (progress.activity, progress.step) == point:
                stop.set()

        with pytest.raises(Stopped):
            self._execute(Stage.TRAIN, note, stop)
        assert stop.is_set()

    def kill_at(self, point: Point) -> None:
        """Ends the train stage, without its knowing, once a point is reached."""

        def note(progress: Progress) -> None:
            if (progress.activity, progress.step) == point:
                raise Killed

        with pytest.raises(Killed):
            self.run(Stage.TRAIN, note)

    def trained(self) -> dict[str, Any]:
        """Returns what distinguishes one result of training from another."""
        return {
            stage: {
                "model": digest_of_tree(self.folder(stage) / "model"),
                "history": json.loads((self.folder(stage) / "history.json").read_text()),
                "metrics": json.loads((self.folder(stage) / "evaluation.json").read_text()),
            }
            for stage in ("teacher", "train")
        }

    def folder(self, stage: str) -> Path:
        (folder,) = (self.root / "runs" / "default" / "tiny").glob(f"{stage}-*")
        return folder

    def checkpoints(self, stage: str) -> list[str]:
        return sorted(path.name for path in (self.folder(stage) / "checkpoints").glob("*.pt"))

    def _execute(
        self, stage: Stage, sink: Callable[[Progress], None], stop: threading.Event
    ) -> None:
        experiment = parse_experiment(
            {
                "apiVersion": "sparsetransfer.dev/v1alpha1",
                "kind": "SparseTransferExperiment",
                "metadata": {"name": "tiny"},
                "spec": self.spec,
            },
            "test",
        )
        seconds = iter(range(1_000_000))
        reporter = Reporter(stage, sink, clock=lambda: float(next(seconds)))
        StageRun(experiment, stage, reporter, stop).execute()


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dense encoder of three layers, a foundation made from it, and reviews."""
    root = tmp_path_factory.mktemp("sources")
    words = random.Random(0)
    (root / "data").mkdir()
    for split, count in (("train", 80), ("val", 40), ("test", 40)):
        lines = ["text,label"]
        for _ in range(count):
            label = words.choice(("negative", "positive"))
            text = words.choices(("a", "film", "it", "the", "this"), k=words.randint(2, 8))
            text.insert(words.randrange(8), words.choice(GOOD if label == "positive" else BAD))
            lines.append(f"{' '.join(text)},{label}")
        (root / "data" / f"{split}.csv").write_text("\n".join(lines) + "\n")
    sentences = [" ".join(words.choices(WORDS[5:], k=8)) for _ in range(400)]
    (root / "sentences.txt").write_text("\n".join(sentences))
    make_foundation(
        UpstreamOptions(
            model=write_tiny_encoder(root / "dense", layers=3).as_uri(),
            data=root / "sentences.txt",
            output=root / "foundation",
            sparsity=0.5,
            calibration_rows=96,
            recovery_steps=0,
        ),
        Reporter(Stage.PREPARE, lambda _: None),
    )
    return root


def prepared(root: Path, sources: Path, foundation: Path | None = None) -> Experiment:
    experiment = Experiment(
        root,
        {
            "useCase": "sentiment",
            "data": {"uri": (sources / "data").as_uri()},
            "model": {"uri": (foundation or sources / "foundation").as_uri()},
            "output": {"uri": (root / "runs").as_uri()},
            "training": {"batchSize": 8, "seed": 1, "precision": "Fp32", "epochs": 2},
            "runPolicy": {"checkpointIntervalSteps": 3},
        },
    )
    experiment.run(Stage.PREPARE)
    return experiment


@pytest.fixture
def experiment(tmp_path: Path, sources: Path) -> Experiment:
    return prepared(tmp_path, sources)


@pytest.fixture(scope="module")
def unstopped(tmp_path_factory: pytest.TempPathFactory, sources: Path) -> dict[str, Any]:
    """What a run leaves that was never stopped."""
    whole = prepared(tmp_path_factory.mktemp("whole"), sources)
    whole.run(Stage.TRAIN)
    assert whole.checkpoints("train") == whole.checkpoints("teacher") == []
    return whole.trained()


@pytest.mark.parametrize(
    "endings",
    [
        [(Experiment.stop_at, ("baseline", 1)), (Experiment.kill_at, ("baseline", 7))],
        [(Experiment.stop_at, (START, 1)), (Experiment.kill_at, (START, 2))],
        [(Experiment.stop_at, ("teacher", 1)), (Experiment.kill_at, ("teacher", 1))],
        [
            (Experiment.kill_at, ("transfer", 1)),
            (Experiment.stop_at, ("transfer", 10)),
            (Experiment.stop_at, ("transfer", 16)),
            (Experiment.kill_at, ("transfer", 20)),
        ],
    ],
    ids=lambda endings: endings[0][1][0],
)
def test_training_goes_on_wherever_it_ended(
    experiment: Experiment,
    unstopped: dict[str, Any],
    endings: Sequence[tuple[Callable[[Experiment, Point], None], Point]],
) -> None:
    for end, point in endings:
        end(experiment, point)
    experiment.run(Stage.TRAIN)
    assert experiment.trained() == unstopped
    assert experiment.checkpoints("train") == []


def test_a_stop_in_the_teachers_pass_leaves_the_start_that_was_solved_for(
    experiment: Experiment,
) -> None:
    experiment.stop_at(("teacher", 1))
    assert experiment.checkpoints("train") == ["start-00000003-attempt-1.pt"]
    experiment.stop_at(("teacher", 1))
    with_the_start_taken_over = experiment.run(Stage.TRAIN)
    assert (START, 1) not in with_the_start_taken_over


def test_an_attempt_after_a_kill_for_memory_trains_in_parts_and_says_so(
    experiment: Experiment, unstopped: dict[str, Any]
) -> None:
    experiment.kill_at(("baseline", 1))
    note = MemoryNote(halvings=0, used_bytes=95, limit_bytes=100)
    (experiment.folder("train") / "attempts" / "1-memory.json").write_bytes(note.to_json())
    experiment.run(Stage.TRAIN)
    trained = experiment.trained()
    for stage in ("teacher", "train"):
        points = trained[stage]["history"]
        assert {point["microBatch"] for point in points} == {4}
        wanted = [point["step"] for point in unstopped[stage]["history"]]
        assert [point["step"] for point in points] == wanted
    manifest = Manifest.model_validate_json(
        (experiment.folder("train") / "manifest.json").read_bytes()
    )
    assert manifest.result is not None
    assert "batches of 8 rows were worked on 4 at a time" in manifest.result.message


@pytest.mark.parametrize("change", ["edited", "deleted"])
def test_data_that_changed_since_prepare_is_refused_by_name(
    experiment: Experiment, sources: Path, change: str
) -> None:
    own = experiment.root / "data"
    shutil.copytree(sources / "data", own)
    experiment.spec["data"]["uri"] = own.as_uri()
    experiment.run(Stage.PREPARE)
    changed = own / "val.csv"
    if change == "edited":
        # A label that prepare never saw, and a column less, would fail in other words.
        changed.write_text("text\nfine\n")
    else:
        changed.unlink()
    with pytest.raises(InputError) as refused:
        experiment.run(Stage.TRAIN)
    assert "spec.data.revision" in str(refused.value)
    assert [problem.where for problem in refused.value.problems] == [str(changed)]


def test_a_foundation_of_blocks_is_transferred_in_blocks(tmp_path: Path, sources: Path) -> None:
    foundation = tmp_path / "foundation"
    make_foundation(
        UpstreamOptions(
            model=(sources / "dense").as_uri(),
            data=sources / "sentences.txt",
            output=foundation,
            pattern="block4",
            calibration_rows=96,
            recovery_steps=0,
        ),
        Reporter(Stage.PREPARE, lambda _: None),
    )
    weights = load_file(foundation / "model.safetensors")
    name = "encoder.layer.0.output.dense.weight"
    blocks = weights[name].unflatten(1, (-1, 4)) != 0
    row, block = blocks.all(2).nonzero()[0].tolist()
    weights[name][row, 4 * block] = 0  # as training may leave it in the middle of a block
    save_file(weights, foundation / "model.safetensors", {"format": "pt"})
    experiment = prepared(tmp_path, sources, foundation)
    experiment.run(Stage.TRAIN)
    mask = load_file(experiment.folder("train") / "masks.safetensors")[f"bert.{name}"]
    assert torch.equal(
        mask.unflatten(1, (-1, 4)).bool(), blocks.all(2, keepdim=True).expand(-1, -1, 4)
    )
    trained = load_file(experiment.folder("train") / "model" / "model.safetensors")[f"bert.{name}"]
    assert torch.equal(trained != 0, mask.bool()), "the rest of the block learns"
