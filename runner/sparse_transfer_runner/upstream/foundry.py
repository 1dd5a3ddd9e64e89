"""Upstream: prune a dense model, recover it by distillation, record its quality.

Only unlabelled text is needed. The result is a folder in the catalogue's format: the model, its
tokenizer, and ``foundation.json``, which names the parent that baselines and teachers start from.
"""

from __future__ import annotations

import copy
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.catalog.foundation import FOUNDATION_FILE, Foundation, Parent
from sparse_transfer_runner.catalog.hugging_face import quiet_transformers
from sparse_transfer_runner.digests import digest_of_tree
from sparse_transfer_runner.disk import explained, write_atomically
from sparse_transfer_runner.progress import Reporter
from sparse_transfer_runner.sparsity.blockwise import reconstruct
from sparse_transfer_runner.sparsity.masks import Masks
from sparse_transfer_runner.sparsity.prunable import prunable_weights, sparsity_of
from sparse_transfer_runner.sparsity.solve import LayerProblem, magnitude_mask, prune
from sparse_transfer_runner.storage import fetch, pinned
from sparse_transfer_runner.training.random_state import seed_everything

from .image_foundry import make_image_foundation
from .recovery import Recovery, hidden_state_error
from .text import Sentences, read_sentences

_BATCH = 64
_HELD_OUT_ROWS = 256
"""Rows that neither pruning nor recovery sees; the quality record is measured on them."""

METHODS = ("admm", "magnitude")
PATTERNS = ("unstructured",)


@dataclass(frozen=True)
class UpstreamOptions:
    """What to make.

    Args:
        model: Address of the dense parent.
        data: Unlabelled text: a ``.txt`` file with a sentence a line, or ``.jsonl`` with ``text``.
            Or a folder of pictures, whatever folders they lie in: then the model is an image
            classifier.
        output: Folder to write; it must not exist, or be empty.
        sparsity: Share of the prunable weights to set to zero, 0.3 to 0.99.
        method: ``admm`` or ``magnitude``.
        pattern: ``unstructured``.
        calibration_rows: Sentences that pruning looks at.
        recovery_steps: Steps of distillation after pruning; 0 leaves it to the transfer.
        batch_size: Rows of a recovery step.
        max_length: Tokens; longer sentences are cut.
        image_size: Side of pictures in pixels; default: the model's.
        seed: Of the choice and order of sentences.
        name: The foundation's; default: the output folder's.
        licence: The parent's, where known.
    """

    model: str
    data: Path
    output: Path
    sparsity: float = 0.8
    method: str = "admm"
    pattern: str = "unstructured"
    calibration_rows: int = 768
    recovery_steps: int = 250
    batch_size: int = 32
    max_length: int = 64
    image_size: int | None = None
    seed: int = 0
    name: str | None = None
    licence: str | None = None

    def check(self) -> None:
        """Checks the options against each other and the place.

        Raises:
            InputError: Says which one is wrong, and what is possible.
        """
        if not 0.3 <= self.sparsity <= 0.99:
            raise InputError(
                f"sparsity {self.sparsity} is outside 0.3 to 0.99; below 0.3 a model does not "
                "count as sparse"
            )
        for what, value, known in (
            ("method", self.method, METHODS),
            ("pattern", self.pattern, PATTERNS),
        ):
            if value not in known:
                raise InputError(f"{what} {value!r} is unknown; known: {', '.join(known)}")
        if self.calibration_rows < 1 or self.recovery_steps < 0 or self.batch_size < 1:
            raise InputError(
                "calibration rows and batch size must be at least 1, recovery steps at least 0"
            )
        if self.output.exists() and (self.output.is_file() or any(self.output.iterdir())):
            raise InputError(
                f"{self.output}: exists already, and nothing is overwritten; "
                "choose another folder or move it away"
            )


