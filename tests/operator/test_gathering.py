"""What may wait to be written, and for how long."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sparse_transfer_api.status import SparseTransferStatus
from sparse_transfer_operator.gathering import (
    CROWD,
    GATHER_SECONDS,
    MAX_STRETCH,
    WORDING_SECONDS,
    Gathering,
    patience,
)
from sparse_transfer_operator.object_key import ObjectKey

KEY = ObjectKey("language", "film-reviews")
NOTHING = SparseTransferStatus()


def _status(phase: str = "Training", generation: int = 1, **stage: Any) -> SparseTransferStatus:
    document = {
        "phase": phase,
        "observedGeneration": generation,
        "stages": [{"name": "train", "key": "k", **stage}],
    }
    return SparseTransferStatus.model_validate(document)


@pytest.mark.parametrize(
    ("old", "new", "seconds"),
    [
        (_status(), _status(), 0),
        (NOTHING, _status(), 0),
        (_status(), _status("Succeeded"), 0),
        (_status(), _status("Failed"), 0),
        (_status(), _status("Suspended"), 0),
        (_status("Suspended"), _status(), 0),
        (_status("Queued"), _status(), 0),
        (_status(), _status(generation=2), 0),
        (_status(), _status(replaces=["uid-of-a-job"]), 0),
        (_status(), _status(reruns=["ResultLost"]), 0),
        (_status("Pending"), _status("Training"), GATHER_SECONDS),
        (_status(), _status(outcome="Running"), GATHER_SECONDS),
        (_status(), _status(attempt=2), GATHER_SECONDS),
        (_status(), _status(reason="PodStarting", message="soon"), WORDING_SECONDS),
    ],
)
def test_what_moves_on_may_wait(
    old: SparseTransferStatus, new: SparseTransferStatus, seconds: float
) -> None:
    assert patience(old, new) == seconds


def test_all_news_of_an_experiment_wait_since_the_first() -> None:
    async def test() -> None:
        gathering = Gathering()
        gathering.news(KEY)
        while gathering.news(KEY) > GATHER_SECONDS - 0.01:
            await asyncio.sleep(0.001)
        assert gathering.wait(KEY, _status("Pending"), _status()) < GATHER_SECONDS - 0.01
        gathering.over(KEY)
        assert gathering.news(KEY) == pytest.approx(GATHER_SECONDS, abs=0.01)

    asyncio.run(test())


def test_in_a_crowd_everything_waits_longer_but_what_ends() -> None:
    async def test() -> None:
        crowd = CROWD
        gathering = Gathering(lambda: crowd)
        assert gathering.wait(KEY, NOTHING, _status()) == pytest.approx(2 * GATHER_SECONDS, abs=0.1)
        assert gathering.wait(KEY, _status(), _status("Failed")) == 0
        crowd = 1_000_000
        assert gathering.news(KEY) == pytest.approx(MAX_STRETCH * GATHER_SECONDS, abs=0.1)

    asyncio.run(test())
