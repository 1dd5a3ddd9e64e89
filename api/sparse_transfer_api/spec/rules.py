"""Rules between fields: one table, kept by the models here and by CEL on the API server."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..suggest import listed
from ..use_cases import ALIASES, ALL_NAMES, UseCaseName
from .types import DATA_SCHEMES, MAX_NAME, MODEL_SCHEMES, OUTPUT_SCHEMES, RECIPE_SCHEMES, Schemes

if TYPE_CHECKING:
    from .experiment import SparseTransferSpec
    from .pod import Resources

RULES_BROKEN = "rules_broken"
"""The type of the validation error that carries the broken rules as ``rules``."""

Holds = Callable[["SparseTransferSpec"], bool]


@dataclass(frozen=True)
class Rule:
    """One rule.

    Args:
        at: The node that ``self`` is in the CEL expression, as a path from the root; empty for
            the root itself.
        fields: Paths of the fields it looks at, the one to blame first. When one of them is wrong
            by itself, the rule is not reported.
        message: What was expected.
        cel: True where the rule is kept.
        holds: The same on the models; None where their types hold it, or the command line
            allows more.
    """

    at: str
    fields: tuple[str, ...]
    message: str
    cel: str
    holds: Holds | None = None

    @property
    def where(self) -> str:
        """The field that is blamed."""
        return self.fields[0]


def broken_rules(spec: SparseTransferSpec) -> tuple[Rule, ...]:
    """Returns every rule between fields that the spec breaks."""
    return tuple(rule for rule in RULES if rule.holds is not None and not rule.holds(spec))


def _image(spec: SparseTransferSpec) -> bool:
    return spec.use_case.startswith("cv-")


def _text_settings(spec: SparseTransferSpec) -> bool:
    return (
        spec.training.max_sequence_length is not None
        or spec.benchmark.headline.sequence is not None
        or bool(spec.benchmark.sequence_lengths)
    )


def _recipe(spec: SparseTransferSpec) -> bool:
    asked = spec.recipe.uri or spec.recipe.inline or spec.recipe.args
    return bool(asked or re.match(_RECIPE_OF_STUB, spec.model.uri or ""))


def _any_name(names: Iterable[str]) -> str:
    """Returns a regular expression of names, their separators alike."""
    return "|".join(sorted(re.sub("[-_ ]", "[-_ ]", name) for name in set(names)))


def _no_gpu(stage: str) -> Rule:
    at = f"spec.stages.{stage}.resources"
    free = "!(name.startsWith('nvidia.com/') || name.endsWith('/gpu'))"
    return Rule(
        at=at,
        fields=(at,),
        message="GPUs are asked for in train's resources, nowhere else",
        cel=f"(!has(self.requests) || self.requests.all(name, {free})) "
        f"&& (!has(self.limits) || self.limits.all(name, {free}))",
        holds=lambda spec: not _asks_for_gpu(getattr(spec.stages, stage).resources),
    )


def _asks_for_gpu(resources: Resources) -> bool:
    return any(
        name.startswith("nvidia.com/") or name.endswith("/gpu")
        for name in (*resources.requests, *resources.limits)
    )


def _schemes(field: str, schemes: Schemes) -> Rule:
    """A cluster takes only what its pods can reach: no file of the user's own machine."""
    return Rule(
        at=field.rpartition(".")[0],
        fields=(field,),
        message=f"on a cluster, expected {schemes.on_cluster}",
        cel=f"!has(self.uri) || self.uri.matches('^({schemes.pattern}).+')",
    )


_RECIPE_OF_STUB = "^zoo:.*[?&]recipe(_type)?="
"""Of a model's identifier that asks for one of the model's recipes."""

_IMAGE_NAMES = [
    name
    for canonical in UseCaseName
    if canonical.startswith("cv-")
    for name in (canonical.value, *ALIASES[canonical])
]
_IMAGE_USE_CASE = f"self.useCase.matches('(?i)^ *({_any_name(_IMAGE_NAMES)}) *$')"

