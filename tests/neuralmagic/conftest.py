"""Tiny sources, made once; and old libraries, whose calls of what is deprecated are no news."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.runner.tiny_sources import write_sources

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Python is silent about deprecations in libraries by default; so it is here."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.filterwarnings("ignore::DeprecationWarning"))


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sources(tmp_path_factory.mktemp("tiny"))
