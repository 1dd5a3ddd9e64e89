"""Where the packages that hold example data lie."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path


def package_folders(package: str) -> list[Path]:
    """Returns an installed package's folders, none where it is missing; nothing is executed."""
    found = find_spec(package)
    return [Path(place) for place in (found.submodule_search_locations if found else None) or []]
