"""The one error hierarchy; each class carries its exit code and its condition reason.

A message says what is wrong, where, and what to do. Only the top edges (the runner's and the
command line's ``main``, the operator's reconcile) catch these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from .contract import ExitCode


class SparseTransferError(Exception):
    """Base of every failure that the system itself names."""

    exit_code: ClassVar[ExitCode]
    reason: ClassVar[str]


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with the user's input.

    Args:
        where: File, field or object, as the user wrote it.
        message: What is wrong, with the offending value, and what was expected.
        line: 1-based line in the file, where there is one.
    """

    where: str
    message: str
    line: int | None = None

    def __str__(self) -> str:
        place = self.where if self.line is None else f"{self.where}:{self.line}"
        return f"{place}: {self.message}"


class InputError(SparseTransferError):
    """The user's input is wrong: retrying cannot help.

    Args:
        message: Summary in one line.
        problems: Every single problem found; shown as a list below the summary.
    """

    exit_code = ExitCode.INPUT
    reason = "InvalidInput"

    def __init__(self, message: str, problems: Sequence[Problem] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return "\n".join([super().__str__(), *(f"  - {problem}" for problem in self.problems)])


class UsageError(SparseTransferError):
    """The command was called wrongly."""

    exit_code = ExitCode.USAGE
    reason = "WrongUsage"


class AcceptanceMissed(SparseTransferError):
    """The result exists but misses ``spec.acceptance`` (command line only)."""

    exit_code = ExitCode.ACCEPTANCE
    reason = "AcceptanceMissed"


class OutOfMemory(SparseTransferError):
    """The work does not fit in memory even after backing off."""

    exit_code = ExitCode.MEMORY
    reason = "OutOfMemory"


class AccessError(SparseTransferError):
    """Access was denied, or a named object does not exist."""

    exit_code = ExitCode.ACCESS
    reason = "AccessDenied"


class OutputVanished(SparseTransferError):
    """An earlier stage's output is gone or damaged; that stage has to run again."""

    exit_code = ExitCode.VANISHED
    reason = "OutputVanished"


class Transient(SparseTransferError):
    """Passing trouble, such as a full disk or a lost connection: another attempt may succeed."""

    exit_code = ExitCode.TRANSIENT
    reason = "Transient"


class Stopped(SparseTransferError):
    """The stage was asked to stop, and left a checkpoint."""

    exit_code = ExitCode.STOPPED
    reason = "Stopped"
