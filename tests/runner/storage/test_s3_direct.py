"""Direct requests: they reach what botocore reaches, say the same, and leave the rest to it."""

from __future__ import annotations

import hashlib
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
import trustme
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.credentials import Credentials
from tests.runner.storage.reaching import files_below, reaching, write_files
from tests.servers.fault_proxy import FaultProxy, fault_proxy
from tests.servers.faults import (
    INTERNAL_ERROR,
    Fault,
    FlippedBit,
    Reply,
    Reset,
    Rule,
    Truncation,
    refusal,
)
from tests.servers.http_messages import Request
from tests.servers.processes import wait_until
from tests.servers.s3_server import READ, WRITE, Bucket, S3Server
from tests.servers.sts import security_token_service, sessions_of

from sparse_transfer_runner.storage import fetch, place_for
from sparse_transfer_runner.storage.s3 import S3Place
from sparse_transfer_runner.storage.s3.client import CONNECTIONS
from sparse_transfer_runner.storage.s3.direct import DirectRequests, direct_requests

KEYS = [
    *(
        "a b/c d",
        "plus+ +",
        "per%20cent%",
        "%2F",
        "a%2e%2e/b",
        "ü ñ/日本",
        "e\u0301",
        "😀",
        "a*b\\c",
    ),
    *("~tilde", "semi;colon,=@:!$()[]{}|^`", "q?x=1&y#z", "<&>'\"", "&amp;", "new\nline", "tab\t"),
    *("😀", "\x7f", " around ", "..a/b..", "a//b", "/lead", "./a", "a/./b", "a/../b"),
]
KEYS_OF_NOBODY = Credentials("a", "b")


def place_at(uri: str) -> tuple[S3Place, DirectRequests]:
    """Returns a place and its direct requests."""
    place = place_for(uri)
    assert isinstance(place, S3Place) and place.bucket.direct is not None
    return place, place.bucket.direct


# ---- addresses ---------------------------------------------------------------------------------


@pytest.mark.parametrize("key", KEYS)
def test_the_same_object_is_reached_directly_and_through_botocore(
    proxy: FaultProxy, faulty_store: Bucket, tmp_path: Path, key: str
) -> None:
    place, direct = place_at(faulty_store.uri)

    assert direct.put(key, b"directly", {"IfNoneMatch": "*"})
    assert not direct.put(key, b"twice", {"IfNoneMatch": "*"})
    assert faulty_store.get(key) == place.bucket.read(key) == b"directly"
    faulty_store.put(key, b"by botocore")
    arrived = direct.get(key, tmp_path / "file")

    assert arrived is not None
    assert arrived.sha256 == hashlib.sha256(b"by botocore").hexdigest()
    assert (tmp_path / "file").read_bytes() == b"by botocore"
    assert direct.usable
    assert len({call.request.target for call in proxy.calls}) == 1


@pytest.mark.parametrize(
    ("endpoint", "style", "region"),
    [
        (None, "auto", "us-east-1"),
        (None, "auto", "eu-central-1"),
        (None, "path", "eu-central-1"),
        (None, "auto", "aws-global"),
        ("https://store.test:9000", "path", "eu-1"),
        ("https://STORE.test:443/below/", "path", "eu-1"),
        ("https://store.test", "virtual", "eu-1"),
        ("http://[::1]:9000", "auto", "eu-1"),
    ],
)
@pytest.mark.parametrize("bucket", ["reviews", "re.vi.ews"])
def test_addresses_and_regions_are_those_of_botocore(
    endpoint: str | None, style: str, region: str, bucket: str
) -> None:
    with client_of(endpoint, style, region) as client:
        direct = direct_requests(client, bucket, KEYS_OF_NOBODY, CONNECTIONS)
        assert direct is not None
        seen: list[str] = []

        def see(request: Any, **_: object) -> None:
            seen.extend((request.url, request.headers["Authorization"].decode()))
            raise InterruptedError

        client.meta.events.register("before-send.s3.GetObject", see)
        for key in KEYS:
            seen.clear()
            with pytest.raises(InterruptedError):
                client.get_object(Bucket=bucket, Key=key)
            assert direct.server + direct.path(key) == seen[0]
            assert f"/{direct.region}/s3/aws4_request" in seen[1]


def test_a_bucket_that_is_signed_for_in_another_way_is_left_to_botocore() -> None:
    with client_of(None, "auto", "us-east-1") as client:
        assert direct_requests(client, "b--use1-az4--x-s3", KEYS_OF_NOBODY, CONNECTIONS) is None


@contextmanager
def client_of(endpoint: str | None, style: str, region: str) -> Iterator[Any]:
    """Yields a client that reaches nobody."""
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name=region,
        aws_access_key_id=KEYS_OF_NOBODY.access_key,
        aws_secret_access_key=KEYS_OF_NOBODY.secret_key,
        config=Config(s3={"addressing_style": style}),  # type: ignore[typeddict-item]
    )
    try:
        yield client
    finally:
        client.close()


