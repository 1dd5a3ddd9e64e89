"""The shared cache: one download for all, whole objects only, and nothing lost while in use."""

from __future__ import annotations

import errno
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.runner.storage.tmpfs import make_read_only, small_file_system
from tests.servers.files import FileServer, serving
from tests.servers.processes import wait_until

from sparse_transfer_api.errors import AccessError, Stopped, Transient
from sparse_transfer_runner.digests import digest_of_tree, sha256_of
from sparse_transfer_runner.storage import locks
from sparse_transfer_runner.storage.cache import Cache, Download, identity_of

KIB = 1024
FILES = {f"/{name}": name.encode() * 40 * KIB for name in "abcd"}
OLD = (1.0, 1.0)


class User:
    """Another process that uses the cache; it keeps what it fetched in use until it ends."""

    def __init__(self, root: Path, server: FileServer, limit_bytes: int = 0) -> None:
        command = [sys.executable, "-m", "tests.runner.storage.cache_user"]
        self._process = subprocess.Popen(
            [*command, str(root), str(limit_bytes), server.url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def starts_to_fetch(self, name: str) -> None:
        """Returns when it is about to."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"fetch {name}\n")
        self._process.stdin.flush()
        assert self._line() == f"wants {name}"

    def has_fetched(self) -> Path:
        """Returns the object that it was given."""
        return Path(self._line())

    def fetches(self, name: str) -> Path:
        self.starts_to_fetch(name)
        return self.has_fetched()

    def dies(self) -> None:
        self._process.kill()
        self.ends()

    def ends(self) -> None:
        self._process.communicate(timeout=30)

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


Start = Callable[..., User]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving(FILES) as running:
        yield running


@pytest.fixture
def start(root: Path, server: FileServer) -> Iterator[Start]:
    with ExitStack() as stack:

        def started(limit_bytes: int = 0) -> User:
            user = User(root, server, limit_bytes)
            stack.callback(user.dies)
            return user

        yield started


@pytest.fixture(autouse=True)
def forgetful(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Lets go at the end of what this process holds in use."""
    yield
    for path in tuple(locks._held):
        locks.release(path)


def writing(content: bytes, name: str = "content") -> Download:
    def download(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return download


def refused(_: Path) -> None:
    raise AssertionError("there is nothing to be downloaded")


def age(root: Path, *objects: Path) -> None:
    """Makes objects look as if nobody had used them for long."""
    for folder in objects:
        os.utime(root / "objects" / f"{folder.name}.json", OLD)


def left_in(root: Path, folder: str) -> list[str]:
    return sorted(path.name for path in (root / folder).glob("*"))


def test_what_many_processes_want_at_once_is_fetched_once(
    root: Path, server: FileServer, start: Start
) -> None:
    server.go_on.clear()
    users = [start() for _ in range(6)]
    for user in users:
        user.starts_to_fetch("a")
    server.go_on.set()

    found = {user.has_fetched() for user in users}

    assert len(found) == 1
    assert (found.pop() / "content").read_bytes() == FILES["/a"]
    assert server.calls == {"/a": 1}


def test_an_object_appears_whole_or_not_at_all(
    root: Path, server: FileServer, start: Start
) -> None:
    server.go_on.clear()
    user = start()
    user.starts_to_fetch("a")
    assert server.half_way.wait(30)

    assert Cache(root).known(identity_of(["a"])) is None
    assert left_in(root, "objects") == []

    server.go_on.set()
    found = user.has_fetched()
    assert Cache(root).known(identity_of(["a"])) == found
    assert (found / "content").read_bytes() == FILES["/a"]


def test_a_killed_fetcher_blocks_nobody_and_leaves_nothing_behind(
    root: Path, server: FileServer, start: Start
) -> None:
    server.go_on.clear()
    killed = start()
    killed.starts_to_fetch("a")
    assert server.half_way.wait(30)
    killed.dies()
    server.go_on.set()

    found = start().fetches("a")

    assert (found / "content").read_bytes() == FILES["/a"]
    assert server.calls == {"/a": 2}
    (abandoned,) = (root / "work").glob("*")
    os.utime(abandoned, OLD)
    Cache(root).evict()
    assert left_in(root, "work") == []


def test_the_folder_of_a_process_that_lives_is_left_alone(root: Path) -> None:
    with Cache(root).workspace() as folder:
        os.utime(folder, OLD)
        Cache(root).evict()

        assert folder.is_dir()

    assert left_in(root, "work") == []
    assert left_in(root, "locks") == []


def test_who_waits_for_another_process_can_be_stopped(
    root: Path, server: FileServer, start: Start
) -> None:
    server.go_on.clear()
    user = start()
    user.starts_to_fetch("a")
    assert server.half_way.wait(30)

    def stop() -> None:
        raise Stopped("asked to stop")

    with pytest.raises(Stopped):
        Cache(root, raise_if_stopped=stop).fetched(identity_of(["a"]), refused)


def test_above_the_limit_what_was_not_used_for_longest_goes_first(root: Path, start: Start) -> None:
    limit = 100 * KIB
    user = start()
    a, b = user.fetches("a"), user.fetches("b")
    user.ends()
    age(root, a, b)
    assert Cache(root).known(identity_of(["a"])) == a

    start(limit).fetches("c")

    assert a.is_dir()
    assert not b.exists()
    assert Cache(root).known(identity_of(["b"])) is None


def test_an_object_in_use_survives_until_its_user_ends(
    root: Path, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    limit = 50 * KIB
    user = start()
    a = user.fetches("a")
    age(root, a)

    other = start(limit)
    b = other.fetches("b")
    assert (a / "content").read_bytes() == FILES["/a"]

    Cache(root, limit).evict()
    assert "above the limit" in caplog.text
    user.ends()
    other.ends()
    Cache(root, limit).evict()
    assert not a.exists()
    assert b.is_dir()


def test_an_object_larger_than_the_limit_is_there_for_who_fetched_it(root: Path) -> None:
    found = Cache(root, KIB).fetched(identity_of(["big"]), writing(FILES["/a"]))

    assert (found / "content").read_bytes() == FILES["/a"]


def test_what_a_crash_left_without_its_folder_is_cleared(root: Path) -> None:
    record = root / "objects" / f"{'0' * 64}.json"
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps({"files": 1, "bytes": 10 * KIB * KIB}))
    os.utime(record, OLD)

    found = Cache(root, 50 * KIB).fetched(identity_of(["a"]), writing(FILES["/a"]))

    assert found.is_dir()
    assert Cache(root).find("0" * 64) is None


def test_addresses_with_the_same_content_share_one_object(root: Path) -> None:
    cache = Cache(root)

    first = cache.fetched(identity_of(["one"]), writing(b"same"))
    second = cache.fetched(identity_of(["two"]), writing(b"same"))
    other = cache.fetched(identity_of(["three"]), writing(b"same", "another-name"))

    assert first == second != other


def test_digests_that_a_download_knows_lead_to_the_same_object(root: Path) -> None:
    def download(folder: Path) -> dict[str, str]:
        (folder / "content").write_bytes(b"same")
        return {"content": sha256_of(folder / "content")}

    found = Cache(root).fetched(identity_of(["one"]), download)

    assert found.name == digest_of_tree(found)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "content").write_bytes(b"short"),
        lambda folder: (folder / "content").unlink(),
        lambda folder: (folder / "more").touch(),
        lambda folder: folder.with_name(f"{folder.name}.json").write_text("{"),
        lambda folder: folder.with_name(f"{folder.name}.json").unlink(),
    ],
    ids=["a shorter file", "a missing file", "another file", "a broken record", "no record"],
)
def test_a_damaged_object_is_noticed_and_fetched_again(
    root: Path, damage: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    identity = identity_of(["a"])
    damage(Cache(root).fetched(identity, writing(FILES["/a"])))

    with caplog.at_level(logging.WARNING):
        found = Cache(root).fetched(identity, writing(FILES["/a"]))

    assert "not what was put there; fetched again" in caplog.text
    assert [path.name for path in found.iterdir()] == ["content"]
    assert Cache(root).fetched(identity, refused) == found


@pytest.mark.parametrize("text", ["", "..", "../../etc", "0" * 63, b"\xff".decode("latin-1")])
def test_a_damaged_note_leads_nowhere(root: Path, text: str) -> None:
    cache = Cache(root)
    kept = cache.fetched(identity_of(["kept"]), writing(b"kept"))
    cache.note(identity_of(["a"]), text)

    assert cache.known(identity_of(["a"])) is None
    assert cache.fetched(identity_of(["a"]), writing(b"a")).is_dir()
    assert kept.is_dir()


def test_without_locks_everybody_fetches_and_nothing_is_evicted(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", unsupported)
    both = threading.Barrier(2, timeout=30)
    found: list[Path] = []

    def download(folder: Path) -> None:
        both.wait()
        (folder / "content").write_bytes(b"same")

    def user() -> None:
        found.append(Cache(root, limit_bytes=1).fetched(identity_of(["a"]), download))

    users = [threading.Thread(target=user) for _ in range(2)]
    for thread in users:
        thread.start()
    for thread in users:
        thread.join(30)

    assert len(found) == 2
    assert found[0] == found[1]
    assert (found[0] / "content").read_bytes() == b"same"
    assert left_in(root, "work") == []


def test_a_full_disk_is_passing_trouble_and_leaves_nothing(tmp_path: Path) -> None:
    with small_file_system(tmp_path / "small", 256 * KIB) as root:
        with pytest.raises(Transient, match="no space left on the device"):
            Cache(root).fetched(identity_of(["a"]), writing(bytes(KIB * KIB)))

        assert left_in(root, "work") == []
        assert left_in(root, "objects") == []
        assert left_in(root, "sources") == []
        assert Cache(root).fetched(identity_of(["b"]), writing(b"small")).is_dir()


def test_a_read_only_cache_is_refused_with_another_to_choose(tmp_path: Path) -> None:
    with small_file_system(tmp_path / "small", KIB * KIB) as root:
        make_read_only(root)

        with pytest.raises(AccessError) as caught:
            Cache(root).fetched(identity_of(["a"]), refused)

    for part in (str(tmp_path / "small"), "Read-only file system", "spec.storage.cache"):
        assert part in str(caught.value)


def test_a_waiting_process_goes_on_when_the_fetcher_fails(
    root: Path, server: FileServer, start: Start
) -> None:
    server.go_on.clear()
    fails = start()
    fails.starts_to_fetch("a")
    assert server.half_way.wait(30)
    waits = start()
    waits.starts_to_fetch("a")

    fails.dies()
    server.go_on.set()

    assert (waits.has_fetched() / "content").read_bytes() == FILES["/a"]
    wait_until(lambda: server.calls["/a"] == 2, "the second call")
