"""The process that DeepSparse runs in: compiles files for shapes, and runs them."""

from __future__ import annotations

import signal
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparse_transfer_runner.neuralmagic.flavour import keep_quiet

_KEPT = 4
"""Compiled shapes of a file that are kept; each holds the weights once more."""

_Shapes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Work:
    """One inference.

    Args:
        session: What is compiled belongs to it.
        model: The ONNX file.
        threads: Of the engine.
        inputs: By name, in the file's own order.
        over: Sessions that run nothing any more.
    """

    session: int
    model: Path
    threads: int
    inputs: Mapping[str, NDArray[Any]]
    over: tuple[int, ...] = ()


@dataclass(frozen=True)
class Done:
    """What came out.

    Args:
        logits: ``[batch, labels]``.
        seconds: That the engine took, the way between the processes left out.
    """

    logits: NDArray[np.float32]
    seconds: float


@dataclass(frozen=True)
class Refused:
    """The engine did not take the file or the shape; in its own words."""

    reason: str


@dataclass
class _Sessions:
    """What is compiled: for each session the shapes that it ran with last."""

    compiled: dict[int, OrderedDict[_Shapes, Any]] = field(default_factory=dict)

    def answer(self, work: Work) -> Done | Refused:
        for session in work.over:
            self.compiled.pop(session, None)
        arrays = [_with_known_type(values) for values in work.inputs.values()]
        try:
            engine = self._engine(work)
            started = time.perf_counter()
            logits = engine.run(arrays)[0]
            return Done(logits, time.perf_counter() - started)
        except (RuntimeError, ValueError) as error:
            return Refused(str(error) or type(error).__name__)

    def _engine(self, work: Work) -> Any:
        shapes = tuple(values.shape for values in work.inputs.values())
        mine = self.compiled.setdefault(work.session, OrderedDict())
        if shapes in mine:
            mine.move_to_end(shapes)
            return mine[shapes]
        while len(mine) >= _KEPT:
            mine.popitem(last=False)
        mine[shapes] = _compiled(work)
        return mine[shapes]


def serve(descriptor: int) -> None:
    """Answers each ``Work`` until the other side hangs up.

    Args:
        descriptor: Of the connection.
    """
    # Who asked decides what an interrupted terminal means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sessions = _Sessions()
    with Connection(descriptor) as connection:
        while True:
            try:
                work = connection.recv()
            except EOFError:
                return
            connection.send(sessions.answer(work))


def _with_known_type(values: NDArray[Any]) -> NDArray[Any]:
    """Returns an array with numpy's own object for its type.

    DeepSparse compares types by identity, and an array that came from another process has a copy.
    """
    return np.ascontiguousarray(values).view(np.dtype(values.dtype.str))


def _compiled(work: Work) -> Any:
    keep_quiet()
    import deepsparse

    shapes = {name: values.shape for name, values in work.inputs.items()}
    with _of_shape(work.model, shapes) as fixed:
        rows = next(iter(shapes.values()))[0]
        return deepsparse.Engine(str(fixed), batch_size=rows, num_cores=work.threads)


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
