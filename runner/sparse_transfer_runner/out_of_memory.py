"""Telling a want of memory from other failures, and giving back what is not needed after one."""

from __future__ import annotations

import ctypes
import errno
import gc
import sys

_SAYINGS = (
    "DefaultCPUAllocator",  # torch's allocator of main memory, in a bare RuntimeError
    "std::bad_alloc",  # C++'s own, which torch hands on as a RuntimeError
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "Failed to allocate memory for requested buffer",  # onnxruntime's arena
    "bad allocation",
    "Cannot allocate memory",  # of a system call, in a library's own words
)
_ONEDNN = (
    "could not create a primitive",
    "could not create a memory object",
    "could not execute a primitive",
)
"""All that oneDNN says where memory for its kernels is refused; as whole messages."""
_MAP_THRESHOLD = -3
"""``M_MMAP_THRESHOLD`` of glibc's ``mallopt``."""
_MAPPED_BYTES = 1 << 20


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory, the processor's or an accelerator's, did not suffice."""
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError):  # a file that cannot be mapped, a process that cannot be forked
        return error.errno == errno.ENOMEM
    # The accelerator's own class, whichever it is; whoever has not imported torch has none.
    if type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error).strip()
    # onnxruntime's own classes are plain exceptions.
    libraries = isinstance(error, RuntimeError) or type(error).__module__.startswith("onnxruntime")
    return libraries and (text in _ONEDNN or any(each in text for each in _SAYINGS))


def release_memory() -> None:
    """Gives memory that is free in this process back, to be taken by whoever needs it.

    The C library keeps freed blocks of up to 32 MiB in heaps, where a hole serves only what fits in
    it; from here on it maps each of a mebibyte and more by itself, which costs time and leaves no
    holes.
    """
    gc.collect()
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):  # glibc
        library.mallopt(_MAP_THRESHOLD, _MAPPED_BYTES)
        library.malloc_trim(0)
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
