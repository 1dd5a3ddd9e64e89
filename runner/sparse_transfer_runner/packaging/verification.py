"""Verifies kept files: each is scored on its engine, compared, and its zeros are counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sparse_transfer_runner.sparsity.masks import MaskBroken
from sparse_transfer_runner.use_cases.protocol import EncodedSplit, ReducedSplit

from .evaluation import FileEvaluation, LayerSparsity
from .files import KeptFile
from .mask_check import count_masked, masked_modules
from .scoring import outputs_of
from .sizes import FileSize, sizes_of
from .task import PackageTask


@dataclass(frozen=True)
class VerifiedFile:
    """A kept file with everything that is known of it.

    Args:
        record: As reported.
        logits: On the evaluation rows.
        layers: Its sparsity layer by layer.
    """

    record: FileEvaluation
    logits: NDArray[np.float32] = field(repr=False)
    layers: tuple[LayerSparsity, ...]


def file_sizes(root: Path, kept: Sequence[KeptFile], workers: int) -> dict[str, FileSize]:
    """Returns the sizes of kept files by path; a file that two engines share is measured once."""
    files = {file.path: file.engine.files(root / file.path) for file in kept}
    return dict(zip(files, sizes_of(list(files.values()), workers), strict=True))


def largest_difference(
    outputs: NDArray[np.float32], reference: NDArray[np.float32], rows: EncodedSplit
) -> float | None:
    """Returns how far two models' outputs are apart at most.

    None where each keeps the best of many: what is the third best of one may be the fourth of the
    other, and be found as well by both.
    """
    if isinstance(rows, ReducedSplit):
        return None
    # Row by row: the differences of all may not fit in memory.
    pairs = zip(outputs, reference, strict=True)
    return max(float(np.abs(one - other).max()) for one, other in pairs)


def verify(
    task: PackageTask,
    root: Path,
    file: KeptFile,
    size: FileSize,
    *,
    threads: int,
    on_batch: Callable[[], None],
) -> VerifiedFile:
    """Scores a file on the evaluation rows and counts what it holds.

    Args:
        task: The experiment's task.
        root: The package stage's folder.
        file: What to verify.
        size: Of the file.
        threads: Of the engine.
        on_batch: Called after each batch.

    Raises:
        MaskBroken: A masked weight of the file is not zero: a defect of the program.
    """
    path = root / file.path
    masks = file.model.masks
    weights = file.engine.weights(path, masked_modules(masks))
    count = count_masked(weights, masks)
    if not count.intact:
        raise MaskBroken(
            f"{path}: {count.revived} masked weights are not zero, "
            f"{len(count.missing)} masked layers were not found {list(count.missing[:3])}"
        )
    rows, reference = task.evaluation, file.model.logits
    logits = outputs_of(file.engine.load(path, threads=threads), rows, on_batch)
    record = FileEvaluation(
        path=file.path,
        engine=file.engine.name,
        role=file.role,
        form=file.form,
        metric=task.metric(logits, rows),
        choice_metric=file.choice_metric,
        keeps_accuracy=file.keeps_accuracy,
        largest_difference=largest_difference(logits, reference, rows),
        label_agreement=task.use_case.same_answers(logits, reference, rows, task.plan),
        sparsity=count.sparsity,
        zero_share=weights.zeros / weights.total,
        size_bytes=size.raw,
        compressed_size_bytes=size.compressed,
        shipped=file.shipped,
        kernels=list(file.kernels),
        notes=list(file.notes),
    )
    return VerifiedFile(record, logits, count.layers)