def test_addresses_that_are_learned_at_once_are_each_of_its_own_bucket() -> None:
    buckets = [f"bucket-{number}" for number in range(4)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with client_of("http://store.test", "path", "eu-1") as client:
            for _ in range(10):
                direct_requests.cache_clear()
                together = threading.Barrier(len(buckets))

                def learn(bucket: str, together: threading.Barrier = together) -> str:
                    together.wait(timeout=30)
                    direct = direct_requests(client, bucket, KEYS_OF_NOBODY, CONNECTIONS)
                    assert direct is not None
                    return direct.folder

                with ThreadPoolExecutor(len(buckets)) as pool:
                    assert list(pool.map(learn, buckets)) == [f"/{each}/" for each in buckets]
    finally:
        sys.setswitchinterval(interval)


# ---- what is said ------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"weights"], ids=["empty", "some"])
@pytest.mark.parametrize(
    "asked",
    [{}, {"server_side_encryption": "AES256"}, {"kms_key_id": "arn:aws:kms:eu-1:1:key/x-y"}],
    ids=["plain", "AES256", "KMS"],
)
def test_a_file_is_sent_with_the_headers_that_botocore_sends(
    proxy: FaultProxy, s3: S3Server, bucket: Bucket, tmp_path: Path, content: bytes, asked: Any
) -> None:
    entries = write_files(tmp_path, {"model.bin": content})
    with reaching(proxy.endpoint, s3.environment(), **asked):
        place, direct = place_at(bucket.uri)
        assert place.publish(tmp_path, entries) == []
        assert direct.usable
        direct.usable = False
        place.remove(["model.bin"])
        assert place.publish(tmp_path, entries) == []

    directly, by_botocore = (
        said(call.request) for call in proxy.calls if call.operation == "PutObject"
    )
    assert directly == by_botocore
    assert {"if-none-match", "x-amz-meta-writer", "x-amz-checksum-sha256"} <= directly.keys()


def said(request: Request) -> dict[str, str]:
    """Returns what a request says of the object; the rest is about the connection."""
    about_transport = {
        *("accept-encoding", "amz-sdk-invocation-id", "amz-sdk-request", "authorization", "expect"),
        *("user-agent", "x-amz-content-sha256", "x-amz-date", "x-amz-meta-writer"),
    }
    signed = request.headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0]
    kept = {n: v for n, v in request.headers.items() if n not in about_transport}
    return {**dict.fromkeys(signed.split(";"), "signed"), **kept}


# ---- what is left to botocore ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "usable"),
    [
        (refusal(301, "PermanentRedirect"), False),
        (refusal(307, "TemporaryRedirect"), False),
        (refusal(400, "AuthorizationHeaderMalformed"), False),
        (refusal(403, "SignatureDoesNotMatch"), False),
        (Reply(204), False),
        (Reply(206, b"part"), False),
        (Reply(304), False),
        (refusal(404, "NoSuchKey"), True),
        (refusal(409, "ConditionalRequestConflict"), True),
        (refusal(412, "PreconditionFailed"), True),
        (refusal(429, "TooManyRequests"), True),
        (INTERNAL_ERROR, True),
        (Reset(), True),
        (Reset(after=True), True),
        (Truncation(), True),
    ],
    ids=lambda value: str(getattr(value, "status", value)),
)
def test_what_does_not_go_well_directly_goes_through_botocore(
    proxy: FaultProxy, faulty_store: Bucket, tmp_path: Path, fault: Fault, usable: bool
) -> None:
    entries = write_files(tmp_path / "work", {"model.bin": b"weights"})
    (tmp_path / "copy").mkdir()
    place, direct = place_at(faulty_store.uri)

    for rule in ("PutObject", "GetObject"):
        proxy.schedule.set(Rule([fault], operations=[rule], times=1))
        if rule == "PutObject":
            assert place.publish(tmp_path / "work", entries) == []
        else:
            place.get(entries, tmp_path / "copy")
        assert direct.usable == usable
        direct.usable = True

    assert files_below(tmp_path / "copy") == {"model.bin": b"weights"}
    assert proxy.faulted() == 2


@pytest.mark.parametrize("algorithm", ["CRC32", "SHA256"])
def test_a_bit_that_flips_on_the_way_from_the_object_of_another_is_noticed(
    proxy: FaultProxy, faulty_store: Bucket, algorithm: Any
) -> None:
    content = bytes(6 << 20)
    faulty_store.server.client().put_object(
        Bucket=faulty_store.name, Key="data/a", Body=content, ChecksumAlgorithm=algorithm
    )
    proxy.schedule.set(Rule([FlippedBit()], operations=["GetObject"], times=1))

    assert fetch(f"{faulty_store.uri}/data/a").read_bytes() == content
    assert proxy.count("GetObject") == 2


@pytest.mark.parametrize("algorithm", ["CRC32", "SHA256"])
def test_checksums_of_parts_are_not_taken_for_those_of_the_object(
    proxy: FaultProxy, faulty_store: Bucket, algorithm: str
) -> None:
    content = bytes(6 << 20)
    faulty_store.server.client().upload_fileobj(
        BytesIO(content),
        faulty_store.name,
        "data/a",
        ExtraArgs={"ChecksumAlgorithm": algorithm},
        Config=TransferConfig(multipart_threshold=1, multipart_chunksize=5 << 20),
    )

    assert fetch(f"{faulty_store.uri}/data/a").read_bytes() == content
    assert proxy.count("GetObject") == 1


