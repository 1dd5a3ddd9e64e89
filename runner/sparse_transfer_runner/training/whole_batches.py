"""What a killed attempt means where batches stay whole: the next one has nothing to halve."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from sparse_transfer_api.errors import OutOfMemory
from sparse_transfer_runner.memory_use import MemoryUse, memory_use
from sparse_transfer_runner.output import Attempt

from .backoff import Backoff
from .memory_notes import learning_from_kills


@contextmanager
def whole_batches(
    work: Attempt, batch_size: int, use: Callable[[], MemoryUse | None] = memory_use
) -> Iterator[Backoff]:
    """Yields batches that nobody takes apart, and watches the attempt's memory meanwhile.

    Args:
        work: The attempt.
        batch_size: Rows of an optimizer's batch.
        use: Returns the memory in use.

    Raises:
        OutOfMemory: An earlier attempt was killed for its memory; a rerun begins anew.
    """
    with ExitStack() as watched:
        try:
            # One row is the batch that cannot be halved either.
            watched.enter_context(learning_from_kills(work, 1, use))
        except OutOfMemory as error:
            raise OutOfMemory(
                "an earlier attempt was killed for its memory, and this use case does not train "
                f"on batches of {batch_size} rows in parts: choose a smaller "
                "spec.training.batchSize or imageSize, or give the stage more memory"
            ) from error
        yield Backoff(batch_size)
