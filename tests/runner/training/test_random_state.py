from __future__ import annotations

import random

import numpy as np
import torch

from sparse_transfer_runner.training.random_state import (
    random_state,
    restore_random_state,
    seed_everything,
)
from sparse_transfer_runner.training.snapshot import Snapshots


def draw() -> tuple[float, ...]:
    # Gauss draws keep a second number for the next call, which belongs to the state.
    return (
        random.random(),
        random.gauss(),
        float(np.random.random()),
        float(np.random.standard_normal()),
        float(torch.rand(())),
    )


def test_what_is_drawn_after_a_resume_is_what_would_have_been_drawn() -> None:
    seed_everything(7)
    draw()
    state = Snapshots().of(random_state())
    expected = [draw() for _ in range(3)]
    seed_everything(8)
    assert draw() != expected[0]
    restore_random_state(state)
    assert [draw() for _ in range(3)] == expected


def test_the_same_seed_draws_the_same() -> None:
    seed_everything(1)
    first = draw()
    seed_everything(1)
    assert draw() == first


def test_a_gpu_that_is_gone_does_not_keep_a_run_from_going_on() -> None:
    gone = torch.zeros(16, dtype=torch.uint8)
    there = random_state()
    restore_random_state({**there, "cuda": [*there["cuda"], gone]})
