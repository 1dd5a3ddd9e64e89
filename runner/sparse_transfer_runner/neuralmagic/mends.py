"""What SparseML 1.8.0 needs in order to run on today's PyTorch, and to mean what we mean.

Its exporter, which would need ``torch.onnx.export(dynamo=False)``, is not mended: files are written
by ``packaging.export``, whose graphs run several times faster.
"""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

from torch import nn

from sparse_transfer_runner.quantization.fake_quantize import is_quantizable
from sparse_transfer_runner.sparsity.prunable import prunable_weights

from .flavour import keep_quiet


@cache
def mend() -> None:
    """Imports SparseML and mends it, once in a process."""
    keep_quiet()
    _open_qconfig()
    _round_what_files_round()
    _fuse_nothing()
    _round_padding_convolutions()
    _prune_what_is_prunable()
    _hold_frozen_weights_too()
    # Each modifier announces each of its steps there.
    logging.getLogger("sparseml").setLevel(logging.ERROR)


def _open_qconfig() -> None:
    """Lets SparseML keep a scheme at a QConfig.

    PyTorch made its ``QConfig``, a named tuple, one without a ``__dict__``; SparseML sets
    ``quantization_scheme`` on each. The subclass has a ``__dict__`` again, and takes its place only
    inside the module that builds them.
    """
    import torch.ao.quantization
    from sparseml.pytorch.sparsification.quantization import quantization_scheme

    class OpenQConfig(torch.ao.quantization.QConfig):
        """A QConfig that takes further attributes."""

    quantization_scheme.torch_quantization = _Replaced(
        quantization_scheme.torch_quantization, OpenQConfig
    )


def _round_what_files_round() -> None:
    """Has SparseML's schemes hold for Linear and convolution layers alone, as in the files.

    It would round the inputs of all else too: of embeddings, whose integers PyTorch refuses to
    fake-quantize, of batch norms, which are folded in the files, and of an activation that is used
    twice by one range for both.
    """
    from sparseml.pytorch.sparsification.quantization import modifier_quantization

    original = modifier_quantization.set_quantization_schemes

    def set_quantization_schemes(model: nn.Module, *args: Any, **kwargs: Any) -> None:
        original(model, *args, **kwargs)
        for module in model.modules():
            if hasattr(module, "quantization_scheme") and not is_quantizable(module):
                del module.quantization_scheme

    modifier_quantization.set_quantization_schemes = set_quantization_schemes


def _fuse_nothing() -> None:
    """Keeps SparseML from joining convolutions with the batch norms and activations behind them.

    What PyTorch puts in their place loses the activation within timm's batch norms and the second
    use of torchvision's, and divides by a batch norm's weight, which is 0 where a block begins as
    the identity. Rounding needs none of it: a batch norm multiplies whole output channels.
    """
    from sparseml.pytorch.sparsification.quantization import (
        legacy_modifier_quantization,
        modifier_quantization,
    )

    for modifiers in (modifier_quantization, legacy_modifier_quantization):
        modifiers.fuse_module_conv_bn_relus = lambda module, **_: module


def _round_padding_convolutions() -> None:
    """Has the weights of timm's convolutions that pad by themselves rounded as all others are."""
    from sparseml.pytorch.sparsification.quantization import quantize
    from timm.layers import Conv2dSame
    from timm.layers.conv2d_same import conv2d_same
    from torch import Tensor
    from torch.ao.nn import qat

    class RoundedConv2dSame(qat.Conv2d):
        """One whose weights are rounded."""

        _FLOAT_MODULE = Conv2dSame

        def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
            return conv2d_same(
                input, weight, bias, self.stride, self.padding, self.dilation, self.groups
            )

    original = quantize._get_qat_module_mappings
    quantize._get_qat_module_mappings = lambda: {**original(), Conv2dSame: RoundedConv2dSame}


def _prune_what_is_prunable() -> None:
    """Has ``__ALL_PRUNABLE__`` mean our weights: SparseML means embeddings and the head as well."""
    from sparseml.pytorch.sparsification.pruning import modifier_pruning_base

    modifier_pruning_base.get_prunable_layers = lambda module: [
        (name.removesuffix(".weight"), module) for name in prunable_weights(module)
    ]


def _hold_frozen_weights_too() -> None:
    """Lets SparseML mask weights that a recipe does not train, of which no gradient comes."""
    from sparseml.pytorch.sparsification.pruning.mask_params import ModuleParamPruningMask

    original = ModuleParamPruningMask._create_hooks

    def _create_hooks(self: Any) -> None:
        frozen = [weight for weight in self._params if not weight.requires_grad]
        for weight in frozen:
            weight.requires_grad_(True)
        original(self)
        for weight in frozen:
            weight.requires_grad_(False)

    ModuleParamPruningMask._create_hooks = _create_hooks


class _Replaced:
    """A module with another ``QConfig``; PyTorch's own module stays as it is.

    Args:
        module: Asked for all else.
        qconfig: The class.
    """

    def __init__(self, module: object, qconfig: type) -> None:
        self._module = module
        self.QConfig = qconfig

    def __getattr__(self, name: str) -> object:
        return getattr(self._module, name)
