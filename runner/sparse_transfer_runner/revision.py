"""Which revision of this project's code is running: an image says so, a checkout knows it.

A git that is missing, or that refuses a checkout of somebody else's, is done without: the revision
is then read from the files that git keeps, and nobody knows whether the code was edited since.
"""

from __future__ import annotations

import os
import re
import subprocess
from functools import cache
from pathlib import Path

from sparse_transfer_api.contract import ENV_REVISION

UNCHECKED = "-unchecked"
"""Stands where git would say ``-dirty``, or nothing: it was not there to be asked."""

_PACKAGE = Path(__file__).resolve().parent
_DIGITS = 40
_GIT_SECONDS = 10
_COMMIT = re.compile(r"[0-9a-f]{40,64}")


def revision() -> str | None:
    """Returns the revision, of edited code with ``-dirty``; None where nothing tells it."""
    return os.environ.get(ENV_REVISION) or _of_this_checkout()


@cache
def _of_this_checkout() -> str | None:
    root = _PACKAGE.parents[1]
    # An installed package lies elsewhere, maybe below a checkout of quite another project.
    is_checkout = root / "runner" / _PACKAGE.name == _PACKAGE and (root / ".git").exists()
    return revision_of(root) if is_checkout else None


def revision_of(checkout: Path) -> str | None:
    """Returns the revision of a checkout.

    Args:
        checkout: A folder with ``.git``, which is a folder, or in a worktree a file.
    """
    return _described(checkout) or _recorded(checkout)


def _described(checkout: Path) -> str | None:
    """Returns what git says; None where it is missing or refuses."""
    # A hook's environment names the repository that it runs in.
    environment = {name: text for name, text in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "describe", "--always", f"--abbrev={_DIGITS}", "--dirty", "--exclude=*"],
            cwd=checkout,
            env={**environment, "GIT_OPTIONAL_LOCKS": "0"},
            capture_output=True,
            text=True,
            timeout=_GIT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def _recorded(checkout: Path) -> str | None:
    """Returns what git's files say; None where they are kept in a form not known here."""
    try:
        found = _head(_git_folder(checkout))
    except OSError:
        return None
    return f"{found}{UNCHECKED}" if found is not None and _COMMIT.fullmatch(found) else None


def _git_folder(checkout: Path) -> Path:
    git = checkout / ".git"
    if git.is_dir():
        return git
    return checkout / git.read_text().strip().removeprefix("gitdir: ")


def _head(git: Path) -> str | None:
    head = (git / "HEAD").read_text().strip()
    name = head.removeprefix("ref: ")
    if name == head:
        return head
    # A worktree shares its branches with the checkout that it came from.
    shared = git / "commondir"
    home = git / shared.read_text().strip() if shared.is_file() else git
    if (home / name).is_file():
        return (home / name).read_text().strip()
    packed = (home / "packed-refs").read_text().splitlines()
    return next((line.split()[0] for line in packed if line.endswith(f" {name}")), None)
