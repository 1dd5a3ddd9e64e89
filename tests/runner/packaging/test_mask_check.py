from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sparse_transfer_api.errors import OutputVanished
from sparse_transfer_runner.engines.protocol import FileWeights
from sparse_transfer_runner.packaging.mask_check import count_masked, load_masks, masked_modules

_MASK = np.array([[1, 0], [0, 1]], dtype=np.uint8)
_MASKS = {"encoder.query.weight": _MASK, "encoder.key.weight": _MASK}


def _file(**linear: list[list[float]]) -> FileWeights:
    arrays = {f"encoder.{name}": np.array(values) for name, values in linear.items()}
    return FileWeights(arrays, zeros=0, total=1)


def test_masked_zeros_are_counted_and_accidental_ones_are_not() -> None:
    count = count_masked(_file(query=[[1, 0], [0, 2]], key=[[0, 0], [0, 1]]), _MASKS)
    assert count.intact
    assert count.sparsity == 0.5
    assert [layer.sparsity for layer in count.layers] == [0.5, 0.5]
    assert [layer.name for layer in count.layers] == list(_MASKS)


def test_a_masked_weight_that_is_not_exactly_zero_is_found() -> None:
    count = count_masked(_file(query=[[1, 1e-30], [0, 2]], key=[[1, 0], [0, 1]]), _MASKS)
    assert not count.intact
    assert count.revived == 1
    assert count.sparsity == 3 / 8


def test_a_masked_layer_that_is_missing_is_named() -> None:
    count = count_masked(_file(query=[[1, 0], [0, 2]], key=[[0, 0]]), _MASKS)
    assert count.missing == ("encoder.key.weight",)
    assert not count.intact


def test_a_dense_file_has_no_sparsity() -> None:
    count = count_masked(_file(query=[[0, 0], [0, 0]]), {})
    assert count.intact
    assert count.sparsity == 0


def test_masks_belong_to_modules() -> None:
    assert masked_modules(_MASKS) == ("encoder.query", "encoder.key")


def test_no_mask_file_means_no_masks(tmp_path: Path) -> None:
    assert load_masks(tmp_path / "masks.safetensors") == {}


def test_a_damaged_mask_file_sends_train_back_to_work(tmp_path: Path) -> None:
    path = tmp_path / "masks.safetensors"
    path.write_bytes(b"not a mask")
    with pytest.raises(OutputVanished, match=r"masks\.safetensors.*train has to run again"):
        load_masks(path)
