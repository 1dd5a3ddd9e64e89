"""Objects in parts: limits of size, versions that change, odd answers, interruptions."""

from __future__ import annotations

import os
import random
import re
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.runner.storage.reaching import files_below, reaching, write_files
from tests.servers.fault_proxy import FaultProxy
from tests.servers.faults import Reply, Reset, Rule, refusal
from tests.servers.http_messages import Answer, Request
from tests.servers.s3_server import Bucket, S3Server

from sparse_transfer_api.errors import Transient
from sparse_transfer_runner.storage import fetch, place_for
from sparse_transfer_runner.storage.protocol import Damaged
from sparse_transfer_runner.storage.s3 import S3Place, parts

MIB = 1 << 20
LARGE = random.Random(0).randbytes((33 << 20) + 12345)


@pytest.mark.parametrize(
    ("size", "parts_up", "parts_down"),
    [
        (0, 0, 0),
        (8 * MIB, 0, 0),
        (8 * MIB + 1, 1, 1),
        (16 * MIB, 1, 1),
        (16 * MIB + 1, 2, 2),
        (32 * MIB, 2, 2),
    ],
    ids=lambda value: str(value),
)
def test_objects_at_the_limits_of_parts_go_up_and_come_down_whole(
    proxy: FaultProxy,
    faulty_store: Bucket,
    tmp_path: Path,
    size: int,
    parts_up: int,
    parts_down: int,
) -> None:
    entries = write_files(tmp_path / "work", {"model.bin": LARGE[:size]})
    place = place_for(faulty_store.uri)

    assert place.publish(tmp_path / "work", entries) == []
    (tmp_path / "copy").mkdir()
    place.get(entries, tmp_path / "copy")

    assert files_below(tmp_path / "copy") == {"model.bin": LARGE[:size]}
    assert fetch(f"{faulty_store.uri}/model.bin").read_bytes() == LARGE[:size]
    assert proxy.count("UploadPart") == parts_up
    assert sum("range" in call.request.headers for call in proxy.calls) == 2 * parts_down


# ---- versions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"first", LARGE], ids=["small", "large"])
def test_an_object_that_changes_after_it_was_listed_is_not_taken_for_what_was_listed(
    proxy: FaultProxy, faulty_store: Bucket, content: bytes
) -> None:
    faulty_store.put("data/a", content)
    first = "GetObject" if content == b"first" else "HeadObject"
    proxy.rewrite = once(first, lambda: faulty_store.put("data/a", content[::-1]))

    with pytest.raises(Transient, match=f"{faulty_store.uri}/data/a: was changed by somebody else"):
        fetch(f"{faulty_store.uri}/data/")

    for now in (content, content[::-1]):
        faulty_store.put("data/a", now)
        assert (fetch(f"{faulty_store.uri}/data/") / "a").read_bytes() == now


@pytest.mark.parametrize("content", [b"first", LARGE], ids=["small", "large"])
def test_a_store_that_lists_other_etags_than_it_answers_with_is_read_all_the_same(
    proxy: FaultProxy, faulty_store: Bucket, content: bytes
) -> None:
    faulty_store.put("data/a", content)
    listing = (
        "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>data/a</Key>"
        f"<Size>{len(content)}</Size><ETag>of its own</ETag></Contents></ListBucketResult>"
    )
    proxy.schedule.set(Rule([Reply(200, listing.encode())], operations=["ListObjectsV2"]))

    assert files_below(fetch(f"{faulty_store.uri}/data/")) == {"a": content}


@pytest.mark.parametrize("size", [0, 9 * MIB, 40 * MIB], ids=["emptied", "shorter", "longer"])
def test_an_object_that_changes_between_its_parts_is_not_mixed(
    proxy: FaultProxy, faulty_store: Bucket, tmp_path: Path, size: int
) -> None:
    faulty_store.put("model.bin", LARGE)
    entries = write_files(tmp_path / "work", {"model.bin": LARGE})
    proxy.rewrite = once("GetObject", lambda: faulty_store.put("model.bin", bytes(size)))
    (tmp_path / "copy").mkdir()

    with pytest.raises(Transient, match=f"{faulty_store.uri}/model.bin: .*by somebody else"):
        place_for(faulty_store.uri).get(entries, tmp_path / "copy")


def once(operation: str, act: Callable[[], object]) -> Callable[[Request], Request]:
    """Returns what does something once, right before the first such call reaches the server."""
    pending = [act]

    def rewrite(request: Request) -> Request:
        if pending and request.operation == operation:
            pending.pop()()
        return request

    return rewrite


# ---- odd answers -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [Reply(200, LARGE), Reply(206, LARGE[: 5 * MIB]), Reply(206, b"")],
    ids=["all of it", "less", "nothing"],
)
def test_a_part_that_is_not_what_was_asked_for_is_asked_for_again(
    proxy: FaultProxy, faulty_store: Bucket, answer: Reply
) -> None:
    faulty_store.put("model.bin", LARGE)
    proxy.schedule.set(Rule([answer], operations=["GetObject"], times=3))

    assert fetch(f"{faulty_store.uri}/model.bin").read_bytes() == LARGE


