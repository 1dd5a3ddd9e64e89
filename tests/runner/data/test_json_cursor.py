"""A place in a JSON file: values are read whole, wherever blocks of the file end."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparse_transfer_runner.data.findings import Findings
from sparse_transfer_runner.data.json_cursor import JsonCursor
from sparse_transfer_runner.data.source import BLOCK_BYTES, SourceFile


@pytest.mark.parametrize(
    ("number", "value"),
    [("10000135", 10000135), ("-12", -12), ("0.98", 0.98), ("1e+5", 1e5), ("-1.5E-10", -1.5e-10)],
)
def test_a_number_is_whole_wherever_a_block_ends(tmp_path: Path, number: str, value: float) -> None:
    for before in range(len(number) + 1):
        (tmp_path / "rows.json").write_text(" " * (BLOCK_BYTES - before) + number + ",7")
        source = SourceFile(tmp_path / "rows.json", Findings())
        cursor = JsonCursor(source, "numbers")

        assert cursor.value() == (value,)
        assert cursor.skip(",")
        assert cursor.value() == (7,)
        assert not cursor.next_character()
