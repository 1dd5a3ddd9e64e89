"""Which modifiers there are: those that the native backend honours, and SparseML's others."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from .modifiers import (
    ConstantPruningModifier,
    DistillationModifier,
    EpochRangeModifier,
    LearningRateFunctionModifier,
    Modifier,
    PerLayerDistillationModifier,
    SetLearningRateModifier,
    SetWeightDecayModifier,
    TrainableParamsModifier,
)
from .quantization import QuantizationModifier

SUPPORTED: Mapping[str, type[Modifier]] = MappingProxyType(
    {
        **{
            kind.__name__: kind
            for kind in (
                EpochRangeModifier,
                SetLearningRateModifier,
                LearningRateFunctionModifier,
                ConstantPruningModifier,
                QuantizationModifier,
                DistillationModifier,
                PerLayerDistillationModifier,
                SetWeightDecayModifier,
                TrainableParamsModifier,
            )
        },
        "LegacyQuantizationModifier": QuantizationModifier,  # SparseML 1.8's other name for it
    }
)
"""Modifiers that the native backend honours, by name."""

SPARSEML_ONLY = frozenset(
    {
        "ACDCPruningModifier",
        "GlobalMagnitudePruningModifier",
        "GMPruningModifier",
        "GradualParamModifier",
        "LearningRateModifier",
        "MagnitudePruningModifier",
        "MFACPruningModifier",
        "MovementPruningModifier",
        "OBSPruningModifier",
        "RigLPruningModifier",
        "SetParamModifier",
        "SparsificationLoggingModifier",
        "TopKASTPruningModifier",
    }
)
"""Modifiers of SparseML 1.8 that only its own manager can run."""

_RESHAPES = "changes which layers or channels the model has, so that its files could not be checked"
_ONE_SHOT = "belongs to SparseML's one-shot sessions and not to training"

REFUSED: Mapping[str, str] = MappingProxyType(
    {
        "LayerPruningModifier": _RESHAPES,
        "LayerThinningModifier": _RESHAPES,
        "PowerpropagationModifier": "replaces the layers by ones that no engine knows",
        "StructuredPruningModifier": _RESHAPES,
        "GPTQModifier": _ONE_SHOT,
        "LogarithmicEqualizationModifier": _ONE_SHOT,
        "OutputDistillationModifier": _ONE_SHOT,
        "SmoothQuantModifier": _ONE_SHOT,
        "SparseGPTModifier": _ONE_SHOT,
        "WandaPruningModifier": _ONE_SHOT,
    }
)
"""Modifiers of SparseML 1.8 that no backend runs, with the reason."""
