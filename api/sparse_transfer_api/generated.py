"""Generated files: written, or with ``--check`` compared with what is there."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path


def generate(
    module: str,
    folder: Path,
    render: Callable[[], Mapping[str, str]],
    arguments: Sequence[str] | None = None,
) -> int:
    """Runs a generator's command line.

    Args:
        module: The generator's module, which is run by ``python -m``.
        folder: Where its files belong, relative to the repository's root.
        render: Returns the text of each file by its name.
        arguments: Of the command line; those of the process where None.

    Returns:
        The exit code: 1 where ``--check`` found a difference.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}")
    parser.add_argument("--check", action="store_true", help="write nothing; 1 on a difference")
    parser.add_argument("--directory", type=Path, default=folder, help=f"default: {folder}")
    options = parser.parse_args(arguments)
    directory: Path = options.directory
    files = {directory / name: text for name, text in render().items()}
    stale = [path for path, text in files.items() if _read(path) != text]
    for path in stale:
        if options.check:
            sys.stderr.write(f"{path}: out of date; run python -m {module}\n")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files[path], encoding="utf-8")
            sys.stdout.write(f"{path}: written\n")
    return 1 if options.check and stale else 0


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None
