"""Which layers of a file leave their zeros out, and why the others do not; pure.

What is faster is measured on the machine at hand, so that two runs may differ: the outcome is
recorded, and no key depends on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sparse_transfer_runner.engines.forms import Form
from sparse_transfer_runner.engines.protocol import Engine, LayerTime, TimesLayers

from .evaluation import LayerKernel
from .selection import Candidate

_SPARSE = (Form.SPARSE_BLOCKS, Form.REDUCED_SPARSE_BLOCKS)

FASTER = "faster with its zeros left out"
SLOWER = "the engine's own INT8 is as fast or faster"
UNTIMED = "no sparse kernel takes such a layer"
FP32 = "left in fp32"
WHOLE = "faster with its zeros left out, but the whole file is not, or loses accuracy"


def layer_kernels(times: Mapping[str, LayerTime], chosen: Candidate) -> tuple[LayerKernel, ...]:
    """Returns how each timed layer is computed in the chosen file."""
    return tuple(_kernel(name, time, chosen) for name, time in times.items())


def kernel_notes(kernels: Sequence[LayerKernel], isa: str) -> list[str]:
    """Returns what must be said where no layer of a file leaves its zeros out.

    Args:
        kernels: Of a file whose model has zeros; empty on engines that compute with them.
        isa: The instruction set that was measured on.
    """
    if not kernels or any(kernel.sparse for kernel in kernels):
        return []
    if any(kernel.reason == WHOLE for kernel in kernels):
        why = "layers alone gain by leaving zeros out, the whole file does not"
    elif all(kernel.reason == UNTIMED for kernel in kernels):
        why = "the model has no layer that the sparse kernels take"
    else:
        why = "no layer gains by leaving its zeros out"
    return [f"{why} on {isa}: the file is onnxruntime's own INT8"]


def fp32_notes(engine: Engine) -> list[str]:
    """Returns what must be said of a file with zeros that is not quantized."""
    if not isinstance(engine, TimesLayers):
        return []
    return ["zeros are left out of INT8 layers alone, and this level is fp32"]


def _kernel(name: str, time: LayerTime, chosen: Candidate) -> LayerKernel:
    sparse = False
    if name in chosen.kept:
        reason = FP32
    elif time.sparse_ms is None:
        reason = UNTIMED
    elif not time.gains:
        reason = SLOWER
    elif chosen.form in _SPARSE:
        sparse, reason = True, FASTER
    else:
        reason = WHOLE
    return LayerKernel(
        name=name,
        sparse=sparse,
        reason=reason,
        blocks=time.blocks,
        sparse_ms=time.sparse_ms,
        dense_ms=time.dense_ms,
    )
