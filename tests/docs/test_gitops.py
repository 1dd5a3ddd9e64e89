"""What the page on GitOps gives to Argo CD and Flux says of each situation what it should."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import cel
import pytest
import yaml
from tests.docs.pages import DOCS, blocks

from sparse_transfer_api.contract import API_VERSION, KIND
from sparse_transfer_api.status import Phase
from sparse_transfer_operator.plan.conditions import Situation, conditions_of

lua = pytest.importorskip("lupa.lua51", reason="pip install 'sparse-transfer[servers]'")

PAGE = DOCS / "how-to" / "gitops.md"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
GENERATION = 3

SITUATIONS: Mapping[str, Situation] = {
    "not started": Situation(Phase.PENDING, "Waiting", "waits for its claim", reconciling=True),
    "queued": Situation(Phase.QUEUED, "Queued", "waits for its queue"),
    "running": Situation(Phase.TRAINING, "InProgress", "trains"),
    "suspended": Situation(Phase.SUSPENDED, "Suspended", "as asked"),
    "succeeded": Situation(Phase.SUCCEEDED, "Completed", "done"),
    "failed": Situation(Phase.FAILED, "InputError", "no such column"),
}
ROWS = {
    "not started": "nothing has been started yet",
    "queued": "queued, suspended or running",
    "running": "queued, suspended or running",
    "suspended": "queued, suspended or running",
    "succeeded": "succeeded",
    "failed": "failed",
}
"""Of the page's table."""
ARGO = {
    "not started": "Progressing",
    "queued": "Healthy",
    "running": "Healthy",
    "suspended": "Suspended",
    "succeeded": "Healthy",
    "failed": "Degraded",
}
FLUX = {
    "not started": "inProgress",
    "queued": "inProgress",
    "running": "inProgress",
    "suspended": "inProgress",
    "succeeded": "current",
    "failed": "failed",
}


def _experiment(situation: str, observed: int = GENERATION) -> dict[str, Any]:
    conditions = conditions_of(SITUATIONS[situation], None, (), observed, NOW)
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": "reviews", "generation": GENERATION},
        "status": {
            "observedGeneration": observed,
            "conditions": [each.to_json_dict() for each in conditions],
        },
    }


def _argo(experiment: Mapping[str, Any]) -> tuple[str, str]:
    ((_, script),) = blocks(PAGE, "lua")
    runtime = lua.LuaRuntime()
    check = runtime.execute(f"return function(obj) {script} end")
    found = check(runtime.table_from(experiment, recursive=True))
    return found["status"], found["message"]


def _flux(experiment: Mapping[str, Any]) -> str:
    """Returns what Flux finds: the first expression that holds, in the order that it asks them."""
    documents = [yaml.safe_load(text) for _, text in blocks(PAGE, "yaml")]
    (kustomization,) = [each for each in documents if each["kind"] == "Kustomization"]
    (check,) = kustomization["spec"]["healthCheckExprs"]
    assert (check["apiVersion"], check["kind"]) == (API_VERSION, KIND)
    variables = {"status": {}, **experiment}
    for name in ("inProgress", "failed", "current"):
        if cel.evaluate(check[name], variables):
            return name
    return "inProgress"


@pytest.mark.parametrize("situation", SITUATIONS)
def test_argo_shows_how_an_experiment_is(situation: str) -> None:
    status, message = _argo(_experiment(situation))
    assert (status, message) == (ARGO[situation], SITUATIONS[situation].message)


@pytest.mark.parametrize("situation", SITUATIONS)
def test_flux_waits_for_the_outcome(situation: str) -> None:
    assert _flux(_experiment(situation)) == FLUX[situation]


@pytest.mark.parametrize("check", [lambda each: _argo(each)[0], _flux])
def test_an_edit_that_the_operator_has_not_seen_is_in_progress(check: Any) -> None:
    for experiment in (
        _experiment("failed", observed=GENERATION - 1),
        _experiment("succeeded", observed=GENERATION - 1),
        {"metadata": {"name": "reviews", "generation": 1}},
    ):
        assert check(experiment) in ("Progressing", "inProgress")


@pytest.mark.parametrize("situation", SITUATIONS)
def test_the_table_says_what_the_conditions_are(situation: str) -> None:
    lines = [
        [cell.strip(" `") for cell in line.strip("|").split("|")]
        for line in PAGE.read_text().splitlines()
        if line.startswith("|")
    ]
    columns = lines[0]
    (row,) = [line for line in lines if line[0] == ROWS[situation]]
    held = {each["type"]: each["status"] for each in _experiment(situation)["status"]["conditions"]}
    assert row[1:] == [held[name] for name in columns[1:]]
