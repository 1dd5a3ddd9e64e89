"""Runs ``run`` with the stand-in runner, as a process of its own that tests can send signals to."""

from __future__ import annotations

import sys
from pathlib import Path

from sparse_transfer_cli.experiment_file import read_experiment
from sparse_transfer_cli.verbs.run import RunOptions, run

_STAND_IN = Path(__file__).with_name("stand_in_runner.py")

if __name__ == "__main__":
    experiment = read_experiment(Path(sys.argv[1]))
    options = RunOptions("json", command=(sys.executable, str(_STAND_IN)))
    sys.exit(run(experiment, options, "the same command"))
