"""DeepSparse on CPU, for evaluation: the one engine here that turns zeros into time.

It compiles a file for one shape of inputs, so a session compiles once for each shape that it meets.
Of the INT8 forms of Linear layers it fuses the one of standard integer operators, with every zero
point stated; quantize and dequantize pairs it runs several times slower, and takes them around
convolutions alone, where what these put out is rounded too. On a graph or a shape that it cannot
take it ends the process: therefore it has one of its own, in which all sessions run.
"""

from __future__ import annotations

import shutil
import weakref
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparse_transfer_runner.neuralmagic.flavour import DEEPSPARSE_LICENCE
from sparse_transfer_runner.use_cases.protocol import Batch

from .deepsparse_process import Done, Refused, Work, serve
from .forms import Form
from .isolation import Isolated, ProcessEnded
from .protocol import Arithmetic, EngineFailed, FileWeights, Quantizable, Snippet

_TOKENS = 8
"""Sequences are padded to a multiple of it, so that a split needs few compilations."""

PROCESS = Isolated(serve.__module__, serve.__name__)
"""Where all sessions run, as they would in one process: the engine's threads are shared."""
_NUMBERS = count()
_OVER: list[int] = []
"""Sessions that are no more, to be told to the process with the next inference."""


class DeepSparseSession:
    """A file; the engine's process compiles it for the shapes that it is run with.

    Args:
        model: The ONNX file.
        inputs: Names of its inputs, in its own order.
        threads: Of the engine.
    """

    def __init__(self, model: Path, inputs: Sequence[str], threads: int) -> None:
        self._model = model
        self._inputs = tuple(inputs)
        self._threads = threads
        self._number = next(_NUMBERS)
        weakref.finalize(self, _OVER.append, self._number)

    def run(self, batch: Batch) -> NDArray[np.float32]:
        """Returns the logits ``[batch, labels]``.

        Tokens are padded with zeros, in the attention mask too, which leaves the logits alone.

        Raises:
            EngineFailed: The engine refuses the file with this shape, or its process ended.
        """
        return self._done(batch).logits

    def seconds(self, batch: Batch) -> float:
        """Runs once, and returns how long the engine took.

        Raises:
            EngineFailed: As ``run``.
        """
        return self._done(batch).seconds

    def _done(self, batch: Batch) -> Done:
        inputs = {name: _padded(batch[name]) for name in self._inputs}
        over = tuple(_OVER)
        del _OVER[: len(over)]
        work = Work(self._number, self._model, self._threads, inputs, over)
        try:
            answer: Done | Refused = PROCESS.ask(work)
        except ProcessEnded as ended:
            raise self._failed(inputs, str(ended)) from ended
        if isinstance(answer, Refused):
            raise self._failed(inputs, answer.reason)
        return answer

    def _failed(self, inputs: Mapping[str, NDArray[Any]], reason: str) -> EngineFailed:
        shape = "x".join(map(str, next(iter(inputs.values())).shape))
        return EngineFailed(
            f"deepsparse {version('deepsparse')} cannot run {self._model.name} with inputs of "
            f"{shape}: {reason}; leave deepsparse out of spec.export.targets"
        )


class DeepSparse:
    """The engine; see ``Engine``."""

    name = "deepsparse"
    model_file = "model-deepsparse.onnx"
    requirements: Sequence[str] = ("deepsparse",)
    licence = DEEPSPARSE_LICENCE
    snippet = Snippet(
        module="deepsparse",
        load='deepsparse.Engine(str(here / "model-deepsparse.onnx"))',
        run="model.run(list(inputs.values()))[0]",
    )
    remedies: Sequence[Form] = ()

    def forms(self, model: Quantizable) -> Sequence[Form]:
        """Returns the one INT8 form that it fuses; of a convolution its output is rounded too."""
        return (Form.QDQ_OUTPUTS if model.convolutional else Form.MATMUL_INTEGER_CENTRED,)

    def version(self) -> str:
        """Returns the engine's version."""
        return version("deepsparse")

    def defaults_to_fp32(self) -> bool:
        """Always: what is in a file is computed as it is there."""
        return True

    def quantize(self, model: Quantizable, form: Form, target: Path) -> None:
        """Writes the model in an INT8 form."""
        import onnx

        from .onnx_int8 import quantized
        from .onnx_outputs import output_scales

        outputs = output_scales(model) if form is Form.QDQ_OUTPUTS else {}
        onnx.save(quantized(onnx.load(model.source), model.scales, form, outputs), target)

    def convert(self, source: Path, target: Path) -> None:
        """Copies the file: ONNX is the engine's own format."""
        shutil.copyfile(source, target)

    def files(self, model: Path) -> tuple[Path, ...]:
        """Returns the one file."""
        return (model,)

    def load(
        self, model: Path, *, threads: int, arithmetic: Arithmetic = "default"
    ) -> DeepSparseSession:
        """Takes an ONNX file; it is compiled when the shapes of inputs are known."""
        import onnx

        graph = onnx.load(model, load_external_data=False).graph
        constants = {item.name for item in graph.initializer}
        names = tuple(item.name for item in graph.input if item.name not in constants)
        return DeepSparseSession(model, names, threads)

    def weights(self, model: Path, modules: Sequence[str]) -> FileWeights:
        """Reads the initializers back."""
        from .onnx_graph import file_weights

        return file_weights(model, modules)


def _padded(values: NDArray[Any]) -> NDArray[Any]:
    """Returns token inputs padded to a multiple of ``_TOKENS``, and others as they are."""
    if values.ndim == 2 and np.issubdtype(values.dtype, np.integer):
        values = np.pad(values, ((0, 0), (0, -values.shape[1] % _TOKENS)))
    return values


ENGINE = DeepSparse()
