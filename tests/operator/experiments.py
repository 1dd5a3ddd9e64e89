"""Experiments on a cluster, as a user sees them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.access import Cluster
from tests.servers.processes import wait_until

from sparse_transfer_api.contract import API_VERSION, KIND, LABEL_EXPERIMENT, LABEL_STAGE

SECONDS = 90
RESULTS = {
    "metric": {
        "name": "accuracy",
        "baseline": 0.84,
        "value": 0.82,
        "samples": 3000,
        "split": "test",
    },
    "recovery": 0.9762,
    "sparsity": 0.8,
    "zeroShare": 0.5,
    "sizeBytes": 1000,
    "compressedSizeBytes": 500,
    "denseSizeBytes": 4000,
    "headline": {"engine": "onnxruntime", "batch": 1, "sequence": 128, "speedup": 2.35},
    "recommended": {"file": "model.onnx", "engine": "onnxruntime", "reason": "fastest"},
}

CRD = Path(__file__).resolve().parents[2] / "crds" / "sparsetransferexperiments.yaml"

Document = dict[str, Any]


def teach_experiments(cluster: Cluster) -> None:
    """Makes a cluster know experiments."""
    cluster.kubectl("apply", "--server-side", "-f", str(CRD))
    wait_until(
        lambda: cluster.kubectl("get", "ste", check=False).returncode == 0, "experiments", SECONDS
    )


def stage_result(**more: Any) -> str:
    """Returns what a stage that succeeded leaves, as the annotation of a simulated pod."""
    result = {
        "schemaVersion": 1,
        "stage": "{stage}",
        "key": "{key}",
        "outcome": "Succeeded",
        "reason": "Completed",
        **more,
    }
    return json.dumps(result)


@dataclass(frozen=True)
class Experiment:
    """One experiment of a test.

    Args:
        cluster: Where it is.
        namespace: Its namespace.
        name: Its name.
    """

    cluster: Cluster
    namespace: str
    name: str = "film-reviews"

    def document(
        self,
        annotations: Mapping[str, str] | None = None,
        stages: Mapping[str, Mapping[str, str]] | None = None,
        **spec: Any,
    ) -> Document:
        """Returns its YAML.

        Args:
            annotations: Of all its pods: how they are simulated.
            stages: The same, of the pods of single stages.
            spec: More of its spec.
        """
        return {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {"name": self.name},
            "spec": {
                "useCase": "sentiment-analysis",
                "data": {"uri": "s3://bucket/reviews/"},
                "template": {"annotations": dict(annotations or {})},
                "stages": {
                    stage: {"annotations": dict(each)} for stage, each in (stages or {}).items()
                },
                **spec,
            },
        }

    def apply(
        self,
        annotations: Mapping[str, str] | None = None,
        stages: Mapping[str, Mapping[str, str]] | None = None,
        **spec: Any,
    ) -> None:
        """Applies it, as ``document`` describes it."""
        self.cluster.apply(self.document(annotations, stages, **spec), namespace=self.namespace)

    def patch(self, change: Mapping[str, Any]) -> None:
        """Merges a change into it."""
        self.kubectl("patch", "ste", self.name, "--type=merge", "--patch", json.dumps(change))

    def kubectl(self, *arguments: str) -> str:
        """Runs kubectl in its namespace; returns what it printed."""
        return self.cluster.kubectl(f"--namespace={self.namespace}", *arguments).stdout

    def get(self, kind: str = "ste", *arguments: str) -> Any:
        """Returns objects of its namespace."""
        return self.cluster.get(kind, *arguments, f"--namespace={self.namespace}")

    def body(self) -> Document:
        """Returns it as the API server has it; empty where it is not."""
        return self.get("ste", self.name) or {}

    def status(self) -> Document:
        """Returns its status."""
        return self.body().get("status", {})

    def stage(self, name: str) -> Document:
        """Returns the status of one of its stages; empty where it was not reached."""
        stages = self.status().get("stages", [])
        return next((each for each in stages if each["name"] == name), {})

    def condition(self, kind: str) -> Document:
        """Returns one of its conditions; empty where there is none of that type."""
        conditions = self.status().get("conditions", [])
        return next((each for each in conditions if each["type"] == kind), {})

    def children(self, kind: str) -> list[Document]:
        """Returns its Jobs or pods."""
        chosen = f"--selector={LABEL_EXPERIMENT}={self.name}"
        return self._items(kind, chosen)

    def jobs(self) -> dict[str, str]:
        """Returns its Jobs' UIDs by name."""
        return {each["metadata"]["name"]: each["metadata"]["uid"] for each in self.children("jobs")}

    def events(self) -> list[Document]:
        """Returns what was told of it."""
        chosen = f"--field-selector=involvedObject.name={self.name}"
        return self._items("events", chosen)

    def running_pods(self, stage: str) -> list[str]:
        """Returns the names of a stage's pods that run."""
        return [
            each["metadata"]["name"]
            for each in self.children("pods")
            if each["metadata"]["labels"][LABEL_STAGE] == stage
            and each["status"]["phase"] == "Running"
        ]

    def _items(self, kind: str, selector: str) -> list[Document]:
        found = self.get(kind, selector)
        return [] if found is None else list(found["items"])

    def wait_for(self, condition: str, status: str = "True") -> None:
        """Waits for a condition as a user does."""
        waited = (f"--for=condition={condition}={status}", f"--timeout={SECONDS}s")
        self.kubectl("wait", f"ste/{self.name}", *waited)

    def wait_for_phase(self, *phases: str) -> None:
        """Waits until its phase is one of these."""
        self.wait_until(lambda: self.status().get("phase") in phases, f"phase {phases}")

    def wait_until_running(self, stage: str) -> None:
        """Waits until a stage's pod runs and the status says so."""
        self.wait_until(
            lambda: (
                self.stage(stage).get("outcome") == "Running" and "startTime" in self.stage(stage)
            ),
            f"{stage} to run",
        )

    def wait_until(self, happened: Callable[[], bool], what: str) -> None:
        """Waits for anything about it."""
        try:
            wait_until(happened, what, SECONDS)
        except AssertionError as error:
            raise AssertionError(f"{error}; it is {json.dumps(self.status(), indent=1)}") from None

    def end_pod(self, stage: str, **annotations: str) -> None:
        """Lets the hanging pods of a stage end."""
        chosen = f"--selector={LABEL_EXPERIMENT}={self.name},{LABEL_STAGE}={stage}"
        given = [f"sim/{name.replace('_', '-')}={value}" for name, value in annotations.items()]
        self.kubectl("annotate", "pods", chosen, "--overwrite", "sim/hang-", *given)
