"""Archives from elsewhere, unpacked without trust.

Nothing in an archive decides where anything is written: names that lead out, devices, encrypted
entries and second entries of one name are refused; links are followed inside the archive only, and
become files. Entries, bytes and the memory for a header are bounded, so that a small archive cannot
fill a disk. What its creator set, owners, modes and times, is not kept.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sparse_transfer_api.errors import InputError, SparseTransferError

from .forward_reading import ForwardReading
from .unpacking import Unpacking
from .zip_directory import directory_bytes

_MAX_DIRECTORY_BYTES = 64 << 20
"""A zip's list of entries, which is read as a whole: about 100 bytes an entry."""
_CHUNK = 1 << 20
_ENCRYPTED = 0x1
_OTHERS = (".7z", ".rar", ".tar.zst", ".tzst", ".tar.lz4", ".tar.lz")
_DAMAGE = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError),
    *(LookupError, NotImplementedError, RecursionError, OverflowError, OSError),
)
"""What the libraries raise on damaged archives; a full list is nowhere stated."""


def is_archive(name: str) -> bool:
    """Returns whether a file of this name is unpacked.

    Raises:
        InputError: It is an archive of a kind that cannot be.
    """
    if name.lower().endswith(_OTHERS):
        raise InputError(f"{name}: cannot be unpacked here; expected one of {', '.join(_READERS)}")
    return _suffix(name) is not None


def unpack(
    archive: Path,
    name: str,
    folder: Path,
    *,
    title: str | None = None,
    raise_if_stopped: Callable[[], None] = lambda: None,
) -> None:
    """Unpacks an archive into an empty folder; a single folder at its top is left out.

    The folder is replaced by one that is made beside it.

    Args:
        archive: The file.
        name: Its name, which says what it is.
        folder: Where the files go.
        title: What it is called in messages; its name by default.
        raise_if_stopped: Called between parts of the work.

    Raises:
        InputError: It is damaged, is no such archive, or holds what no data set needs.
        Transient: It does not fit on the disk.
    """
    suffix = _suffix(name)
    if suffix is None:
        raise AssertionError(f"{name}: not an archive")
    title = title or name
    unpacking = Unpacking.of(archive, title, folder, raise_if_stopped)
    with _readable(title, archive):
        _READERS[suffix](archive, unpacking)
        unpacking.make_links()
    if not unpacking.files:
        raise InputError(f"{title}: there is no file in it")
    _strip_top(folder)


def _unpack_zip(archive: Path, unpacking: Unpacking) -> None:
    if directory_bytes(archive) > _MAX_DIRECTORY_BYTES:
        raise InputError(f"{unpacking.archive}: has too many entries; split it")
    with zipfile.ZipFile(archive) as opened:
        for entry in opened.infolist():
            # Some packers write the separator of their own system.
            path = unpacking.path_of(entry.filename.replace("\\", "/"))
            if path is None:
                continue
            if entry.flag_bits & _ENCRYPTED:
                raise unpacking.refusal(entry.filename, "is encrypted")
            form = stat.S_IFMT(entry.external_attr >> 16)
            if form not in (0, stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
                raise unpacking.refusal(entry.filename, "is neither a file nor a folder")
            if entry.is_dir() or entry.filename.endswith("\\"):
                unpacking.add_folder(path)
                continue
            with opened.open(entry) as content:
                if form == stat.S_IFLNK:
                    target = content.read(_CHUNK).decode()
                    unpacking.add_link(path, target, path.rpartition("/")[0])
                else:
                    unpacking.add_file(path, content)


def _tar_reader(stream: Callable[[Path], Any]) -> Callable[[Path, Unpacking], None]:
    def read(archive: Path, unpacking: Unpacking) -> None:
        with stream(archive) as opened:
            _unpack_tar(ForwardReading(opened, unpacking.count_read), unpacking)

    return read


def _unpack_tar(stream: ForwardReading, unpacking: Unpacking) -> None:
    with tarfile.open(fileobj=stream, mode="r:") as opened:  # type: ignore[call-overload]
        while (entry := opened.next()) is not None:
            opened.members.clear()  # it would keep all of them
            path = unpacking.path_of(entry.name)
            if path is None:
                continue
            _unpack_tar_entry(opened, entry, path, unpacking)
    if stream.last_read.strip(b"\0"):
        raise tarfile.ReadError("something that is no entry")
    # The checksum of what was packed comes last.
    while stream.read(_CHUNK):
        unpacking.raise_if_stopped()


def _unpack_tar_entry(
    opened: tarfile.TarFile, entry: tarfile.TarInfo, path: str, unpacking: Unpacking
) -> None:
    if entry.isdir():
        unpacking.add_folder(path)
    elif entry.issym():
        unpacking.add_link(path, entry.linkname, path.rpartition("/")[0])
    elif entry.islnk():
        unpacking.add_link(path, entry.linkname, "")
    elif entry.isfile() and (content := opened.extractfile(entry)) is not None:
        unpacking.add_file(path, content)
    else:
        raise unpacking.refusal(entry.name, "is neither a file nor a folder")


_READERS: dict[str, Callable[[Path, Unpacking], None]] = {
    ".zip": _unpack_zip,
    ".tar": _tar_reader(lambda path: path.open("rb")),
    ".tar.gz": _tar_reader(gzip.open),
    ".tgz": _tar_reader(gzip.open),
    ".tar.bz2": _tar_reader(bz2.open),
    ".tbz2": _tar_reader(bz2.open),
    ".tar.xz": _tar_reader(lzma.open),
    ".txz": _tar_reader(lzma.open),
}


def _suffix(name: str) -> str | None:
    return next((suffix for suffix in _READERS if name.lower().endswith(suffix)), None)


@contextmanager
def _readable(title: str, archive: Path) -> Iterator[None]:
    """Turns what the libraries say about damaged archives into one error."""
    try:
        yield
    except SparseTransferError:
        raise
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        with archive.open("rb") as file:
            page = file.read(_CHUNK).lstrip()[:1] == b"<"
        hint = "it looks like a web page, perhaps one about the file; " if page else ""
        raise InputError(
            f"{title}: damaged, or not such an archive ({error or type(error).__name__}); {hint}"
            "fetch it by hand to see what it is"
        ) from error


def _strip_top(folder: Path) -> None:
    entries = list(folder.iterdir())
    if len(entries) == 1 and entries[0].is_dir():
        top = folder.with_name(f"{folder.name}.top")
        entries[0].rename(top)
        folder.rmdir()
        top.rename(folder)
