"""A finished train stage without the training: what package reads, from any encoder.

The dense model is the encoder with a seeded head; the product is a copy whose smallest weights are
masked, with activation scales learned by a few batches of quantization-aware forward passes.
"""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from sparse_transfer_api.contract import PLAN, TEACHER_FOLDER, Stage
from sparse_transfer_api.records import ModelSource, Plan, TrainingSettings
from sparse_transfer_api.spec import SparseTransferExperiment, parse_experiment
from sparse_transfer_runner.output import Attempt, StageFolder
from sparse_transfer_runner.progress import Reporter
from sparse_transfer_runner.quantization.fake_quantize import FakeQuantizer
from sparse_transfer_runner.sparsity.masks import Masks
from sparse_transfer_runner.sparsity.prunable import prunable_weights
from sparse_transfer_runner.stages.context import StageContext
from sparse_transfer_runner.storage.file import FilePlace
from sparse_transfer_runner.training.inference import logits_of
from sparse_transfer_runner.training.outputs import (
    HISTORY,
    MASKS,
    MODEL,
    QUANTIZATION,
    predictions_file,
)
from sparse_transfer_runner.use_cases import use_case
from sparse_transfer_runner.use_cases.protocol import EncodedSplit

USE_CASE = "nlp-sentiment_analysis"
Row = Mapping[str, Any]


