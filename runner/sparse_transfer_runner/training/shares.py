"""What part of an optimizer's batch a micro-batch is, for losses that are means.

A loss that is a mean over n things of a micro-batch, multiplied by n over the whole batch's number
of them and summed over the micro-batches, is the mean over the whole batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparse_transfer_runner.use_cases.protocol import IGNORED

_PER_TOKEN_DIMENSIONS = 2


@dataclass(frozen=True)
class Share:
    """A micro-batch's part of its batch, each 0 to 1; the parts of a batch add up to 1.

    Args:
        rows: For means over rows.
        labels: For means over labels that count: where tokens have labels, not ``IGNORED`` ones;
            elsewhere the same as ``rows``.
        tokens: For means over tokens that are no padding; for inputs without length, rows.
    """

    rows: float = 1.0
    labels: float = 1.0
    tokens: float = 1.0


WHOLE = Share()


def counted_labels(targets: NDArray[Any]) -> int:
    """Returns how many labels a mean loss over such targets is a mean of.

    Args:
        targets: Integers ``[rows, positions]`` with ``IGNORED`` where there is no label; all others
            have one mean a row.
    """
    if targets.ndim == _PER_TOKEN_DIMENSIONS and np.issubdtype(targets.dtype, np.integer):
        return int((targets != IGNORED).sum())
    return len(targets)


def shares(targets: Sequence[NDArray[Any]], tokens: Sequence[int]) -> list[Share]:
    """Returns the share of each micro-batch.

    Args:
        targets: Of each micro-batch.
        tokens: Of each, those that are no padding.
    """
    if len(targets) == 1:
        return [WHOLE]
    rows = _normalized([len(each) for each in targets])
    labels = _normalized([counted_labels(each) for each in targets])
    return [Share(*each) for each in zip(rows, labels, _normalized(tokens), strict=True)]


def _normalized(counts: Sequence[int]) -> list[float]:
    whole = max(1, sum(counts))
    return [count / whole for count in counts]
