"""The least-squares start of a transfer: a matter of minutes on a large model, so not to be lost.

A checkpoint is written once it is done, and before that after each block when the interval has
passed. Another attempt goes on at the block after, to the same weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from sparse_transfer_api.errors import Stopped
from sparse_transfer_runner.out_of_memory import is_out_of_memory, release_memory
from sparse_transfer_runner.sparsity.masks import Masks
from sparse_transfer_runner.sparsity.start import start_from_teacher

from .backoff import Backoff
from .batches import length_bucketed
from .checkpoint import Checkpoints
from .checkpoint_files import Position
from .hardware import to_tensors
from .loop import lengths_of
from .task import Task

_ROWS = 512
"""Rows to solve on; more change the result by less than the seed does."""
_BATCH = 64


def start(
    task: Task,
    model: nn.Module,
    teacher: nn.Module,
    masks: Masks | None,
    checkpoints: Checkpoints,
) -> None:
    """Starts from the teacher's weights: as they are, or solved for on the mask.

    Args:
        task: The experiment's task.
        model: The foundation with its head; changed in place.
        teacher: Dense, of the same architecture and parent.
        masks: The foundation's; None where nothing is pruned.
        checkpoints: Of the transfer.

    Raises:
        Stopped: A stop was asked for; a checkpoint of the finished blocks was written.
        InputError: The foundation is not the one that an earlier attempt started with.
        OutOfMemory: It does not fit, in batches that were halved as often as may be.
    """
    if masks is None:
        model.load_state_dict(teacher.state_dict())
        return
    work = _Start(task, model, masks, checkpoints)
    work.restore()
    fitting = Backoff(_BATCH)
    while (why := work.solve(teacher, fitting)) is not None:
        release_memory()
        # A block that was begun is begun anew; those before it stay.
        fitting.halve(fitting.micro_batch, 1, "least-squares start", why)
    checkpoints.save(work.position, work.state)


@dataclass
class _Start:
    """How far the start has come.

    Args:
        task: The experiment's task.
        model: The model that is changed.
        masks: Its masks.
        checkpoints: Of the transfer.
        finished: Blocks that are solved.
    """

    task: Task
    model: nn.Module
    masks: Masks
    checkpoints: Checkpoints
    finished: int = 0

    @property
    def position(self) -> Position:
        return Position("start", self.finished)

    def state(self) -> Mapping[str, Any]:
        return {
            "finished": self.finished,
            "masks": dict(self.masks.bits),
            "model": dict(self.model.state_dict()),
        }

    def restore(self) -> None:
        saved = self.checkpoints.take("start")
        if saved is not None:
            self.masks.require(saved.state["masks"])
            self.model.load_state_dict(saved.state["model"])
            self.finished = saved.state["finished"]

    def solve(self, teacher: nn.Module, fitting: Backoff) -> str | None:
        """Solves the blocks that are left.

        Args:
            teacher: Dense.
            fitting: How far batches are taken apart.

        Returns:
            What the library said where memory ran out; None when all are solved.
        """
        try:
            start_from_teacher(
                self.model,
                teacher,
                self.masks,
                _batches(self.task, fitting),
                self.note,
                finished=self.finished,
                look=self.look,
            )
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return str(error) or type(error).__name__
        return None

    def note(self, finished: int, total: int) -> None:
        """Takes note of a solved block."""
        self.finished = finished
        self.task.context.reporter.step(finished, total=total)
        if finished < total:
            self.checkpoints.save_if_due(self.position, self.state)

    def look(self) -> None:
        """Ends the start where it has to end; a block that is not finished is solved anew."""
        self.checkpoints.look()
        if self.task.context.stop.is_set():
            if self.finished:
                self.checkpoints.save_now(self.position, self.state)
            raise Stopped(
                f"least-squares start stopped after block {self.finished}; the same command resumes"
            )


def _batches(task: Task, fitting: Backoff) -> Sequence[Mapping[str, Tensor]]:
    lengths = lengths_of(task.train)
    batches = length_bucketed(lengths, _BATCH, seed=task.plan.training.seed, epoch=0)
    return [
        to_tensors(task.train.collate(part))
        for rows in batches[: max(1, _ROWS // _BATCH)]
        for part in fitting.parts(rows)
    ]
