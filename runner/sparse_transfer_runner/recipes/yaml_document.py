"""A recipe's YAML as data: variables and modifiers, each with its line.

Nothing here knows a modifier's meaning. ``!Name`` tags become names, never objects; only the
safe loader's types are constructed. A recipe in a markdown card's front matter is found too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from sparse_transfer_api.errors import InputError, Problem

MAX_NODES = 20_000
"""Nodes of a recipe with its aliases expanded; more is an alias bomb, not a recipe."""
MAX_DEPTH = 32
"""Nesting of a recipe; deeper text is refused before it exhausts the stack."""

_FLOAT = re.compile(r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)[eE][-+]?[0-9]+$")
_DELIMITER = re.compile(r"^(---|\+\+\+)\s*$")
_NOT_VARIABLES = frozenset({"__metadata__"})
_STAGE_SETTINGS = frozenset({"run_type"})


@dataclass(frozen=True)
class Located:
    """A value, and the 1-based line it stands on."""

    value: Any
    line: int


@dataclass(frozen=True)
class Reference:
    """A YAML alias of a variable: takes the variable's value, overridden or not."""

    name: str


@dataclass(frozen=True)
class RawModifier:
    """One modifier as written.

    Args:
        name: Class name, without ``!`` and without a framework prefix.
        fields: Its fields by name.
        line: Where it starts.
        stage: The stage it stands in, or None.
    """

    name: str
    fields: Mapping[str, Located]
    line: int
    stage: str | None = None


@dataclass(frozen=True)
class RawRecipe:
    """A recipe as written.

    Args:
        variables: Top-level variables.
        stages: Each stage's own variables.
        modifiers: All modifiers, in the order of the text.
    """

    variables: Mapping[str, Located]
    stages: Mapping[str, Mapping[str, Located]]
    modifiers: tuple[RawModifier, ...]


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
    return bool(re.match(r"[A-Za-z_]\w*\s*:(\s|$)|-\s*!", line))


def read_document(text: str, source: str) -> RawRecipe:
    """Reads a recipe's structure.

    Args:
        text: YAML, or markdown with YAML front matter.
        source: What to call it in errors.

    Raises:
        InputError: It is not YAML, or not laid out as a recipe; with every place.
    """
    loader = RecipeLoader(without_markdown(text))
    try:
        root = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else None
        raise _unreadable(source, error.problem or str(error), line) from error
    except yaml.YAMLError as error:
        raise _unreadable(source, str(error), None) from error
    if root is None:
        raise _unreadable(source, "the recipe is empty", None)
    _check_size(root, source)
    reader = _Reader(loader, source)
    document = reader.read(root)
    if reader.problems:
        raise InputError(f"{source} is not laid out as a recipe", reader.problems)
    return document


def _unreadable(source: str, message: str, line: int | None) -> InputError:
    return InputError(f"{source} cannot be read as a YAML recipe", [Problem(source, message, line)])


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        yield from node.value
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield key
            yield value


def _check_size(root: yaml.Node, source: str) -> None:
    """Refuses recursive aliases, and aliases that multiply into a giant or very deep document."""
    measured: dict[int, tuple[int, int]] = {}

    def measure(node: yaml.Node, inside: frozenset[int]) -> tuple[int, int]:
        line = node.start_mark.line + 1
        if id(node) in inside:
            raise _unreadable(source, "an alias contains itself", line)
        if id(node) not in measured:
            deeper = inside | {id(node)}
            parts = [measure(child, deeper) for child in _children(node)]
            nodes = 1 + sum(size for size, _ in parts)
            depth = 1 + max((depth for _, depth in parts), default=0)
            if nodes > MAX_NODES or depth > MAX_DEPTH:
                raise _unreadable(
                    source, f"more than {MAX_NODES} nodes or {MAX_DEPTH} levels in here", line
                )
            measured[id(node)] = nodes, depth
        return measured[id(node)]

    measure(root, frozenset())


