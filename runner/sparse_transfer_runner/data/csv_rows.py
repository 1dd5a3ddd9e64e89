"""CSV with a header, comma separated, quoted as RFC 4180 says."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from io import StringIO

from sparse_transfer_runner.data.chunks import Chunk
from sparse_transfer_runner.data.findings import shown
from sparse_transfer_runner.data.source import MAX_RECORD_BYTES, SourceFile

_ROWS_OF_A_CHUNK = 512
_OTHER_SEPARATORS = ";\t|"


def csv_chunks(source: SourceFile) -> Iterator[Chunk]:
    """Yields the rows of a CSV file; ragged and broken ones are reported and left out.

    Without a usable header nothing is yielded.
    """
    # The library's default of 128 KiB is less than some documents; the setting is its global.
    csv.field_size_limit(MAX_RECORD_BYTES)
    text = _text_lines(source)
    records = _records(source, text)
    header = _header(source, records)
    if header is None:
        for _ in text:
            pass  # the digest is that of the whole file
        return
    rows: list[dict[str, str]] = []
    lines: list[int] = []
    for line, fields in records:
        if len(fields) != len(header):
            source.findings.add("ragged row", source.path, _ragged(fields, header), line)
            continue
        rows.append(dict(zip(header, fields, strict=True)))
        lines.append(line)
        if len(rows) == _ROWS_OF_A_CHUNK:
            yield Chunk(rows, lines, header)
            rows, lines = [], []
    if rows:
        yield Chunk(rows, lines, header)


def _records(source: SourceFile, text: Iterator[str]) -> Iterator[tuple[int, list[str]]]:
    """Yields each record that is not blank, with the line on which it begins."""
    reader = csv.reader(text, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            # An open quote takes in everything up to the next one, or to the end of the file.
            source.cut_short |= reader.line_num > line
            source.findings.add(
                "broken CSV",
                source.path,
                f"{error} (up to line {reader.line_num}); expected fields with quotes doubled "
                'inside quotes, such as "He said ""no"""',
                line,
            )
            continue
        if fields:
            yield line, fields


def _text_lines(source: SourceFile) -> Iterator[str]:
    line = 1
    for block in source.line_blocks():
        try:
            text = block.decode()
        except UnicodeDecodeError:
            for number, raw in enumerate(block.split(b"\n"), start=line):
                source.add_undecodable(raw, number)
            text = block.decode(errors="replace")
        line += block.count(b"\n")
        # Line ends inside quotes belong to the field, so they are kept as they are.
        yield from StringIO(text, newline="")


def _header(source: SourceFile, records: Iterator[tuple[int, list[str]]]) -> tuple[str, ...] | None:
    line, names = next(records, (1, None))
    if names is None:
        return None
    header = tuple(name.strip() for name in names)
    doubled = [name for name, times in Counter(header).items() if times > 1]
    for name in doubled:
        source.findings.add(
            "duplicate column",
            source.path,
            f"column {shown(name)} occurs {header.count(name)} times in the header; "
            "expected every name once",
            line,
        )
    other = next((s for s in _OTHER_SEPARATORS if len(header) == 1 and s in header[0]), None)
    if other:
        source.findings.add(
            "wrong separator",
            source.path,
            f"the header {shown(header[0])} is separated by {other!r}; expected commas",
            line,
        )
    return None if doubled or other else header


def _ragged(fields: list[str], header: tuple[str, ...]) -> str:
    return (
        f"{len(fields)} fields, starting {shown(fields[0])}; expected {len(header)} "
        f"({', '.join(header[:8])}): quote fields that hold commas"
    )
