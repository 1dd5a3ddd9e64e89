"""The data that prepare checked, and no other: stages after it read the same bytes or none."""

from __future__ import annotations

from pathlib import Path

from sparse_transfer_api.errors import InputError, Problem
from sparse_transfer_api.records import Plan, SplitInfo
from sparse_transfer_runner.digests import sha256_of
from sparse_transfer_runner.pictures.folders import digest_of_split
from sparse_transfer_runner.storage import fetch
from sparse_transfer_runner.storage.addresses import shown
from sparse_transfer_runner.storage.settings import settings
from sparse_transfer_runner.use_cases import use_case
from sparse_transfer_runner.use_cases.protocol import DigestsSplits


def recorded_data(uri: str, plan: Plan) -> Path:
    """Fetches data and makes sure that every split is what prepare checked.

    Args:
        uri: The experiment's.
        plan: What prepare decided, with each split's digest.

    Returns:
        The data's folder on this machine.

    Raises:
        InputError: Files are missing or have changed; each is named.
        AccessError: The data cannot be read.
    """
    root = fetch(uri)
    problems = []
    for split in plan.splits:
        settings().raise_if_stopped()
        file = root / split.file
        if not file.exists():
            problems.append(Problem(str(file), f"the {split.name} split is missing"))
        elif digest_of(root, split, plan.use_case) != split.digest:
            problems.append(Problem(str(file), f"the {split.name} split has other content"))
    if problems:
        raise InputError(
            f"{shown(uri)}: the data changed since prepare checked it; set spec.data.revision to "
            "another value, and run the experiment again",
            problems,
        )
    return root


def digest_of(root: Path, split: SplitInfo, name: str) -> str | None:
    """Returns the digest of a split as prepare records it.

    Args:
        root: The data's folder.
        split: Which one.
        name: Of the use case.

    Returns:
        None where the split is gone.
    """
    use = use_case(name)
    if isinstance(use, DigestsSplits):
        return use.split_digest(root, split.name)
    file = root / split.file
    if file.is_file():
        return sha256_of(file)
    return digest_of_split(file, settings().raise_if_stopped)
