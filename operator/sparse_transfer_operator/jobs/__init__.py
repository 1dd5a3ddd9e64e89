"""A stage's Job as the API server shall have it: pure, from experiment, order and settings."""

from __future__ import annotations

from .job import build
from .progress_access import ProgressAccess

__all__ = ["ProgressAccess", "build"]
