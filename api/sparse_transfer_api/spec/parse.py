"""Reading an experiment: every mistake at once, each with its place and what was expected."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from ..errors import InputError, Problem
from .experiment import SparseTransferExperiment


def parse_experiment(document: Mapping[str, Any], source: str) -> SparseTransferExperiment:
    """Checks a document and returns the experiment, defaults applied.

    Args:
        document: As read from YAML or JSON.
        source: Where it came from, for messages: a file name or an environment variable.

    Raises:
        InputError: With one problem per mistake.
    """
    try:
        return SparseTransferExperiment.model_validate(document)
    except ValidationError as error:
        problems = [
            Problem(".".join(map(str, found["loc"])), found["msg"]) for found in error.errors()
        ]
        raise InputError(f"{source}: not a valid experiment", problems) from error
