"""Reading from a real S3 server: folders, files, strange names, and what is not there."""

from __future__ import annotations

import gc
import hashlib
import random
from pathlib import Path

import pytest
from tests.runner.storage.reaching import files_below, reaching
from tests.servers.fault_proxy import FaultProxy
from tests.servers.faults import Reply, Rule
from tests.servers.s3_server import Bucket, S3Server

from sparse_transfer_api.errors import AccessError, InputError, Stopped
from sparse_transfer_runner.storage import fetch
from sparse_transfer_runner.storage.protocol import Damaged, Missing

LARGE_BYTES = (20 << 20) + 12345


def test_a_prefix_is_a_folder_with_or_without_its_slash(store: Bucket) -> None:
    files = {"train.csv": b"text,label\n", "more/deep/val.csv": b"", "a b/ü%2F+.txt": b"x"}
    for path, content in files.items():
        store.put(f"data/reviews/{path}", content)
    store.put("data/reviews-old/train.csv", b"not these")

    assert files_below(fetch(f"{store.uri}/data/reviews/")) == files
    assert fetch(f"{store.uri}/data/reviews") == fetch(f"{store.uri}/data/reviews/")
    assert files_below(fetch(f"{store.uri}/data/reviews/more")) == {"deep/val.csv": b""}


def test_a_whole_bucket_is_a_folder_too(store: Bucket) -> None:
    store.put("a", b"1")

    assert files_below(fetch(store.uri)) == files_below(fetch(f"{store.uri}/")) == {"a": b"1"}


def test_a_key_is_a_file_with_its_name(store: Bucket) -> None:
    store.put("models/recipe.yaml", b"recipe")
    store.put("models/recipe.yaml.old", b"not this")
    store.put("at-the-top.csv", b"1")

    file = fetch(f"{store.uri}/models/recipe.yaml")

    assert (file.name, file.read_bytes()) == ("recipe.yaml", b"recipe")
    assert [path.name for path in file.parent.iterdir()] == ["recipe.yaml"]
    assert fetch(f"{store.uri}/at-the-top.csv").read_bytes() == b"1"


def test_a_file_among_many_of_the_same_beginning_is_found_by_one_short_listing(
    proxy: FaultProxy, faulty_store: Bucket
) -> None:
    for number in range(20):
        faulty_store.put(f"data{number}", b"not this")
    faulty_store.put("data", b"this")

    assert fetch(f"{faulty_store.uri}/data").read_bytes() == b"this"
    assert [(call.operation, call.request.query.get("max-keys")) for call in proxy.calls] == [
        ("ListObjectsV2", None),
        ("ListObjectsV2", ["1"]),
        ("GetObject", None),
    ]


def test_thousands_of_small_files_arrive_whole(store: Bucket) -> None:
    # Written where the server keeps them, which is faster than by its protocol.
    chance = random.Random(0)
    files = {f"part-{n % 7}/{n:05}.txt": chance.randbytes(n % 300) for n in range(1500)}
    for path, content in files.items():
        file = store.server.folder / "data" / store.name / "many" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)

    assert files_below(fetch(f"{store.uri}/many")) == files


def test_a_large_object_comes_in_parts(proxy: FaultProxy, faulty_store: Bucket) -> None:
    content = random.Random(0).randbytes(LARGE_BYTES)
    faulty_store.put("model/weights.bin", content)

    assert files_below(fetch(f"{faulty_store.uri}/model")) == {"weights.bin": content}
    ranges = [
        call.request.headers.get("range") for call in proxy.calls if call.operation == "GetObject"
    ]
    assert len(ranges) >= 2
    assert None not in ranges


def test_what_was_fetched_is_not_fetched_again_until_it_changes(
    proxy: FaultProxy, faulty_store: Bucket
) -> None:
    faulty_store.put("data/a", b"1")
    first = fetch(f"{faulty_store.uri}/data")
    assert fetch(f"{faulty_store.uri}/data/") == first
    assert proxy.count("GetObject") == 1
    faulty_store.put("data/a", b"2")

    assert (fetch(f"{faulty_store.uri}/data") / "a").read_bytes() == b"2"
    assert (first / "a").read_bytes() == b"1"


def test_markers_of_empty_folders_are_no_files(store: Bucket) -> None:
    store.put("data/", b"")
    store.put("data/empty/", b"")
    store.put("data/a", b"1")

    assert files_below(fetch(f"{store.uri}/data")) == {"a": b"1"}


@pytest.mark.parametrize(
    ("keys", "uri", "message"),
    [
        ([], "data", r"nothing is there \(s3://bucket-\d+/ is empty\)"),
        (["dat/a", "deta/b"], "data", r"nothing is there \(s3://bucket-\d+/ holds dat/, deta/\)"),
        (["data/"], "data/", "nothing is there"),
        (["data/x/"], "data", "nothing is there"),
        (["runs/data/a"], "runs/dota/", r"s3://bucket-\d+/runs holds data/"),
        (["a"], "a/", "nothing is there"),
    ],
    ids=["empty bucket", "misspelt", "empty prefix", "empty folders", "deep", "file as folder"],
)
def test_where_nothing_is_the_message_says_what_is_around(
    store: Bucket, keys: list[str], uri: str, message: str
) -> None:
    for key in keys:
        store.put(key, b"" if key.endswith("/") else b"1")

    with pytest.raises(Missing, match=message) as caught:
        fetch(f"{store.uri}/{uri}")
    assert str(caught.value).startswith(f"{store.uri}/{uri}: ")


