"""Every example is a valid experiment, here and on a cluster."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from sparse_transfer_api.spec import parse_experiment
from sparse_transfer_api.use_cases import UseCaseName

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def read(use_case: str) -> dict[str, Any]:
    """Returns a use case's example as it is written."""
    document: dict[str, Any] = yaml.safe_load(
        (EXAMPLES / use_case / "experiment.yaml").read_text(encoding="utf-8")
    )
    return document


@pytest.mark.parametrize("use_case", UseCaseName)
def test_the_example_is_valid_on_one_machine(use_case: UseCaseName) -> None:
    experiment = parse_experiment(read(use_case), f"examples/{use_case}")
    assert experiment.spec.use_case is use_case


@pytest.mark.parametrize("use_case", UseCaseName)
def test_the_example_is_taken_by_a_cluster(use_case: UseCaseName, api_server: Any) -> None:
    assert api_server.refusals(read(use_case)) == []


@pytest.mark.parametrize(
    "path", sorted(EXAMPLES.glob("*/experiment.yaml")), ids=lambda path: path.parent.name
)
def test_any_other_example_is_valid_too(path: Path, problems_of: Callable[[Any], Any]) -> None:
    assert problems_of(yaml.safe_load(path.read_text(encoding="utf-8"))) == {}
