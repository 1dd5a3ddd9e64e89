"""Examples whose data and models are made in their own folder keep them out of commits."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize(
    "readme", sorted(EXAMPLES.glob("*/README.md")), ids=lambda r: r.parent.name
)
def test_what_an_example_makes_is_no_part_of_the_repository(readme: Path) -> None:
    folder = readme.parent
    made = set(re.findall(rf"--output examples/{folder.name}/(\w+)", readme.read_text()))

    ignored = (folder / ".gitignore").read_text().split()

    assert {f"/{name}/" for name in made | {"runs"}} <= set(ignored)
