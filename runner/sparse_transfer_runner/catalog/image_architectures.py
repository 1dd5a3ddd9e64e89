"""Architectures of image classifiers, by the names that timm and torchvision give them.

A classifier keeps the parameter names of its library, so that checkpoints and recipes fit it; only
its forward differs: it takes ``pixel_values`` and returns an object with ``logits``.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from sparse_transfer_api.errors import InputError
from sparse_transfer_api.suggest import did_you_mean, listed

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

TIMM, TORCHVISION = "timm", "torchvision"

_FILES_OF_ITS_OWN = ("cache_dir", "checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay")
"""Settings by which timm's builder reads other weights than the ones that are checked."""
_STANDARDIZED = {"StdConv2d", "StdConv2dSame", "ScaledStdConv2d", "ScaledStdConv2dSame"}
_SLOWEST_MOMENTUM = 0.1
"""Batch norms whose statistics move slower do not arrive within the few steps of a transfer."""


class ClassifierOutput(NamedTuple):
    """What a classifier returns.

    Args:
        logits: ``[batch, classes]``.
    """

    logits: Tensor


@dataclass(frozen=True)
class Architecture:
    """An architecture by name.

    Args:
        library: ``timm`` or ``torchvision``.
        name: As that library calls it, such as ``resnet50``.
        settings: What its builder is given beside the number of classes.
    """

    library: str
    name: str
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __str__(self) -> str:
        return f"{self.library}/{self.name}"

    def build(self, classes: int) -> nn.Module:
        """Returns a classifier with weights that mean nothing.

        Raises:
            InputError: The library cannot build it with these settings, or its convolutions compute
                their weights, so that zeros do not last.
        """
        try:
            with warnings.catch_warnings():
                # About initializations that are slow, and of which nothing stays.
                warnings.simplefilter("ignore")
                net = self._net(classes)
        except (TypeError, ValueError, AssertionError, RuntimeError, KeyError) as error:
            raise InputError(
                f"{self}: cannot be built with {dict(self.settings)} and {classes} classes "
                f"({error})"
            ) from error
        computing = {type(each).__name__ for each in net.modules()} & _STANDARDIZED
        if computing:
            raise InputError(
                f"{self}: its convolutions ({listed(sorted(computing))}) compute their weights "
                "from what was trained, so that zeros do not last; take an architecture with plain "
                "convolutions, such as resnet50"
            )
        return _as_classifier(net)

    def skeleton(self, classes: int = 2) -> nn.Module:
        """Returns the same without storage, for its names and shapes."""
        import torch

        with torch.device("meta"):
            net = self.build(classes)
        net.head_modules = self.heads()  # type: ignore[assignment]
        return net

    def heads(self) -> tuple[str, ...]:
        """Returns the modules that depend on the number of classes."""
        return _heads(self.library, self.name, json.dumps(dict(self.settings), sort_keys=True))

    def _net(self, classes: int) -> nn.Module:
        if self.library == TIMM:
            import timm

            net: nn.Module = timm.create_model(
                self.name, pretrained=False, num_classes=classes, **self.settings
            )
            return net
        from torchvision import models

        net = models.get_model(
            self.name, weights=None, num_classes=classes, **_plain(self.name), **self.settings
        )
        return net


def architecture_named(name: str, settings: Mapping[str, Any] | None = None) -> Architecture:
    """Returns an architecture by ``timm/NAME``, ``torchvision/NAME``, or ``NAME`` alone.

    Where both have it, timm's is meant, as in the configurations on its hub.

    Raises:
        InputError: Neither has it; the message suggests the nearest. Or the settings lead to other
            files.
    """
    leading = [key for key in _FILES_OF_ITS_OWN if key in (settings or {})]
    if leading:
        raise InputError(f"{name!r}: {leading[0]} leads to other files than its own; remove it")
    library, _, plain = name.rpartition("/")
    # A tag says which weights there were, as in resnet50.a1_in1k.
    plain = plain.partition(".")[0]
    for known, names in _names().items():
        if library in ("", known) and plain in names:
            return Architecture(known, plain, dict(settings or {}))
    names = _names().get(library) or tuple(sorted({*_names()[TIMM], *_names()[TORCHVISION]}))
    raise InputError(
        f"{name!r}: unknown architecture; expected the name of one in timm or torchvision, such as "
        f"timm/resnet50 or torchvision/mobilenet_v2{did_you_mean(plain, names)}"
    )


def draw_head(net: nn.Module, heads: tuple[str, ...], seed: int) -> None:
    """Draws a new head from a seed alone: normal with a spread of 0.01, biases zero."""
    import torch

    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(net.named_parameters()):
            if not is_in(name, heads):
                continue
            if parameter.dim() > 1:
                parameter.normal_(0.0, 0.01, generator=random)
            else:
                parameter.zero_()


def is_in(parameter: str, modules: tuple[str, ...]) -> bool:
    """Whether a parameter belongs to one of the modules."""
    return any(parameter.startswith(f"{module}.") for module in modules)


def prepare_for_training(net: nn.Module) -> None:
    """Lets the statistics of batch norms move fast enough for a short training."""
    from torch.nn.modules.batchnorm import _BatchNorm

    for module in net.modules():
        if isinstance(module, _BatchNorm) and module.momentum is not None:
            module.momentum = max(module.momentum, _SLOWEST_MOMENTUM)


@cache
def _names() -> dict[str, tuple[str, ...]]:
    import timm
    from torchvision import models

    return {
        TIMM: tuple(timm.list_models()),
        TORCHVISION: tuple(models.list_models(module=models)),
    }


def _plain(name: str) -> dict[str, Any]:
    """Returns the settings without which torchvision adds outputs that only training would use."""
    return {"aux_logits": False, "init_weights": False} if name in _WITH_EXTRA_OUTPUTS else {}


_WITH_EXTRA_OUTPUTS = ("googlenet", "inception_v3")


@cache
def _heads(library: str, name: str, settings: str) -> tuple[str, ...]:
    import torch

    architecture = Architecture(library, name, json.loads(settings))
    with torch.device("meta"):
        two, three = (architecture.build(classes).state_dict() for classes in (2, 3))
    differing = (key for key in two if two[key].shape != three[key].shape)
    heads = tuple(dict.fromkeys(key.rpartition(".")[0] for key in differing))
    if not heads:
        raise InputError(f"{architecture}: has no head of classes; expected a classifier")
    return heads


def _as_classifier(net: nn.Module) -> nn.Module:
    kind: Any = type(net)
    net.__class__ = _classifier_of(kind)
    return net


@cache
def _classifier_of(kind: Any) -> Any:
    """Returns a class like the net's own, with a classifier's forward.

    A wrapper would put a prefix before every name that checkpoints and recipes know.
    """

    def forward(self: Any, pixel_values: torch.Tensor) -> ClassifierOutput:
        return ClassifierOutput(kind.forward(self, pixel_values))

    return type(kind.__name__, (kind,), {"forward": forward, "__module__": kind.__module__})
