"""What stages write, made readable: their records as sentences, all else as it is."""

from __future__ import annotations

from sparse_transfer_api.records import Progress, StageResult
from sparse_transfer_cli.display import describe
from sparse_transfer_cli.stage_process import parse_record


def readable(line: str) -> str:
    """Returns a line of a stage's log as people read it.

    Args:
        line: Without its end; a JSON record, or any text.
    """
    record = parse_record(line.encode())
    if isinstance(record, Progress):
        share = f"{record.percentage:5.1f} %" if record.percentage is not None else " " * 7
        return f"{record.stage:<8} {share}  {describe(record)}".rstrip()
    if isinstance(record, StageResult):
        return f"{record.stage:<8} {_ended(record)}"
    return line


def _ended(result: StageResult) -> str:
    how = "Reused" if result.recorded and result.outcome == "Succeeded" else result.outcome
    why = "" if result.outcome == "Succeeded" else f" ({result.reason}, exit {result.exit_code})"
    said = f": {result.message}" if result.message else ""
    where = f"; {result.manifest_uri}" if result.manifest_uri is not None else ""
    return f"{how}{why}{said}{where}"