def make_foundation(options: UpstreamOptions, reporter: Reporter) -> Foundation:
    """Makes a sparse foundation model and writes it.

    Args:
        options: What to make.
        reporter: Receives progress.

    Returns:
        The record that lies beside the weights.

    Raises:
        InputError: Options, model or data cannot be used.
    """
    options.check()
    started = time.monotonic()
    seed_everything(options.seed)
    origin = pinned(options.model)
    source = fetch(origin)
    if options.data.is_dir():
        foundation, sparse, save = make_image_foundation(options, origin, source, reporter)
        with reporter.activity("writing", 0.05):
            _write(options.output, lambda folder: save(sparse, folder), foundation)
        return foundation
    parent, tokenizer = _load(source)
    sentences = read_sentences(
        options.data,
        tokenizer,
        max_length=options.max_length,
        seed=options.seed,
        needed=options.calibration_rows + options.batch_size + _HELD_OUT_ROWS,
        useful=options.calibration_rows
        + options.recovery_steps * options.batch_size
        + _HELD_OUT_ROWS,
    )
    held_out, rest = sentences.split(_HELD_OUT_ROWS)
    model = copy.deepcopy(parent)
    share = 0.9 if options.recovery_steps == 0 else 0.25
    with reporter.activity(f"pruning ({options.method})", share):
        _prune(model, parent, rest, options, reporter)
    masks = Masks.take(prunable_weights(model))
    quality = {"hiddenErrorAfterPruning": hidden_state_error(model, parent, held_out)}
    with reporter.activity("recovery", 0.95 - share, options.recovery_steps or None):
        if options.recovery_steps:
            recovery = Recovery(options.recovery_steps, options.batch_size, options.seed)
            recovery.run(model, parent, masks, rest, reporter.step)
            quality["hiddenErrorAfterRecovery"] = hidden_state_error(model, parent, held_out)
    masks.check()
    quality |= {
        "calibrationRows": min(options.calibration_rows, len(rest)),
        "recoverySteps": options.recovery_steps,
        "heldOutRows": len(held_out),
        "seconds": round(time.monotonic() - started, 1),
    }
    foundation = Foundation(
        name=options.name or options.output.resolve().name,
        family="text",
        architecture=type(model).__name__,
        parent=Parent(uri=origin, digest=digest_of_tree(source)),
        sparsity=sparsity_of(prunable_weights(model)),
        pattern=options.pattern,
        method=options.method,
        prunable=list(masks.weights),
        licence=options.licence,
        quality=quality,
    )
    with reporter.activity("writing", 0.05):
        _write(options.output, lambda folder: _save_text(model, tokenizer, folder), foundation)
    return foundation


def _load(source: Path) -> tuple[Any, Any]:
    from transformers import AutoModel, AutoTokenizer

    quiet_transformers()
    try:
        model = AutoModel.from_pretrained(source, local_files_only=True, use_safetensors=True)
        tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=True)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{source}: not a Hugging Face folder with config.json, model.safetensors and a "
            f"tokenizer ({str(error).splitlines()[0]})"
        ) from error
    found = sparsity_of(prunable_weights(model))
    if found >= 0.3:
        raise InputError(f"{source}: already sparse ({found:.1%} zeros); upstream starts dense")
    return model.eval(), tokenizer


def _prune(
    model: nn.Module,
    parent: nn.Module,
    sentences: Sentences,
    options: UpstreamOptions,
    reporter: Reporter,
) -> None:
    def by_error(problem: LayerProblem, _: nn.Linear) -> Tensor:
        return prune(problem, options.sparsity)

    if options.method == "magnitude":
        with torch.no_grad():
            for weight in prunable_weights(model).values():
                weight.mul_(magnitude_mask(weight, options.sparsity))
        return
    batches = sentences.batches(_BATCH, limit=options.calibration_rows)
    reconstruct(
        model, parent, batches, by_error, lambda done, total: reporter.step(done, total=total)
    )


def _save_text(model: Any, tokenizer: Any, folder: Path) -> None:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _write(output: Path, save: Callable[[Path], None], foundation: Foundation) -> None:
    """Writes the folder under a temporary name first, so that it is complete or absent."""
    partial = output.with_name(f".{output.name}.partial")
    with explained(output):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        save(partial)
        write_atomically(partial / FOUNDATION_FILE, foundation.to_json())
        if output.exists():
            output.rmdir()
        partial.replace(output)
