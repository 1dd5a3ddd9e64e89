"""onnxruntime on CPU with this project's sparse kernels: zeros save time.

Layer by layer the faster form is taken, measured on the processor at hand: with AMX onnxruntime's
own INT8 wins more often. Where no layer gains, the file is onnxruntime's.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from . import sparse_blocks
from .forms import Form
from .layer_times import Session, layer_times
from .onnxruntime import OnnxRuntime, session_options
from .protocol import Quantizable, Snippet

if TYPE_CHECKING:
    import onnxruntime


class SparseOnnxRuntime(OnnxRuntime):
    """The engine; see ``Engine``."""

    name = "onnxruntime-sparse"
    requirement = "sparse-transfer-kernels"
    licence = "MIT AND Apache-2.0"
    snippet = Snippet(
        module="sparse_transfer_kernels",
        load='sparse_transfer_kernels.session(here / "model.onnx")',
        run="model.run(None, inputs)[0]",
    )

    def forms(self, model: Quantizable) -> Sequence[Form]:
        """Returns the sparse form before onnxruntime's own."""
        return (Form.SPARSE_BLOCKS, *super().forms(model))

    def quantize(self, model: Quantizable, form: Form, target: Path) -> None:
        """Writes the model in an INT8 form."""
        if form is not Form.SPARSE_BLOCKS:
            super().quantize(model, form, target)
            return
        import onnx

        from .onnx_int8 import quantized

        source = onnx.load(model.source)
        gaining = self._gaining(source, model)
        form = Form.MATMUL_INTEGER_FUSED
        onnx.save(quantized(source, model.scales, form, sparse=gaining), target)

    def options(self, threads: int) -> onnxruntime.SessionOptions:
        """Returns a session's options, with the kernels."""
        import sparse_transfer_kernels

        options = session_options(threads)
        sparse_transfer_kernels.register(options)
        return options

    def _gaining(self, source: object, model: Quantizable) -> list[str]:
        """Returns the modules that the sparse kernels compute faster."""
        from .onnx_int8 import rounded_weights

        weights = {
            name: weight
            for name, weight in rounded_weights(source, model.scales).items()
            if sparse_blocks.fits(weight)
        }
        times = layer_times(weights, model.positions, lambda file: self._layer(file, model.threads))
        return [name for name, time in times.items() if time.gains]

    def _layer(self, file: bytes, threads: int) -> Session:
        import onnxruntime

        session = onnxruntime.InferenceSession(
            file, self.options(threads), providers=["CPUExecutionProvider"]
        )

        def run(rows: NDArray[np.float32]) -> object:
            return session.run(None, {"x": rows})

        return run


ENGINE = SparseOnnxRuntime()
