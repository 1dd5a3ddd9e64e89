"""SparseML recipes as data: read once, checked, and asked by the native training backend."""

from .defaults import baseline_recipe, default_recipe
from .modifiers import (
    DistillationModifier,
    Modifier,
    PerLayerDistillationModifier,
    TrainableParamsModifier,
)
from .parsing import parse_recipe
from .patterns import ALL, ALL_PRUNABLE, matches, unmatched
from .quantization import QuantizationModifier
from .recipe import NATIVE, SPARSEML, BackendName, Pruning, Recipe

__all__ = [
    "ALL",
    "ALL_PRUNABLE",
    "NATIVE",
    "SPARSEML",
    "BackendName",
    "DistillationModifier",
    "Modifier",
    "PerLayerDistillationModifier",
    "Pruning",
    "QuantizationModifier",
    "Recipe",
    "TrainableParamsModifier",
    "baseline_recipe",
    "default_recipe",
    "matches",
    "parse_recipe",
    "unmatched",
]
