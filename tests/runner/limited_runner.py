"""The runner's entry point in a process that may hold only so much more than its libraries do.

``python -m tests.runner.limited_runner BYTES STAGE``: beyond what is held once all is imported, the
process gets so many bytes of data (heap, and whatever is mapped to write to); the kernel refuses
more.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path


def held_bytes() -> int:
    """Returns the data that the process holds, as RLIMIT_DATA counts it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:"))


def main() -> int:
    """Runs a stage with a limit; returns its exit code."""
    import torch
    import transformers.models.bert.modeling_bert  # noqa: F401

    import sparse_transfer_runner.process
    import sparse_transfer_runner.stages.package
    import sparse_transfer_runner.stages.prepare
    import sparse_transfer_runner.stages.train  # noqa: F401
    from sparse_transfer_runner.__main__ import main as run

    # What threads and kernels take when they are first used.
    layer = torch.nn.Linear(64, 64)
    layer(torch.ones(64, 64)).sum().backward()
    limit = held_bytes() + int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    return run([sys.argv[2]])


if __name__ == "__main__":
    sys.exit(main())
