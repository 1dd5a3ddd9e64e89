"""The chart, rendered and linted by helm itself."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from tests.cluster.programs import helm

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "sparse-transfer-operator"
RELEASE = "sparse-transfer-operator"
NAMESPACE = "sparse-transfer"

Object = dict[str, Any]
Values = Mapping[str, Any]

_SECONDS = 60


class Refused(AssertionError):
    """Helm refused the values or the chart; the text is what it said."""


def run_helm(*arguments: str, values: Values | None = None, folder: Path = ROOT) -> str:
    """Runs helm.

    Args:
        arguments: Of its command line.
        values: Handed to it as a values file.
        folder: The working directory.

    Returns:
        What it printed.

    Raises:
        Refused: It failed.
        NoProgram: There is none.
    """
    given = [] if values is None else ["--values", "-"]
    done = subprocess.run(
        [str(helm()), *arguments, *given],
        input=yaml.safe_dump(dict(values or {})),
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        timeout=_SECONDS,
    )
    if done.returncode != 0:
        raise Refused(done.stderr + done.stdout)
    return done.stdout


def rendered_text(
    values: Values | None = None, *options: str, release: str = RELEASE, namespace: str = NAMESPACE
) -> str:
    """Returns what helm renders of the chart, as YAML documents.

    Raises:
        Refused: The values are not valid.
    """
    arguments = ("template", release, str(CHART), f"--namespace={namespace}", *options)
    return _rendered(json.dumps(dict(values or {})), arguments)


@cache
def _rendered(values: str, arguments: tuple[str, ...]) -> str:
    return run_helm(*arguments, values=json.loads(values))


def rendered(
    values: Values | None = None, *options: str, release: str = RELEASE, namespace: str = NAMESPACE
) -> list[Object]:
    """Returns the objects that helm renders of the chart.

    Raises:
        Refused: The values are not valid.
    """
    text = rendered_text(values, *options, release=release, namespace=namespace)
    return [document for document in yaml.safe_load_all(text) if document]


def of_kind(objects: Iterable[Object], *kinds: str) -> list[Object]:
    """Returns the objects of these kinds."""
    return [each for each in objects if each["kind"] in kinds]


def the(objects: Iterable[Object], kind: str, name: str | None = None) -> Object:
    """Returns the one object of a kind, of that name where one is given."""
    (found,) = [each for each in of_kind(objects, kind) if name in (None, each["metadata"]["name"])]
    return found


def names(objects: Iterable[Object]) -> Sequence[str]:
    """Returns ``Kind/name`` of each object."""
    return [f"{each['kind']}/{each['metadata']['name']}" for each in objects]
