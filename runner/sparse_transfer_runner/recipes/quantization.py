"""``QuantizationModifier``, in the form of SparseML 1.8 and in the older one with ``submodules``.

The native backend learns INT8 for Linear and Conv layers: weights symmetric per output channel,
input activations asymmetric per tensor. What asks for other numbers is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from .fields import BACKEND_HINT, OPEN_END, Epoch, Names, NotEnding, only
from .modifiers import Modifier

EMBEDDING = "Embedding"
_ALIASES = ("default", "deepsparse")

Off = Annotated[bool | None, only(None, False)]
Nothing = Annotated[
    Mapping[str, Any] | None, only(None, {}), AfterValidator(lambda _: None), Field(exclude=True)
]
EightBits = Annotated[int | None, only(None, 8)]


class QuantizationArgs(BaseModel):
    """How one kind of tensor is quantized."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    num_bits: Annotated[int, only(8)] = 8
    symmetric: bool = False
    strategy: Annotated[str, only("tensor", "channel")] = "tensor"
    kwargs: Annotated[Mapping[str, Any], only({})] = Field({}, exclude=True)


def _null(value: Any) -> Any:
    return None if value == "null" else value  # SparseML writes None so


class QuantizationScheme(BaseModel):
    """How a layer's inputs, weights and outputs are quantized; None leaves one as it is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input_activations: Annotated[QuantizationArgs | None, BeforeValidator(_null)] = (
        QuantizationArgs()
    )
    weights: Annotated[QuantizationArgs | None, BeforeValidator(_null)] = QuantizationArgs(
        symmetric=True
    )
    output_activations: None = None
    target_hardware: Annotated[str | None, only(None, "deepsparse")] = None

    @field_validator("output_activations", mode="before")
    @classmethod
    def _outputs_stay(cls, value: Any) -> Any:
        if _null(value) is not None:
            raise ValueError(
                "quantized output activations are not supported by the native backend, which "
                f"quantizes the next layer's inputs; {BACKEND_HINT}"
            )
        return None

    @model_validator(mode="after")
    def _numbers_that_engines_take(self) -> Self:
        inputs, weights = self.input_activations, self.weights
        if inputs is not None and (inputs.symmetric or inputs.strategy != "tensor"):
            raise ValueError(
                "input_activations: the native backend quantizes them asymmetrically per tensor, "
                f"nothing else; {BACKEND_HINT}"
            )
        if weights is not None and not weights.symmetric:
            raise ValueError(
                "weights: the native backend quantizes them symmetrically, nothing else; "
                f"{BACKEND_HINT}"
            )
        return self

    @property
    def quantizes(self) -> bool:
        """Whether it quantizes anything."""
        return self.input_activations is not None or self.weights is not None

    @property
    def whole(self) -> bool:
        """Whether it quantizes inputs and weights both."""
        return self.input_activations is not None and self.weights is not None


def _scheme(value: Any) -> Any:
    """Resolves SparseML's aliases of a scheme."""
    value = _null(value)
    if value is None or value in _ALIASES:
        return {}
    if isinstance(value, str):
        raise ValueError(
            f"{value!r} is not supported by the native backend, only "
            f"{' or '.join(_ALIASES)}; {BACKEND_HINT}"
        )
    return value


Scheme = Annotated[QuantizationScheme, BeforeValidator(_scheme)]


