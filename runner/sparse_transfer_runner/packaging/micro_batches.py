"""What a reader of the report is told where memory did not suffice for whole batches; pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .evaluation import HistoryPoint


def micro_batch_notes(
    curves: Sequence[HistoryPoint], batch_size: int, *, batch_norms: bool
) -> Iterator[str]:
    """Yields a sentence for each phase that worked on its batches in parts.

    Args:
        curves: Of the baseline and of the transfer.
        batch_size: Rows of an optimizer's batch.
        batch_norms: Whether the model has such, which look at the rows they are given together.
    """
    for phase in ("baseline", "transfer"):
        points = [point for point in curves if point.phase == phase and point.micro_batch]
        sizes = list(dict.fromkeys(point.micro_batch for point in points))
        if not sizes:
            continue
        told = (
            f"memory ran out in training ({phase}): batches of {batch_size} rows were worked on "
            f"{' then '.join(map(str, sizes))} at a time, by step {points[0].step} at the latest, "
            "and their gradients summed, to the same result but for rounding and for what dropout "
            "draws"
        )
        if batch_norms:
            told += (
                "; not so the batch norms, which normalized by those rows alone: more memory, or "
                "a smaller spec.training.batchSize, makes a run that does not depend on it"
            )
        elif any(point.quantizing for point in points):
            told += " and learned INT8 ranges, which saw those rows alone"
        yield told
