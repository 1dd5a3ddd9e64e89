"""Entry point of ``sparse-transfer``: the one place where errors become messages and exit codes."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from sparse_transfer_api.errors import SparseTransferError
from sparse_transfer_cli.app import app

_DEBUG = "--debug"
_UNEXPECTED = 1
"""Exit code of a defect; Python's own for an uncaught exception."""


def main() -> None:
    """Runs the command line with the process's arguments, and exits with the design's codes."""
    sys.exit(invoke(sys.argv[1:]))


def invoke(arguments: Sequence[str]) -> int:
    """Runs one command.

    Args:
        arguments: Without the program's name. ``--debug`` is understood in every position.

    Returns:
        The exit code.
    """
    debug = _DEBUG in arguments
    try:
        app(args=[word for word in arguments if word != _DEBUG], prog_name="sparse-transfer")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except SparseTransferError as error:
        _explain(error, str(error), debug=debug)
        return int(error.exit_code)
    except Exception as error:  # noqa: BLE001 - the top edge: nobody above could explain it
        summary = f"{type(error).__name__}: {error}"
        hint = "" if debug else "; --debug shows where in the code"
        _explain(error, f"unexpected failure, please report it ({summary}){hint}", debug=debug)
        return _UNEXPECTED
    return 0


def _explain(error: Exception, message: str, *, debug: bool) -> None:
    if debug:
        import traceback

        sys.stderr.write("".join(traceback.format_exception(error)))
    from sparse_transfer_cli.console import print_plain, stderr

    console = stderr()
    console.print("error:", style="bold red", end=" ")
    print_plain(console, message)


if __name__ == "__main__":
    main()