class QuantizationModifier(Modifier):
    """Trains with emulated INT8 arithmetic from an epoch on.

    Example::

        - !QuantizationModifier
            start_epoch: eval(0.75 * num_epochs)
            disable_quantization_observer_epoch: eval(0.95 * num_epochs)
            ignore: ['LayerNorm', 'Tanh']
    """

    end_epoch: NotEnding = OPEN_END
    disable_quantization_observer_epoch: Epoch | None = None
    freeze_bn_stats_epoch: Epoch | None = None
    scheme: Scheme | None = None
    scheme_overrides: Mapping[str, Scheme] | None = None
    ignore: Names = ()
    strict: bool = True
    model_fuse_fn_name: Annotated[str | None, only(None, "no_fuse", "conv_bn_relus")] = None
    model_fuse_fn_kwargs: Nothing = None
    num_calibration_steps: Annotated[int | None, only(None, 0)] = None
    # The older form.
    submodules: Names | None = None
    exclude_module_types: Names | None = None
    quantize_embeddings: bool | None = None
    reduce_range: Off = None
    quantize_linear_activations: Off = None
    quantize_conv_activations: Off = None
    quantize_embedding_activations: Off = None
    activation_bits: EightBits = None
    weight_bits: EightBits = None
    exclude_batchnorm: Annotated[bool | None, only(None, True)] = None
    custom_quantizable_module_types: Annotated[Names | None, only(None, ())] = None
    activation_qconfig_kwargs: Nothing = None
    weight_qconfig_kwargs: Nothing = None
    tensorrt: Off = None

    @field_validator("ignore", mode="before")
    @classmethod
    def _absent_means_none(cls, value: Any) -> Any:
        return () if value is None else value

    @field_validator("scheme", mode="after")
    @classmethod
    def _quantizes_whole_layers(cls, scheme: QuantizationScheme | None) -> Any:
        if scheme is not None and not scheme.whole:
            raise ValueError(_HALF)
        return scheme

    @field_validator("scheme_overrides", mode="after")
    @classmethod
    def _overrides_whole_layers(cls, overrides: Mapping[str, QuantizationScheme] | None) -> Any:
        for key, scheme in (overrides or {}).items():
            if key != EMBEDDING and scheme.quantizes and not scheme.whole:
                raise ValueError(f"`{key}`: {_HALF}")
        return overrides

    @model_validator(mode="after")
    def _observes_before_it_stops(self) -> Self:
        for field in ("disable_quantization_observer_epoch", "freeze_bn_stats_epoch"):
            epoch = getattr(self, field)
            if epoch is not None and epoch < self.start_epoch:
                raise ValueError(f"{field} {epoch:g} lies before start_epoch {self.start_epoch:g}")
        return self

    @property
    def observers_off_epoch(self) -> float | None:
        """When scales and zero points stop moving; None: never."""
        return self.disable_quantization_observer_epoch

    @property
    def excluded(self) -> tuple[str, ...]:
        """Module types and name prefixes that are left in higher precision."""
        overridden = (
            key for key, scheme in (self.scheme_overrides or {}).items() if not scheme.quantizes
        )
        return (*self.ignore, *(self.exclude_module_types or ()), *overridden)

    def quantizes(self, module: str, module_type: str) -> bool:
        """Whether a Linear or Conv layer is to be quantized.

        A name in ``ignore`` covers the modules whose names start with it, and the modules of that
        type, as in SparseML; ``submodules`` restricts quantization to what lies inside them.

        Args:
            module: Full name, such as ``bert.encoder.layer.0.output.dense``.
            module_type: Class name, such as ``Linear``.
        """
        if self.submodules is not None and not any(
            module == part or module.startswith(f"{part}.") for part in self.submodules
        ):
            return False
        return not any(module.startswith(name) or name == module_type for name in self.excluded)

    def unmatched(self, modules: Mapping[str, str]) -> tuple[str, ...]:
        """Returns the names in the recipe that fit no module; none are looked for unless strict.

        Args:
            modules: Every module's class name by its full name.
        """
        if not self.strict:
            return ()
        kinds = set(modules.values())
        named = (*self.ignore, *(self.scheme_overrides or {}), *(self.submodules or ()))
        return tuple(
            name
            for name in dict.fromkeys(named)
            if name not in kinds and not any(module.startswith(name) for module in modules)
        )

    def until(self, epochs: float) -> Self:
        """Returns itself: it has no end."""
        return self

    def to_fields(self) -> dict[str, Any]:
        """Returns what was said: the two forms must not be mixed, so no default is written."""
        stated = self.model_dump(mode="json", exclude_defaults=True)
        return {"start_epoch": self.start_epoch, **stated}

    def notes(self) -> tuple[str, ...]:
        """Says that embeddings stay in floating point where the recipe would quantize them."""
        override = (self.scheme_overrides or {}).get(EMBEDDING)
        if self.quantize_embeddings or (override is not None and override.quantizes):
            return (
                "QuantizationModifier: embeddings are trained in floating point; the native "
                "backend quantizes Linear and Conv layers",
            )
        return ()


_HALF = (
    "quantizing only the weights or only the inputs of a layer is not supported by the native "
    f"backend; {BACKEND_HINT}"
)
