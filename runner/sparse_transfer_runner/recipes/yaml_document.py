"""A recipe's YAML as data: variables and modifiers, each with its line.

Nothing here knows a modifier's meaning. ``!Name`` tags become names, never objects; only the
safe loader's types are constructed. A recipe in a markdown card's front matter is found too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from sparse_transfer_api.errors import InputError, Problem

from .yaml_text import MAX_DEPTH, RecipeLoader, without_markdown

MAX_NODES = 20_000
"""Nodes of a recipe with its aliases expanded; more is an alias bomb, not a recipe."""

_NOT_VARIABLES = frozenset({"__metadata__"})
_STAGE_SETTINGS = frozenset({"run_type"})
_PLAIN = frozenset(
    f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null", "seq", "map")
)


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


def read_document(text: str, source: str) -> RawRecipe:
    """Reads a recipe's structure.

    Args:
        text: YAML, or markdown with YAML front matter.
        source: What to call it in errors.

    Raises:
        InputError: It is not YAML, or not laid out as a recipe; with every place.
    """
    try:
        loader = RecipeLoader(without_markdown(text))
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


@dataclass(frozen=True)
class _Entry:
    """One entry of a mapping, and the 1-based line of its key."""

    key: str
    node: yaml.Node
    line: int


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
        groups, stages, variables = [], [], []
        for entry in self._entries(node):
            if "modifiers" in entry.key:
                groups.append(entry)
            elif stage is None and _is_stage(entry):
                stages.append(entry)
            elif entry.key not in (_NOT_VARIABLES if stage is None else _STAGE_SETTINGS):
                variables.append(entry)
        if stage is None:
            self.anchored = {id(entry.node): entry.key for entry in variables}
        for entry in groups:
            self._group(entry.node, stage)
        for entry in stages:
            self._stage(entry)
        return {
            entry.key: Located(self._value(entry.node, own=entry.key), entry.line)
            for entry in variables
        }

    def _stage(self, stage: _Entry) -> None:
        name, node = stage.key, stage.node
        if name == "stages":  # SparseML 1.8 may gather all stages under this key
            for inner in self._entries(node):
                self._stage(inner)
            return
        if not isinstance(node, yaml.MappingNode):
            self._complain(node, f"stage `{name}`: expected a mapping")
            return
        for entry in self._entries(node):
            if entry.key == "run_type" and entry.node.value != "train":
                self._complain(
                    entry.node,
                    f"stage `{name}`: run_type {entry.node.value!r} is not supported by the "
                    "native backend, which trains; expected 'train'",
                )
        self.stages[name] = self._scope(node, name)

    def _group(self, node: yaml.Node, stage: str | None) -> None:
        if isinstance(node, yaml.SequenceNode):
            self._modifier_list(node, stage)
        elif isinstance(node, yaml.MappingNode):
            for entry in self._entries(node):
                self._named(entry.key, entry.node, stage, entry.line)
        elif node.tag != "tag:yaml.org,2002:null":
            self._complain(node, "expected a list of modifiers")

    def _modifier_list(self, node: yaml.SequenceNode, stage: str | None) -> None:
        for item in node.value:
            if item.tag.startswith("!"):
                self._modifier(item, stage)
            elif isinstance(item, yaml.MappingNode) and len(item.value) == 1:
                for entry in self._entries(item):
                    self._named(entry.key, entry.node, stage, entry.line)
            else:
                self._complain(item, "expected a modifier such as `!EpochRangeModifier`")

    def _modifier(self, node: yaml.Node, stage: str | None) -> None:
        name = node.tag.removeprefix("!").rstrip(":")
        self._named(name, node, stage, node.start_mark.line + 1)

    def _named(self, name: str, node: yaml.Node, stage: str | None, line: int) -> None:
        """Reads a modifier's fields; an empty node means none were given."""
        fields: dict[str, Located] = {}
        if isinstance(node, yaml.MappingNode):
            fields = {
                entry.key: Located(self._value(entry.node), entry.line)
                for entry in self._entries(node)
            }
        elif not isinstance(node, yaml.ScalarNode) or node.value not in ("", "null", "~"):
            self._complain(node, f"{name}: expected its fields, one `name: value` a line")
        self.modifiers.append(RawModifier(name.rpartition(".")[2], fields, line, stage))

    def _entries(self, node: yaml.Node) -> Iterator[_Entry]:
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
                # The key's line: an alias's value stands where its anchor is.
                yield _Entry(key.value, value, key.start_mark.line + 1)

    def _value(self, node: yaml.Node, own: str | None = None) -> Any:
        """Returns plain data; an alias of another variable becomes a ``Reference`` to it."""
        variable = self.anchored.get(id(node))
        if variable is not None and variable != own:
            return Reference(variable)
        if node.tag not in _PLAIN:
            self._complain(node, f"`{node.tag}` is not expected here; modifiers go into lists")
            return None
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item) for item in node.value]
        if isinstance(node, yaml.MappingNode):
            return {entry.key: self._value(entry.node) for entry in self._entries(node)}
        return self._scalar(node)

    def _scalar(self, node: yaml.Node) -> Any:
        try:
            return self.loader.construct_object(node, deep=True)
        except (yaml.YAMLError, ValueError) as error:
            self._complain(node, f"{node.value!r} cannot be read: {error}")
            return None

    def _complain(self, node: yaml.Node, message: str) -> None:
        self.problems.append(Problem(self.source, message, node.start_mark.line + 1))


def _is_stage(entry: _Entry) -> bool:
    """Whether a top-level entry is a stage: a mapping that holds modifier lists."""
    if not isinstance(entry.node, yaml.MappingNode):
        return False
    return entry.key == "stages" or any(
        isinstance(key, yaml.ScalarNode) and "modifiers" in key.value for key, _ in entry.node.value
    )
