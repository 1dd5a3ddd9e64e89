"""Archives: what good ones become, and what hostile and broken ones are refused for."""

from __future__ import annotations

import io
import os
import stat
import struct
import tarfile
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparse_transfer_api.errors import InputError, Stopped, Transient
from sparse_transfer_runner.storage import archives
from sparse_transfer_runner.storage.archives import is_archive, unpack, unpacking

KIB = 1024
TAR_KINDS = {".tar": "w", ".tar.gz": "w:gz", ".tgz": "w:gz", ".tar.bz2": "w:bz2", ".tar.xz": "w:xz"}

Entry = tuple[tarfile.TarInfo, bytes]


def zip_of(entries: list[tuple[str | zipfile.ZipInfo, bytes]]) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as opened:
        warnings.simplefilter("ignore")  # about names that are there twice
        for name, content in entries:
            opened.writestr(name, content, zipfile.ZIP_DEFLATED)
    return file.getvalue()


def tar_of(entries: list[Entry], mode: str = "w") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as opened:
        for entry, content in entries:
            entry.size = len(content) if entry.isreg() else 0
            opened.addfile(entry, io.BytesIO(content))
    return file.getvalue()


def entry(name: str, content: bytes = b"x") -> Entry:
    return tarfile.TarInfo(name), content


def special(name: str, kind: bytes, target: str = "") -> Entry:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


def of_mode(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


def unpacked(folder: Path, content: bytes, name: str = "data.zip") -> Path:
    (folder / "work").mkdir()
    (folder / name).write_bytes(content)
    unpack(folder / name, name, folder / "work")
    return folder / "work"


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def encrypted() -> bytes:
    content = bytearray(zip_of([("secret", b"x")]))
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + place] |= 1
    return bytes(content)


def with_size(field: bytes, kind: bytes = tarfile.REGTYPE) -> bytes:
    """Returns a tar whose entry has that size and kind, and a right checksum."""
    content = bytearray(tar_of([entry("a"), entry("b")]))
    content[124:136], content[156:157] = field, kind
    content[148:156] = b" " * 8
    content[148:156] = b"%06o\0 " % sum(content[:512])
    return bytes(content)


