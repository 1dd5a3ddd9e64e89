"""Checkpoints of unfinished training: complete or absent, the newest readable one wins."""

from __future__ import annotations

import io
import logging
import pickle
import re
from collections.abc import Mapping
from typing import Any

import torch

from sparse_transfer_runner.storage.protocol import Place

_LOG = logging.getLogger(__name__)
_NAME = re.compile(r"step-(\d+)\.pt")
_KEPT = 2


class Checkpoints:
    """The checkpoints of one training run.

    Args:
        place: Where they are kept.
    """

    def __init__(self, place: Place) -> None:
        self._place = place

    def save(self, step: int, state: Mapping[str, Any]) -> None:
        """Writes a checkpoint, complete or not at all, and prunes old ones."""
        self._place.put(f"step-{step:08d}.pt", lambda path: torch.save(dict(state), path))
        self._place.remove(self._newest_first()[_KEPT:])

    def newest(self) -> dict[str, Any] | None:
        """Returns the newest checkpoint that can be read; broken ones are skipped with a warning.

        Nothing but tensors and plain values is ever unpickled.
        """
        for path in self._newest_first():
            try:
                content = io.BytesIO(self._place.read(path))
                state: dict[str, Any] = torch.load(content, weights_only=True, map_location="cpu")
            except (RuntimeError, EOFError, OSError, KeyError, pickle.UnpicklingError) as error:
                uri = f"{self._place.uri}/{path}"
                _LOG.warning("%s: skipped, cannot be read (%s)", uri, type(error).__name__)
                continue
            return state
        return None

    def _newest_first(self) -> list[str]:
        names = [file.path for file in self._place.files() if _NAME.fullmatch(file.path)]
        return sorted(names, reverse=True)
