"""Reading an experiment for this machine: YAML, addresses made absolute, a place for outputs."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import yaml

from sparse_transfer_api.contract import API_VERSION, KIND
from sparse_transfer_api.errors import AccessError, InputError, Problem
from sparse_transfer_api.spec import SparseTransferExperiment, parse_experiment
from sparse_transfer_cli.yaml_source import documents

DEFAULT_OUTPUT = "file://./runs"
"""Where outputs go when the experiment does not say: beside the YAML."""

_FILE = "file://"
_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*:")


def read_experiment(path: Path) -> SparseTransferExperiment:
    """Reads an experiment to be run on this machine.

    Args:
        path: The YAML file.

    Returns:
        The experiment with every relative ``file://`` address made absolute against the YAML's
        folder, and with an output place.

    Raises:
        AccessError: The file is missing or cannot be read.
        InputError: The file is not YAML, or not a valid experiment; every mistake is listed.
    """
    return experiment_from(read_document(path), source=str(path), folder=path.absolute().parent)


def experiment_from(
    document: Mapping[str, Any], *, source: str, folder: Path
) -> SparseTransferExperiment:
    """Checks a document as the user wrote it, then makes it independent of the folder.

    Args:
        document: The parsed YAML.
        source: What to call it in messages.
        folder: What relative ``file://`` addresses are relative to.

    Raises:
        InputError: The document is not a valid experiment.
    """
    with_output = _with_default_output(document)
    # As written first: a message has to quote the user's own values.
    parse_experiment(with_output, source)
    return parse_experiment(_absolute(with_output, folder), source)


def read_document(path: Path) -> Mapping[str, Any]:
    """Returns what an experiment's YAML holds, unchecked but for being one mapping.

    Raises:
        AccessError: The file is missing or cannot be read.
        InputError: The file is not YAML, or holds something else.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise AccessError(f"{path}: there is no such file; give the experiment's YAML") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 (byte {error.start}); save it as UTF-8") from error
    except OSError as error:
        raise AccessError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        found = documents(text)
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML", [_yaml_problem(path, error)]) from error
    if len(found) != 1:
        raise InputError(
            f"{path}: holds {len(found)} YAML documents; exactly one experiment is expected"
        )
    if not isinstance(found[0], Mapping):
        raise InputError(
            f"{path}: holds a {type(found[0]).__name__}; expected a mapping that starts with "
            f"'apiVersion: {API_VERSION}' and 'kind: {KIND}'"
        )
    return found[0]


def _yaml_problem(path: Path, error: yaml.YAMLError) -> Problem:
    mark = getattr(error, "problem_mark", None)
    cause = getattr(error, "problem", None) or str(error)
    return Problem(str(path), f"{cause}; correct the syntax", mark.line + 1 if mark else None)


def _with_default_output(document: Mapping[str, Any]) -> dict[str, Any]:
    spec = document.get("spec")
    if not isinstance(spec, Mapping):
        return dict(document)
    output = spec.get("output") or {}
    if not isinstance(output, Mapping) or output.get("uri") is not None:
        return dict(document)
    return {**document, "spec": {**spec, "output": {**output, "uri": DEFAULT_OUTPUT}}}


def _absolute(value: Any, folder: Path, key: str | None = None) -> Any:
    """Returns the document with each relative address under a ``uri`` key made absolute."""
    if isinstance(value, Mapping):
        return {name: _absolute(part, folder, name) for name, part in value.items()}
    if isinstance(value, list):
        return [_absolute(part, folder) for part in value]
    if key == "uri" and isinstance(value, str) and value.startswith(_FILE):
        return file_uri(value, folder)
    return value


def file_uri(text: str, folder: Path) -> str:
    """Turns what a user types for a place into an address: paths become absolute ``file://``.

    Args:
        text: A path, a ``file://`` address, relative or not, or an address with another scheme,
            which is returned as it is.
        folder: What a relative path is relative to.
    """
    if text.startswith(_FILE):
        plain = unquote(text.removeprefix(_FILE))
    elif _SCHEME.match(text):
        return text
    else:
        plain = text
    # Not resolve(): messages name the user's own path, symbolic links unfollowed.
    path = Path(os.path.normpath(folder.absolute() / Path(plain).expanduser()))
    return path.as_uri()


def local_path(uri: str) -> Path | None:
    """Returns the path of a ``file://`` address, and None for every other scheme."""
    return Path(unquote(uri.removeprefix(_FILE))) if uri.startswith(_FILE) else None


def experiment_folder(experiment: SparseTransferExperiment) -> Path | None:
    """Returns the local folder that holds the experiment's stages; None when it is not local."""
    root = local_path(experiment.spec.output.uri or "")
    metadata = experiment.metadata
    return root / metadata.namespace / metadata.name if root is not None else None
