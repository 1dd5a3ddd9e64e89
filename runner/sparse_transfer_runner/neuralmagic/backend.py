"""The ``sparseml`` backend: SparseML's own manager does to the training run what a recipe says.

The loop stays ours: it counts the epochs, takes the steps and writes the checkpoints; the manager
is called where SparseML's wrapped optimizer would call it. Masks of a foundation are held by our
own ``Masks`` as well, by tensor: SparseML holds them by a module, which quantization replaces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from sparse_transfer_runner.quantization.fake_quantize import QuantizationRecord
from sparse_transfer_runner.recipes import Recipe
from sparse_transfer_runner.sparsity.masks import Masks
from sparse_transfer_runner.training.backend import Inputs
from sparse_transfer_runner.training.distillation import task_loss
from sparse_transfer_runner.training.shares import WHOLE, Share

from .distillation import fit_distillation
from .manager import build_manager, initialize
from .scales import learned_scales
from .structure import Structure


class SparseMlBackend:
    """Hands a run to SparseML's ``ScheduledModifierManager``.

    Args:
        model: The student.
        recipe: Parsed for this backend.
        problem_type: The plan's.
        steps_per_epoch: Optimizer steps of one pass over the data.
        masks: Of the foundation; held to the end where the recipe's pruning is constant.
        teacher: The dense model in evaluation mode; None leaves the labels alone.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        problem_type: str,
        *,
        steps_per_epoch: int,
        masks: Masks | None = None,
        teacher: nn.Module | None = None,
    ) -> None:
        self._model = model
        self._problem_type = problem_type
        self._steps_per_epoch = steps_per_epoch
        constant = recipe.pruning is not None and recipe.pruning.constant
        self._masks = masks if constant else None
        self._teacher = teacher
        self._batch_norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
        self._structure = Structure(model)
        self._manager = build_manager(recipe.text)
        fit_distillation(self._manager, problem_type)
        self._epoch = 0.0
        self._optimizer: Optimizer | None = None

    @property
    def quantizing(self) -> bool:
        """Whether SparseML has put its fake quantization in."""
        return self._has_begun("_qat_enabled")

    def begin(self, optimizer: Optimizer) -> None:
        """Has the manager called around each step, as SparseML's own wrapper does."""
        self._optimizer = optimizer
        optimizer.register_step_pre_hook(self._before_step)
        optimizer.register_step_post_hook(self._after_step)
        if self._masks is not None:
            # After SparseML's hook, so that whatever it does, the foundation's zeros hold.
            self._masks.attach(optimizer)

    def enter(self, epoch: float) -> None:
        """Sets the clock; the first call hands the model to the modifiers.

        Batch norms stand still once a modifier has frozen them: SparseML would forget those of
        classes of their own.
        """
        self._epoch = epoch
        if not self._manager.initialized:
            self._initialize()
        if self._has_begun("_bn_stats_frozen"):
            for module in self._batch_norms:
                module.eval()

    def learning_rate_at(self, epoch: float) -> None:
        """Returns None: SparseML sets it on the optimizer."""

    def measure(self, parts: Iterable[Inputs]) -> None:
        """Does nothing: SparseML's modifiers know no micro-batches, and look at each by itself."""

    def loss(self, inputs: Inputs, targets: Tensor, rows: Tensor, share: Share = WHOLE) -> Tensor:
        """Returns the labels' loss with what the modifiers add to it, both means over rows."""
        outputs = self._model(**inputs)
        loss = task_loss(outputs.logits.float(), targets, self._problem_type)
        updated: Tensor = self._manager.loss_update(
            loss,
            self._model,
            self._optimizer,
            self._epoch,
            self._steps_per_epoch,
            student_outputs=outputs,
            student_inputs=dict(inputs),
            student_labels=targets,
        )
        return share.labels * updated

    def figures(self) -> Callable[[], None]:
        """Returns what does nothing: SparseML's observers keep theirs in the model's buffers."""
        return lambda: None

    def forget(self) -> None:
        """Does nothing: SparseML's modifiers keep what they keep."""

    def check(self) -> None:
        """Makes sure that no masked weight came back."""
        if self._masks is not None:
            self._masks.check()

    def state_dict(self) -> dict[str, Any]:
        """Returns the clock, the masks, and what each modifier keeps."""
        return {
            "masks": dict(self._masks.bits) if self._masks is not None else {},
            "epoch": self._epoch,
            "manager": {name: dict(state) for name, state in self._manager.state_dict().items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Puts the modifiers where the checkpoint was written; quantization renames modules.

        Raises:
            InputError: Its masks are not those of the foundation.
        """
        if self._masks is not None:
            self._masks.require(state["masks"])
        self._epoch = state["epoch"]
        self._initialize()
        self._manager.load_state_dict(state["manager"])

    def finish(self) -> QuantizationRecord | None:
        """Leaves the plain fp32 model; returns the learned scales where the recipe quantized."""
        record = learned_scales(self._model) if self.quantizing else None
        self._manager.finalize(self._model)
        self._structure.put_back(self._model)
        return record if record is not None and record.modules else None

    def _has_begun(self, flag: str) -> bool:
        return any(getattr(m, flag, False) for m in self._manager.iter_modifiers())

    def _initialize(self) -> None:
        initialize(self._manager, self._model, self._epoch, self._teacher)

    def _before_step(self, optimizer: Optimizer, *_: Any) -> None:
        where = (self._model, optimizer, self._epoch, self._steps_per_epoch)
        self._manager.update(*where)
        self._manager.optimizer_pre_step(*where)

    def _after_step(self, optimizer: Optimizer, *_: Any) -> None:
        self._manager.optimizer_post_step(
            self._model, optimizer, self._epoch, self._steps_per_epoch
        )
