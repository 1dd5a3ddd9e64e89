"""What SparseML 1.8.0 needs in order to run on today's PyTorch.

Its exporter, which would need ``torch.onnx.export(dynamo=False)``, is not mended: files are written
by ``packaging.export``, whose graphs run several times faster.
"""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

from .flavour import keep_quiet


@cache
def mend() -> None:
    """Imports SparseML and mends it, once in a process."""
    keep_quiet()
    _open_qconfig()
    _leave_token_ids_alone()
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


def _leave_token_ids_alone() -> None:
    """Keeps SparseML from rounding the inputs of embeddings.

    They are token ids, integers, which PyTorch refuses to fake-quantize: without the override
    ``Embedding: {input_activations: null}`` every recipe for text would fail at its first step.
    """
    from sparseml.pytorch.sparsification.quantization import modifier_quantization
    from torch import nn

    original = modifier_quantization.set_quantization_schemes

    def set_quantization_schemes(model: nn.Module, *args: Any, **kwargs: Any) -> None:
        original(model, *args, **kwargs)
        for module in model.modules():
            scheme = getattr(module, "quantization_scheme", None)
            if isinstance(module, nn.Embedding) and scheme is not None:
                module.quantization_scheme = scheme.model_copy(update={"input_activations": None})

    modifier_quantization.set_quantization_schemes = set_quantization_schemes


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
