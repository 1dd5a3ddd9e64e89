"""A valid experiment to vary, as it is written."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

Document = dict[str, Any]


def varied(changes: Mapping[str, Any] | None = None) -> Document:
    """Returns a valid experiment with changes by dotted path; ``...`` removes a field."""
    made: Document = {
        "apiVersion": "sparsetransfer.dev/v1alpha1",
        "kind": "SparseTransferExperiment",
        "metadata": {"name": "film-reviews", "namespace": "language"},
        "spec": {
            "useCase": "nlp-sentiment_analysis",
            "data": {"uri": "s3://datasets/film-reviews/"},
        },
    }
    for path, value in (changes or {}).items():
        *above, last = path.split(".")
        node = made
        for name in above:
            node = node.setdefault(name, {})
        if value is ...:
            node.pop(last, None)
        else:
            node[last] = copy.deepcopy(value)
    return made
