"""Unfinished upstream work: kept beside the output, taken up again, gone when the work is done.

It lies in a hidden folder beside the output, with a record of everything that decides the result.
Checkpoints in it are those of training: complete or absent, the newest one wins.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparse_transfer_api.errors import InputError, Stopped
from sparse_transfer_runner.disk import explained, write_json
from sparse_transfer_runner.storage.file import FilePlace
from sparse_transfer_runner.storage.locks import Outcome, exclusive, lock_file
from sparse_transfer_runner.training.checkpoint import Checkpoints, Interval
from sparse_transfer_runner.training.checkpoint_files import CheckpointFolder, Position

_LOG = logging.getLogger(__name__)
_SECONDS = 60.0
"""Between two checkpoints: what a killed process loses at most."""
_SETTINGS = "settings.json"
_LOCK = ".lock"
_ATTEMPT = 1


@dataclass(frozen=True)
class Unfinished:
    """The work on one output.

    Args:
        folder: The hidden one.
        output: Where the result is to be.
        checkpoints: Of the work.
        stop: Says that the process is to end soon.
    """

    folder: Path
    output: Path
    checkpoints: Checkpoints
    stop: Callable[[], bool]

    def look(self, position: Position, state: Callable[[], Mapping[str, Any]]) -> None:
        """Ends the work where it has to end, with a checkpoint of where it stands.

        Raises:
            Stopped: The process is to end.
            SparseTransferError: A checkpoint could not be written.
        """
        self.checkpoints.look()
        if self.stop():
            self.checkpoints.save_now(position, state)
            raise Stopped(
                f"{self.output}: stopped; what is done is kept beside it, and the same command "
                "goes on from there"
            )

    def publish(self, write: Callable[[Path], None]) -> None:
        """Writes the result so that it is complete or absent, and removes the unfinished work."""
        result = self.folder / "result"
        with explained(self.output, "another output folder"):
            shutil.rmtree(result, ignore_errors=True)
            result.mkdir(parents=True)
            write(result)
            if self.output.exists():
                self.output.rmdir()
            result.replace(self.output)


@contextmanager
def unfinished(
    output: Path, settings: Mapping[str, Any], stop: Callable[[], bool]
) -> Iterator[Unfinished]:
    """Opens the work on an output: what an earlier process left of it, or nothing.

    Args:
        output: The folder to be made.
        settings: Everything that decides the result, as JSON knows it.
        stop: Says that the process is to end soon.

    Raises:
        InputError: Another process is at work on it.
    """
    folder = output.with_name(f".{output.name}.partial")
    with explained(output, "another output folder"), lock_file(folder / _LOCK) as lock:
        if exclusive(lock) is Outcome.BUSY:
            raise InputError(
                f"{output}: another process is making it; wait for its end, or choose another "
                "output folder"
            )
        _forget_others(folder, settings)
        kept = CheckpointFolder(FilePlace(folder.absolute()), _ATTEMPT, settings, lambda: None)
        try:
            with Checkpoints(kept, Interval(_SECONDS)) as checkpoints:
                yield Unfinished(folder, output, checkpoints, stop)
        except InputError:
            # Nobody goes on from what cannot be made.
            shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder, ignore_errors=True)


def _forget_others(folder: Path, settings: Mapping[str, Any]) -> None:
    """Removes what was left of work with other settings, and notes those of this one."""
    path = folder / _SETTINGS
    wanted = json.loads(json.dumps(settings))
    if path.is_file():
        found = json.loads(path.read_bytes())
        if found == wanted:
            return
        names = sorted(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))
        _LOG.warning(
            "%s: unfinished work with another %s is given up, and begun anew",
            folder,
            ", ".join(name.replace("_", " ") for name in names),
        )
    for each in folder.iterdir():
        if each.name != _LOCK:
            shutil.rmtree(each) if each.is_dir() else each.unlink()
    write_json(path, wanted)
