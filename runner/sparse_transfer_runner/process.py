"""One stage as a process: what it is given, what it says, and how it ends.

Standard output carries JSON lines only (progress, and last the result); logs, and whatever
libraries print, go to standard error.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TextIO

from sparse_transfer_api.contract import (
    ENV_EXPERIMENT,
    ENV_STAGE_KEY,
    ENV_TERMINATION_LOG,
    TERMINATION_LOG,
    ExitCode,
    Stage,
)
from sparse_transfer_api.errors import OutOfMemory, SparseTransferError, UsageError
from sparse_transfer_api.handover import read_stage_document
from sparse_transfer_api.records import Progress, StageResult
from sparse_transfer_api.spec import SparseTransferExperiment
from sparse_transfer_runner.out_of_memory import is_out_of_memory
from sparse_transfer_runner.progress import Reporter
from sparse_transfer_runner.progress_post import posting
from sparse_transfer_runner.stages.runtime import StageRun

_LOG = logging.getLogger("sparse_transfer_runner")
_INTERNAL_ERROR = 1


def run(arguments: Sequence[str] | None, stop: threading.Event) -> int:
    """Runs a stage and returns the process's exit code.

    Args:
        arguments: Of the command line; by default the process's own.
        stop: Set when the stage has to stop soon.
    """
    options = _parse(arguments)
    records = _claim_standard_output()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(message)s")
    logging.captureWarnings(True)
    # Posting ends last: the result does not wait for it.
    with ExitStack() as ending:
        result = _run(options, records, stop, ending)
        _send(records, "result", result.to_json())
        _write_termination_log(result)
    return result.exit_code


def _run(
    options: argparse.Namespace, records: TextIO, stop: threading.Event, ending: ExitStack
) -> StageResult:
    stage = Stage(options.stage)
    key = os.environ.get(ENV_STAGE_KEY)
    try:
        experiment = experiment_of(os.environ)
        post = ending.enter_context(posting(os.environ, experiment.metadata))

        def report(progress: Progress) -> None:
            _send(records, "progress", progress.to_json())
            post(progress)

        reporter = Reporter(stage, report)
        return StageRun(experiment, stage, reporter, stop, key, options.recorded_only).execute()
    except SparseTransferError as error:
        return _failure(stage, key, error, logged=str(error))
    except Exception as error:  # noqa: BLE001 - the top edge: everything becomes a result
        if is_out_of_memory(error):
            return _failure(stage, key, OutOfMemory(f"out of memory in {stage}: {error}"))
        _LOG.exception("%s failed unexpectedly", stage)
        return StageResult(
            stage=stage,
            key=key or "",
            outcome="Failed",
            reason="InternalError",
            message=f"{type(error).__name__}: {error}",
            exit_code=_INTERNAL_ERROR,
        )


def experiment_of(environment: Mapping[str, str]) -> SparseTransferExperiment:
    """Reads the experiment from the environment.

    Raises:
        UsageError: It is missing.
        InputError: It is not a valid experiment.
    """
    text = environment.get(ENV_EXPERIMENT)
    if text is None:
        raise UsageError(
            f"{ENV_EXPERIMENT} is not set: it holds the experiment as JSON. "
            "On one machine use `sparse-transfer run -f experiment.yaml`"
        )
    return read_stage_document(text)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="sparse-transfer-runner",
        description=f"Runs one stage of the experiment in {ENV_EXPERIMENT}.",
    )
    parser.add_argument("stage", choices=[stage.value for stage in Stage])
    parser.add_argument(
        "--recorded-only",
        action="store_true",
        help="return the recorded result, or fail, without working",
    )
    return parser.parse_args(arguments)


def _claim_standard_output() -> TextIO:
    """Keeps standard output for records; what anybody else prints goes to standard error."""
    records = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1, encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return records


def _send(records: TextIO, kind: str, document: bytes) -> None:
    body = {"type": kind, **json.loads(document)}
    try:
        records.write(json.dumps(body) + "\n")
    except (OSError, ValueError) as error:  # nobody listens any more: the work goes on
        _LOG.debug("record not sent: %s", error)


def _failure(
    stage: Stage, key: str | None, error: SparseTransferError, logged: str | None = None
) -> StageResult:
    _LOG.error("%s", logged or error)
    stopped = error.exit_code == ExitCode.STOPPED
    return StageResult(
        stage=stage,
        key=key or "",
        outcome="Stopped" if stopped else "Failed",
        reason=error.reason,
        message=str(error),
        exit_code=error.exit_code,
    )


def _write_termination_log(result: StageResult) -> None:
    path = Path(os.environ.get(ENV_TERMINATION_LOG, TERMINATION_LOG))
    if not path.parent.is_dir() or (ENV_TERMINATION_LOG not in os.environ and not path.exists()):
        return  # not in a pod
    try:
        path.write_bytes(result.to_termination_message())
    except (OSError, ValueError) as error:
        _LOG.warning("%s: the result could not be written (%s)", path, error)
