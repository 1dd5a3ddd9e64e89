"""Operations and its neighbours name what there is: metrics, values, ports, targets of make."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.docs.pages import DOCS, ROOT, WRITTEN, code, name_of

from sparse_transfer_operator.metrics import Metrics
from sparse_transfer_operator.object_key import ObjectKey
from sparse_transfer_operator.settings import OperatorSettings
from sparse_transfer_operator.summary import Summary

PAGE = DOCS / "operations.md"
ON_INSTALLING = (PAGE, DOCS / "how-to" / "install.md", DOCS / "how-to" / "gitops.md")
VALUES = ROOT / "charts" / "sparse-transfer-operator" / "values.yaml"
SUMMARY = Summary(
    use_case="nlp-sentiment_analysis",
    phase="Training",
    recovery=0.98,
    speedup=2.0,
    sparsity=0.8,
    stage="train",
    percentage=50.0,
    remaining_seconds=60.0,
    reported=datetime(2026, 1, 1, tzinfo=UTC),
)


def _table_of_metrics() -> dict[str, tuple[set[str], str]]:
    """Returns labels and meaning of each metric that the page names."""
    row = r"^\| `((?:sparse_transfer|rest_client)_\w+)` \|(.*?)\| (.+) \|$"
    found = re.findall(row, PAGE.read_text(), re.MULTILINE)
    return {name: (set(re.findall(r"`(\w+)`", labels)), text) for name, labels, text in found}


def _metrics() -> Iterator[tuple[str, set[str], str]]:
    """Yields name, labels and meaning of each metric of a running operator, the process's apart."""
    metrics = Metrics(lambda: [(ObjectKey("team", "reviews"), SUMMARY)])
    collectors = {each for each in vars(metrics).values() if hasattr(each, "_labelnames")}
    labels = {each._name: set(each._labelnames) for each in collectors}
    for family in metrics.registry.collect():
        if family.name.startswith("process_"):
            continue
        sampled = {name for sample in family.samples for name in sample.labels} - {"le"}
        name = f"{family.name}_total" if family.type == "counter" else family.name
        yield name, sampled | labels.get(family.name, set()), family.documentation


def test_every_metric_is_described_with_its_labels() -> None:
    assert _table_of_metrics() == {name: (labels, text) for name, labels, text in _metrics()}


def _paths(node: Mapping[str, Any], path: str = "") -> Iterator[str]:
    for name, child in node.items():
        yield f"{path}{name}"
        if isinstance(child, Mapping):
            yield from _paths(child, f"{path}{name}.")


@pytest.mark.parametrize("page", ON_INSTALLING, ids=name_of)
def test_every_value_that_a_page_names_exists(page: Path) -> None:
    values = set(_paths(yaml.safe_load(VALUES.read_text())))
    values |= {f"settings.{path}" for path in _paths(OperatorSettings().to_json_dict())}
    roots = {path for path in values if "." not in path}
    for text in code(page):
        named = re.match(r"([a-zA-Z]+)\.[a-zA-Z.]+", text)
        if named and named[1] in roots and not text.endswith((".yaml", ".md")):
            assert named[0] in values, f"{page}: {text}"


def test_the_ports_are_those_of_the_settings() -> None:
    settings = OperatorSettings()
    assert set(re.findall(r"port (\d+)", PAGE.read_text())) == {
        str(settings.http_port),
        str(settings.progress.port),
    }


def test_the_times_are_those_of_the_settings() -> None:
    seconds = re.findall(r"within\s+(\d+) seconds", PAGE.read_text())
    assert seconds == [f"{OperatorSettings().lease.duration_seconds:g}"]


@pytest.mark.parametrize("page", [*WRITTEN, ROOT / "CONTRIBUTING.md"], ids=name_of)
def test_every_target_of_make_that_a_page_names_exists(page: Path) -> None:
    targets = re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for text in code(page):
        if text.startswith("make "):
            assert text.split()[1] in targets, f"{page}: {text}"
