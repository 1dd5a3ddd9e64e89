"""Digests of what lies in a place, read to the end and kept nowhere."""

from __future__ import annotations

import random
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from tests.runner.storage.reaching import reaching, write_files
from tests.servers.fault_proxy import FaultProxy
from tests.servers.faults import PASSING, Rule, refusal
from tests.servers.s3_server import Bucket, S3Server

from sparse_transfer_api.errors import AccessError, Stopped, Transient
from sparse_transfer_runner.storage import place_for
from sparse_transfer_runner.storage.file import FilePlace
from sparse_transfer_runner.storage.protocol import Damaged, Missing, Place

LARGE = random.Random(0).randbytes((41 << 20) + 12345)
FILES = {
    "large": LARGE,
    "exactly-one-part": LARGE[: 8 << 20],
    "empty": b"",
    **{f"deep/ü {number}": bytes([number]) for number in range(40)},
}
EXPECTED = {path: sha256(content).hexdigest() for path, content in FILES.items()}


@pytest.fixture(params=["file", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "file":
        write_files(tmp_path / "place", FILES)
        yield FilePlace(tmp_path / "place")
        return
    s3: S3Server = request.getfixturevalue("s3")
    bucket: Bucket = request.getfixturevalue("bucket")
    for path, content in FILES.items():
        bucket.put(f"place/{path}", content)
    with reaching(s3.endpoint, s3.environment()):
        yield place_for(f"{bucket.uri}/place")


def test_every_file_is_read_to_its_end(place: Place) -> None:
    read: list[int] = []
    assert dict(place.digests(EXPECTED, read.append)) == EXPECTED
    assert sum(read) == sum(len(content) for content in FILES.values())


def test_what_is_not_there_is_said_beside_the_rest(place: Place) -> None:
    found = dict(place.digests(["never-there", "empty"], lambda _: None))
    assert found["empty"] == EXPECTED["empty"]
    assert isinstance(found["never-there"], Missing)
    assert f"{place.uri}/never-there" in str(found["never-there"])


def test_reading_ends_when_it_is_asked_to(place: Place) -> None:
    def stop(_: int) -> None:
        raise Stopped("asked to")

    with pytest.raises(Stopped):
        dict(place.digests(EXPECTED, stop))


def test_a_file_that_cannot_be_read_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    found = dict(FilePlace(tmp_path).digests(["folder"], lambda _: None))
    assert isinstance(found["folder"], Damaged)
    assert "cannot be read (Is a directory)" in str(found["folder"])


def test_a_file_without_the_right_to_read_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        # Permissions do not bind root, who runs some test machines.
        raise PermissionError(13, "Permission denied")

    write_files(tmp_path, {"a": b"1"})
    monkeypatch.setattr(Path, "open", refuse)
    found = dict(FilePlace(tmp_path).digests(["a"], lambda _: None))
    assert "may not be read by this user" in str(found["a"])
    assert type(found["a"]) is AccessError


def test_a_folder_that_may_not_be_listed_is_not_taken_for_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(AccessError, match="Permission denied"):
        FilePlace(tmp_path).files()


def test_a_bad_connection_is_got_over(proxy: FaultProxy, faulty_store: Bucket) -> None:
    for path in ("large", "empty", "deep/ü 1"):
        faulty_store.put(path, FILES[path])
    place = place_for(faulty_store.uri)
    proxy.schedule.set(Rule(PASSING, share=0.2))
    paths = ["large", "empty", "deep/ü 1"]
    assert dict(place.digests(paths, lambda _: None)) == {path: EXPECTED[path] for path in paths}


def test_a_refused_object_is_said_with_the_missing_right(
    proxy: FaultProxy, faulty_store: Bucket
) -> None:
    for path in ("a", "b"):
        faulty_store.put(path, b"1")
    proxy.schedule.set(Rule([refusal(403, "AccessDenied")], operations=["GetObject"], key="a"))
    found = dict(place_for(faulty_store.uri).digests(["a", "b"], lambda _: None))
    assert "s3:GetObject" in str(found["a"])
    assert found["b"] == sha256(b"1").hexdigest()


def test_an_object_that_changes_while_it_is_read_is_no_mixture(store: Bucket) -> None:
    store.put("large", LARGE)

    def change(_: int) -> None:
        store.put("large", LARGE[::-1])

    with pytest.raises(Transient, match="changed"):
        dict(place_for(store.uri).digests(["large"], change))
