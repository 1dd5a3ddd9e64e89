"""Sparse INT8 products as custom operators of onnxruntime.

model = sparse_transfer_kernels.session("model.onnx")
logits = model.run(None, inputs)[0]
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnxruntime

DOMAIN = "sparsetransfer.dev"
"""Of the operators, in model files."""


def library() -> Path:
    """Returns the library with the operators.

    Raises:
        FileNotFoundError: The package was installed without being built.
    """
    folder = Path(__file__).parent
    for suffix in ("so", "dylib", "pyd", "dll"):
        for found in folder.glob(f"_operators*.{suffix}"):
            return found
    raise FileNotFoundError(f"{folder}: no library with the operators; install the wheel")


def register(options: onnxruntime.SessionOptions) -> None:
    """Adds the operators to a session's options."""
    options.register_custom_ops_library(str(library()))


def session(
    model: str | Path, options: onnxruntime.SessionOptions | None = None
) -> onnxruntime.InferenceSession:
    """Loads a model file that uses the operators, on the CPU.

    Args:
        model: The file.
        options: Yours; the operators are added to them. By default onnxruntime's.
    """
    import onnxruntime

    options = options or onnxruntime.SessionOptions()
    register(options)
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
