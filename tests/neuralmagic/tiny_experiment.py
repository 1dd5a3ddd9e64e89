"""An experiment on tiny sources, whose recipe runs on either backend."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from sparse_transfer_api.contract import PLAN, Stage
from sparse_transfer_api.records import Plan, Progress, StageResult
from sparse_transfer_api.spec import parse_experiment
from sparse_transfer_runner.progress import Reporter
from sparse_transfer_runner.quantization.fake_quantize import ActivationScale, QuantizationRecord
from sparse_transfer_runner.stages.runtime import StageRun

RECIPE = """
num_epochs: 6
lr: 0.01
modifiers:
  - !EpochRangeModifier {start_epoch: 0.0, end_epoch: eval(num_epochs)}
  - !LearningRateFunctionModifier
      start_epoch: 0.0
      end_epoch: eval(num_epochs)
      lr_func: linear
      init_lr: eval(lr)
      final_lr: 0.0
  - !ConstantPruningModifier {start_epoch: 0.0, params: __ALL_PRUNABLE__}
  - !QuantizationModifier
      start_epoch: eval(0.5 * num_epochs)
      disable_quantization_observer_epoch: eval(0.9 * num_epochs)
      ignore: [classifier, LayerNorm, GELUActivation, Tanh]
      scheme_overrides:
        Embedding: {input_activations: null}
  - !DistillationModifier {hardness: 0.5, temperature: 2.0, distill_output_keys: [logits]}
"""


@dataclass(frozen=True)
class TinyExperiment:
    """Stages of an experiment in this process.

    Args:
        root: Holds ``data``, ``dense`` and ``foundation``; results go below.
        backend: The spec's ``recipe.backend``.
        recipe: Inline.
        name: Experiments of one name share their baseline.
        spec: Added to the spec.
    """

    root: Path
    backend: str
    recipe: str = RECIPE
    name: str = "tiny"
    spec: Mapping[str, Any] = field(default_factory=dict)

    def run(
        self,
        stage: Stage,
        note: Callable[[Progress], None] = lambda _: None,
        stop: threading.Event | None = None,
    ) -> StageResult:
        """Runs a stage, or returns its recorded result."""
        document = {
            "apiVersion": "sparsetransfer.dev/v1alpha1",
            "kind": "SparseTransferExperiment",
            "metadata": {"name": self.name},
            "spec": {
                "useCase": "sentiment",
                "optimLevel": 0.5,
                "data": {"uri": (self.root / "data").as_uri()},
                "model": {"uri": (self.root / "foundation").as_uri()},
                "output": {"uri": (self.root / "runs").as_uri()},
                "recipe": {"inline": self.recipe, "backend": self.backend},
                "training": {"batchSize": 16, "precision": "Fp32"},
                **self.spec,
            },
        }
        experiment = parse_experiment(document, "test")
        seconds = iter(range(1_000_000))
        reporter = Reporter(stage, note, clock=lambda: float(next(seconds)))
        return StageRun(experiment, stage, reporter, stop or threading.Event()).execute()

    def trained(self) -> Trained:
        """Prepares and trains; returns what came out."""
        prepared = self.run(Stage.PREPARE)
        train = self.run(Stage.TRAIN)
        return Trained(self._folder(prepared), self._folder(train), dict(train.headline))

    def _folder(self, result: StageResult) -> Path:
        return self.root / "runs" / "default" / self.name / f"{result.stage}-{result.key}"


@dataclass(frozen=True)
class Trained:
    """The outcome of training.

    Args:
        prepare: The stage's folder.
        train: The stage's folder.
        headline: What train says of itself.
    """

    prepare: Path
    train: Path
    headline: Mapping[str, float | None]

    @property
    def plan(self) -> Plan:
        """What prepare decided."""
        return Plan.model_validate_json((self.prepare / PLAN).read_bytes())

    @property
    def masks(self) -> dict[str, Tensor]:
        """By parameter name; 1 where kept."""
        return load_file(self.train / "masks.safetensors")

    @property
    def scales(self) -> dict[str, ActivationScale]:
        """By module name, as learned."""
        record = (self.train / "quantization.json").read_bytes()
        return QuantizationRecord.model_validate_json(record).modules

    @property
    def weights(self) -> dict[str, Tensor]:
        """Of the product."""
        return load_file(self.train / "model" / "model.safetensors")