def test_a_store_that_knows_no_ranges_is_told(
    proxy: FaultProxy, faulty_store: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    faulty_store.put("model.bin", LARGE)
    proxy.schedule.set(Rule([Reply(200, LARGE)], operations=["GetObject"]))

    with pytest.raises(Transient, match=r"model\.bin: .*did not answer as it should.*expected"):
        fetch(f"{faulty_store.uri}/model.bin")


def in_capitals(answer: Answer) -> Answer:
    """Returns an answer whose metadata is named as MinIO does it, and many a proxy."""
    return Answer(re.sub(rb"x-amz-meta-\w+", lambda name: name[0].title(), answer.raw))


@pytest.mark.parametrize("content", [b"weights", LARGE], ids=["small", "large"])
def test_metadata_is_known_whatever_the_case_of_its_names(
    proxy: FaultProxy, faulty_store: Bucket, tmp_path: Path, content: bytes
) -> None:
    proxy.retelling = in_capitals
    place = place_for(f"{faulty_store.uri}/runs")
    entries = write_files(tmp_path, {"model.bin": content})
    lost = ["PutObject", "CompleteMultipartUpload"]
    proxy.schedule.set(Rule([Reset(after=True)], operations=lost, times=1))
    assert place.publish(tmp_path, entries) == []
    proxy.schedule.set(Rule([Reset(after=True)], operations=lost, times=1))
    assert place.create("claim.json", b"{}")
    faulty_store.server.client().put_object(
        Bucket=faulty_store.name,
        Key="runs/model.bin",
        Body=content[::-1],
        Metadata={"sha256": entries[0].sha256},
    )

    with pytest.raises(Damaged, match=r"model\.bin: what arrived"):
        fetch(f"{faulty_store.uri}/runs/model.bin")


def test_a_checkpoint_whose_answer_was_lost_is_a_success(
    proxy: FaultProxy, faulty_store: Bucket
) -> None:
    # Amazon forgets an upload when it completes it.
    complete, forgotten = ["CompleteMultipartUpload"], refusal(404, "NoSuchUpload")
    faulty_store.put("step-1.pt", b"the one before")
    place = place_for(faulty_store.uri)
    proxy.schedule.set(
        Rule([Reset(after=True)], operations=complete, times=1),
        Rule([forgotten], operations=complete, times=1),
    )
    place.put("step-1.pt", lambda path: path.write_bytes(LARGE))
    assert faulty_store.get("step-1.pt") == LARGE
    assert proxy.faulted() == 2

    proxy.schedule.set(Rule([forgotten], operations=complete))
    with pytest.raises(Transient, match=r"step-1\.pt: was changed by somebody else"):
        place.put("step-1.pt", lambda path: path.write_bytes(LARGE[::-1]))
    assert faulty_store.get("step-1.pt") == LARGE


# ---- interruptions -----------------------------------------------------------------------------


def test_an_upload_that_is_interrupted_leaves_no_parts(
    proxy: FaultProxy, faulty_store: Bucket, tmp_path: Path
) -> None:
    entries = write_files(tmp_path, {"model.bin": LARGE})
    place = place_for(faulty_store.uri)
    proxy.rewrite = once("UploadPart", interrupt)

    with pytest.raises(KeyboardInterrupt):
        place.publish(tmp_path, entries)

    assert faulty_store.unfinished_uploads() == []
    assert faulty_store.keys() == []


def test_a_file_that_becomes_shorter_while_it_is_sent_is_not_sent(
    proxy: FaultProxy, faulty_store: Bucket, tmp_path: Path
) -> None:
    entries = write_files(tmp_path, {"model.bin": LARGE})
    place = place_for(faulty_store.uri)
    proxy.rewrite = once(
        "CreateMultipartUpload", lambda: os.truncate(tmp_path / "model.bin", 20 * MIB)
    )

    with pytest.raises(OSError, match=r"became shorter.*model\.bin"):
        place.publish(tmp_path, entries)

    assert faulty_store.unfinished_uploads() == []
    assert faulty_store.keys() == []


def test_parts_that_nobody_waited_for_write_into_no_file_but_their_own(
    s3: S3Server, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("model.bin", LARGE)
    all_received, go_on = threading.Barrier(3, action=interrupt), threading.Event()

    def check() -> None:
        if not go_on.is_set():
            all_received.wait(timeout=60)  # three parts have a piece that is not written yet
            assert go_on.wait(timeout=60)

    def shutdown(pool: ThreadPoolExecutor, **_: object) -> None:
        original(pool, wait=False, cancel_futures=True)  # as when the wait is interrupted too

    original = ThreadPoolExecutor.shutdown
    before = set(threading.enumerate())
    target = tmp_path / "copy"
    with reaching(s3.endpoint, s3.environment()):
        place = place_for(bucket.uri)
        assert isinstance(place, S3Place)
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(ThreadPoolExecutor, "shutdown", shutdown)
            parts.download(place.bucket.client, bucket.name, "model.bin", target, check)
        with ExitStack() as opened:
            others = [tmp_path / f"other-{number}" for number in range(10)]
            for other in others:
                opened.enter_context(other.open("wb"))
            go_on.set()
            for thread in set(threading.enumerate()) - before:
                thread.join(timeout=60)
        assert [other.stat().st_size for other in others] == [0] * len(others)


def interrupt() -> None:
    """Does what Ctrl+C does."""
    assert threading.main_thread().ident is not None
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
