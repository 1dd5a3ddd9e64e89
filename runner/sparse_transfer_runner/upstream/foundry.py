"""Upstream: make a dense model sparse, recover it by distillation, record its quality.

Only unlabelled data is needed. The result is a folder in the catalogue's format: the model, what
belongs to it, and ``foundation.json``, which names the parent that baselines and teachers start
from. Work that is broken off, at any moment, is taken up again where it was.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from sparse_transfer_api.errors import InputError
from sparse_transfer_api.spec import Precision
from sparse_transfer_runner.catalog.foundation import FOUNDATION_FILE, Foundation, Parent
from sparse_transfer_runner.catalog.resolution import fetched_model
from sparse_transfer_runner.digests import digest_of_tree
from sparse_transfer_runner.disk import write_atomically
from sparse_transfer_runner.progress import Reporter
from sparse_transfer_runner.sparsity.masks import Masks
from sparse_transfer_runner.sparsity.prunable import prunable_weights, sparsity_of
from sparse_transfer_runner.training.checkpoint_files import Position
from sparse_transfer_runner.training.hardware import device, resolved_precision
from sparse_transfer_runner.training.random_state import seed_everything
from sparse_transfer_runner.yolo.files import is_yolo

from .family import Opened
from .gradual import Schedule, masks_by_size
from .notes import Notes
from .options import GRADUAL, LAYER_ERROR, LEAST_SPARSITY, UpstreamOptions
from .pictures import open_pictures
from .pruning import Passes
from .recovery import Training, mean_error
from .text import open_text
from .unfinished import Unfinished, unfinished

_UNDECIDING = ("model", "data", "output", "name", "licence", "trust_pickle")
"""Options that decide nothing, or whose digests do."""


def make_foundation(
    options: UpstreamOptions, reporter: Reporter, stop: threading.Event | None = None
) -> Foundation:
    """Makes a sparse foundation model and writes it, going on from what is done of it.

    Args:
        options: What to make.
        reporter: Receives progress.
        stop: Set when the process has to end soon.

    Returns:
        The record that lies beside the weights.

    Raises:
        InputError: Options, model or data cannot be used.
        Stopped: The process had to end; what was done is kept.
    """
    options.check()
    seed_everything(options.seed)
    origin, source = fetched_model(options.model)
    opened = _opener(source, options)(source, options, device())
    _require_dense(source, opened.parent)
    parent = Parent(uri=origin, digest=digest_of_tree(source))
    settings = {
        **{name: value for name, value in asdict(options).items() if name not in _UNDECIDING},
        "parent": parent.digest,
        "data": opened.digest,
    }
    ending = stop or threading.Event()
    with unfinished(options.output, settings, ending.is_set) as work:
        return _Making(options, opened, parent, reporter, work).run()


def _opener(source: Path, options: UpstreamOptions) -> Callable[..., Opened]:
    """Returns what opens a family's models: by the data, and among pictures' by the model."""
    if not options.data.is_dir():
        return open_text
    if is_yolo(source):
        # Its library is an extra of its own.
        from .detectors import open_detector

        return open_detector
    return open_pictures


def _require_dense(source: Path, parent: nn.Module) -> None:
    found = sparsity_of(prunable_weights(parent))
    if found >= LEAST_SPARSITY:
        raise InputError(f"{source}: already sparse ({found:.1%} zeros); upstream starts dense")


@dataclass
class _Making:
    """One foundation in the making.

    Args:
        options: What to make.
        opened: The dense model, and what to prune it on.
        parent: The same, as it is recorded.
        reporter: Receives progress.
        work: Where it is kept until it is done.
    """

    options: UpstreamOptions
    opened: Opened
    parent: Parent
    reporter: Reporter
    work: Unfinished
    notes: Notes = field(default_factory=Notes)
    _units: int = 0

    def run(self) -> Foundation:
        """Works to the end."""
        self.model = copy.deepcopy(self.opened.parent)
        self.passes = Passes(
            self.model,
            self.opened.parent,
            self.opened.material.calibration(),
            self.options,
            self.notes,
            self._look,
        )
        shares = _Shares.of(self.options)
        training: Mapping[str, Any] | None = None
        if saved := self.work.checkpoints.take("step"):
            training = saved.state["training"]
            self.notes.restore(saved.state["notes"])
        else:
            self._restore_units()
            self._prune(shares)
        masks = self._masks()
        if self.options.steps:
            masks = self._train(masks, training, shares)
        masks.check()
        with self.reporter.activity("writing", shares.writing):
            return self._write(masks)

    def _restore_units(self) -> None:
        if saved := self.work.checkpoints.take("start"):
            self._units = saved.state["units"]
            self.notes.restore(saved.state["notes"])
            self.model.load_state_dict(saved.state["model"])

    def _prune(self, shares: _Shares) -> None:
        units = len(self.passes.route.units)
        measured = units if self.options.budgets == LAYER_ERROR else 0
        if measured:
            with self.reporter.activity("measuring layers", shares.measuring):
                self.passes.measure_curves(min(self._units, units), self._note_units(0))
        self.passes.divide()
        if self.options.method == GRADUAL:
            return
        with self.reporter.activity(f"pruning ({self.options.method})", shares.pruning):
            self.passes.prune(max(0, self._units - measured), self._note_units(measured))
            self._note_error("hiddenErrorAfterPruning")

    def _note_units(self, before: int) -> Any:
        def note(done: int, total: int) -> None:
            self._units = before + done
            self.reporter.step(done, total=total)
            self.work.checkpoints.save_if_due(self._position, self._state)

        return note

    @property
    def _position(self) -> Position:
        return Position("start", self._units)

    def _state(self) -> dict[str, Any]:
        return {
            "units": self._units,
            "notes": self.notes.state(),
            "model": dict(self.model.state_dict()),
        }

    def _look(self) -> None:
        self.work.look(self._position, self._state)

    def _masks(self) -> Masks:
        weights = prunable_weights(self.model)
        if self.options.method == GRADUAL:
            return masks_by_size(weights, self.passes.quotas, 0.0)
        return Masks.take(weights, self.options.zeros_as)

    def _train(self, masks: Masks, saved: Mapping[str, Any] | None, shares: _Shares) -> Masks:
        options = self.options
        gradual = options.method == GRADUAL
        initial = options.initial_sparsity / options.sparsity
        training = Training(
            self.model,
            self.opened.parent,
            self.opened.material,
            options.steps,
            masks,
            self.opened.learning_rate,
            Schedule(options.pruning_steps, options.prune_every, initial) if gradual else None,
            self.passes.quotas,
            resolved_precision(
                Precision(options.precision.capitalize()), lambda: self.opened.gains_from_bf16
            ),
        )
        if saved is not None:
            training.restore(saved)

        def state() -> dict[str, Any]:
            return {"training": training.state(), "notes": self.notes.state()}

        def note(done: int) -> None:
            self.reporter.step(done)
            last = done == options.steps
            checkpoints = self.work.checkpoints
            (checkpoints.save if last else checkpoints.save_if_due)(training.position, state)
            self.work.look(training.position, state)

        activity = "gradual pruning" if gradual else "recovery"
        with self.reporter.activity(activity, shares.training, options.steps):
            training.run(note)
            self._note_error("hiddenErrorAfterRecovery")
        with self.reporter.activity("measuring layers", shares.measuring_again):
            self.passes.look = lambda: self.work.look(training.position, state)
            self.passes.measure_recovered(lambda done, total: self.reporter.step(done, total=total))
        return training.masks

    def _note_error(self, name: str) -> None:
        material = self.opened.material
        self.notes.quality[name] = mean_error(
            self.model, self.opened.parent, material, material.held_out()
        )

    def _write(self, masks: Masks) -> Foundation:
        options = self.options
        self.notes.quality |= {
            **self.opened.material.facts(),
            **({"gradualSteps": options.pruning_steps} if options.pruning_steps else {}),
            "recoverySteps": options.recovery_steps,
            "seconds": round(self.notes.seconds, 1),
        }
        foundation = Foundation(
            name=options.name or options.output.resolve().name,
            family=self.opened.family,
            architecture=type(self.model).__name__,
            parent=self.parent,
            sparsity=sparsity_of(prunable_weights(self.model)),
            pattern=options.pattern,
            method=options.method,
            budgets=options.budgets,
            prunable=list(masks.weights),
            licence=options.licence,
            quality=self.notes.quality,
            layers=list(self.notes.layers.values()),
        )

        def write(folder: Path) -> None:
            self.opened.save(self.model.cpu(), folder)
            write_atomically(folder / FOUNDATION_FILE, foundation.to_json())

        self.work.publish(write)
        return foundation


@dataclass(frozen=True)
class _Shares:
    """How the time is divided, 0 to 1, for the progress; estimated on a small encoder.

    One unit is a pass of pruning over the usual calibration rows.
    """

    measuring: float
    pruning: float
    training: float
    measuring_again: float
    writing: float

    @classmethod
    def of(cls, options: UpstreamOptions) -> _Shares:
        rows = options.calibration_rows / 768
        costs = (
            3 * rows if options.budgets == LAYER_ERROR else 0.0,
            0.0 if options.method == GRADUAL else rows * (1 + 0.04 * options.block_steps),
            0.04 * options.steps * options.batch_size / 32,
            rows if options.steps else 0.0,
            0.05,
        )
        return cls(*(each / sum(costs) for each in costs))
