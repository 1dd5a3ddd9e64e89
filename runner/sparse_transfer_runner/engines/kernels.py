"""The wheel with the sparse kernels, which not every runner has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparse_transfer_api.errors import InputError

if TYPE_CHECKING:
    import onnxruntime

KERNELS = "sparse-transfer-kernels"
PACKAGE = "sparse_transfer_kernels"
KERNELS_ADVICE = (
    f"its kernels are the wheel {KERNELS}: `make kernels` builds and installs it (with Rust), "
    "`make image-runner KERNELS=true` builds an image that has it (spec.image)"
)


def register_kernels(options: onnxruntime.SessionOptions) -> None:
    """Adds the kernels to a session's options.

    Raises:
        InputError: Their library is missing, or is none for this processor and onnxruntime.
    """
    import sparse_transfer_kernels
    from onnxruntime.capi.onnxruntime_pybind11_state import Fail

    try:
        sparse_transfer_kernels.register(options)
    except (OSError, Fail) as error:
        raise InputError(
            "spec.export.targets: the kernels of onnxruntime-sparse cannot be loaded here: "
            f"{error}; {KERNELS_ADVICE}"
        ) from error