RULES: tuple[Rule, ...] = (
    Rule(
        at="spec.teacher",
        fields=("spec.teacher.uri", "spec.teacher.mode"),
        message="mode Given needs uri, and no other mode takes it",
        cel="(has(self.mode) && self.mode == 'Given') == has(self.uri)",
        holds=lambda spec: (spec.teacher.mode == "Given") == (spec.teacher.uri is not None),
    ),
    Rule(
        at="spec.baseline",
        fields=("spec.baseline.value", "spec.baseline.mode"),
        message="mode Given needs value, and no other mode takes it",
        cel="(has(self.mode) && self.mode == 'Given') == has(self.value)",
        holds=lambda spec: (spec.baseline.mode == "Given") == (spec.baseline.value is not None),
    ),
    Rule(
        at="spec.recipe",
        fields=("spec.recipe.inline", "spec.recipe.uri"),
        message="expected either uri or inline, not both",
        cel="!(has(self.uri) && has(self.inline))",
        holds=lambda spec: spec.recipe.uri is None or spec.recipe.inline is None,
    ),
    Rule(
        at="spec.model",
        fields=("spec.model.revision", "spec.model.uri"),
        message="revision needs uri",
        cel="!has(self.revision) || has(self.uri)",
        holds=lambda spec: spec.model.revision is None or spec.model.uri is not None,
    ),
    Rule(
        at="spec",
        fields=("spec.acceptance.minRecovery", "spec.baseline.mode"),
        message="minRecovery needs a baseline: expected baseline.mode Auto or Given",
        cel="!(has(self.acceptance) && has(self.acceptance.minRecovery) && has(self.baseline) "
        "&& has(self.baseline.mode) && self.baseline.mode == 'None')",
        holds=lambda spec: spec.acceptance.min_recovery is None or spec.baseline.mode != "None",
    ),
    Rule(
        at="spec",
        fields=("spec.search.minRecovery", "spec.baseline.mode"),
        message="minRecovery needs a baseline: expected baseline.mode Auto or Given",
        cel="!(has(self.search) && has(self.search.minRecovery) && has(self.baseline) "
        "&& has(self.baseline.mode) && self.baseline.mode == 'None')",
        holds=lambda spec: spec.search.min_recovery is None or spec.baseline.mode != "None",
    ),
    Rule(
        at="spec",
        fields=("spec.baseline.mode", "spec.optimLevel"),
        message="at level 0 the baseline is the product: expected mode Auto",
        cel="!has(self.optimLevel) || self.optimLevel > 0.0 || !has(self.baseline) "
        "|| !has(self.baseline.mode) || self.baseline.mode == 'Auto' "
        "|| has(self.search) && has(self.search.levels) && self.search.levels.size() > 0",
        holds=lambda spec: (
            spec.optim_level > 0 or spec.baseline.mode == "Auto" or bool(spec.search.levels)
        ),
    ),
    Rule(
        at="spec.search",
        fields=("spec.search.levels", "spec.search.minRecovery", "spec.search.objective"),
        message="a search needs levels to try, such as [0.3, 0.6]",
        cel="(has(self.levels) && self.levels.size() > 0) "
        "|| !(has(self.minRecovery) || has(self.objective) && self.objective != 'Fastest')",
        holds=lambda spec: (
            bool(spec.search.levels)
            or (spec.search.min_recovery is None and spec.search.objective == "Fastest")
        ),
    ),
    Rule(
        at="spec",
        fields=("spec.baseline.mode", "spec.search.levels"),
        message="at level 0, which the search tries, the baseline is the product: expected mode "
        "Auto",
        cel="!has(self.search) || !has(self.search.levels) "
        "|| !self.search.levels.exists(l, l == 0.0) || !has(self.baseline) "
        "|| !has(self.baseline.mode) || self.baseline.mode == 'Auto'",
        holds=lambda spec: 0 not in spec.search.levels or spec.baseline.mode == "Auto",
    ),
    Rule(
        at="spec",
        fields=("spec.search.levels", "spec.recipe", "spec.model.uri"),
        message="level 0 is the dense baseline, which takes no recipe: expected levels above 0, or "
        "no recipe (spec.recipe, or ?recipe_type in spec.model.uri)",
        # recipe.args holds values of several types, which CEL cannot look at.
        cel="!has(self.search) || !has(self.search.levels) "
        "|| !self.search.levels.exists(l, l == 0.0) "
        "|| !(has(self.recipe) && (has(self.recipe.uri) || has(self.recipe.inline)) "
        "|| has(self.model) && has(self.model.uri) "
        f"&& self.model.uri.matches('{_RECIPE_OF_STUB}'))",
        holds=lambda spec: 0 not in spec.search.levels or not _recipe(spec),
    ),
    Rule(
        at="spec.training",
        fields=("spec.training.nodes",),
        message="expected 1: training on several machines is not supported",
        cel="!has(self.nodes) || self.nodes <= 1",
        holds=lambda spec: spec.training.nodes == 1,
    ),
    Rule(
        at="spec",
        fields=("spec.training.imageSize", "spec.useCase"),
        message="imageSize is expected with image use cases only",
        cel=f"!has(self.training) || !has(self.training.imageSize) || {_IMAGE_USE_CASE}",
        holds=lambda spec: spec.training.image_size is None or _image(spec),
    ),
    Rule(
        at="spec",
        fields=("spec.training.augmentation", "spec.useCase"),
        message="augmentation is expected with image use cases only",
        cel=f"!has(self.training) || !has(self.training.augmentation) "
        f"|| self.training.augmentation == 'CropAndFlip' || {_IMAGE_USE_CASE}",
        holds=lambda spec: spec.training.augmentation == "CropAndFlip" or _image(spec),
    ),
    Rule(
        at="spec",
        fields=(
            "spec.training.maxSequenceLength",
            "spec.benchmark.sequenceLengths",
            "spec.benchmark.headline.sequence",
            "spec.useCase",
        ),
        message="sequence lengths are expected with text use cases only",
        cel=f"!{_IMAGE_USE_CASE} || !(has(self.training) && has(self.training.maxSequenceLength) "
        "|| has(self.benchmark) && (has(self.benchmark.sequenceLengths) "
        "&& self.benchmark.sequenceLengths.size() > 0 "
        "|| has(self.benchmark.headline) && has(self.benchmark.headline.sequence)))",
        holds=lambda spec: not (_image(spec) and _text_settings(spec)),
    ),
    Rule(
        at="spec",
        fields=("spec.benchmark.headline.engine", "spec.export.targets"),
        message="expected one of export.targets",
        cel="!has(self.benchmark) || !has(self.benchmark.headline) "
        "|| !has(self.benchmark.headline.engine) "
        "|| (has(self.export) && has(self.export.targets) "
        "? self.benchmark.headline.engine in self.export.targets "
        ": self.benchmark.headline.engine in ['onnxruntime', 'openvino'])",
        holds=lambda spec: (
            spec.benchmark.headline.engine is None
            or spec.benchmark.headline.engine in spec.export.targets
        ),
    ),
    Rule(
        at="spec.storage.cache",
        fields=("spec.storage.cache.hostPath", "spec.storage.cache.claim"),
        message="expected either claim or hostPath, not both",
        cel="!(has(self.claim) && has(self.hostPath))",
        holds=lambda spec: spec.storage.cache.claim is None or spec.storage.cache.host_path is None,
    ),
    *(_no_gpu(stage) for stage in ("prepare", "package")),
)
"""Between fields, on the cluster and on one machine alike."""

CLUSTER_RULES: tuple[Rule, ...] = (
    Rule(
        at="",
        fields=("metadata.name",),
        message=f"expected lower-case letters, digits and hyphens, at most {MAX_NAME}",
        cel=f"self.metadata.name.size() <= {MAX_NAME} "
        "&& self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
    ),
    Rule(
        at="spec",
        fields=("spec.useCase",),
        message=f"unknown use case; expected {listed(UseCaseName)}, or an alias of one",
        cel=f"self.useCase.matches('(?i)^ *({_any_name(ALL_NAMES)}) *$')",
    ),
    Rule(
        at="spec.export",
        fields=("spec.export.targets",),
        message="expected every engine once",
        cel="!has(self.targets) || self.targets.all(t, self.targets.exists_one(o, o == t))",
    ),
    _schemes("spec.data.uri", DATA_SCHEMES),
    _schemes("spec.model.uri", MODEL_SCHEMES),
    _schemes("spec.teacher.uri", MODEL_SCHEMES),
    _schemes("spec.recipe.uri", RECIPE_SCHEMES),
    _schemes("spec.output.uri", OUTPUT_SCHEMES),
)
"""What the models hold by a field's own type, or what the command line allows (local files)."""
