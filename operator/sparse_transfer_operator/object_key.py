"""Where an experiment is; another one of the same name comes under the same key."""

from __future__ import annotations

from typing import NamedTuple


class ObjectKey(NamedTuple):
    """Namespace and name of an experiment, existing or not."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"
