"""Outputs of a whole split, gathered in memory or in a file that has no name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.runner.storage.tmpfs import small_file_system
from tests.runner.training.small_run import Rows

from sparse_transfer_api.errors import Transient
from sparse_transfer_runner.use_cases import outputs
from sparse_transfer_runner.use_cases.outputs import Outputs

TAGS = 3


def gathered() -> NDArray[np.float32]:
    """Returns what was put, rows in two batches with other paddings."""
    rows, found = Rows(), Outputs(Rows())
    for half, width in ((range(20), 12), (range(20, 40), 15)):
        values = np.random.default_rng(half.start).normal(size=(20, width, TAGS))
        found.put(half, values.astype(np.float32))
    assert len(found.all) == len(rows)
    return found.all


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Has outputs of any size written below a folder."""

    def use(folder: Path) -> None:
        monkeypatch.setattr(outputs, "_IN_MEMORY_BYTES", 100)
        monkeypatch.setattr(outputs, "scratch_folder", lambda: folder)

    return use


def test_outputs_in_a_file_are_those_in_memory_and_leave_nothing_behind(
    tmp_path: Path, little_memory: Callable[[Path], None]
) -> None:
    expected = gathered()

    little_memory(tmp_path)
    found = gathered()

    assert isinstance(found.base, np.memmap)
    np.testing.assert_array_equal(found, expected)
    assert not list(tmp_path.iterdir())


def test_where_the_disk_has_no_room_for_outputs_that_is_said_before_any_is_written(
    tmp_path: Path, little_memory: Callable[[Path], None]
) -> None:
    with small_file_system(tmp_path / "disk", 1 << 12) as disk:
        little_memory(disk)
        with pytest.raises(Transient, match="no space left on the device"):
            gathered()
