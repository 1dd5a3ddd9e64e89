from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.runner.storage.tmpfs import small_file_system

from sparse_transfer_api.errors import Stopped, Transient
from sparse_transfer_runner.storage.settings import StorageSettings, using
from sparse_transfer_runner.use_cases.feature_files import (
    Features,
    mapped_features,
    read_features,
    write_features,
)

MANY = 1 << 16


def numbered(*, chunks: int = 3, rows: int = 4) -> Iterator[Features]:
    for chunk in range(chunks):
        yield {"tokens": np.arange(chunk * rows, (chunk + 1) * rows, dtype=np.int32)}


def never() -> Iterator[Features]:
    pytest.fail("made again")
    yield {}


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=4),
    st.sampled_from(["<i4", "|i1", "<f4", "<i8"]),
    st.sampled_from([(), (3,), (2, 2)]),
)
def test_what_is_read_is_what_was_written(
    rows: list[int], kind: str, shape: tuple[int, ...]
) -> None:
    chunks = [np.full((count, *shape), number, kind) for number, count in enumerate(rows)]
    with TemporaryDirectory() as folder:
        write_features(Path(folder), ({"values": chunk} for chunk in chunks))
        found = read_features(Path(folder))["values"]
        expected = np.concatenate(chunks)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


def test_the_same_is_made_once_and_found_by_whoever_shares_the_cache(tmp_path: Path) -> None:
    with using(StorageSettings(cache=tmp_path)):
        made = mapped_features(["data", "tokenizer", 128], numbered)
    with using(StorageSettings(cache=tmp_path)):
        found = mapped_features(["data", "tokenizer", 128], never)
        other = mapped_features(["data", "tokenizer", 64], lambda: numbered(chunks=1))
    np.testing.assert_array_equal(found["tokens"], made["tokens"])
    assert len(other["tokens"]) == 4
    assert not found["tokens"].flags.writeable


def test_a_full_disk_is_passing_trouble_and_leaves_nothing(tmp_path: Path) -> None:
    with (
        small_file_system(tmp_path / "disk", 1 << 18) as disk,
        using(StorageSettings(cache=disk)),
    ):
        with pytest.raises(Transient, match="no space left on the device"):
            mapped_features(["data"], lambda: numbered(rows=MANY))
        assert not list((disk / "work").iterdir())
        assert len(mapped_features(["data"], numbered)["tokens"]) == 12


def test_encoding_ends_where_the_stage_is_asked_to_stop(tmp_path: Path) -> None:
    def stopped() -> None:
        raise Stopped("asked to")

    with (
        using(StorageSettings(cache=tmp_path, raise_if_stopped=stopped)),
        pytest.raises(Stopped),
    ):
        mapped_features(["data"], numbered)
    assert not list((tmp_path / "work").iterdir())
