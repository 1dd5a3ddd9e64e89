"""A packaged ladder of real weights, made quickly, and one level of each band run on its models."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from tests.kills.forked_runner import run_stage

from sparse_transfer_api.contract import ENV_CATALOG, Stage
from sparse_transfer_api.records import Manifest
from sparse_transfer_api.results import Results
from sparse_transfer_api.spec import parse_experiment
from sparse_transfer_runner.catalog.choice import entry_named, ladders
from sparse_transfer_runner.catalog.models import Catalog, CatalogEntry
from sparse_transfer_runner.catalog.reading import load_catalog, packaged_catalog
from sparse_transfer_runner.stages.prepare import check_model

LEVELS = (0.0, 0.1, 0.25, 0.5, 1.0)
"""One of each band."""
_QUICK = {"method": "magnitude", "calibration_rows": 16, "recovery_steps": 0, "batch_size": 8}
_SECONDS = 600
"""That a stage may take before it counts as hanging."""


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs ``sparse-transfer``."""
    return subprocess.run(
        [sys.executable, "-m", "sparse_transfer_cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=_SECONDS,
    )


@dataclass(frozen=True)
class Place:
    """A folder with ``data`` and a ladder's models, to run experiments in.

    Args:
        root: The folder.
        ladder: The ladder's name.
        spec: Of every experiment, but for what is said of its data's and its output's address, its
            level and its model.
    """

    root: Path
    ladder: str
    spec: Mapping[str, Any]

    @property
    def catalog(self) -> Path:
        """The catalogue of what was made."""
        return self.root / "models" / "catalog.yaml"

    def make(self, brought: Path | None, **job: Any) -> None:
        """Makes the ladder by the quickest method, without recovery.

        Args:
            brought: Data without labels, where the entries name none.
            **job: Takes the place of what stands in the entries' jobs.
        """
        entries = tuple(
            entry.model_copy(
                update={"upstream": entry.upstream.model_copy(update={**_QUICK, **job})}
            )
            for entry in ladders(packaged_catalog())[self.ladder]
            if entry.upstream is not None
        )
        quicker = self.root / "quicker.yaml"
        catalog = Catalog(extends="packaged", models=entries)
        quicker.write_text(yaml.safe_dump(catalog.to_json_dict()))
        data = () if brought is None else ("--data", brought)
        output = ("--output", self.root / "models")
        made = command("catalog", "build", self.ladder, "--catalog", quicker, *output, *data)
        assert made.returncode == 0, made.stderr

    def document(self, level: float, model: str | None) -> dict[str, Any]:
        """Returns the experiment of a level, with its model by a name of the catalogue."""
        data = {**self.spec.get("data", {}), "uri": (self.root / "data").as_uri()}
        return {
            "apiVersion": "sparsetransfer.dev/v1alpha1",
            "kind": "SparseTransferExperiment",
            "metadata": {"name": self.ladder},
            "spec": {
                **self.spec,
                "data": data,
                "output": {"uri": (self.root / "runs").as_uri()},
                "export": {"targets": ["onnxruntime"]},
                "optimLevel": level,
                **({"model": {"uri": f"catalog:{model}"}} if model is not None else {}),
            },
        }

    def run(self, level: float) -> Results:
        """Runs a level on the ladder's name, through all its stages."""
        before = set(self.finished("package"))
        document = json.dumps(self.document(level, self.ladder))
        environment = {"OMP_NUM_THREADS": "1", ENV_CATALOG: str(self.catalog)}
        for stage in Stage:
            end = run_stage(stage, document, self.root, environment, _SECONDS)
            assert end.result is not None, (self.root / f"{stage}.jsonl.log").read_text()
            assert end.result.outcome == "Succeeded", end.result.message
        (package,) = set(self.finished("package")) - before
        results = Manifest.model_validate_json((package / "manifest.json").read_bytes()).results
        assert results is not None
        return results

    def finished(self, stage: str) -> list[Path]:
        """Returns the folders of a stage's results."""
        return list((self.root / "runs").glob(f"*/*/{stage}-*"))

    def entry(self, name: str) -> CatalogEntry:
        """Returns an entry of what was made."""
        return entry_named(load_catalog(self.catalog), name)

    def model_of(self, level: float, name: str | None) -> tuple[str, bool]:
        """Returns the address of the model that a level starts from, and whether it is sparse."""
        spec = parse_experiment(self.document(level, name), "test").spec
        found = check_model(spec, load_catalog(self.catalog))
        return found.source.uri, found.sparse
