"""What a running stage is given, and what it gives back."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sparse_transfer_api.contract import PLAN, Stage
from sparse_transfer_api.errors import Stopped
from sparse_transfer_api.records import Plan
from sparse_transfer_api.results import Artifact, Resolved, Results
from sparse_transfer_api.spec import SparseTransferExperiment, SparseTransferSpec
from sparse_transfer_runner.output import Attempt, StageFolder
from sparse_transfer_runner.progress import Reporter
from sparse_transfer_runner.storage.protocol import Place


@dataclass(frozen=True)
class StageContext:
    """Everything that a stage may use.

    Args:
        experiment: The experiment; relative ``file://`` addresses are already absolute.
        root: The folder of all the experiment's stages.
        work: The claimed attempt: where the stage writes.
        earlier: The verified folders of the stages before it, and after train the teacher's
            (under ``"teacher"``), by name.
        reporter: Receives progress.
        stop: Set when the stage has to stop soon; check it between steps.
    """

    experiment: SparseTransferExperiment
    root: Place
    work: Attempt
    earlier: Mapping[str, StageFolder]
    reporter: Reporter
    stop: threading.Event

    @property
    def spec(self) -> SparseTransferSpec:
        """The experiment's spec."""
        return self.experiment.spec

    def plan(self) -> Plan:
        """Reads what prepare decided."""
        return plan_in(self.earlier[Stage.PREPARE])

    def raise_if_stopped(self) -> None:
        """Ends the stage when it was asked to stop.

        Raises:
            Stopped: A stop was asked for.
        """
        if self.stop.is_set():
            raise Stopped(f"{self.work.stage} was asked to stop; run it again to go on")


def plan_in(prepare: StageFolder) -> Plan:
    """Reads the plan in prepare's folder."""
    return Plan.model_validate_json((prepare.path / PLAN).read_bytes())


@dataclass(frozen=True)
class StageOutcome:
    """What a finished stage hands to its manifest and its result.

    Args:
        message: One sentence for the user.
        digests: What the next stage's key depends on, by name.
        headline: Numbers worth showing.
        resolved: Prepare only.
        results: Package only.
        artifacts: What the user takes away.
        provenance: What the work was done with; goes into the manifest.
        licences: Licence by part.
    """

    message: str
    digests: Mapping[str, str] = field(default_factory=dict)
    headline: Mapping[str, float | None] = field(default_factory=dict)
    resolved: Resolved | None = None
    results: Results | None = None
    artifacts: tuple[Artifact, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    licences: Mapping[str, str] = field(default_factory=dict)
