"""onnxruntime on CPU.

It gains from INT8 and not from zeros. Its threads spin for a while after a run, at its defaults;
here they stop when a run ends, since engines that are measured in turn would steal each other's
cores.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sparse_transfer_runner.use_cases.protocol import Batch

from .cpu import accumulates_exactly, instruction_set
from .forms import Form, InputScale
from .protocol import Arithmetic, FileWeights, Quantizable, Snippet

if TYPE_CHECKING:
    import onnx
    import onnxruntime

_ERRORS_ONLY = 3
_FORMS = (Form.MATMUL_INTEGER_FUSED, Form.MATMUL_INTEGER, Form.QDQ, Form.DYNAMIC)
_REDUCED = (Form.REDUCED_FUSED, Form.REDUCED_QDQ)
_CONVOLUTIONAL = (Form.QDQ_OUTPUTS,)
_REDUCED_CONVOLUTIONAL = (Form.REDUCED_QDQ_OUTPUTS,)


@dataclass(frozen=True)
class OnnxRuntimeSession:
    """A loaded file."""

    session: onnxruntime.InferenceSession
    inputs: tuple[str, ...]

    def run(self, batch: Batch) -> NDArray[np.float32]:
        """Returns the logits ``[batch, labels]``."""
        logits: NDArray[np.float32] = self.session.run(
            None, {name: batch[name] for name in self.inputs}
        )[0]
        return logits


class OnnxRuntime:
    """The engine; see ``Engine``."""

    name = "onnxruntime"
    model_file = "model.onnx"
    requirements: Sequence[str] = ("onnxruntime",)
    licence = "MIT"
    snippet = Snippet(
        module="onnxruntime",
        load='onnxruntime.InferenceSession(here / "model.onnx")',
        run="model.run(None, inputs)[0]",
    )
    remedies: Sequence[Form] = ()

    def forms(self, model: Quantizable) -> Sequence[Form]:
        """Returns INT8 forms; with seven-bit weights too where eight may saturate.

        A convolution runs in INT8 only where its output is quantized as well.
        """
        exact = accumulates_exactly(instruction_set())
        if model.convolutional:
            return _CONVOLUTIONAL if exact else (*_CONVOLUTIONAL, *_REDUCED_CONVOLUTIONAL)
        return _FORMS if exact else (*_FORMS, *_REDUCED)

    def version(self) -> str:
        """Returns the engine's version."""
        return version("onnxruntime")

    def defaults_to_fp32(self) -> bool:
        """Always: what is in a file is computed as it is there."""
        return True

    def quantize(self, model: Quantizable, form: Form, target: Path) -> None:
        """Writes the model in an INT8 form."""
        import onnx

        onnx.save(self._quantized(model, form), target)

    def _quantized(
        self, model: Quantizable, form: Form, sparse: Collection[str] = ()
    ) -> onnx.ModelProto:
        import onnx

        from .onnx_int8 import quantized

        outputs: dict[str, InputScale] = {}
        if form in (Form.QDQ_OUTPUTS, Form.REDUCED_QDQ_OUTPUTS):
            from .onnx_outputs import output_scales

            outputs = output_scales(model)
        return quantized(onnx.load(model.source), model.scales, form, outputs, sparse)

    def convert(self, source: Path, target: Path) -> None:
        """Copies the file: ONNX is the engine's own format."""
        shutil.copyfile(source, target)

    def files(self, model: Path) -> tuple[Path, ...]:
        """Returns the one file."""
        return (model,)

    def load(
        self, model: Path, *, threads: int, arithmetic: Arithmetic = "default"
    ) -> OnnxRuntimeSession:
        """Loads an ONNX file with all graph optimizations."""
        import onnxruntime

        session = onnxruntime.InferenceSession(
            str(model), self.options(threads), providers=["CPUExecutionProvider"]
        )
        return OnnxRuntimeSession(session, tuple(item.name for item in session.get_inputs()))

    def options(self, threads: int) -> onnxruntime.SessionOptions:
        """Returns the options of a session."""
        return session_options(threads)

    def weights(self, model: Path, modules: Sequence[str]) -> FileWeights:
        """Reads the initializers back."""
        from .onnx_graph import file_weights

        return file_weights(model, modules)


def session_options(threads: int) -> onnxruntime.SessionOptions:
    """Returns options of sessions that leave the cores alone between runs."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return options


ENGINE = OnnxRuntime()
