"""A place in a JSON file: values are read whole, wherever blocks of the file end."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparse_transfer_api.errors import InputError
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


@pytest.mark.parametrize("before", ["", '{"score": ', "[7, -"])
def test_a_number_that_python_does_not_read_is_said_with_its_line(
    tmp_path: Path, before: str
) -> None:
    (tmp_path / "rows.json").write_text("\n\n" + before + "1" * 5000)
    findings = Findings()
    cursor = JsonCursor(SourceFile(tmp_path / "rows.json", findings), "numbers")

    assert cursor.value() is None
    with pytest.raises(InputError) as caught:
        findings.raise_if_any("the data")

    (problem,) = caught.value.problems
    assert "a whole number of more than 4300 digits; expected numbers" in problem.message
    assert problem.line == 3
