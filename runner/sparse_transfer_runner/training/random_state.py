"""The generators that training draws from: seeded, saved, and put back where they were."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seeds every generator that training draws from."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def random_state() -> dict[str, Any]:
    """Returns where the generators of Python, numpy, torch and every GPU are, as plain values."""
    of_numpy = np.random.get_state(legacy=False)
    assert isinstance(of_numpy, dict), "asked for without legacy"
    twister = of_numpy["state"]
    return {
        "python": random.getstate(),
        "numpy": {**of_numpy, "state": {**twister, "key": twister["key"].tolist()}},
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random_state(state: Mapping[str, Any]) -> None:
    """Puts the generators where ``random_state`` found them.

    GPUs that are not there any more are passed over, and new ones keep the seed.
    """
    random.setstate(state["python"])
    twister = state["numpy"]["state"]
    key = np.array(twister["key"], dtype=np.uint32)
    np.random.set_state({**state["numpy"], "state": {**twister, "key": key}})
    torch.set_rng_state(state["torch"])
    for index, each in enumerate(state["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(each, index)
