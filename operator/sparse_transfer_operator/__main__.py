"""The operator's command: ``sparse-transfer-operator --settings FILE [--kubeconfig FILE]``."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from sparse_transfer_api.errors import SparseTransferError

from .logs import set_up_logs
from .process import operate
from .settings import OperatorSettings, load_settings

_COLLECT = (2_000, 10, 10)
"""Rarer than usual, but not by much: kopf's workers end by exceptions, whose tracebacks hold whole
objects of the cluster until they are collected."""
_LEVELS = ("debug", "info", "warning", "error")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the operator until SIGTERM or SIGINT; returns the exit code."""
    given = _parser().parse_args(arguments)
    set_up_logs(getattr(logging, given.log_level.upper()))
    # What was imported stays: the collector need not look at it again and again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT)
    try:
        settings = load_settings(given.settings) if given.settings else OperatorSettings()
        asyncio.run(operate(settings, given.kubeconfig))
    except SparseTransferError as error:
        logging.getLogger(__name__).error("%s", error)
        return int(error.exit_code)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sparse-transfer-operator",
        description="Runs the stages of SparseTransferExperiments as Jobs on a Kubernetes cluster.",
    )
    parser.add_argument("--settings", type=Path, help="YAML file; default: all defaults")
    parser.add_argument(
        "--kubeconfig", type=Path, help="how to log in; default: the pod's service account"
    )
    parser.add_argument("--log-level", choices=_LEVELS, default="info", help="default: info")
    return parser


if __name__ == "__main__":
    sys.exit(main())
