"""Checkpoints of unfinished training: complete or absent, the newest readable one wins."""

from __future__ import annotations

import logging
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from sparse_transfer_runner.output import explained

_LOG = logging.getLogger(__name__)
_NAME = re.compile(r"step-(\d+)\.pt")
_KEPT = 2


class Checkpoints:
    """The checkpoints of one training run.

    Args:
        folder: Where they are kept; created when the first one is saved.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, step: int, state: Mapping[str, Any]) -> None:
        """Writes a checkpoint under a temporary name, renames it, and prunes old ones."""
        path = self._folder / f"step-{step:08d}.pt"
        partial = path.with_suffix(".partial")
        with explained(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            try:
                torch.save(dict(state), partial)
                partial.replace(path)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise
        for old in self._newest_first()[_KEPT:]:
            old.unlink()

    def newest(self) -> dict[str, Any] | None:
        """Returns the newest checkpoint that can be read; broken ones are skipped with a warning.

        Nothing but tensors and plain values is ever unpickled.
        """
        for path in self._newest_first():
            try:
                state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
            except (RuntimeError, EOFError, OSError, KeyError, pickle.UnpicklingError) as error:
                _LOG.warning("%s: skipped, cannot be read (%s)", path, type(error).__name__)
                continue
            return state
        return None

    def clear(self) -> None:
        """Deletes all checkpoints, once the result is there."""
        for path in self._newest_first():
            path.unlink()

    def _newest_first(self) -> list[Path]:
        if not self._folder.is_dir():
            return []
        return sorted((p for p in self._folder.iterdir() if _NAME.fullmatch(p.name)), reverse=True)
