"""The report: one HTML file that needs nothing beside it."""

from __future__ import annotations

from .render import render_report

__all__ = ["render_report"]
