"""YAML as recipes write it: the safe loader and dumper, and front matter of markdown cards.

``!Name`` tags are left to the reader of the node tree; nothing here constructs objects.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

MAX_DEPTH = 32
"""Nesting of a recipe; deeper text is refused before it exhausts the stack."""

_FLOAT = re.compile(r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)[eE][-+]?[0-9]+$")
_DELIMITER = re.compile(r"^(---|\+\+\+)\s*$")
_RECIPE_LINE = re.compile(r"[A-Za-z_]\w*\s*:(\s|$)|-\s*!")


class RecipeLoader(yaml.SafeLoader):
    """The safe loader, with YAML 1.2's floats (``1e-4``), without dates, and with a depth limit."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Composes one node, refusing text nested deeper than ``MAX_DEPTH``."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(
                problem=f"nested deeper than {MAX_DEPTH} levels",
                problem_mark=self.peek_event().start_mark,
            )
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


RecipeLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
RecipeLoader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))


class RecipeDumper(yaml.SafeDumper):
    """Writes what ``RecipeLoader`` reads back unchanged."""


RecipeDumper.yaml_implicit_resolvers = {
    first: list(resolvers) for first, resolvers in yaml.SafeDumper.yaml_implicit_resolvers.items()
}
RecipeDumper.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))


@dataclass(frozen=True)
class TaggedMapping:
    """A mapping to be written under a ``!Name`` tag."""

    name: str
    fields: Mapping[str, Any]


RecipeDumper.add_representer(
    TaggedMapping,
    lambda dumper, item: dumper.represent_mapping(f"!{item.name}", item.fields, flow_style=False),
)


def dump_modifiers(modifiers: list[TaggedMapping]) -> str:
    """Returns a flat recipe of these modifiers as YAML text."""
    return yaml.dump(
        {"modifiers": modifiers},
        Dumper=RecipeDumper,
        sort_keys=False,
        allow_unicode=True,
        width=100,
    )


def parse_scalar(text: str) -> Any:
    """Returns the number that a recipe would read from ``text``, or ``text`` itself."""
    try:
        value = yaml.load(text, RecipeLoader)
    except (yaml.YAMLError, ValueError):
        return text
    return value if isinstance(value, int | float) else text


def without_markdown(text: str) -> str:
    """Returns the front matter of a markdown recipe card, or the text itself when it is none.

    The lines before the front matter become empty ones, so that line numbers stay true.
    """
    lines = text.splitlines()
    bounds = [number for number, line in enumerate(lines) if _DELIMITER.match(line)]
    if len(bounds) < 2 or any(_is_yaml(line) for line in lines[: bounds[0]]):
        return text
    start, end = bounds[0] + 1, bounds[1]
    return "\n" * start + "\n".join(lines[start:end]) + "\n"


def _is_yaml(line: str) -> bool:
    """Whether a line before the first delimiter belongs to a recipe rather than to a comment."""
    return _RECIPE_LINE.match(line) is not None