@dataclass
class _Reader:
    """Turns one node tree into a ``RawRecipe``, collecting every problem."""

    loader: RecipeLoader
    source: str
    problems: list[Problem] = field(default_factory=list)
    anchored: dict[int, str] = field(default_factory=dict)
    modifiers: list[RawModifier] = field(default_factory=list)
    stages: dict[str, Mapping[str, Located]] = field(default_factory=dict)

    def read(self, root: yaml.Node) -> RawRecipe:
        variables: Mapping[str, Located] = {}
        if isinstance(root, yaml.SequenceNode):
            self._modifier_list(root, None)
        elif root.tag.startswith("!"):
            self._modifier(root, None)
        elif isinstance(root, yaml.MappingNode):
            variables = self._scope(root, None)
        else:
            self._complain(root, "expected a mapping of variables and modifier lists")
        if not self.modifiers and not self.problems:
            self._complain(
                root, "no modifiers found; list them under a key such as `training_modifiers`"
            )
        return RawRecipe(variables, self.stages, tuple(self.modifiers))

    def _scope(self, node: yaml.MappingNode, stage: str | None) -> Mapping[str, Located]:
        """Reads variables, modifier lists and, at the top, stages."""
        entries = dict(self._entries(node))
        groups = {key: value for key, value in entries.items() if "modifiers" in key}
        stages = {k: v for k, v in entries.items() if stage is None and _is_stage(k, v)}
        variables = {
            key: value
            for key, value in entries.items()
            if key not in groups and key not in stages and key not in _NOT_VARIABLES
        }
        if stage is None:
            self.anchored = {id(value): key for key, value in variables.items()}
        for group in groups.values():
            self._group(group, stage)
        for name, value in stages.items():
            self._stage(name, value)
        return {
            key: Located(self._value(value, own=key), value.start_mark.line + 1)
            for key, value in variables.items()
            if stage is None or key not in _STAGE_SETTINGS
        }

    def _stage(self, name: str, node: yaml.Node) -> None:
        if name == "stages":  # SparseML 1.8 may gather all stages under this key
            for inner, value in self._entries(node):
                self._stage(inner, value)
            return
        if not isinstance(node, yaml.MappingNode):
            self._complain(node, f"stage `{name}`: expected a mapping")
            return
        run_type = dict(self._entries(node)).get("run_type")
        if run_type is not None and run_type.value != "train":
            self._complain(
                run_type,
                f"stage `{name}`: run_type {run_type.value!r} is not supported by the native "
                "backend, which trains; expected 'train'",
            )
        self.stages[name] = self._scope(node, name)

    def _group(self, node: yaml.Node, stage: str | None) -> None:
        if isinstance(node, yaml.SequenceNode):
            self._modifier_list(node, stage)
        elif isinstance(node, yaml.MappingNode):
            for name, value in self._entries(node):
                self._named(name, value, stage)
        elif node.tag != "tag:yaml.org,2002:null":
            self._complain(node, "expected a list of modifiers")

    def _modifier_list(self, node: yaml.SequenceNode, stage: str | None) -> None:
        for item in node.value:
            if item.tag.startswith("!"):
                self._modifier(item, stage)
            elif isinstance(item, yaml.MappingNode) and len(item.value) == 1:
                for name, value in self._entries(item):
                    self._named(name, value, stage)
            else:
                self._complain(item, "expected a modifier such as `!EpochRangeModifier`")

    def _modifier(self, node: yaml.Node, stage: str | None) -> None:
        self._named(node.tag.removeprefix("!").rstrip(":"), node, stage, line=node.start_mark.line)

    def _named(
        self, name: str, node: yaml.Node, stage: str | None, line: int | None = None
    ) -> None:
        """Reads a modifier's fields; an empty node means none were given."""
        fields: dict[str, Located] = {}
        if isinstance(node, yaml.MappingNode):
            fields = {
                key: Located(self._value(value), value.start_mark.line + 1)
                for key, value in self._entries(node)
            }
        elif not isinstance(node, yaml.ScalarNode) or node.value not in ("", "null", "~"):
            self._complain(node, f"{name}: expected its fields, one `name: value` a line")
        start = node.start_mark.line if line is None else line
        self.modifiers.append(RawModifier(name.rpartition(".")[2], fields, start + 1, stage))

    def _entries(self, node: yaml.Node) -> Iterator[tuple[str, yaml.Node]]:
        if not isinstance(node, yaml.MappingNode):
            self._complain(node, "expected a mapping")
            return
        seen: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.value == "<<":
                self._complain(key, "expected a plain name as the key")
            elif key.value in seen:
                self._complain(key, f"`{key.value}` is given twice")
            else:
                seen.add(key.value)
                yield key.value, value

    def _value(self, node: yaml.Node, own: str | None = None) -> Any:
        """Returns plain data; an alias of another variable becomes a ``Reference`` to it."""
        variable = self.anchored.get(id(node))
        if variable is not None and variable != own:
            return Reference(variable)
        if node.tag.startswith("!"):
            self._complain(node, f"`{node.tag}` is not expected here; modifiers go into lists")
            return None
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item) for item in node.value]
        if isinstance(node, yaml.MappingNode):
            return {key: self._value(value) for key, value in self._entries(node)}
        return self._scalar(node)

    def _scalar(self, node: yaml.Node) -> Any:
        try:
            return self.loader.construct_object(node, deep=True)
        except (yaml.YAMLError, ValueError) as error:
            self._complain(node, f"{node.value!r} cannot be read: {error}")
            return None

    def _complain(self, node: yaml.Node, message: str) -> None:
        self.problems.append(Problem(self.source, message, node.start_mark.line + 1))


def _is_stage(key: str, node: yaml.Node) -> bool:
    """Whether a top-level entry is a stage: a mapping that holds modifier lists."""
    if not isinstance(node, yaml.MappingNode):
        return False
    if key == "stages":
        return True
    return any(
        isinstance(inner, yaml.ScalarNode) and "modifiers" in inner.value for inner, _ in node.value
    )
