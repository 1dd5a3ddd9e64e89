"""Makes the files of an experiment: what is shipped, and what it is compared with.

``deployment/`` holds the product for each engine; ``reference/`` the dense fp32 file and each
engine's dense INT8 file, so that anybody can measure again on another machine.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from sparse_transfer_runner.engines.cpu import instruction_set
from sparse_transfer_runner.engines.forms import Form
from sparse_transfer_runner.engines.protocol import Engine, LayerTime, Quantizable, TimesLayers
from sparse_transfer_runner.use_cases.protocol import Batch

from .evaluation import LayerKernel, Role
from .layer_kernels import fp32_notes, kernel_notes, layer_kernels
from .selection import Candidate, Selection
from .task import PackageTask, TrainedModel

DEPLOYMENT = "deployment"
REFERENCE = "reference"
_DENSE = "dense-fp32.onnx"
_PRODUCT = "product-fp32.onnx"


@dataclass(frozen=True)
class KeptFile:
    """A file that stays, not yet scored on the reported rows.

    Args:
        engine: The engine that it is for.
        path: Its main file, below the package stage's folder.
        role: What it is.
        form: How it computes, as reports show it.
        model: The trained model that it was made from.
        choice_metric: Primary metric on the choice rows.
        keeps_accuracy: Whether the trained model's accuracy is kept on the choice rows.
        shipped: Whether users take it away.
        notes: What must be said about it.
        kernels: How its layers are computed, where the engine can leave zeros out.
    """

    engine: Engine
    path: str
    role: Role
    form: str
    model: TrainedModel
    choice_metric: float
    keeps_accuracy: bool = True
    shipped: bool = False
    notes: tuple[str, ...] = ()
    kernels: tuple[LayerKernel, ...] = ()


@dataclass(frozen=True)
class FileMaker:
    """Makes files in the package stage's folder.

    Args:
        task: The experiment's task.
        root: The package stage's folder.
        scratch: For what does not stay.
        threads: Of the engines.
        example: Inputs at the headline's point.
    """

    task: PackageTask
    root: Path
    scratch: Path
    threads: int
    example: Batch

    def exported(self) -> tuple[TrainedModel, TrainedModel | None]:
        """Exports product and baseline as fp32 ONNX, and returns them."""
        product, baseline = self.task.product(), self.task.baseline()
        (self.root / REFERENCE).mkdir(parents=True)
        (self.root / DEPLOYMENT).mkdir()
        product.export(self._source(product))
        if baseline is not None:
            self.task.context.raise_if_stopped()
            baseline.export(self._source(baseline))
        return product, baseline

    def files(
        self, engine: Engine, product: TrainedModel, baseline: TrainedModel | None
    ) -> Iterator[KeptFile]:
        """Yields an engine's files, each as soon as it is made.

        Args:
            engine: The engine.
            product: Exported.
            baseline: Exported; None where the product has no dense counterpart.
        """
        quantize = self.task.plan.quantize
        sparse = has_zeros(product)
        if baseline is not None:
            yield self._reference(engine, baseline, "dense-fp32")
            yield self._int8(engine, baseline, "dense-int8", shipped=False)
        elif quantize:
            yield self._reference(engine, product, "sparse-fp32" if sparse else "dense-fp32")
        if quantize:
            yield self._int8(
                engine, product, "sparse-int8" if sparse else "dense-int8", shipped=True
            )
        else:
            yield self._fp32(engine, product, "sparse-fp32" if sparse else "dense-fp32")

    def _source(self, model: TrainedModel) -> Path:
        """Returns where a model's fp32 ONNX file lies; it stays where speed-ups need it."""
        if model.label == "dense":
            return self.root / REFERENCE / _DENSE
        stays = self.task.baseline() is None and self.task.plan.quantize
        return (self.root / REFERENCE if stays else self.scratch) / _PRODUCT

    def _reference(self, engine: Engine, model: TrainedModel, role: Role) -> KeptFile:
        notes = []
        if model.label == "product":
            notes.append(
                "there is no dense counterpart: the product's own fp32 file, zeros included, "
                "stands in for it in speed-ups"
            )
        path = self._source(model).relative_to(self.root).as_posix()
        return KeptFile(
            engine, path, role, str(Form.FP32), model, model.choice_metric, notes=tuple(notes)
        )

    def _fp32(self, engine: Engine, model: TrainedModel, role: Role) -> KeptFile:
        target = self.root / DEPLOYMENT / engine.model_file
        engine.convert(self._source(model), target)
        return KeptFile(
            engine,
            target.relative_to(self.root).as_posix(),
            role,
            str(Form.FP32),
            model,
            model.choice_metric,
            shipped=True,
            notes=tuple(fp32_notes(engine) if has_zeros(model) else ()),
        )

    def _int8(self, engine: Engine, model: TrainedModel, role: Role, *, shipped: bool) -> KeptFile:
        quantizable = model.quantizable(self._source(model))
        times = self._layer_times(engine, model, quantizable)
        gaining = frozenset(name for name, time in times.items() if time.gains)
        chosen, notes = Selection(
            engine=engine,
            model=replace(quantizable, sparse=gaining),
            folder=self.scratch / engine.name / model.label,
            threads=self.threads,
            example=self.example,
            score_of=model.choice_score,
            reference=model.choice_metric,
            sensitive=model.sensitive,
            check=self.task.context.raise_if_stopped,
        ).run()
        target = self.root / (DEPLOYMENT if shipped else f"{REFERENCE}/{engine.name}")
        path = _move(engine, chosen.item, target, engine.model_file if shipped else "dense-int8")
        shutil.rmtree(self.scratch / engine.name / model.label)
        kernels = layer_kernels(times, chosen.item)
        return KeptFile(
            engine,
            path.relative_to(self.root).as_posix(),
            role,
            chosen.item.name,
            model,
            chosen.score.metric,
            chosen.keeps,
            shipped,
            (*notes, *kernel_notes(kernels, instruction_set())),
            kernels,
        )

    def _layer_times(
        self, engine: Engine, model: TrainedModel, quantizable: Quantizable
    ) -> Mapping[str, LayerTime]:
        """Returns the times of a model's layers; none where there are no zeros to leave out."""
        if not isinstance(engine, TimesLayers) or not has_zeros(model):
            return {}
        self.task.context.raise_if_stopped()
        return engine.layer_times(quantizable, self.example, self.threads)


def has_zeros(model: TrainedModel) -> bool:
    """Whether a model's masks hold zeros."""
    return any((mask == 0).any() for mask in model.masks.values())


def _move(engine: Engine, candidate: Candidate, folder: Path, name: str) -> Path:
    """Moves all files of a candidate, and returns the main one's new place."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = Path(name).stem
    moved = [
        shutil.move(file, folder / f"{stem}{file.suffix}") for file in engine.files(candidate.path)
    ]
    return Path(moved[0])
