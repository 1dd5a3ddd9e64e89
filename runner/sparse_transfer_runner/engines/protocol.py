"""What an engine must do for package: quantize, load, run, and show what a file really holds.

Adding an engine is one module that implements ``Engine``, and one line in the registry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.use_cases.protocol import Batch

from .forms import Form, InputScale

Arithmetic = Literal["default", "fp32"]
"""The engine's own choice, or forced to fp32."""


class EngineFailed(InputError):
    """An engine cannot run a file with some shape of inputs; the other engines may."""


class Session(Protocol):
    """A loaded file, ready to run."""

    def run(self, batch: Batch) -> NDArray[np.float32]:
        """Returns the logits ``[batch, labels]``; inputs that the file lacks are ignored.

        Raises:
            EngineFailed: The engine cannot.
        """


@runtime_checkable
class TimedSession(Session, Protocol):
    """A session that runs in another process, and tells how long a run took there."""

    def seconds(self, batch: Batch) -> float:
        """Runs once, and returns the seconds that the engine took."""


@dataclass(frozen=True)
class Quantizable:
    """A trained model to be quantized.

    Args:
        source: Its fp32 ONNX file, whose Linear and convolution nodes bear their modules' names.
        scales: The input scale of each module to quantize.
        calibration: Batches of training rows, for what training did not learn.
        convolutional: Whether convolutions are among the modules.
        sparse: Modules whose zeros are to be left out, on an engine that can.
    """

    source: Path
    scales: Mapping[str, InputScale]
    calibration: Sequence[Batch] = field(default=(), repr=False)
    convolutional: bool = False
    sparse: frozenset[str] = frozenset()

    def keeping(self, modules: Sequence[str]) -> Quantizable:
        """Returns the same with some modules left in fp32."""
        scales = {name: scale for name, scale in self.scales.items() if name not in modules}
        return replace(self, scales=scales, sparse=self.sparse - set(modules))


@dataclass(frozen=True)
class LayerTime:
    """One layer with and without its zeros, timed alone; None where it was not timed.

    Args:
        blocks: Share of the weight's blocks of four that hold anything, 0 to 1.
        sparse_ms: Median with zeros left out.
        dense_ms: Median by the engine's own INT8.
    """

    blocks: float | None = None
    sparse_ms: float | None = None
    dense_ms: float | None = None

    @property
    def gains(self) -> bool:
        """Whether leaving zeros out is faster."""
        if self.sparse_ms is None or self.dense_ms is None:
            return False
        return self.sparse_ms < self.dense_ms


@runtime_checkable
class TimesLayers(Protocol):
    """An engine that can leave zeros out, and measures in which layers that pays."""

    def layer_times(
        self, model: Quantizable, example: Batch, threads: int
    ) -> Mapping[str, LayerTime]:
        """Times the layers to quantize, on this processor.

        Args:
            model: The trained model.
            example: Inputs of the shape to time.
            threads: Of the engine.
        """


@dataclass(frozen=True)
class FileWeights:
    """What a file holds, decoded as the engine decodes it.

    Args:
        linear: The weight ``[out, …]`` of each module that was asked for and found.
        zeros: Zeros in all weight matrices, embeddings among them.
        total: Elements of all weight matrices.
    """

    linear: Mapping[str, NDArray[Any]] = field(repr=False)
    zeros: int
    total: int


@dataclass(frozen=True)
class Snippet:
    """How a deployed model is used in Python, as expressions.

    Args:
        module: To import.
        load: Loads the file ``model_file`` below ``here``.
        run: The logits of ``model`` for ``inputs``, ``[batch, labels]``.
    """

    module: str
    load: str
    run: str


class Engine(Protocol):
    """One inference engine."""

    name: str
    model_file: str
    """Name of a model's main file, such as ``model.onnx``."""
    requirements: Sequence[str]
    """Distributions to install where a model is deployed."""
    licence: str
    """Of the engine, as SPDX names it."""
    snippet: Snippet
    remedies: Sequence[Form]
    """Slower to make; tried only where all of ``forms`` lose accuracy."""

    def version(self) -> str:
        """Returns the engine's version."""

    def defaults_to_fp32(self) -> bool:
        """Whether the engine, left alone, computes fp32 models in fp32 on this processor."""

    def forms(self, model: Quantizable) -> Sequence[Form]:
        """Returns the INT8 forms worth trying, in order of preference where equally fast."""

    def quantize(self, model: Quantizable, form: Form, target: Path) -> None:
        """Writes the model in an INT8 form."""

    def convert(self, source: Path, target: Path) -> None:
        """Writes an fp32 ONNX file in the engine's own format, with nothing rounded."""

    def files(self, model: Path) -> tuple[Path, ...]:
        """Returns all files that make up a model, the main one first."""

    def load(self, model: Path, *, threads: int, arithmetic: Arithmetic = "default") -> Session:
        """Loads a model of the engine's own format, or an ONNX file."""

    def weights(self, model: Path, modules: Sequence[str]) -> FileWeights:
        """Reads back what a file holds, from the file alone."""
