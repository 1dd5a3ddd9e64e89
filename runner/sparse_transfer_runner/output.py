"""A stage's folder in the output place: attempts, files, and the manifest that completes it.

An attempt works in a folder of its own on this machine and publishes what it made when it is done,
the manifest last of all. So a folder without a manifest is unfinished work, and a folder with one
is a result that is never changed again. Whoever claims an attempt later takes over from all before.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from sparse_transfer_api.contract import MANIFEST
from sparse_transfer_api.errors import AccessError, InputError, OutputVanished, Transient
from sparse_transfer_api.records import FileEntry, Manifest
from sparse_transfer_runner.digests import digest_of_digests, sha256_of
from sparse_transfer_runner.disk import explained
from sparse_transfer_runner.storage.cache import Cache, cache
from sparse_transfer_runner.storage.file import FilePlace
from sparse_transfer_runner.storage.protocol import Damaged, Missing, Place
from sparse_transfer_runner.storage.settings import settings

_LOG = logging.getLogger(__name__)
ATTEMPTS = "attempts"
CHECKPOINTS = "checkpoints"
_START_AFRESH = "nothing was changed; move the folder away (or delete it) to run the stage afresh"
_PUBLICATIONS = 3
"""Tries to clear what an older attempt, not knowing yet that it is one, still writes."""


class StageFolder:
    """One stage's folder, such as ``runs/default/film-reviews/train-k3x…``.

    Args:
        place: The folder; it need not exist yet.
        stage: ``prepare``, ``train``, ``package`` or ``teacher``.
        key: The stage's key.
    """

    def __init__(self, place: Place, stage: str, key: str) -> None:
        self.place = place
        self.stage = stage
        self.key = key
        self._path = place.folder

    @classmethod
    def on_disk(cls, path: Path, stage: str, key: str) -> StageFolder:
        """Returns a folder of this machine."""
        return cls(FilePlace(path), stage, key)

    @property
    def path(self) -> Path:
        """Where the finished stage's files can be read on this machine, after ``required``."""
        if self._path is None:
            raise AssertionError(f"{self.place.uri}: read before it was required")
        return self._path

    @contextmanager
    def attempt(self) -> Iterator[Attempt]:
        """Claims the next attempt, and yields it with an empty folder to work in.

        Raises:
            AccessError: The place cannot be written.
        """
        number = self._claim()
        self._clear_unfinished()
        with self._workspace(number) as path:
            attempt = Attempt(self, number, path)
            try:
                yield attempt
            except Exception:
                # Whatever went wrong in an attempt that was overtaken is of no interest any more.
                attempt.require_newest()
                raise

    @contextmanager
    def _workspace(self, number: int) -> Iterator[Path]:
        if self.place.folder is None:
            with cache(settings()).workspace() as work:
                content = work / "content"
                content.mkdir()
                yield content
            return
        path = self.place.folder / f".attempt-{number}"
        with explained(path):
            path.mkdir()
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def newest_attempt(self) -> int:
        """Returns the number of the attempt that may write; 0 before the first."""
        names = (file.path.removesuffix(".json") for file in self.place.below(ATTEMPTS).files())
        return max((int(name) for name in names if name.isdecimal()), default=0)

    def manifest(self) -> Manifest | None:
        """Returns the manifest, or None while the stage has not finished.

        Raises:
            InputError: There is a manifest that cannot be read.
        """
        try:
            return Manifest.model_validate_json(self.place.read(MANIFEST))
        except Missing:
            return None
        except ValidationError as error:
            raise InputError(f"{self.place.uri}/{MANIFEST}: not a manifest; {_START_AFRESH}") from (
                error
            )

    def verified(self) -> Manifest | None:
        """Returns the manifest after checking every file it lists; None when unfinished.

        Contents are compared where they are near; of a far place, where that would mean to fetch
        them all, presence and sizes.

        Raises:
            InputError: A file is missing, or differs from what was recorded.
        """
        manifest = self.manifest()
        if manifest is None:
            return None
        sizes = {file.path: file.size_bytes for file in self.place.files()}
        for entry in manifest.files:
            uri = f"{self.place.uri}/{entry.path}"
            if entry.path not in sizes:
                raise InputError(f"{uri}: recorded in the manifest but missing; {_START_AFRESH}")
            if sizes[entry.path] != entry.size_bytes or not self._content_fits(entry):
                raise InputError(
                    f"{uri}: differs from what {MANIFEST} records "
                    f"(sha256 {entry.sha256[:12]}…); {_START_AFRESH}"
                )
        return manifest

    def tidied(self) -> Manifest | None:
        """Returns what ``verified`` does, after removing what a finished result does not need.

        An attempt that is killed after its manifest leaves its checkpoints, parts of files, and the
        folder that it worked in.

        Raises:
            InputError: A file is missing, or differs from what was recorded.
        """
        manifest = self.verified()
        if manifest is not None:
            try:
                self.remove_scaffolding()
            except AccessError as error:
                _LOG.debug("%s: unfinished work stays there (%s)", self.place.uri, error)
        return manifest

    def remove_scaffolding(self) -> None:
        """Removes checkpoints and parts of files, which nobody needs beside a result.

        Raises:
            AccessError: A right to write is missing.
        """
        self.place.sweep()
        checkpoints = self.place.below(CHECKPOINTS)
        self.place.remove([f"{CHECKPOINTS}/{file.path}" for file in checkpoints.files()])

    def required(self) -> Manifest:
        """Returns the verified manifest of an earlier stage, its files within reach of ``path``.

        Raises:
            OutputVanished: The result is gone or damaged: that stage has to run again.
        """
        with _damage_means_vanished():
            manifest = self.verified()
        if manifest is None:
            raise OutputVanished(f"{self.place.uri}: no result of {self.stage} here; run it again")
        self.bring(manifest)
        return manifest

    def bring(self, manifest: Manifest) -> None:
        """Brings the files of a verified manifest within reach of ``path``.

        Raises:
            OutputVanished: They are gone or damaged.
        """
        if self._path is not None:
            return
        digests = {file.path: file.sha256 for file in manifest.files}

        def download(folder: Path) -> dict[str, str]:
            self.place.get(manifest.files, folder)
            return digests

        kept = cache(settings())
        with _damage_means_vanished():
            self._path = kept.find(digest_of_digests(digests)) or kept.added(download)

    def adopted(self, path: Path) -> None:
        """Notes where the files of the finished stage can be read."""
        self._path = path

    def _claim(self) -> int:
        attempts = self.place.below(ATTEMPTS)
        number = 1 + self.newest_attempt()
        record = json.dumps({"started": datetime.now(UTC).isoformat()}).encode()
        while not attempts.create(f"{number}.json", record):
            number += 1
        return number

    def _clear_unfinished(self) -> None:
        """Removes what an attempt published that ended before its manifest."""
        left = [
            file.path
            for file in self.place.files()
            if file.path.split("/")[0] not in (ATTEMPTS, CHECKPOINTS)
        ]
        if MANIFEST not in left:
            self.place.remove(left)
        self.place.sweep()

    def _content_fits(self, entry: FileEntry) -> bool:
        near = self.place.folder
        return near is None or sha256_of(near / entry.path) == entry.sha256