def test_a_workload_identity_is_renewed_for_direct_requests(
    s3: S3Server, bucket: Bucket, tmp_path: Path
) -> None:
    user = s3.user()
    bucket.allow({user.access: (*READ, *WRITE)})
    entries = write_files(tmp_path / "work", {f"{number}": b"1" for number in range(5)})
    (tmp_path / "copy").mkdir()
    token = tmp_path / "token"
    token.write_text("token")
    with (
        security_token_service(user) as service,
        fault_proxy(s3.endpoint, rewrite=sessions_of(service)) as sessions,
        reaching(sessions.endpoint, service.environment(token)),
    ):
        service.identities = {"token"}
        service.lifetime = timedelta(seconds=30)  # renewed before each request
        place, direct = place_at(bucket.uri)
        assert service.presented == []
        assert place.publish(tmp_path / "work", entries) == []
        place.get(entries, tmp_path / "copy")

        assert direct.usable
        assert len(sessions.calls) == 2 * len(entries)
        assert len(service.presented) >= len(sessions.calls)
        # A service that fails is asked again, as for all other requests.
        service.identities.clear()
        assert direct.get("1", tmp_path / "file") is None


def test_direct_requests_trust_the_authorities_that_botocore_trusts(
    s3_with_tls: S3Server, tmp_path: Path
) -> None:
    bucket = s3_with_tls.bucket()
    wrong = tmp_path / "wrong.pem"
    trustme.CA().cert_pem.write_to_path(wrong)

    with reaching(s3_with_tls.endpoint, s3_with_tls.environment()):
        _, direct = place_at(bucket.uri)
        assert direct.put("a", b"1", {})
        assert direct.get("a", tmp_path / "a") is not None
    with reaching(s3_with_tls.endpoint, {**s3_with_tls.environment(), "AWS_CA_BUNDLE": str(wrong)}):
        _, direct = place_at(bucket.uri)
        assert not direct.put("b", b"1", {})
        assert direct.get("a", tmp_path / "b") is None
        assert not direct.usable
    assert bucket.keys() == ["a"]
    assert not (tmp_path / "b").exists()


def test_connections_are_kept_and_those_of_bodies_given_up_are_closed(
    proxy: FaultProxy, faulty_store: Bucket, tmp_path: Path
) -> None:
    _, direct = place_at(faulty_store.uri)
    for number in range(5):
        assert direct.put(str(number), b"1" * number, {})
        assert direct.get(str(number), tmp_path / "file") is not None
    assert direct.pool.num_connections == 1

    faulty_store.put("large", bytes(8 << 20))
    for fault in (refusal(403, "AccessDenied"), Truncation(), None):
        proxy.schedule.set(*([Rule([fault], operations=["GetObject"])] if fault else []))
        direct.usable = True
        if fault is not None:
            assert direct.get("large", tmp_path / "file") is None
        else:
            with pytest.raises(IsADirectoryError):  # whatever keeps it from being written
                direct.get("large", tmp_path)
    proxy.schedule.set()
    assert direct.put("after", b"1", {})
    wait_until(lambda: open_connections(proxy.endpoint) == 1, "the end of what was given up")


def open_connections(endpoint: str) -> int:
    """Returns how many connections this process's threads have to a loopback server."""
    port = urlsplit(endpoint).port
    assert port is not None
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    established = "01"
    return sum(row[2].endswith(f":{port:04X}") and row[3] == established for row in rows)


@pytest.mark.parametrize(
    ("passed_over", "through"),
    [("", True), ("127.0.0.1", False), ("localhost,127.0.0.1", False), ("elsewhere.test", True)],
)
def test_a_proxy_of_the_environment_sees_all_requests_or_none(
    proxy: FaultProxy,
    s3: S3Server,
    bucket: Bucket,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    passed_over: str,
    through: bool,
) -> None:
    set_proxies(monkeypatch, HTTP_PROXY=proxy.endpoint, NO_PROXY=passed_over)
    entries = write_files(tmp_path, {"small": b"1", "large": bytes(9 << 20)})
    with reaching(s3.endpoint, s3.environment()):
        place_for(bucket.uri).publish(tmp_path, entries)
        assert files_below(fetch(f"{bucket.uri}/"))["small"] == b"1"

    seen = {call.operation for call in proxy.calls}
    every = {"PutObject", "UploadPart", "ListObjectsV2", "HeadObject", "GetObject"}
    assert every <= seen if through else not seen


def test_exceptions_from_proxies_that_are_not_there_do_no_harm(
    store: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_proxies(monkeypatch, NO_PROXY="elsewhere.test", HTTPS_PROXY="http://nobody.test")

    _, direct = place_at(store.uri)

    assert direct.put("a", b"1", {})
    assert store.get("a") == b"1"


def set_proxies(monkeypatch: pytest.MonkeyPatch, **chosen: str) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
        if chosen.get(name):
            monkeypatch.setenv(name, chosen[name])
