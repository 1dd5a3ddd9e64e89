"""OpenVINO on CPU.

It takes the same quantize and dequantize pairs as its own tools write. Left alone it computes in
bf16 where the processor can, so forced fp32 is a measurement of its own. It gains from INT8 and
not from zeros.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sparse_transfer_api.errors import Transient
from sparse_transfer_runner.use_cases.protocol import Batch

from .cpu import accumulates_exactly, instruction_set, multiplies_bf16
from .forms import Form
from .protocol import Arithmetic, FileWeights, Quantizable, Snippet

if TYPE_CHECKING:
    import openvino


@dataclass(frozen=True)
class OpenVinoSession:
    """A compiled model."""

    request: openvino.InferRequest
    inputs: tuple[str, ...]

    def run(self, batch: Batch) -> NDArray[np.float32]:
        """Returns the logits ``[batch, labels]``."""
        outputs = self.request.infer({name: batch[name] for name in self.inputs})
        logits: NDArray[np.float32] = next(iter(outputs.values()))
        return logits


class OpenVino:
    """The engine; see ``Engine``."""

    name = "openvino"
    model_file = "model.xml"
    requirements: Sequence[str] = ("openvino",)
    licence = "Apache-2.0"
    snippet = Snippet(
        module="openvino",
        load='openvino.Core().compile_model(here / "model.xml", "CPU")',
        run="model(inputs)[0]",
    )
    remedies: Sequence[Form] = (Form.NNCF,)

    def forms(self, model: Quantizable) -> Sequence[Form]:
        """Returns INT8 forms; with seven-bit weights too where eight may saturate."""
        if accumulates_exactly(instruction_set()):
            return (Form.QDQ,)
        return (Form.QDQ, Form.REDUCED_QDQ)

    def version(self) -> str:
        """Returns the engine's version."""
        return version("openvino")

    def defaults_to_fp32(self) -> bool:
        """Whether fp32 models are computed in fp32 here; in bf16 where the processor can."""
        return not multiplies_bf16()

    def quantize(self, model: Quantizable, form: Form, target: Path) -> None:
        """Writes the model in an INT8 form."""
        import openvino

        if form is Form.NNCF:
            _save(_calibrated(model), target)
            return
        import onnx

        from .onnx_int8 import quantized

        written = quantized(onnx.load(model.source), model.scales, form)
        _save(openvino.Core().read_model(written.SerializeToString()), target)

    def convert(self, source: Path, target: Path) -> None:
        """Writes the model in OpenVINO's own format, fp32 kept."""
        import openvino

        _save(openvino.Core().read_model(source), target)

    def files(self, model: Path) -> tuple[Path, ...]:
        """Returns graph and weights."""
        return (model, model.with_suffix(".bin")) if model.suffix == ".xml" else (model,)

    def load(
        self, model: Path, *, threads: int, arithmetic: Arithmetic = "default"
    ) -> OpenVinoSession:
        """Compiles a model for the shortest latency."""
        import openvino

        settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
        }
        if arithmetic == "fp32":
            settings["INFERENCE_PRECISION_HINT"] = "f32"
        compiled = openvino.Core().compile_model(model, "CPU", settings)
        names = tuple(item.get_any_name() for item in compiled.inputs)
        return OpenVinoSession(compiled.create_infer_request(), names)

    def weights(self, model: Path, modules: Sequence[str]) -> FileWeights:
        """Evaluates the constant part of the graph behind each weight."""
        from .openvino_graph import file_weights

        return file_weights(model, modules)


def _save(model: openvino.Model, target: Path) -> None:
    """Writes a model with nothing rounded.

    Raises:
        Transient: The device took no more bytes; OpenVINO does not say why.
    """
    import openvino

    try:
        openvino.save_model(model, target, compress_to_fp16=False)
    except RuntimeError as error:
        if "iostream" not in str(error):
            raise
        raise Transient(
            f"{target}: could not be written to its end ({error}); free some space on the "
            "device, or choose another output.uri"
        ) from error


def _calibrated(model: Quantizable) -> openvino.Model:
    """Quantizes by NNCF; the modules without a scale stay in higher precision."""
    import openvino

    from .openvino_graph import products

    nncf = _quiet_nncf()
    read = openvino.Core().read_model(model.source)
    kept = [name for module, name in products(read) if module not in model.scales]
    # Standard output belongs to the stage's records; NNCF draws progress bars there.
    with redirect_stdout(sys.stderr):
        return nncf.quantize(
            read,
            nncf.Dataset(model.calibration),
            model_type=None if model.convolutional else nncf.ModelType.TRANSFORMER,
            subset_size=len(model.calibration),
            ignored_scope=nncf.IgnoredScope(names=kept, validate=False),
        )


def _quiet_nncf() -> ModuleType:
    """Imports NNCF so that it reports nothing to its makers, which it does unless it runs in CI."""
    before = os.environ.get("CI")
    os.environ["CI"] = "true"
    try:
        import nncf
    finally:
        if before is None:
            del os.environ["CI"]
        else:
            os.environ["CI"] = before
    # Not by nncf.set_log_level, which sets the level of whatever handlers are attached as well.
    logging.getLogger("nncf").setLevel(logging.ERROR)
    module: ModuleType = nncf
    return module


ENGINE = OpenVino()
