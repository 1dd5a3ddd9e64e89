"""A store that fails now and then, for a while, or on and on; and a disk that is full."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from tests.runner.storage import transfer_process
from tests.runner.storage.reaching import files_below, reaching, write_files
from tests.runner.storage.tmpfs import small_file_system
from tests.servers.fault_proxy import FaultProxy
from tests.servers.faults import (
    INTERNAL_ERROR,
    PASSING,
    SLOW_DOWN,
    Delay,
    Fault,
    Reply,
    Reset,
    Rule,
    Stall,
    Truncation,
)
from tests.servers.s3_server import Bucket, S3Server

from sparse_transfer_api.errors import Transient
from sparse_transfer_api.records import FileEntry
from sparse_transfer_runner.storage import fetch, place_for

CONTENT = random.Random(0).randbytes((20 << 20) + 7)
FILES: Mapping[str, bytes] = {
    **{f"part-{number}/{number:03}.txt": CONTENT[: number * 97] for number in range(150)},
    "model.bin": CONTENT,
}
MIB = 1 << 20


def repr_of(fault: Fault) -> str:
    return str(fault.status) if isinstance(fault, Reply) else repr(fault)


@pytest.mark.parametrize("seed", [1, 2])
def test_with_a_fifth_of_all_calls_failing_everything_arrives(
    proxy: FaultProxy, faulty_store: Bucket, tmp_path: Path, seed: int
) -> None:
    entries = write_files(tmp_path / "work", FILES)
    proxy.schedule.seed_with(seed)
    proxy.schedule.set(Rule(PASSING, share=0.2))
    place = place_for(f"{faulty_store.uri}/runs/")

    assert place.publish(tmp_path / "work", entries) == []
    assert [file.path for file in place.files()] == sorted(FILES)
    assert files_below(fetch(f"{faulty_store.uri}/runs")) == FILES
    (tmp_path / "copy").mkdir()
    place.get(entries, tmp_path / "copy")
    assert files_below(tmp_path / "copy") == FILES
    place.put("model.bin", lambda path: path.write_bytes(CONTENT[::-1]))
    assert place.read("model.bin") == CONTENT[::-1]
    place.remove(FILES)
    assert place.files() == []
    assert proxy.faulted() > 50
    place.sweep()  # an upload whose beginning was not told stays, and costs
    assert faulty_store.unfinished_uploads() == []


OPERATIONS = (
    *("ListObjectsV2", "GetObject", "HeadObject", "PutObject", "DeleteObjects"),
    *("CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"),
)


@pytest.mark.parametrize(
    "fault", [fault for fault in PASSING if not isinstance(fault, Delay)], ids=repr_of
)
def test_no_kind_of_call_is_lost_to_a_passing_fault(
    proxy: FaultProxy, faulty_store: Bucket, tmp_path: Path, fault: Fault
) -> None:
    files = {"small": b"1", "large": CONTENT[: 9 * MIB]}
    entries = write_files(tmp_path / "work", files)
    proxy.schedule.set(*(Rule([fault], operations=[each], times=2) for each in OPERATIONS))
    place = place_for(f"{faulty_store.uri}/runs/")

    assert place.publish(tmp_path / "work", entries) == []
    assert [file.path for file in place.files()] == ["large", "small"]
    (tmp_path / "copy").mkdir()
    place.get(entries, tmp_path / "copy")
    assert files_below(tmp_path / "copy") == files
    place.remove(files)
    assert faulty_store.keys() == []
    assert Counter(call.operation for call in proxy.calls if call.fault) == dict.fromkeys(
        OPERATIONS, 2
    )


@pytest.mark.parametrize("fault", [Reset(), INTERNAL_ERROR, SLOW_DOWN, Truncation()], ids=repr_of)
def test_a_store_that_is_away_for_a_while_ends_nothing(
    proxy: FaultProxy,
    faulty_store: Bucket,
    tmp_path: Path,
    fault: Fault,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)  # the waits between tries pass at once
    files = {f"{number}": b"1" for number in range(100)}
    entries = write_files(tmp_path / "work", files)
    place = place_for(f"{faulty_store.uri}/runs/")

    proxy.schedule.set(Rule([fault], times=60))
    assert place.publish(tmp_path / "work", entries) == []
    proxy.schedule.set(Rule([fault], times=60))
    (tmp_path / "copy").mkdir()
    place.get(entries, tmp_path / "copy")

    assert files_below(tmp_path / "copy") == files
    assert proxy.faulted() == 120


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Reset(), "did not answer as it should, in spite of retries"),
        (SLOW_DOWN, "in spite of retries.*SlowDown"),
        (INTERNAL_ERROR, "in spite of retries.*InternalError"),
        (Truncation(), "in spite of retries"),
        (Stall(0.01), "in spite of retries"),
    ],
    ids=["reset", "slow", "internal", "truncation", "stall"],
)
@pytest.mark.parametrize("operation", ["ListObjectsV2", "GetObject"])
def test_a_store_that_never_recovers_is_passing_trouble_with_the_address(
    proxy: FaultProxy,
    faulty_store: Bucket,
    monkeypatch: pytest.MonkeyPatch,
    operation: str,
    fault: Fault,
    said: str,
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    faulty_store.put("data/train.csv", b"text,label\n")
    proxy.schedule.set(Rule([fault], operations=[operation]))

    with pytest.raises(Transient, match=rf"{faulty_store.uri}/data/.*{said}"):
        fetch(f"{faulty_store.uri}/data/")


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_a_large_download_goes_on_through_truncated_parts(
    proxy: FaultProxy, faulty_store: Bucket, share: float
) -> None:
    faulty_store.put("model.bin", CONTENT)
    proxy.schedule.set(Rule([Truncation()], share, operations=["GetObject"], times=6))

    assert fetch(f"{faulty_store.uri}/model.bin").read_bytes() == CONTENT


# ---- this machine ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["small", "large"])
def test_a_full_disk_is_said_and_leaves_nothing_behind(
    s3: S3Server, bucket: Bucket, tmp_path: Path, name: str
) -> None:
    for number in range(5):
        bucket.put(f"data/small/{number}", CONTENT[:MIB])
    bucket.put("data/large/model.bin", CONTENT)

    with small_file_system(tmp_path / "small", 3 * MIB) as small:
        with (
            reaching(s3.endpoint, s3.environment(), small / "cache"),
            pytest.raises(Transient, match="no space left on the device"),
        ):
            fetch(f"{bucket.uri}/data/{name}")
        assert not [path for path in small.rglob("*") if path.name in ("model.bin", "0")]


def peak_mib(bucket: Bucket, folder: Path, entries: Sequence[FileEntry]) -> float:
    """Returns the peak memory of a process that publishes and fetches files."""
    work = {
        "endpoint": bucket.server.endpoint,
        "source": str(folder),
        "entries": [entry.model_dump() for entry in entries],
        "target": f"{bucket.uri}/runs",
    }
    done = subprocess.run(
        [sys.executable, transfer_process.__file__],
        input=json.dumps(work),
        env={"PATH": os.environ["PATH"], **bucket.server.environment()},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout) / 1024


def test_memory_is_bounded_whatever_the_size_and_number_of_files(
    s3: S3Server, tmp_path: Path
) -> None:
    content = CONTENT * 20
    several = {f"{number}.bin": content[: 64 * MIB] for number in range(8)}
    many = {f"{number}.bin": CONTENT[: 7 * MIB] for number in range(40)}
    peaks = []
    for name, files in (("large", {"model.bin": content}), ("several", several), ("many", many)):
        entries = write_files(tmp_path / name, files)
        peaks.append(peak_mib(s3.bucket(), tmp_path / name, entries))
    assert max(peaks) < 300, peaks
