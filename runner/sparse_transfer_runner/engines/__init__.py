"""Inference engines: one file each, behind one protocol; a new one adds its line here."""

from __future__ import annotations

from importlib import import_module

from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.neuralmagic.flavour import DEEPSPARSE_ADVICE, is_installed

from .kernels import KERNELS_ADVICE, PACKAGE
from .protocol import Engine

_MODULES = {
    "onnxruntime": ".onnxruntime",
    "onnxruntime-sparse": ".onnxruntime_sparse",
    "openvino": ".openvino",
    "deepsparse": ".deepsparse",
}
_OPTIONAL = {
    "deepsparse": ("deepsparse", DEEPSPARSE_ADVICE),
    "onnxruntime-sparse": (PACKAGE, KERNELS_ADVICE),
}
"""The package of an engine that is not in every runner, and what to do where it is missing."""


def engine(name: str) -> Engine:
    """Returns an engine, importing it only now.

    Raises:
        InputError: This runner has no such engine.
    """
    here = [
        known for known in _MODULES if known not in _OPTIONAL or is_installed(_OPTIONAL[known][0])
    ]
    if name not in here:
        advice = f"; {_OPTIONAL[name][1]}" if name in _OPTIONAL else ""
        raise InputError(
            f"spec.export.targets: {name} is not in this runner; it has {', '.join(here)}{advice}"
        )
    built: Engine = import_module(_MODULES[name], __name__).ENGINE
    return built
