"""The test suite's own servers: what the other tests take for granted of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from tests.servers.fault_proxy import FaultProxy, fault_proxy
from tests.servers.faults import (
    ACCESS_DENIED,
    INTERNAL_ERROR,
    PASSING,
    SLOW_DOWN,
    Delay,
    Fault,
    FlippedBit,
    Reset,
    Rule,
    Stall,
    Truncation,
)
from tests.servers.s3_server import READ, REGION, WRITE, Bucket, Keys, S3Server
from tests.servers.sts import ROLE, SecurityTokenService, security_token_service, sessions_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CONTENT = bytes(range(256)) * 2048


def client_of(endpoint: str, keys: Keys, attempts: int = 1, session: str | None = None) -> S3Client:
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=keys.access,
        aws_secret_access_key=keys.secret,
        aws_session_token=session,
        config=Config(
            retries={"mode": "standard", "total_max_attempts": attempts},
            read_timeout=5,
            s3={"addressing_style": "path"},
        ),
    )


@pytest.fixture
def through(proxy: FaultProxy, s3: S3Server) -> Iterator[S3Client]:
    """A client without retries that goes through the proxy."""
    client = client_of(proxy.endpoint, s3.keys)
    yield client
    client.close()


def code_of(error: ClientError) -> str:
    return error.response["Error"]["Code"]


def test_rights_are_those_of_the_policy_and_may_be_withdrawn(s3: S3Server, bucket: Bucket) -> None:
    user = s3.user()
    client = s3.client(user)
    bucket.put("a", b"1")
    for rights, readable, writable in ((), False, False), (READ, True, False), (WRITE, False, True):
        bucket.allow({user.access: rights})
        for allowed, call in (
            (readable, lambda: client.get_object(Bucket=bucket.name, Key="a")["Body"].read()),
            (writable, lambda: client.put_object(Bucket=bucket.name, Key="b", Body=b"")),
        ):
            if allowed:
                call()
            else:
                with pytest.raises(ClientError) as caught:
                    call()
                assert code_of(caught.value) == "AccessDenied"


def test_unknown_users_and_wrong_secrets_are_refused(s3: S3Server, bucket: Bucket) -> None:
    removed = s3.user()
    s3.remove_user(removed)
    for keys, code in (
        (removed, "InvalidAccessKeyId"),
        (Keys(s3.keys.access, "wrong"), "SignatureDoesNotMatch"),
    ):
        with pytest.raises(ClientError) as caught:
            client_of(s3.endpoint, keys).list_objects_v2(Bucket=bucket.name)
        assert code_of(caught.value) == code


def test_of_sixteen_conditional_writers_one_succeeds(bucket: Bucket) -> None:
    client, together = bucket.server.client(), threading.Barrier(16)

    def write(number: int) -> bool:
        together.wait(timeout=30)
        try:
            client.put_object(
                Bucket=bucket.name, Key="claim", Body=str(number).encode(), IfNoneMatch="*"
            )
        except ClientError as error:
            assert code_of(error) in ("PreconditionFailed", "ConditionalRequestConflict")
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        won = [number for number, written in enumerate(pool.map(write, range(16))) if written]

    assert [bucket.get("claim")] == [str(number).encode() for number in won]


def test_the_server_with_tls_is_trusted_by_its_authority_only(s3_with_tls: S3Server) -> None:
    bucket = s3_with_tls.bucket()
    bucket.put("a", b"1")
    assert bucket.get("a") == b"1"
    with pytest.raises(BotoCoreError, match="CERTIFICATE_VERIFY_FAILED"):
        client_of(s3_with_tls.endpoint, s3_with_tls.keys).list_buckets()


def test_the_proxy_without_faults_changes_nothing(
    proxy: FaultProxy, through: S3Client, bucket: Bucket
) -> None:
    through.put_object(Bucket=bucket.name, Key="ü b/+%20c", Body=CONTENT)
    got = through.get_object(Bucket=bucket.name, Key="ü b/+%20c")

    assert got["Body"].read() == CONTENT
    assert [(call.operation, call.request.key, call.status) for call in proxy.calls] == [
        ("PutObject", "ü b/+%20c", 200),
        ("GetObject", "ü b/+%20c", 200),
    ]
    assert proxy.faulted() == 0


def test_the_proxy_knows_the_calls_of_a_large_upload(
    proxy: FaultProxy, through: S3Client, bucket: Bucket
) -> None:
    name = {"Bucket": bucket.name, "Key": "large"}
    upload = through.create_multipart_upload(Bucket=bucket.name, Key="large")["UploadId"]
    part = through.upload_part(**name, UploadId=upload, PartNumber=1, Body=CONTENT)
    through.complete_multipart_upload(
        **name,
        UploadId=upload,
        MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]},
    )
    upload = through.create_multipart_upload(Bucket=bucket.name, Key="large")["UploadId"]
    through.abort_multipart_upload(**name, UploadId=upload)
    through.head_object(**name)
    through.head_bucket(Bucket=bucket.name)
    through.list_objects_v2(Bucket=bucket.name)
    through.delete_object(**name)
    through.delete_objects(Bucket=bucket.name, Delete={"Objects": [{"Key": "large"}]})

    assert [call.operation for call in proxy.calls] == [
        *("CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"),
        *("CreateMultipartUpload", "AbortMultipartUpload"),
        *("HeadObject", "HeadBucket", "ListObjectsV2", "DeleteObject", "DeleteObjects"),
    ]


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        (Reset(), "Connection was closed"),
        (Reset(after=True), "Connection was closed"),
        (Truncation(), "IncompleteRead"),
        (Stall(0.1), "Connection broken"),
        (INTERNAL_ERROR, "InternalError"),
        (SLOW_DOWN, "SlowDown"),
        (ACCESS_DENIED, "AccessDenied"),
        (FlippedBit(), "checksum"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_a_fault_reaches_the_client_once_and_then_all_is_well(
    proxy: FaultProxy, through: S3Client, bucket: Bucket, fault: Fault, seen: str
) -> None:
    bucket.put("a", CONTENT)
    proxy.schedule.set(Rule([fault], operations=["GetObject"], times=1))

    def read() -> bytes:
        return through.get_object(Bucket=bucket.name, Key="a")["Body"].read()

    with pytest.raises(Exception, match=f"(?i){seen}"):
        read()
    assert read() == CONTENT
    assert proxy.faulted() == 1


def test_a_bit_flipped_on_the_way_up_is_noticed_by_the_server(
    proxy: FaultProxy, through: S3Client, bucket: Bucket
) -> None:
    proxy.schedule.set(Rule([FlippedBit(of_request=True)], operations=["PutObject"]))

    with pytest.raises(ClientError) as caught:
        through.put_object(Bucket=bucket.name, Key="a", Body=CONTENT)
    assert "Mismatch" in code_of(caught.value) or "Digest" in code_of(caught.value)
    assert bucket.keys() == []


def test_after_a_reset_answer_the_server_has_done_what_was_asked(
    proxy: FaultProxy, through: S3Client, bucket: Bucket
) -> None:
    proxy.schedule.set(Rule([Reset(after=True)]))

    with pytest.raises(BotoCoreError):
        through.put_object(Bucket=bucket.name, Key="a", Body=b"1")
    assert bucket.get("a") == b"1"


def test_a_fifth_of_the_calls_fails_and_retries_get_over_it(
    proxy: FaultProxy, s3: S3Server, bucket: Bucket
) -> None:
    proxy.schedule.set(Rule([fault for fault in PASSING if not isinstance(fault, Delay)], 0.2))
    client = client_of(proxy.endpoint, s3.keys, attempts=8)

    def write(number: int) -> None:
        client.put_object(Bucket=bucket.name, Key=str(number), Body=CONTENT[:number])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(200)))
    assert len(bucket.keys()) == 200
    assert 0.1 < proxy.faulted() / len(proxy.calls) < 0.3


@pytest.fixture
def identities(s3: S3Server, bucket: Bucket) -> Iterator[SecurityTokenService]:
    user = s3.user()
    bucket.allow({user.access: READ})
    with security_token_service(user) as service:
        service.identities.add("token-1")
        yield service


def test_a_web_identity_gets_a_session_that_the_server_accepts_until_it_expires(
    identities: SecurityTokenService, s3: S3Server, bucket: Bucket
) -> None:
    bucket.put("a b", CONTENT)
    sts = boto3.client(
        "sts",
        endpoint_url=identities.endpoint,
        region_name=REGION,
        aws_access_key_id="-",
        aws_secret_access_key="-",
    )

    def assume(token: str) -> str:
        given = sts.assume_role_with_web_identity(
            RoleArn=ROLE, RoleSessionName="test", WebIdentityToken=token
        )["Credentials"]
        assert given["AccessKeyId"] == identities.keys.access
        return given["SessionToken"]

    session = assume("token-1")
    with fault_proxy(s3.endpoint, rewrite=sessions_of(identities)) as proxy:
        client = client_of(proxy.endpoint, identities.keys, session=session)
        assert client.get_object(Bucket=bucket.name, Key="a b")["Body"].read() == CONTENT
        with pytest.raises(ClientError) as caught:
            client.put_object(Bucket=bucket.name, Key="c", Body=b"")
        assert code_of(caught.value) == "AccessDenied"
        identities.expire_sessions()
        with pytest.raises(ClientError) as caught:
            client.get_object(Bucket=bucket.name, Key="a b")
        assert code_of(caught.value) == "ExpiredToken"
        wrong = client_of(
            proxy.endpoint, Keys(identities.keys.access, "no"), session=assume("token-1")
        )
        with pytest.raises(ClientError) as caught:
            wrong.get_object(Bucket=bucket.name, Key="a b")
        assert code_of(caught.value) == "SignatureDoesNotMatch"
    with pytest.raises(ClientError, match="Token has expired"):
        assume("token-0")
