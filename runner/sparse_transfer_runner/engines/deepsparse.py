"""DeepSparse on CPU, for evaluation: the one engine here that turns zeros into time.

It compiles a file for one shape of inputs, so a session compiles once for each shape that it meets.
Of the INT8 forms it fuses the one of standard integer operators, with every zero point stated;
quantize and dequantize pairs it runs several times slower. On a graph that it cannot take it ends
the process.
"""

from __future__ import annotations

import shutil
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparse_transfer_runner.neuralmagic.flavour import DEEPSPARSE_LICENCE, keep_quiet
from sparse_transfer_runner.use_cases.protocol import Batch

from .forms import Form
from .protocol import Arithmetic, FileWeights, Quantizable, Snippet

_KEPT = 4
"""Compiled shapes that a session keeps; each holds the weights once more."""
_TOKENS = 8
"""Sequences are padded to a multiple of it, so that a split needs few compilations."""

_Shapes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class DeepSparseSession:
    """A file, compiled for the shapes that it was run with last.

    Args:
        model: The ONNX file.
        inputs: Names of its inputs, in its own order.
        threads: Of the engine.
    """

    model: Path
    inputs: tuple[str, ...]
    threads: int
    _compiled: OrderedDict[_Shapes, Any] = field(default_factory=OrderedDict, repr=False)

    def run(self, batch: Batch) -> NDArray[np.float32]:
        """Returns the logits ``[batch, labels]``.

        Tokens are padded with zeros, in the attention mask too, which leaves the logits alone.
        """
        arrays = [_padded(batch[name]) for name in self.inputs]
        logits: NDArray[np.float32] = self._engine(arrays).run(arrays)[0]
        return logits

    def _engine(self, arrays: Sequence[NDArray[Any]]) -> Any:
        shapes = tuple(array.shape for array in arrays)
        if shapes in self._compiled:
            self._compiled.move_to_end(shapes)
            return self._compiled[shapes]
        while len(self._compiled) >= _KEPT:
            self._compiled.popitem(last=False)
        compiled = _compile(self.model, dict(zip(self.inputs, shapes, strict=True)), self.threads)
        self._compiled[shapes] = compiled
        return compiled


class DeepSparse:
    """The engine; see ``Engine``."""

    name = "deepsparse"
    model_file = "model-deepsparse.onnx"
    requirement = "deepsparse"
    licence = DEEPSPARSE_LICENCE
    snippet = Snippet(
        module="deepsparse",
        load='deepsparse.Engine(str(here / "model-deepsparse.onnx"))',
        run="model.run(list(inputs.values()))[0]",
    )
    forms: Sequence[Form] = (Form.MATMUL_INTEGER_CENTRED,)
    remedies: Sequence[Form] = ()

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

        onnx.save(quantized(onnx.load(model.source), model.scales, form), target)

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
    return np.ascontiguousarray(values)


def _compile(model: Path, shapes: dict[str, tuple[int, ...]], threads: int) -> Any:
    keep_quiet()
    import deepsparse

    with _of_shape(model, shapes) as fixed:
        rows = next(iter(shapes.values()))[0]
        return deepsparse.Engine(str(fixed), batch_size=rows, num_cores=threads)


@contextmanager
def _of_shape(model: Path, shapes: dict[str, tuple[int, ...]]) -> Iterator[Path]:
    """Yields a copy of an ONNX file whose inputs have the given shapes."""
    import onnx

    copy = onnx.load(model)
    for item in copy.graph.input:
        for dimension, size in zip(
            item.type.tensor_type.shape.dim, shapes.get(item.name, ()), strict=False
        ):
            dimension.dim_value = size
    with TemporaryDirectory() as folder:
        path = Path(folder) / model.name
        onnx.save(copy, path)
        yield path


ENGINE = DeepSparse()
