"""What an audit says: of every stage's folder what was checked, and what is wrong."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from pydantic import Field

from sparse_transfer_api.base import Part, Record


class Check(StrEnum):
    """What is checked of a finished stage's folder."""

    MANIFEST = "manifest"
    """It can be read, and is this folder's."""
    CONTENTS = "contents"
    """Every listed file is there with its size and SHA-256."""
    RECORDS = "records"
    """Result, plan and artifacts agree with the listed files and with each other."""
    KEY = "key"
    """It follows from the recorded experiment and from what the stages before recorded."""
    PROVENANCE = "provenance"
    """It says what the result was made with and from."""


class Kind(StrEnum):
    """What a finding means."""

    DAMAGED = "Damaged"
    """Something is not what was recorded."""
    DENIED = "Denied"
    """Something may not be read."""
    UNCHECKED = "Unchecked"
    """A check could not be made."""
    NOTE = "Note"
    """Worth knowing; nothing is wrong."""


class CheckState(StrEnum):
    """How a check ended."""

    PASSED = "Passed"
    FAILED = "Failed"
    UNCHECKED = "Unchecked"


class Verdict(StrEnum):
    """What an audit comes to."""

    WHOLE = "Whole"
    """Everything that is finished is as it was recorded."""
    DAMAGED = "Damaged"
    DENIED = "Denied"
    """Something may not be read; what could be read is whole."""
    UNFINISHED = "Unfinished"
    """No stage has finished: there was nothing to check."""


class Finding(Part):
    """One thing that an audit noticed."""

    check: Check
    kind: Kind
    where: str = Field(description="Address of the file or folder.")
    what: str = Field(description="What was found, and what was expected.")
    remedy: str = Field("", description="What to do; empty where nothing has to be done.")

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" + (f"; {self.remedy}" if self.remedy else "")


class AuditedFolder(Part):
    """One stage's folder. ``checks`` is empty of one without a manifest: it is unfinished."""

    uri: str
    stage: str
    key: str
    finished: bool
    attempts: int = Field(description="Claimed so far.")
    files: int = Field(description="Listed by the manifest; of an unfinished folder, found.")
    size_bytes: int = Field(description="Of these files.")
    checks: dict[Check, CheckState] = Field(default_factory=dict)
    findings: list[Finding] = Field(default_factory=list)


class Audit(Record):
    """Everything below one address."""

    uri: str
    folders: list[AuditedFolder]
    read_bytes: int = Field(description="Of contents, read to the end and digested.")

    @property
    def finished(self) -> list[AuditedFolder]:
        """The folders with a manifest: those that were checked."""
        return [folder for folder in self.folders if folder.finished]

    @property
    def verdict(self) -> Verdict:
        """What the audit comes to."""
        if not self.finished:
            return Verdict.UNFINISHED
        if self.findings(Kind.DAMAGED):
            return Verdict.DAMAGED
        return Verdict.DENIED if self.findings(Kind.DENIED) else Verdict.WHOLE

    def findings(self, *kinds: Kind) -> list[Finding]:
        """Returns the findings of these kinds, folder by folder."""
        return [each for folder in self.folders for each in folder.findings if each.kind in kinds]


def states(findings: Iterable[Finding]) -> dict[Check, CheckState]:
    """Returns how each check ended that led to these findings."""
    kinds: dict[Check, set[Kind]] = {check: set() for check in Check}
    for finding in findings:
        kinds[finding.check].add(finding.kind)
    return {check: _state(found) for check, found in kinds.items()}


def _state(kinds: set[Kind]) -> CheckState:
    if kinds & {Kind.DAMAGED, Kind.DENIED}:
        return CheckState.FAILED
    return CheckState.UNCHECKED if Kind.UNCHECKED in kinds else CheckState.PASSED
