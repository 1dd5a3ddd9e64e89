"""Rows and their lines do not depend on where a block of bytes happens to end."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparse_transfer_runner.data.chunks import read_chunks
from sparse_transfer_runner.data.findings import Findings
from sparse_transfer_runner.data.source import SourceFile

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=40)


def read(path: Path, block_bytes: int) -> list[tuple[int, dict[str, str]]]:
    findings = Findings()
    source = SourceFile(path, findings)
    with patch("sparse_transfer_runner.data.source.BLOCK_BYTES", block_bytes):
        rows = [
            (line, row)
            for chunk in read_chunks(source)
            for line, row in zip(chunk.lines, chunk.rows, strict=True)
        ]
    assert findings.problems() == []
    assert source.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    return rows


@pytest.mark.parametrize("form", ["csv", "jsonl", "json"])
@given(
    texts=st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=6),
    block_bytes=st.integers(4, 70),
    mark=st.booleans(),
    indent=st.sampled_from([None, 0, 2]),
)
def test_blocks_make_no_difference(
    tmp_path_factory: pytest.TempPathFactory,
    form: str,
    texts: list[tuple[str, str]],
    block_bytes: int,
    mark: bool,
    indent: int | None,
) -> None:
    rows = [{"first": first, "second": second} for first, second in texts]
    path = tmp_path_factory.mktemp("data") / f"train.{form}"
    if form == "csv":
        table = io.StringIO(newline="")
        writer = csv.DictWriter(table, ["first", "second"], quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(rows)
        content = table.getvalue()
    elif form == "jsonl":
        content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    else:
        content = json.dumps(rows, ensure_ascii=False, indent=indent)
    path.write_bytes(content.encode("utf-8-sig" if mark else "utf-8"))

    small = read(path, block_bytes)
    whole = read(path, 1 << 16)

    assert small == whole
    assert [row for _, row in whole] == rows
    if form == "jsonl":
        assert [line for line, _ in whole] == list(range(1, len(rows) + 1))
