"""Inference engines: one file each, behind one protocol; a new one adds its line here."""

from __future__ import annotations

from importlib import import_module

from sparse_transfer_api.errors import InputError

from .protocol import Engine

_MODULES = {
    "onnxruntime": ".onnxruntime",
    "openvino": ".openvino",
}


def engine(name: str) -> Engine:
    """Returns an engine, importing it only now.

    Raises:
        InputError: This runner has no such engine.
    """
    if name not in _MODULES:
        raise InputError(
            f"spec.export.targets: {name} is not in this runner; it has {', '.join(_MODULES)}"
        )
    built: Engine = import_module(_MODULES[name], __name__).ENGINE
    return built
