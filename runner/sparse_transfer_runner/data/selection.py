"""Which rows of a split are used: held-out rows for choices, and seeded subsets.

The seed is a constant: two runs that differ in their training seed see the same rows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sparse_transfer_api.errors import InputError
from sparse_transfer_api.records import Plan, SplitInfo

HELD_OUT_SHARE = 0.1
"""Of train, for choices, where there is no test split and val is reported on."""

_SEED = 20230728

Rows = NDArray[np.int64]


def selected_rows(plan: Plan, split: str) -> tuple[SplitInfo, Rows]:
    """Returns the file of a split and the rows of it that are used, ascending from 0.

    Args:
        plan: What prepare decided.
        split: ``train``, ``val``, ``test``; or ``choice``: val where there is a test split, else a
            tenth of train, which ``train`` then leaves out.

    Raises:
        InputError: The plan has no such split.
    """
    choice_from_train = plan.choice_split == "train"
    if split == "train":
        info = _split(plan, "train")
        kept = training_rows(info.samples, held_out=choice_from_train)
        return info, _at_most(kept, plan.training.max_train_samples)
    if split == "choice" and choice_from_train:
        info = _split(plan, "train")
        return info, _at_most(held_out_rows(info.samples), plan.max_eval_samples)
    info = _split(plan, "val" if split == "choice" else split)
    return info, _at_most(np.arange(info.samples), plan.max_eval_samples)


def training_rows(samples: int, *, held_out: bool) -> Rows:
    """Returns the rows of train that are trained on, before any limit."""
    rows = np.arange(samples)
    return np.delete(rows, held_out_rows(samples)) if held_out else rows


def held_out_rows(samples: int) -> Rows:
    """Returns the rows of train that are held out for choices; at least one, never all."""
    count = min(samples - 1, max(1, round(HELD_OUT_SHARE * samples)))
    return np.sort(np.random.default_rng(_SEED).permutation(samples)[:count])


def _at_most(rows: Rows, limit: int | None) -> Rows:
    if limit is None or limit >= len(rows):
        return rows
    # Drawn, not cut: the data may be sorted by label.
    return np.sort(np.random.default_rng(_SEED).permutation(rows)[:limit])


def _split(plan: Plan, name: str) -> SplitInfo:
    for info in plan.splits:
        if info.name == name:
            return info
    found = ", ".join(info.name for info in plan.splits)
    raise InputError(f"the data has no {name} split (it has {found})")
