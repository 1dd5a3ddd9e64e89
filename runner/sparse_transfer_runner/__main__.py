"""``sparse-transfer-runner STAGE``: hears signals first, and only then imports what it needs.

In a container this is process 1, to which the kernel delivers no signal that it has no handler for:
a stop that comes early would be lost, and the pod be killed when its time to stop is over.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a stage and returns the process's exit code."""
    stop = threading.Event()

    def on_signal(_: int, __: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    from sparse_transfer_runner.process import run

    return run(arguments, stop)


if __name__ == "__main__":
    sys.exit(main())