def test_a_missing_bucket_is_named(store: Bucket) -> None:
    with pytest.raises(Missing, match=r"s3://no-such-bucket/data.*no such bucket") as caught:
        fetch("s3://no-such-bucket/data/")
    assert store.server.endpoint in str(caught.value)


@pytest.mark.parametrize("uri", ["s3://", "s3:///data", "s3://UPPER_case!/data", "s3://a b/c"])
def test_what_cannot_be_an_address_is_an_input_error(store: Bucket, uri: str) -> None:
    with pytest.raises(InputError, match="s3://"):
        fetch(uri)


def test_an_object_deleted_while_reading_is_named(proxy: FaultProxy, faulty_store: Bucket) -> None:
    for name in ("a", "b"):
        faulty_store.put(f"data/{name}", b"1")

    def delete_after_listing(request: object) -> object:
        if getattr(request, "operation", "") == "GetObject":
            faulty_store.delete("data/b")
        return request

    proxy.rewrite = delete_after_listing  # type: ignore[assignment]
    with pytest.raises(Missing, match=f"{faulty_store.uri}/data/b: no such object"):
        fetch(f"{faulty_store.uri}/data")


def test_a_large_object_deleted_while_reading_is_named(
    proxy: FaultProxy, faulty_store: Bucket
) -> None:
    faulty_store.put("data/large", bytes(LARGE_BYTES))
    proxy.schedule.set(
        Rule([Reply(404, b"<Error><Code>NoSuchKey</Code></Error>")], operations=["GetObject"])
    )

    with pytest.raises(Missing, match=f"{faulty_store.uri}/data/large: no such object"):
        fetch(f"{faulty_store.uri}/data")


def listing(*keys: str) -> Reply:
    """Returns a listing as stores give it whose names a file system cannot have."""
    contents = "".join(
        f'<Contents><Key>{key}</Key><Size>1</Size><ETag>"{number}"</ETag></Contents>'
        for number, key in enumerate(keys)
    )
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>{contents}"
        "</ListBucketResult>"
    )
    return Reply(200, body.encode())


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        (["data/../../etc/passwd"], "has the part '..'"),
        (["data//etc/passwd"], "has the part ''"),
        (["data/./a"], "has the part '.'"),
        (["data/a", "data/a/b"], "data/a: is a folder too"),
        (["data/a/b/c", "data/a/b"], "data/a/b: is a folder too"),
        ([f"data/{'x' * 256}"], "no file name can be"),
        (["data/a%00b"], "no file name can be"),
    ],
)
def test_keys_that_cannot_be_files_are_named_before_anything_is_fetched(
    proxy: FaultProxy, faulty_store: Bucket, keys: list[str], named: str
) -> None:
    proxy.schedule.set(Rule([listing(*keys)], operations=["ListObjectsV2"]))

    with pytest.raises(InputError, match=r"cannot become a file; rename") as caught:
        fetch(f"{faulty_store.uri}/data/")
    assert named in str(caught.value)
    assert proxy.count("GetObject") == 0


@pytest.mark.parametrize(
    "name",
    ["ü ñ/日本 x", "q?x=1&y#z", "per%20cent", "plus+", "new\nline", ".hidden", "a*b", "back\\slash",
     "<&>'\"", "x" * 255, "~tilde", "semi;colon,=@:!$()[]{}|^`"],
)  # fmt: skip
def test_strange_names_that_files_can_have_are_kept(store: Bucket, name: str) -> None:
    store.put(f"data/{name}", b"1")

    assert files_below(fetch(f"{store.uri}/data/")) == {name: b"1"}


def test_content_that_is_not_what_was_written_is_noticed(store: Bucket) -> None:
    digest = hashlib.sha256(b"weights").hexdigest()
    store.server.client().put_object(
        Bucket=store.name, Key="model/weights.bin", Body=b"weight5", Metadata={"sha256": digest}
    )

    with pytest.raises(Damaged, match=f"{store.uri}/model/weights.bin: what arrived"):
        fetch(f"{store.uri}/model/")


def test_a_stop_ends_a_long_transfer(s3: S3Server, bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("large", bytes(LARGE_BYTES))
    calls = iter(range(1000))

    def stop_after_a_while() -> None:
        if next(calls) > 3:
            raise Stopped("asked to stop")

    with (
        reaching(s3.endpoint, s3.environment(), tmp_path / "cache", stop_after_a_while),
        pytest.raises(Stopped),
    ):
        fetch(f"{bucket.uri}/large")
    assert not [path for path in (tmp_path / "cache" / "work").rglob("*") if path.is_file()]
    gc.collect()  # what is left of connections that were not closed is told here


def test_nothing_is_read_with_a_right_that_is_missing(s3: S3Server, bucket: Bucket) -> None:
    user = s3.user()
    bucket.put("data/a", b"1")
    for rights, right in (
        ((), "s3:ListBucket"),
        (("s3:GetObject",), "s3:ListBucket"),
        (("s3:ListBucket",), "s3:GetObject"),
    ):
        bucket.allow({user.access: rights})
        with (
            reaching(s3.endpoint, s3.environment(user)),
            pytest.raises(AccessError, match=f"{bucket.uri}/data.*right {right} is missing"),
        ):
            fetch(f"{bucket.uri}/data/")
