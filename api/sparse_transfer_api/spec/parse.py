"""Reading an experiment: every mistake at once, each with its place and what was expected."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from ..contract import API_VERSION, KIND
from ..errors import InputError, Problem
from ..schema import Schema, inlined
from ..suggest import nearest
from .expected import explain_missing, explain_unknown, explain_wrong, places_of, schema_at
from .experiment import OBJECT_META, SparseTransferExperiment
from .plain import Path, dotted, plain_document
from .rules import RULES_BROKEN, Rule
from .types import PRESERVE

MAX_PROBLEMS = 100
_ROUNDS = 10
"""Of validation: what is wrong is left out, so that what it hid is found in the next round."""

_IGNORED = ("status", "schemaVersion")
"""At the top: what the system itself adds to an experiment."""

_STAND_INS: Mapping[Path, Any] = {
    ("apiVersion",): API_VERSION,
    ("kind",): KIND,
    ("metadata",): {"name": "unnamed"},
    ("metadata", "name"): "unnamed",
    ("spec",): {"useCase": "nlp-text_classification", "data": {"uri": "s3://bucket/"}},
    ("spec", "useCase"): "nlp-text_classification",
    ("spec", "data"): {"uri": "s3://bucket/"},
    ("spec", "data", "uri"): "s3://bucket/",
}
"""For required fields that are wrong, so that the rest can be checked."""


def parse_experiment(document: Mapping[str, Any], source: str) -> SparseTransferExperiment:
    """Checks a document and returns the experiment, defaults applied.

    Whatever YAML can hold is answered with an experiment or with this error.

    Args:
        document: As read from YAML or JSON; not changed.
        source: Where it came from, for messages: a file name or an environment variable.

    Raises:
        InputError: With one problem per mistake: the field in YAML's terms, the value, what is
            expected, and the nearest valid value.
    """
    plain, refused = plain_document(document)
    for name in _IGNORED:
        plain.pop(name, None)
    order = {path: index for index, path in enumerate(_places(plain, ()))}
    search = _Search(plain, inlined(SparseTransferExperiment), refused)
    experiment = search.run()
    if experiment is not None and not search.problems:
        return experiment
    found = sorted(search.problems, key=lambda path: _position(path, order))
    problems = [Problem(dotted(path), search.problems[path]) for path in found]
    if len(problems) > MAX_PROBLEMS:
        rest = len(problems) - MAX_PROBLEMS
        problems = [*problems[:MAX_PROBLEMS], Problem("document", f"{rest} more problems")]
    raise InputError(f"{source}: not a valid experiment", problems)


class _Search:
    """Finds all problems of one document by leaving out what is wrong and looking again."""

    def __init__(self, plain: dict[str, Any], schema: Schema, problems: dict[Path, str]) -> None:
        self.plain = plain
        self.schema = schema
        self.problems = problems

    def run(self) -> SparseTransferExperiment | None:
        """Returns the experiment, or None where not even the rest makes one."""
        self._find_unknown(self.plain, self.schema, ())
        for name in ("apiVersion", "kind"):
            if name not in self.plain:
                self._note((name,), explain_missing(self.schema["properties"][name]))
                self.plain[name] = _STAND_INS[(name,)]
        for _ in range(_ROUNDS):
            try:
                return SparseTransferExperiment.model_validate(self.plain)
            except ValidationError as error:
                # All places first: leaving things out moves what comes after them.
                found = [
                    (each, _existing(tuple(each["loc"]), self.plain)) for each in error.errors()
                ]
                left_out = [self._note_wrong(each, path) for each, path in found]
                if any(each["type"] == RULES_BROKEN for each, _ in found):
                    return None
                for path in left_out:
                    self._leave_out(path)
        return None

    def _find_unknown(self, value: Any, node: Schema, path: Path) -> None:
        if isinstance(value, list):
            for index, item in enumerate(value):
                self._find_unknown(item, node.get("items", {}), (*path, index))
        if not isinstance(value, dict) or node.get(PRESERVE):
            return
        fields = node.get("properties")
        if fields is not None:
            for name in [name for name in value if name not in fields]:
                if path != ("metadata",) or name not in OBJECT_META:
                    self._unknown(value, fields, (*path, name))
        for name, item in value.items():
            self._find_unknown(item, schema_at(node, (name,)), (*path, name))

    def _unknown(self, value: dict[str, Any], fields: Schema, path: Path) -> None:
        name = str(path[-1])
        sibling = nearest(name, fields)
        elsewhere = places_of(name, self.schema)
        meant = dotted((*path[:-1], sibling)) if sibling else None
        if elsewhere and meant not in elsewhere:
            meant = elsewhere[0]
        self._note(path, explain_unknown(meant, fields))
        misplaced = value.pop(name)
        # Under its right name the value is checked too, and nobody is told that it is missing.
        if sibling and meant == dotted((*path[:-1], sibling)):
            value.setdefault(sibling, misplaced)

    def _note_wrong(self, details: ErrorDetails, path: Path) -> Path:
        """Notes one of pydantic's errors, and returns what to leave out because of it."""
        loc = tuple(details["loc"])
        context = details.get("ctx", {})
        if details["type"] == RULES_BROKEN:
            self._note_rules(context["rules"])
        elif details["type"] == "missing":
            self._note(loc, explain_missing(schema_at(self.schema, loc)))
            return loc if loc in _STAND_INS else path
        elif loc[-1:] == ("[key]",):
            self._note(path, "the name is empty or too long")
        else:
            value = _value_at(path, self.plain)
            node = schema_at(self.schema, path)
            self._note(path, explain_wrong(value, node, context.get("hint", "")))
        return path

    def _note_rules(self, rules: tuple[Rule, ...]) -> None:
        for rule in rules:
            concerned = [tuple(name.split(".")) for name in rule.fields]
            if not any(_related(path, known) for path in concerned for known in self.problems):
                self.problems[concerned[0]] = rule.message

    def _note(self, path: Path, message: str) -> None:
        """Keeps a message, unless what it is about is known to be wrong already."""
        if not any(_related(path, known) for known in self.problems):
            self.problems[path] = message

    def _leave_out(self, path: Path) -> None:
        """Removes a field, or the list that an item is in, or puts a valid value there."""
        end = next((i for i, part in enumerate(path) if isinstance(part, int)), len(path))
        names = [str(part) for part in path[:end]]
        parent: Any = self.plain
        for name in names[:-1]:
            parent = parent.get(name) if isinstance(parent, dict) else None
        if names and isinstance(parent, dict):
            parent.pop(names[-1], None)
            if path in _STAND_INS:
                parent[names[-1]] = deepcopy(_STAND_INS[path])


def _related(path: Path, known: Path) -> bool:
    """Whether one place is the other, or within it."""
    shared = min(len(path), len(known))
    return path[:shared] == known[:shared]


def _existing(loc: Path, plain: Any) -> Path:
    """Returns the part of pydantic's location that is in the document: it adds names of its own."""
    path: Path = ()
    for part in loc:
        if isinstance(plain, dict) and part in plain:
            plain = plain[str(part)]
        elif isinstance(plain, list) and isinstance(part, int) and part < len(plain):
            plain = plain[part]
        else:
            break
        path = (*path, part)
    return path


def _value_at(path: Path, plain: Any) -> Any:
    for part in path:
        plain = plain[part]
    return plain


def _places(value: Any, path: Path) -> Iterator[Path]:
    yield path
    items = value.items() if isinstance(value, dict) else ()
    for key, item in enumerate(value) if isinstance(value, list) else items:
        yield from _places(item, (*path, key))


def _position(path: Path, order: Mapping[Path, int]) -> int:
    """Returns where a problem stands in the document; what is missing, where its parent stands."""
    return next(order[path[:end]] for end in range(len(path), -1, -1) if path[:end] in order)