@contextmanager
def _damage_means_vanished() -> Iterator[None]:
    """Turns what is wrong with a result into the wish to run its stage again."""
    try:
        yield
    except (InputError, Missing, Damaged) as error:
        raise OutputVanished(str(error)) from error


@dataclass(frozen=True)
class Attempt:
    """A claimed attempt at a stage.

    Args:
        folder: The stage's.
        number: 1 for the first.
        path: Where it works; on this machine, empty at first.
    """

    folder: StageFolder
    number: int
    path: Path

    @property
    def stage(self) -> str:
        """The stage's name."""
        return self.folder.stage

    @property
    def key(self) -> str:
        """The stage's key."""
        return self.folder.key

    @property
    def uri(self) -> str:
        """Address of the stage's folder, where the files will be."""
        return self.folder.place.uri

    @property
    def checkpoints(self) -> Place:
        """Where unfinished work is kept; not part of the result."""
        return self.folder.place.below(CHECKPOINTS)

    def require_newest(self) -> None:
        """Refuses to go on when a newer attempt has claimed the folder.

        Raises:
            Transient: A newer attempt exists.
        """
        newest = self.folder.newest_attempt()
        if newest > self.number:
            raise Transient(
                f"{self.uri}: attempt {newest} has taken over from attempt {self.number}"
            )

    def complete(self, manifest: Manifest) -> Manifest:
        """Publishes every file, and last of all the manifest that lists them.

        Raises:
            Transient: A newer attempt has taken over, or another has finished.
        """
        files = [
            FileEntry(
                path=path.relative_to(self.path).as_posix(),
                sha256=sha256_of(path),
                size_bytes=path.stat().st_size,
            )
            for path in sorted(self.path.rglob("*"))
            if path.is_file() and not path.name.startswith(".")
        ]
        finished = manifest.model_copy(update={"files": files})
        place = self.folder.place
        self._publish(files)
        if not place.create(MANIFEST, finished.to_json()):
            raise Transient(f"{self.uri}: another attempt has recorded a result; run again to read")
        if place.folder is None:
            self.folder.adopted(self._kept(cache(settings()), files))
        self.folder.remove_scaffolding()
        return finished

    def _publish(self, files: list[FileEntry]) -> None:
        place, left = self.folder.place, files
        for _ in range(_PUBLICATIONS):
            self.require_newest()
            left = place.publish(self.path, left)
            self.require_newest()
            if not left:
                return
            place.remove(file.path for file in left)
        raise Transient(f"{self.uri}/{left[0].path}: an older attempt keeps writing it")

    def _kept(self, kept: Cache, files: list[FileEntry]) -> Path:
        """Keeps what was published within reach, so that later stages need not fetch it."""
        listed = {self.path / file.path for file in files}
        for path in self.path.rglob("*"):
            if path.is_file() and path not in listed:
                path.unlink()
        return kept.adopt(self.path, digest_of_digests({f.path: f.sha256 for f in files}))
