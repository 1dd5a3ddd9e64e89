"""Ctrl-C on what only looks on: it ends, without a traceback, and the experiment goes on."""

from __future__ import annotations

from collections.abc import Callable

from sparse_transfer_cli.console import print_plain, stderr


def until_interrupted(look: Callable[[], int], *, told: str, code: int) -> int:
    """Returns what a command comes to, or a code of its own where the user ends it by Ctrl-C.

    Args:
        look: The command.
        told: What the user should know then.
        code: The exit code then.
    """
    try:
        return look()
    except KeyboardInterrupt:
        # The terminal has written ^C into the line.
        print_plain(stderr(), f"\n{told}")
        return code
