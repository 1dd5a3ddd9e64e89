"""From a recipe's text and the experiment's settings to a ``Recipe``, with all errors at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from sparse_transfer_api.errors import InputError, Problem

from .expressions import ExpressionError, Variables
from .fields import BACKEND_HINT
from .foreign import foreign_modifier
from .known import REFUSED, SPARSEML_ONLY, SUPPORTED
from .modifiers import Modifier
from .recipe import NATIVE, BackendName, Recipe, build_recipe, recipe_problems
from .yaml_document import Located, RawModifier, RawRecipe, read_document
from .yaml_text import parse_scalar

SETTING_VARIABLES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "epochs": ("num_epochs", "epochs", "max_epochs"),
        "learning_rate": ("lr", "init_lr", "learning_rate"),
    }
)
"""Which variable of a recipe a field of ``spec.training`` sets: the first one it has."""


def parse_recipe(
    text: str,
    args: Mapping[str, Any] = MappingProxyType({}),
    overrides: Mapping[str, float | None] = MappingProxyType({}),
    source: str = "recipe",
    backend: BackendName = NATIVE,
) -> Recipe:
    """Reads a SparseML recipe.

    Args:
        text: YAML, or markdown with YAML front matter.
        args: ``recipe.args``: values for the recipe's variables by their names.
        overrides: Values from ``spec.training``, which win over ``args``: ``epochs`` and
            ``learning_rate`` (see ``SETTING_VARIABLES``), or a variable by its own name. None
            leaves the recipe's value.
        source: What to call the recipe in errors, such as its file name.
        backend: Which is to run it. For ``sparseml``, what the native one does not honour is handed
            on as it is; SparseML itself has the last word on it.

    Returns:
        The recipe with every variable substituted.

    Raises:
        InputError: It cannot be read, sets what it has no variable for, or asks for what the
            backend does not do; with every problem found and its line.
    """
    document = read_document(text, source)
    parser = _Parser(source, backend)
    values = parser.settings(document, args, overrides)
    parser.stop_if_wrong()
    modifiers = parser.modifiers(document, values)
    parser.stop_if_wrong()
    parser.check_use(values)
    parser.check_together(modifiers)
    parser.stop_if_wrong()
    return build_recipe(modifiers, backend)


@dataclass(frozen=True)
class _Setting:
    """A variable set from outside, and how the user called it."""

    variable: str
    label: str


@dataclass
class _Values:
    """Variables with settings applied, ready to be evaluated."""

    top: Variables
    stages: Mapping[str, Variables]
    settings: Sequence[_Setting]

    def scope(self, stage: str | None) -> Variables:
        return self.top if stage is None else self.stages[stage]

    def used(self) -> set[str]:
        return self.top.used.union(*(stage.used for stage in self.stages.values()))


@dataclass
class _Parser:
    """Collects problems on the way; ``stop_if_wrong`` raises them together."""

    source: str
    backend: BackendName
    problems: list[Problem] = field(default_factory=list)
    lines: dict[int, int] = field(default_factory=dict)

    def stop_if_wrong(self) -> None:
        if self.problems:
            raise InputError(
                f"{self.source} cannot be used by the {self.backend} backend", self.problems
            )

    def settings(
        self, document: RawRecipe, args: Mapping[str, Any], overrides: Mapping[str, float | None]
    ) -> _Values:
        """Puts ``args`` and then ``overrides`` in the place of the recipe's own values."""
        top = dict(document.variables)
        stages = {name: dict(variables) for name, variables in document.stages.items()}
        names = sorted({*top, *(name for stage in stages.values() for name in stage)})
        wanted: dict[str, tuple[_Setting, Any]] = {}
        for key, value in args.items():
            setting = self._setting(names, (key,), f"recipe.args.{key}")
            if setting:
                number = parse_scalar(value) if isinstance(value, str) else value
                wanted[setting.variable] = setting, number
        for key, override in overrides.items():
            if override is None:
                continue
            label = f"training.{_camel(key)}"
            setting = self._setting(names, SETTING_VARIABLES.get(key, (key,)), label)
            if setting:
                wanted[setting.variable] = setting, override
        for variables in (top, *stages.values()):
            for name, (_, value) in wanted.items():
                if name in variables:
                    variables[name] = Located(value, variables[name].line)
        outer = Variables(top)
        return _Values(
            outer,
            {name: Variables(variables, outer) for name, variables in stages.items()},
            [setting for setting, _ in wanted.values()],
        )

    def _setting(
        self, names: Sequence[str], candidates: Sequence[str], label: str
    ) -> _Setting | None:
        for candidate in candidates:
            if candidate in names:
                return _Setting(candidate, label)
        near = get_close_matches(candidates[0], names, n=1)
        suggestion = f"; did you mean `{near[0]}`?" if near else ""
        expected = " or ".join(f"`{name}`" for name in candidates)
        listed = ", ".join(names) or "none"
        self._complain(
            f"{label}: the recipe has no variable {expected}{suggestion} "
            f"(the recipe's variables: {listed})"
        )
        return None

    def modifiers(self, document: RawRecipe, values: _Values) -> list[Modifier]:
        """Validates every modifier."""
        found = []
        for raw in document.modifiers:
            modifier = self._modifier(raw, values.scope(raw.stage))
            if modifier is not None:
                self.lines[id(modifier)] = raw.line
                found.append(modifier)
        return found

    def _modifier(self, raw: RawModifier, variables: Variables) -> Modifier | None:
        kind = SUPPORTED.get(raw.name)
        handed_on = self.backend != NATIVE and (kind is not None or raw.name in SPARSEML_ONLY)
        if kind is None and not handed_on:
            self._complain(_unsupported(raw.name), raw.line)
            return None
        before = len(self.problems)
        fields = {}
        for name, located in raw.fields.items():
            try:
                fields[name] = variables.resolve(located.value)
            except ExpressionError as error:
                self._complain(f"{raw.name}.{name}: {error}", located.line)
        if len(self.problems) > before:
            return None
        if kind is not None:
            try:
                return kind.model_validate(fields)
            except ValidationError as error:
                if not handed_on:
                    self._invalid(raw, kind, error)
                    return None
        try:
            return foreign_modifier(raw.name, fields)
        except ValidationError as error:
            self._invalid(raw, Modifier, error)
            return None

    def _invalid(self, raw: RawModifier, kind: type[Modifier], error: ValidationError) -> None:
        for detail in error.errors(include_url=False):
            self._invalid_field(raw, kind, detail)

    def _invalid_field(self, raw: RawModifier, kind: type[Modifier], detail: Any) -> None:
        path = [str(part) for part in detail["loc"]]
        message = str(detail["msg"]).removeprefix("Value error, ")
        if detail["type"] == "extra_forbidden":
            known = sorted(kind.model_fields)
            near = get_close_matches(path[-1], known, n=1) if len(path) == 1 else []
            advice = f"did you mean `{near[0]}`?" if near else f"if SparseML has it, {BACKEND_HINT}"
            message = f"not a field that the native backend knows; {advice}"
        elif detail["type"] not in ("value_error", "missing"):
            message = f"{message}, not {detail['input']!r}"
        line = raw.fields[path[0]].line if path and path[0] in raw.fields else raw.line
        self._complain(f"{'.'.join([raw.name, *path])}: {message}", line)

    def check_use(self, values: _Values) -> None:
        """Refuses settings that change nothing, and variables that cannot be evaluated."""
        used = values.used()
        for setting in values.settings:
            if setting.variable not in used:
                self._complain(
                    f"{setting.label}: no modifier uses the recipe's variable "
                    f"`{setting.variable}`, so setting it would change nothing"
                )
        for scope in (values.top, *values.stages.values()):
            for name, located in scope.own.items():
                try:
                    scope.value(name)
                except ExpressionError as error:
                    self._complain(f"{name}: {error}", located.line)

    def check_together(self, modifiers: Sequence[Modifier]) -> None:
        """Checks what only all modifiers together show."""
        for modifier, message in recipe_problems(modifiers, self.backend):
            if modifier is None:
                self._complain(message)
            else:
                self._complain(f"{modifier.name}: {message}", self.lines.get(id(modifier)))

    def _complain(self, message: str, line: int | None = None) -> None:
        self.problems.append(Problem(self.source, message, line))


def _unsupported(name: str) -> str:
    near = get_close_matches(name, SUPPORTED, n=1, cutoff=0.0)
    listed = ", ".join(SUPPORTED)
    if name in REFUSED:
        return f"{name} {REFUSED[name]}; no backend runs it (supported: {listed})"
    if name in SPARSEML_ONLY:
        return (
            f"{name} is not supported by the native backend (nearest: {near[0]}; supported: "
            f"{listed}); {BACKEND_HINT}"
        )
    near = get_close_matches(name, [*SUPPORTED, *SPARSEML_ONLY], n=1, cutoff=0.0)
    return (
        f"{name} is not a modifier of SparseML 1.8; did you mean {near[0]}? (supported: {listed})"
    )


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)
