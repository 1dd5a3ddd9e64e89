"""Which problem the labels pose, decided from the whole train column; all splits are held to it.

Integers or text are classes (sorted numerically, or by code point), any fraction means regression,
lists mean several labels a row; ``spec.data.problemType`` goes before that. A CSV column with
integers and text is text (codes such as ``250`` and ``V27`` occur), any other mixture a mistake.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from sparse_transfer_runner.data.findings import Findings, shown
from sparse_transfer_runner.data.label_profile import MAX_VALUES, LabelProfile
from sparse_transfer_runner.data.labels import Kind, sorted_names

SINGLE_LABEL = "single_label_classification"
MULTI_LABEL = "multi_label_classification"
REGRESSION = "regression"

EXPECTED: Mapping[str, str] = {
    SINGLE_LABEL: "an integer or text",
    MULTI_LABEL: "a list of integers or a list of text",
    REGRESSION: "a number",
}

_ACCEPTED: Mapping[str, frozenset[Kind]] = {
    SINGLE_LABEL: frozenset({"integer", "number", "text", "boolean"}),
    MULTI_LABEL: frozenset({"list", "integer", "text", "boolean"}),
    REGRESSION: frozenset({"integer", "number"}),
}
"""Kinds that a problem type takes when the user states it."""

_ALIKE: Sequence[frozenset[Kind]] = (
    frozenset({"integer", "number"}),
    frozenset({"text"}),
    frozenset({"boolean"}),
    frozenset({"list"}),
)
"""Kinds that may stand in one column."""

_MANY_CLASSES = 50


@dataclass(frozen=True)
class LabelRule:
    """What the labels of every split must be.

    Args:
        problem_type: As transformers names it.
        names: Class names in the order of the model's outputs; empty for regression.
        kinds: What a label may be.
        warnings: What a user should know about the decision.
    """

    problem_type: str
    names: tuple[str, ...]
    kinds: frozenset[Kind]
    warnings: tuple[str, ...] = ()


def decide_labels(
    profile: LabelProfile, asked: str | None, path: Path, findings: Findings
) -> LabelRule | None:
    """Returns the rule, or None where findings say why there is none.

    Args:
        profile: Of the whole train column.
        asked: The problem type that the user states, as transformers names it.
        path: The train split's file.
        findings: Receives labels of the wrong kind, and labels that nothing can be learned from.
    """
    before = findings.total
    csv = path.suffix.lower() == ".csv"
    kinds = frozenset(profile.counts) - {"null", "object"}
    if csv and (asked == MULTI_LABEL or _look_like_lists(profile)):
        findings.add("lists in CSV", path, "CSV cannot hold lists of labels; write JSON lines")
        return None
    problem_type, accepted = (asked, _ACCEPTED[asked]) if asked else _natural(profile, kinds, csv)
    _report_kinds(profile, problem_type, accepted, path, findings)
    names = () if problem_type == REGRESSION else tuple(_names(profile, accepted))
    _report_unlearnable(problem_type, names, profile, path, findings)
    if findings.total > before or not kinds:
        return None
    warnings = tuple(_warnings(problem_type, names, profile, kinds, path, bool(asked)))
    return LabelRule(problem_type, names, accepted, warnings)


def _natural(
    profile: LabelProfile, kinds: frozenset[Kind], csv: bool
) -> tuple[str, frozenset[Kind]]:
    """Returns problem type and accepted kinds; in a mixed column the majority's."""
    if csv and kinds == {"integer", "text"}:
        return SINGLE_LABEL, kinds
    rows = {alike: sum(profile.counts[k] for k in alike & kinds) for alike in _ALIKE}
    accepted = max(_ALIKE, key=lambda alike: rows[alike])
    if "list" in accepted:
        return MULTI_LABEL, accepted
    return (REGRESSION if accepted & kinds >= {"number"} else SINGLE_LABEL), accepted


def _report_kinds(
    profile: LabelProfile,
    problem_type: str,
    accepted: frozenset[Kind],
    path: Path,
    findings: Findings,
) -> None:
    """Reports the labels that are not of an accepted kind."""
    expected = EXPECTED[problem_type]
    good = next((rows[0] for kind, rows in profile.examples.items() if kind in accepted), None)
    like = f", as {shown(good[1])} in line {good[0]}" if good else ""
    for kind, count in profile.counts.items():
        if kind in accepted:
            continue
        name = "empty label" if kind == "null" else f"label of kind {kind}"
        for line, value in profile.examples[kind]:
            what = f"empty label ({shown(value)})" if kind == "null" else _of_kind(value, kind)
            findings.add(name, path, f"{what}; expected {expected}{like}", line)
        findings.count(name, path, count - len(profile.examples[kind]))
    for line, value in profile.odd_lists:
        message = f"label {shown(value)} mixes kinds; expected {expected}{like}"
        findings.add("mixed list", path, message, line)
    findings.count("mixed list", path, profile.odd_list_count - len(profile.odd_lists))


def _of_kind(value: object, kind: Kind) -> str:
    return f"label {shown(value)} ({kind})"


def _names(profile: LabelProfile, accepted: frozenset[Kind]) -> list[str]:
    return sorted_names(chain.from_iterable(profile.values[kind] for kind in sorted(accepted)))


def _report_unlearnable(
    problem_type: str,
    names: Sequence[str],
    profile: LabelProfile,
    path: Path,
    findings: Findings,
) -> None:
    constant = None
    if problem_type == SINGLE_LABEL and len(names) == 1:
        constant = f"every label is {shown(names[0])}; expected at least two classes"
    elif problem_type == MULTI_LABEL and not names:
        constant = "every list of labels is empty; expected at least one label"
    elif problem_type == REGRESSION:
        values = profile.values["integer"] | profile.values["number"]
        if len(values) == 1:
            constant = f"every label is {values.pop()}; expected numbers that differ"
    if constant:
        findings.add("one class", path, constant)
    if len(names) > MAX_VALUES:
        findings.add(
            "too many classes",
            path,
            f"more than {MAX_VALUES} different labels, such as {shown(names[0])}; expected "
            "classes (for scores set spec.data.problemType: Regression)",
        )


def _warnings(
    problem_type: str,
    names: Sequence[str],
    profile: LabelProfile,
    kinds: frozenset[Kind],
    path: Path,
    asked: bool,
) -> list[str]:
    if asked or problem_type != SINGLE_LABEL:
        return []
    found = []
    if kinds == {"integer", "text"}:
        line, value = profile.examples["text"][0]
        found.append(
            f"{path.name}: labels are integers and text, the first text being {shown(value)} in "
            f"line {line}; all are taken as text"
        )
    elif any(isinstance(value, float) for value in profile.values["integer"]):
        found.append(
            f"{path.name}: labels are written with a decimal point but have no fraction; they are "
            "taken as classes (for scores set spec.data.problemType: Regression)"
        )
    rows = sum(profile.counts[kind] for kind in kinds)
    if len(names) > _MANY_CLASSES and rows < 2 * len(names):
        found.append(
            f"{path.name}: {len(names)} classes in {rows} rows; is this the right label column?"
        )
    return found


def _look_like_lists(profile: LabelProfile) -> bool:
    texts = profile.values["text"]
    return bool(texts) and all(text[0] == "[" and text[-1] == "]" for text in texts)
