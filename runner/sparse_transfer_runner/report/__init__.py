"""The reports, of a level and of a search: each one HTML file that needs nothing beside it."""

from __future__ import annotations

from .render import render_report
from .search_page import SearchReport, render_search

__all__ = ["SearchReport", "render_report", "render_search"]