@dataclass(frozen=True)
class TrainedExperiment:
    """Writes the outputs of prepare and train.

    Args:
        encoder: A Hugging Face folder with a tokenizer.
        rows: Of each split, the rows with ``text`` (or ``sentence1`` and ``sentence2``) and
            ``label``.
        sparsity: Of each Linear weight of the product; 0 for a dense one.
        level: As resolved.
        quantize: Whether the product learned scales.
        baseline: Whether a dense counterpart was trained.
        sharpness: Multiplies the head, so that answers are not near ties.
        spec: Added to the experiment's spec.
    """

    encoder: Path
    rows: Mapping[str, Sequence[Row]]
    sparsity: float = 0.8
    level: float = 0.5
    quantize: bool = True
    baseline: bool = True
    sharpness: float = 1.0
    spec: Mapping[str, Any] | None = None

    def write(self, root: Path) -> StageContext:
        """Writes everything below ``root`` and returns the package stage's context."""
        experiment = self._experiment(root)
        plan = self._plan(root, experiment)
        folders = {
            str(stage): StageFolder.on_disk(root / f"{stage}-key", str(stage), "key")
            for stage in (Stage.PREPARE, Stage.TRAIN)
        }
        prepare = folders[Stage.PREPARE].path
        prepare.mkdir()
        (prepare / PLAN).write_bytes(plan.to_json())
        use = use_case(USE_CASE)
        preprocessor = use.preprocessor(self.encoder)
        train, evaluation = (
            use.load(root / "data", plan, split, preprocessor)
            for split in ("train", plan.evaluation_split)
        )
        dense = use.build(self.encoder, plan)
        with torch.no_grad():
            dense.get_parameter("classifier.weight").mul_(self.sharpness)
        if self.baseline:
            teacher = StageFolder.on_disk(root / "teacher-key", TEACHER_FOLDER, "key")
            _write_model(teacher.path, dense, evaluation, plan, self.encoder)
            folders[TEACHER_FOLDER] = teacher
        self._write_product(
            folders[Stage.TRAIN].path, copy.deepcopy(dense), train, evaluation, plan
        )
        package = StageFolder.on_disk(root / "package-key", str(Stage.PACKAGE), "key")
        work = package.path / ".attempt-1"
        work.mkdir(parents=True)
        reporter = Reporter(Stage.PACKAGE, lambda progress: None)
        return StageContext(
            experiment,
            FilePlace(root),
            Attempt(package, 1, work),
            folders,
            reporter,
            threading.Event(),
        )

    def _experiment(self, root: Path) -> SparseTransferExperiment:
        data = root / "data"
        data.mkdir(parents=True)
        for split, rows in self.rows.items():
            lines = (json.dumps(row) for row in rows)
            (data / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
        document = {
            "apiVersion": "sparsetransfer.dev/v1alpha1",
            "kind": "SparseTransferExperiment",
            "metadata": {"name": "film-reviews"},
            "spec": {
                "useCase": USE_CASE,
                "optimLevel": self.level,
                "data": {"uri": data.as_uri()},
                "output": {"uri": root.as_uri()},
                **(self.spec or {}),
            },
        }
        return parse_experiment(document, "test")

    def _plan(self, root: Path, experiment: SparseTransferExperiment) -> Plan:
        use = use_case(USE_CASE)
        summary = use.inspect(root / "data", experiment.spec)
        preprocessor = use.preprocessor(self.encoder)
        length = use.natural_length(root / "data", summary, preprocessor)
        source = ModelSource(
            uri=self.encoder.as_uri(),
            digest="0" * 64,
            format="huggingface-safetensors",
            architecture="bert",
            sparsity=0,
            parameters=0,
        )
        settings = TrainingSettings(epochs=1, learning_rate=1e-4, batch_size=8, seed=0, recipe="")
        has_test = "test" in self.rows
        return Plan(
            use_case=USE_CASE,
            level=self.level,
            band="test",
            problem_type=summary.problem_type,
            columns={role: list(names) for role, names in summary.columns.items()},
            labels=list(summary.labels),
            splits=list(summary.splits),
            evaluation_split="test" if has_test else "val",
            choice_split="val" if has_test else "train",
            data_digest=summary.digest,
            inputs=use.input_names(summary, preprocessor),
            max_sequence_length=length[0] if length else None,
            model=source,
            dense=source,
            quantize=self.quantize,
            training=settings,
            baseline=settings if self.baseline else None,
            total_steps=1,
            expected_memory_bytes=0,
            licences={"foundation": "Apache-2.0"},
        )

    def _write_product(
        self,
        folder: Path,
        model: nn.Module,
        train: EncodedSplit,
        evaluation: EncodedSplit,
        plan: Plan,
    ) -> None:
        folder.mkdir()
        weights = prunable_weights(model)
        if self.sparsity:
            _prune(weights, self.sparsity)
            Masks.take(weights).save(folder / MASKS)
        if not self.quantize:
            _write_model(folder, model, evaluation, plan, self.encoder)
            return
        modules = {
            n.removesuffix(".weight"): model.get_submodule(n[: -len(".weight")]) for n in weights
        }
        quantizer = FakeQuantizer({n: m for n, m in modules.items() if isinstance(m, nn.Linear)})
        quantizer.attach()
        model.train()
        with torch.no_grad():
            for start in range(0, min(len(train), 64), 16):
                rows = range(start, min(start + 16, len(train)))
                batch = train.collate(rows)
                model(**{name: torch.as_tensor(values) for name, values in batch.items()})
        quantizer.observing = False
        np.savez(
            folder / predictions_file(plan.evaluation_split),
            logits=logits_of(model, evaluation),
            targets=evaluation.targets,
        )
        quantizer.detach()
        (folder / QUANTIZATION).write_bytes(quantizer.record().to_json())
        _save(folder, model, self.encoder)


def _write_model(
    folder: Path, model: nn.Module, evaluation: EncodedSplit, plan: Plan, encoder: Path
) -> None:
    folder.mkdir(exist_ok=True)
    logits = logits_of(model, evaluation)
    np.savez(
        folder / predictions_file(plan.evaluation_split), logits=logits, targets=evaluation.targets
    )
    _save(folder, model, encoder)


def _save(folder: Path, model: nn.Module, encoder: Path) -> None:
    use = use_case(USE_CASE)
    use.save(model.eval(), folder / MODEL)
    use.preprocessor(encoder).save(folder / MODEL)
    (folder / HISTORY).write_text(json.dumps([{"phase": "transfer", "step": 1, "epoch": 1.0}]))


@torch.no_grad()
def _prune(weights: Mapping[str, nn.Parameter], sparsity: float) -> None:
    """Zeroes the smallest weights of each layer."""
    for weight in weights.values():
        count = int(sparsity * weight.numel())
        weight.view(-1)[weight.abs().flatten().argsort()[:count]] = 0


def labelled(texts: Sequence[str], labels: Sequence[object]) -> list[Row]:
    """Returns rows of single texts."""
    return [{"text": text, "label": label} for text, label in zip(texts, labels, strict=True)]