def in_a_row(kind: bytes, count: int) -> bytes:
    """Returns a tar of headers that each speak of the next."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = kind, 1
    return (info.tobuf(tarfile.GNU_FORMAT) + b"x".ljust(512, b"\0")) * count


def sparse_of(size: int) -> bytes:
    """Returns a tar of one entry that is all hole."""
    info = tarfile.TarInfo("hole")
    info.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[386:398] = b"%011o\0" % size
    header[398:410] = b"%011o\0" % 0
    header[483:495] = b"%011o\0" % size
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + bytes(1024)


HOSTILE: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "zip: an absolute name": (".zip", lambda: zip_of([("/etc/x", b"x")]), "an absolute path"),
    "zip: a name that leads out": (".zip", lambda: zip_of([("a/../../x", b"x")]), "leads out"),
    "zip: the same with another separator": (
        ".zip", lambda: zip_of([("..\\x", b"x")]), "leads out",
    ),
    "zip: a link to elsewhere": (
        ".zip", lambda: zip_of([(of_mode("a", stat.S_IFLNK), b"/etc/x")]), "link that leads out",
    ),
    "zip: a link that climbs": (
        ".zip", lambda: zip_of([(of_mode("a/b", stat.S_IFLNK), b"../../x")]), "link that leads out",
    ),
    "zip: a pipe": (".zip", lambda: zip_of([(of_mode("a", stat.S_IFIFO), b"")]), "neither a file"),
    "zip: encrypted": (".zip", encrypted, "is encrypted"),
    "zip: a name twice": (".zip", lambda: zip_of([("a", b"1"), ("a", b"2")]), "is there twice"),
    "zip: a name twice in disguise": (
        ".zip", lambda: zip_of([("a/b", b"1"), ("a//./b", b"2")]), "is there twice",
    ),
    "zip: a file that is a folder too": (
        ".zip", lambda: zip_of([("a", b"1"), ("a/b", b"2")]), "as a file and as a folder",
    ),
    "zip: a folder that is a file too": (
        ".zip", lambda: zip_of([("a/b", b"1"), ("a", b"2")]), "as a file and as a folder",
    ),
    "zip: out of proportion": (
        ".zip", lambda: zip_of([("a", bytes(16 << 20))]), "out of proportion",
    ),
    "zip: too many entries": (
        ".zip", lambda: zip_of([(str(i), b"") for i in range(9)]), "more than 8 entries",
    ),
    "zip: no name that a disk can hold": (
        ".zip", lambda: zip_of([("a" * 300, b"x")]), "longer than a file's name",
    ),
    "zip: control characters": (".zip", lambda: zip_of([("a\nb", b"x")]), "control characters"),
    "zip: cut off": (".zip", lambda: zip_of([("a", os.urandom(KIB))])[:-30], "damaged, or not"),
    "zip: changed on the way": (
        ".zip", lambda: zip_of([("a", b"x")]).replace(b"PK\x03\x04", b"PK\x03\x05"), "damaged",
    ),
    "zip: a web page": (".zip", lambda: b"<!doctype html>", "looks like a web page"),
    "zip: empty": (".zip", lambda: zip_of([]), "no file in it"),
    "tar: an absolute name": (".tar", lambda: tar_of([entry("/x")]), "an absolute path"),
    "tar: a name that leads out": (".tar", lambda: tar_of([entry("../x")]), "leads out"),
    "tar: no text": (".tar", lambda: tar_of([entry("\udcff")]), "is not UTF-8"),
    "tar: a link to elsewhere": (
        ".tar", lambda: tar_of([special("a", tarfile.SYMTYPE, "/etc")]), "link that leads out",
    ),
    "tar: a file written through a link": (
        ".tar",
        lambda: tar_of([special("a", tarfile.SYMTYPE, ".."), entry("a/x")]),
        "link that leads out",
    ),
    "tar: a hard link to elsewhere": (
        ".tar", lambda: tar_of([special("a", tarfile.LNKTYPE, "../x")]), "link that leads out",
    ),
    "tar: a link to nothing": (
        ".tar", lambda: tar_of([special("a", tarfile.SYMTYPE, "b")]), "which is no file in it",
    ),
    "tar: links in a circle": (
        ".tar",
        lambda: tar_of([special("a", tarfile.SYMTYPE, "b"), special("b", tarfile.SYMTYPE, "a")]),
        "which is no file in it",
    ),
    "tar: a device": (".tar", lambda: tar_of([special("a", tarfile.CHRTYPE)]), "neither a file"),
    "tar: a pipe": (".tar", lambda: tar_of([special("a", tarfile.FIFOTYPE)]), "neither a file"),
    "tar: a name twice": (".tar", lambda: tar_of([entry("a"), entry("./a")]), "is there twice"),
    "tar: out of proportion": (
        ".tar.gz", lambda: tar_of([entry("a", bytes(16 << 20))], "w:gz"), "out of proportion",
    ),
    "tar: out of proportion where nothing is written": (
        ".tar.gz",
        lambda: tar_of([entry("__MACOSX/a", bytes(16 << 20))], "w:gz"),
        "out of proportion",
    ),
    "tar: a hole out of proportion": (".tar", lambda: sparse_of(1 << 32), "out of proportion"),
    "tar: a negative size": (
        ".tar", lambda: with_size(b"\xff" * 10 + b"\0\0"), "an entry of negative size",
    ),
    "tar: more than there is": (".tar", lambda: with_size(b"00000777777\0"), "unexpected end"),
    "tar: a name of gigabytes": (
        ".tar",
        lambda: with_size(b"77777777777\0", tarfile.GNUTYPE_LONGNAME),
        "a header of 8589934592 bytes",
    ),
    "tar: attributes of gigabytes": (
        ".tar", lambda: with_size(b"77777777777\0", tarfile.XHDTYPE), "a header of 8589934",
    ),
    "tar: headers without end": (
        ".tar", lambda: in_a_row(tarfile.GNUTYPE_LONGNAME, 2000), "recursion",
    ),
    "tar: cut off": (
        ".tar.gz", lambda: tar_of([entry("a", os.urandom(9 * KIB))], "w:gz")[:-20], "damaged",
    ),
    "tar: cut off before it was packed": (
        ".tar", lambda: tar_of([entry("a", b"x" * 5 * KIB)])[: 3 * KIB], "damaged, or not",
    ),
    "tar: something else after the first entry": (
        ".tar", lambda: tar_of([entry("a")])[:1024] + b"?" * KIB, "something that is no entry",
    ),
    "tar: a web page": (".tar.gz", lambda: b"\n<html>", "looks like a web page"),
    "tar: nothing": (".tar", lambda: b"", "damaged, or not such an archive"),
}  # fmt: skip


@pytest.mark.parametrize(("suffix", "build", "message"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_or_broken_archive_is_refused(
    suffix: str,
    build: Callable[[], bytes],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(unpacking, "MAX_ENTRIES", 8)
    monkeypatch.setattr(unpacking, "FREE_BYTES", KIB * KIB)

    with pytest.raises(InputError, match=message) as caught:
        unpacked(tmp_path, build(), f"data{suffix}")

    assert str(caught.value).startswith(f"data{suffix}: ")
    assert {path.name for path in tmp_path.iterdir()} == {"work", f"data{suffix}"}
    written = sum(len(content) for content in files_of(tmp_path / "work").values())
    assert written <= KIB * KIB + unpacking.MAX_RATIO * (tmp_path / f"data{suffix}").stat().st_size


def test_a_list_of_entries_that_would_fill_the_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "_MAX_DIRECTORY_BYTES", 100)

    with pytest.raises(InputError, match="too many entries"):
        unpacked(tmp_path, zip_of([(str(i), b"") for i in range(9)]))


def test_the_large_form_of_zip_has_its_list_measured_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 2)
    content = zip_of([(str(i), b"x") for i in range(9)])
    assert b"PK\x06\x06" in content

    assert len(files_of(unpacked(tmp_path, content))) == 9
    monkeypatch.setattr(archives, "_MAX_DIRECTORY_BYTES", 100)
    (tmp_path / "again").mkdir()
    with pytest.raises(InputError, match="too many entries"):
        unpacked(tmp_path / "again", content)


def test_a_list_of_entries_that_hides_its_size_is_refused_or_counted(tmp_path: Path) -> None:
    content = bytearray(zip_of([("a", b"x")]))
    end = content.rindex(b"PK\x05\x06")
    content[end + 12 : end + 16] = struct.pack("<L", 1 << 30)

    with pytest.raises(InputError, match="too many entries"):
        unpacked(tmp_path, bytes(content))


def test_what_does_not_fit_on_the_disk_is_passing_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = SimpleNamespace(free=KIB)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)

    with pytest.raises(Transient, match="does not fit here"):
        unpacked(tmp_path, zip_of([("a", bytes(5 * KIB))]))


def test_unpacking_can_be_stopped(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "data.zip").write_bytes(zip_of([("a", b"x")]))

    def stop() -> None:
        raise Stopped("asked to stop")

    with pytest.raises(Stopped):
        unpack(tmp_path / "data.zip", "data.zip", tmp_path / "work", raise_if_stopped=stop)


@pytest.mark.parametrize("suffix", TAR_KINDS)
def test_every_kind_of_tar_is_unpacked(suffix: str, tmp_path: Path) -> None:
    content = tar_of([entry("train.csv", b"1"), entry("sub/val.csv", b"2")], TAR_KINDS[suffix])

    folder = unpacked(tmp_path, content, f"data{suffix}")

    assert files_of(folder) == {"train.csv": b"1", "sub/val.csv": b"2"}


def test_a_single_folder_at_the_top_is_left_out(tmp_path: Path) -> None:
    content = zip_of([("reviews/", b""), ("reviews/a", b"1"), ("reviews/b/c", b"2"),
                      ("__MACOSX/reviews/._a", b""), (".DS_Store", b"")])  # fmt: skip

    assert files_of(unpacked(tmp_path, content)) == {"a": b"1", "b/c": b"2"}


def test_two_folders_at_the_top_stay(tmp_path: Path) -> None:
    content = zip_of([("images\\a", b"1"), ("labels\\a", b"2"), ("empty/", b"")])

    folder = unpacked(tmp_path, content)

    assert files_of(folder) == {"images/a": b"1", "labels/a": b"2"}
    assert (folder / "empty").is_dir()


def test_links_inside_become_copies(tmp_path: Path) -> None:
    content = tar_of(
        [
            special("first", tarfile.SYMTYPE, "second"),
            special("second", tarfile.SYMTYPE, "sub/../sub/file"),
            entry("sub/file", b"content"),
            special("sub/hard", tarfile.LNKTYPE, "./sub/file"),
            special("sub/up", tarfile.SYMTYPE, "../first"),
        ]
    )

    folder = unpacked(tmp_path, content, "data.tar")

    assert set(files_of(folder)) == {"first", "second", "sub/file", "sub/hard", "sub/up"}
    assert set(files_of(folder).values()) == {b"content"}
    assert not any(path.is_symlink() for path in folder.rglob("*"))


def test_modes_and_owners_are_not_kept(tmp_path: Path) -> None:
    info, content = entry("run.sh")
    info.mode, info.uid = 0o6777, 4711

    folder = unpacked(tmp_path, tar_of([(info, content)]), "data.tar")

    found = (folder / "run.sh").stat()
    assert found.st_mode & 0o7111 == 0
    assert found.st_uid == os.getuid()


@pytest.mark.parametrize("name", ["data.7z", "data.RAR", "data.tar.zst"])
def test_other_archives_are_refused_by_their_name(name: str) -> None:
    with pytest.raises(InputError, match=r"cannot be unpacked here; expected one of \.zip"):
        is_archive(name)


@pytest.mark.parametrize("name", ["recipe.md", "train.csv", "train.csv.gz", "zip", "tar.gz.txt"])
def test_a_file_is_no_archive(name: str) -> None:
    assert not is_archive(name)


NAMES = st.lists(
    st.sampled_from(["..", ".", "", "a", "b", "a/b", "\\", "C:", "\u00e9", "~", "a\0"]),
    min_size=1,
    max_size=5,
).map("/".join)
KINDS = st.sampled_from(
    [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE]
)


@given(st.lists(st.tuples(NAMES, KINDS, NAMES), max_size=6))
def test_whatever_an_archive_holds_nothing_is_written_elsewhere(
    entries: list[tuple[str, bytes, str]],
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "of-the-archive"
        folder.mkdir()
        content = tar_of(
            [
                special(path, kind, target) if kind != tarfile.REGTYPE else entry(path)
                for path, kind, target in entries
            ]
        )
        with suppress(InputError):
            unpacked(folder, content, "data.tar")
        assert [path.name for path in folder.parent.iterdir()] == [folder.name]
        assert {path.name for path in folder.iterdir()} <= {"work", "data.tar"}
        assert not any(path.is_symlink() for path in folder.rglob("*"))
