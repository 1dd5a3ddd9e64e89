"""What the tests of reduced examples share: the commands as a user types them, and their result."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from sparse_transfer_api.records import Manifest
from sparse_transfer_api.results import Results

EXAMPLES = Path(__file__).parents[2] / "examples"
_SECONDS = 1500
"""That a command may take before it counts as hanging."""


class Finished(NamedTuple):
    """A reduced example that has been run to its end; ``table`` is what the command printed."""

    name: str
    package: Path
    manifest: Manifest
    table: str

    @property
    def root(self) -> Path:
        """The folder with experiment, data and results."""
        return self.package.parents[3]

    @property
    def results(self) -> Results:
        """The package's."""
        assert self.manifest.results is not None
        return self.manifest.results

    def predict(self, *arguments: object) -> str:
        """Returns what the deployed folder's ``predict.py`` prints."""
        done = subprocess.run(
            [sys.executable, "predict.py", *map(str, arguments)],
            cwd=self.package / "deployment",
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs ``sparse-transfer``, which has to succeed."""
    done = subprocess.run(
        [sys.executable, "-m", "sparse_transfer_cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return done


def write_reduced(root: Path, example: str, spec: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes an example's experiment into a folder of its own, reduced.

    Args:
        root: The folder.
        example: Name of the example's folder.
        spec: What is changed in parts of the spec; None leaves a field out.
    """
    experiment = yaml.safe_load((EXAMPLES / example / "experiment.yaml").read_text("utf-8"))
    for part, changes in spec.items():
        changed = {**experiment["spec"].get(part, {}), **changes}
        experiment["spec"][part] = {
            name: value for name, value in changed.items() if value is not None
        }
    (root / "experiment.yaml").write_text(yaml.safe_dump(experiment), encoding="utf-8")


def run_experiment(root: Path, name: str) -> Finished:
    """Runs the folder's experiment."""
    done = command("run", "-f", root / "experiment.yaml")
    (package,) = (root / "runs").glob("*/*/package-*")
    manifest = Manifest.model_validate_json((package / "manifest.json").read_bytes())
    return Finished(name, package, manifest, done.stderr)
