"""onnxruntime on CPU with this project's sparse kernels: zeros save time.

Layer by layer the faster form is taken, as measured on the processor at hand: with AMX
onnxruntime's own INT8 wins more often. Where no layer gains, the file is onnxruntime's. The kernels
multiply in Linear layers and in convolutions of whole channels; depthwise ones stay onnxruntime's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from sparse_transfer_runner.use_cases.protocol import Batch

from . import sparse_blocks
from .forms import Form
from .kernels import KERNELS, register_kernels
from .layer_times import LINEAR, Run, timed_layers
from .onnxruntime import OnnxRuntime, session_options
from .protocol import LayerTime, Quantizable, Snippet

if TYPE_CHECKING:
    import numpy as np
    import onnxruntime

    from .sparse_convolutions import Geometry

_SPARSE = (Form.SPARSE_BLOCKS, Form.REDUCED_SPARSE_BLOCKS)


class SparseOnnxRuntime(OnnxRuntime):
    """The engine; see ``Engine`` and ``TimesLayers``."""

    name = "onnxruntime-sparse"
    model_file = "model-sparse.onnx"
    requirements: Sequence[str] = ("onnxruntime", KERNELS)
    licence = "MIT AND Apache-2.0"
    snippet = Snippet(
        module="sparse_transfer_kernels",
        load='sparse_transfer_kernels.session(here / "model-sparse.onnx")',
        run="model.run(None, inputs)[0]",
    )

    def version(self) -> str:
        """Returns onnxruntime's version, and the kernels'."""
        return f"{super().version()}+kernels.{version(KERNELS)}"

    def forms(self, model: Quantizable) -> Sequence[Form]:
        """Returns onnxruntime's own forms, and before them sparse ones where there is a layer."""
        own = super().forms(model)
        if not model.sparse:
            return own
        reduced = any(form.endswith("-7bit") for form in own)
        return (*(_SPARSE if reduced else _SPARSE[:1]), *own)

    def quantize(self, model: Quantizable, form: Form, target: Path) -> None:
        """Writes the model in an INT8 form."""
        if form not in _SPARSE:
            super().quantize(model, form, target)
            return
        import onnx
        from sparse_transfer_kernels import fusion

        written = self._quantized(model, self._dense(model, form), model.sparse)
        fusion.join_layers(written)
        fusion.join_normalizations(written)
        fusion.join_attention(written)
        onnx.save(written, target)

    def layer_times(
        self, model: Quantizable, example: Batch, threads: int
    ) -> Mapping[str, LayerTime]:
        """Times Linear layers and convolutions by the kernels and by onnxruntime's own INT8."""
        import onnx

        from .convolution_times import convolution_kind
        from .onnx_int8 import rounded_convolutions, rounded_weights
        from .onnx_rows import shapes_of_inputs

        source = onnx.load(model.source)
        weights = rounded_weights(source, model.scales)
        fitting = {name: each for name, each in weights.items() if sparse_blocks.fits(each)}
        convolutions = rounded_convolutions(source, model.scales)
        shapes = shapes_of_inputs(source, {*fitting, *convolutions}, example)
        rows = {name: math.prod(shapes[name][:-1]) for name in fitting}
        alike: dict[tuple[Geometry, Sequence[int]], dict[str, NDArray[np.int8]]] = {}
        for name, (geometry, weight) in convolutions.items():
            alike.setdefault((geometry, shapes[name]), {})[name] = weight

        def load(file: bytes) -> Run:
            return self._layer(file, threads)

        times = timed_layers(fitting, rows, load, LINEAR)
        for (geometry, pictures), group in alike.items():
            kind = convolution_kind(geometry, pictures)
            times |= timed_layers(group, dict.fromkeys(group, pictures[0]), load, kind)
        return {name: times.get(name, LayerTime()) for name in model.scales}

    def options(self, threads: int) -> onnxruntime.SessionOptions:
        """Returns a session's options, with the kernels."""
        options = session_options(threads)
        register_kernels(options)
        return options

    def _dense(self, model: Quantizable, form: Form) -> Form:
        """Returns the form of the layers that are not sparse."""
        reduced = form is Form.REDUCED_SPARSE_BLOCKS
        return next(own for own in super().forms(model) if own.endswith("-7bit") == reduced)

    def _layer(self, file: bytes, threads: int) -> Run:
        import onnxruntime

        session = onnxruntime.InferenceSession(
            file, self.options(threads), providers=["CPUExecutionProvider"]
        )

        def run(rows: NDArray[Any]) -> object:
            return session.run(None, {"x": rows})

        return run


ENGINE = SparseOnnxRuntime()
