"""Getting in: credentials, identities, rights, regions, certificates, proxies, encryption."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import botocore.auth
import pytest
from botocore.compat import HAS_CRT
from tests.runner.storage.reaching import reaching, write_files
from tests.servers.fault_proxy import FaultProxy, fault_proxy
from tests.servers.faults import Reply, Rule, refusal
from tests.servers.http_messages import Request
from tests.servers.processes import free_port
from tests.servers.s3_server import HOST, READ, REGION, WRITE, Bucket, Keys, S3Server
from tests.servers.sts import SecurityTokenService, security_token_service, sessions_of

from sparse_transfer_api.errors import AccessError, InputError, SparseTransferError, Transient
from sparse_transfer_api.spec import Storage
from sparse_transfer_runner.storage import fetch, place_for
from sparse_transfer_runner.storage.protocol import Missing

LARGE = bytes(9 << 20)


@pytest.fixture(autouse=True)
def reviews(bucket: Bucket) -> None:
    bucket.put("data/train.csv", b"text,label\n")


# ---- credentials -------------------------------------------------------------------------------


def test_without_credentials_the_ways_to_give_them_are_said(s3: S3Server, bucket: Bucket) -> None:
    with (
        reaching(s3.endpoint, {"AWS_REGION": REGION}),
        pytest.raises(AccessError, match="no complete credentials") as caught,
    ):
        fetch(f"{bucket.uri}/data/")
    for way in ("AWS_ACCESS_KEY_ID", "spec.credentials", "workload identity", "anonymous"):
        assert way in str(caught.value)


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"AWS_ACCESS_KEY_ID": "x"}, r"no complete credentials.*AWS_SECRET_ACCESS_KEY"),
        ({"AWS_PROFILE": "x"}, r"credentials could not be had.*profile \(x\)"),
    ],
    ids=["half", "profile"],
)
def test_credentials_that_are_not_whole_are_told(
    s3: S3Server, bucket: Bucket, environment: dict[str, str], said: str
) -> None:
    with reaching(s3.endpoint, environment), pytest.raises(AccessError, match=said):
        fetch(f"{bucket.uri}/data/")


@pytest.mark.parametrize("access", ["administrator", "nobody"], ids=["secret", "key"])
def test_wrong_credentials_are_told_from_missing_rights(
    s3: S3Server, bucket: Bucket, access: str
) -> None:
    with (
        reaching(s3.endpoint, s3.environment(Keys(access, "wrong"))),
        pytest.raises(AccessError, match="does not know these credentials") as caught,
    ):
        fetch(f"{bucket.uri}/data/")
    assert "wrong" not in str(caught.value)


def test_a_public_bucket_needs_no_credentials_when_asked_anonymously(
    s3: S3Server, bucket: Bucket
) -> None:
    with reaching(s3.endpoint, {"AWS_REGION": REGION}, anonymous=True):
        with pytest.raises(AccessError, match=r"s3:ListBucket is missing"):
            fetch(f"{bucket.uri}/data/")
        bucket.allow({"*": READ})
        assert (fetch(f"{bucket.uri}/data/") / "train.csv").is_file()


def test_anonymous_reading_ignores_credentials_that_are_there(s3: S3Server, bucket: Bucket) -> None:
    bucket.allow({"*": READ})
    with reaching(s3.endpoint, s3.environment(Keys("nobody", "wrong")), anonymous=True):
        assert (fetch(f"{bucket.uri}/data/") / "train.csv").is_file()


def test_credentials_that_change_are_used_at_once(s3: S3Server, bucket: Bucket) -> None:
    with reaching(s3.endpoint, s3.environment(Keys("nobody"))), pytest.raises(AccessError):
        fetch(f"{bucket.uri}/data/")
    with reaching(s3.endpoint, s3.environment()):
        fetch(f"{bucket.uri}/data/")


# ---- workload identity -------------------------------------------------------------------------


@pytest.fixture
def identities(s3: S3Server, bucket: Bucket) -> Iterator[SecurityTokenService]:
    user = s3.user()
    bucket.allow({user.access: (*READ, *WRITE)})
    with security_token_service(user) as service:
        yield service


@pytest.fixture
def sessions(identities: SecurityTokenService, s3: S3Server) -> Iterator[FaultProxy]:
    """The store as those see it who come with a session."""
    with fault_proxy(s3.endpoint, rewrite=sessions_of(identities)) as running:
        yield running


def test_a_workload_identity_is_exchanged_and_renewed_from_its_file(
    identities: SecurityTokenService, sessions: FaultProxy, bucket: Bucket, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    # Clients renew what has less than some minutes left: here, before each request.
    identities.lifetime = timedelta(seconds=30)
    with reaching(sessions.endpoint, identities.environment(token)):
        for text in ("token-1", "token-2"):
            token.write_text(text)
            identities.identities = {text}
            place_for(f"{bucket.uri}/runs").create(f"{text}.json", b"{}")
    assert bucket.keys("runs/") == ["runs/token-1.json", "runs/token-2.json"]
    assert list(dict.fromkeys(identities.presented)) == ["token-1", "token-2"]


def test_a_workload_identity_that_is_refused_is_told(
    identities: SecurityTokenService, sessions: FaultProxy, bucket: Bucket, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("of another cluster")
    with (
        reaching(sessions.endpoint, identities.environment(token)),
        pytest.raises(AccessError, match="workload identity was refused; check the role"),
    ):
        fetch(f"{bucket.uri}/data/")


def test_a_token_file_that_is_missing_is_named(
    identities: SecurityTokenService, sessions: FaultProxy, bucket: Bucket, tmp_path: Path
) -> None:
    with (
        reaching(sessions.endpoint, identities.environment(tmp_path / "no-token")),
        pytest.raises(
            AccessError, match=r"TOKEN_FILE=.*no-token: .*check that the cluster mounts it"
        ),
    ):
        fetch(f"{bucket.uri}/data/")


def test_an_expired_session_token_is_told(
    identities: SecurityTokenService, sessions: FaultProxy, bucket: Bucket
) -> None:
    environment = {**identities.keys.environment(), "AWS_SESSION_TOKEN": "of yesterday"}
    with (
        reaching(sessions.endpoint, environment, region=REGION),
        pytest.raises(AccessError, match="not valid any more; renew AWS_SESSION_TOKEN"),
    ):
        fetch(f"{bucket.uri}/data/")


# ---- rights ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rights", "missing"),
    [
        (WRITE, "s3:ListBucket"),
        (("s3:ListBucket", "s3:PutObject", "s3:DeleteObject"), "s3:GetObject"),
        (READ, "s3:PutObject"),
        ((*READ, "s3:PutObject"), "s3:DeleteObject"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("content", [b"1", LARGE], ids=["small", "large"])
def test_the_right_that_is_missing_is_named_with_the_object(
    s3: S3Server,
    bucket: Bucket,
    tmp_path: Path,
    rights: tuple[str, ...],
    missing: str,
    content: bytes,
) -> None:
    user = s3.user()
    bucket.allow({user.access: rights})
    entries = write_files(tmp_path / "work", {"model.bin": content})
    bucket.put("runs/old/model.bin", content)

    def use() -> None:
        place = place_for(f"{bucket.uri}/runs")
        place.files()
        place.below("old").get(entries, tmp_path)
        place.publish(tmp_path / "work", entries)
        place.remove(["model.bin"])

    with (
        reaching(s3.endpoint, s3.environment(user)),
        pytest.raises(AccessError, match=rf"{bucket.uri}/runs.*right {missing} is missing"),
    ):
        use()


def test_a_checkpoint_that_may_not_be_written_is_told_so(s3: S3Server, bucket: Bucket) -> None:
    user = s3.user()
    bucket.allow({user.access: READ})
    with reaching(s3.endpoint, s3.environment(user)):
        place = place_for(f"{bucket.uri}/runs/checkpoints")
        for content in (b"1", LARGE):
            with pytest.raises(AccessError, match=r"step-1.pt.*s3:PutObject is missing"):
                place.put("step-1.pt", lambda path, content=content: path.write_bytes(content))
        with pytest.raises(AccessError, match=r"1.json.*s3:PutObject is missing"):
            place.create("1.json", b"{}")


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (refusal(404, "NoSuchKey"), Missing, "no such object"),
        (refusal(404, "NoSuchBucket"), Missing, "no such bucket"),
        (refusal(403, "AccessDenied"), AccessError, "s3:GetObject is missing.*s3:ListBucket"),
        (refusal(403, "RequestTimeTooSkewed"), AccessError, "clock of this machine"),
        (refusal(400, "ExpiredToken"), AccessError, "renew AWS_SESSION_TOKEN"),
        (refusal(403, "AllAccessDisabled"), AccessError, "access denied"),
        (refusal(400, "KMS.DisabledException"), AccessError, "kmsKeyId"),
        (refusal(400, "InvalidArgument"), InputError, "refused by"),
        (refusal(418, "Teapot"), Transient, "Teapot"),
    ],
    ids=lambda value: "" if not isinstance(value, str) else value[:20],
)
def test_answers_are_told_apart(
    proxy: FaultProxy,
    s3: S3Server,
    bucket: Bucket,
    answer: Reply,
    error: type[SparseTransferError],
    said: str,
) -> None:
    proxy.schedule.set(Rule([answer], operations=["GetObject"]))
    with (
        reaching(proxy.endpoint, s3.environment()),
        pytest.raises(error, match=rf"{bucket.uri}/data/train.csv: .*{said}") as caught,
    ):
        fetch(f"{bucket.uri}/data/")
    assert type(caught.value) is error
    # Once directly, and once through botocore, which says what the answer means.
    assert proxy.count("GetObject") == 2


# ---- clocks and regions ------------------------------------------------------------------------


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_is_wrong_is_told(
    s3: S3Server, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    now = botocore.auth.get_current_datetime
    # Where Amazon's native library is installed, it is what signs.
    signers = ["botocore.auth", *(["botocore.crt.auth"] if HAS_CRT else [])]
    for signer in signers:
        monkeypatch.setattr(
            f"{signer}.get_current_datetime",
            lambda *args, **options: now(*args, **options) + timedelta(hours=hours),
        )
    with (
        reaching(s3.endpoint, s3.environment()),
        pytest.raises(AccessError, match="the clock of this machine differs too much"),
    ):
        fetch(f"{bucket.uri}/data/")


def test_a_wrong_region_that_the_store_corrects_does_no_harm(s3: S3Server, bucket: Bucket) -> None:
    with reaching(s3.endpoint, s3.environment(), region="mars-north-1"):
        fetch(f"{bucket.uri}/data/")


def test_a_wrong_region_that_the_store_does_not_correct_is_told(
    proxy: FaultProxy, s3: S3Server, bucket: Bucket
) -> None:
    redirect = refusal(301, "PermanentRedirect")
    proxy.schedule.set(Rule([redirect], operations=["ListObjectsV2"]))
    with (
        reaching(proxy.endpoint, s3.environment()),
        pytest.raises(AccessError, match=r"another region; set spec.storage.s3.region"),
    ):
        fetch(f"{bucket.uri}/data/")


@pytest.mark.parametrize("field", ["AWS_REGION", "AWS_DEFAULT_REGION", "region"])
def test_the_region_comes_from_spec_or_environment(
    proxy: FaultProxy, s3: S3Server, bucket: Bucket, field: str
) -> None:
    chosen = {"region": REGION} if field == "region" else {}
    environment = {**s3.keys.environment(), **({} if chosen else {field: REGION})}
    with reaching(proxy.endpoint, environment, **chosen):
        fetch(f"{bucket.uri}/data/")
    assert [call.status for call in proxy.calls] == [200, 200]


# ---- endpoints, certificates, proxies ----------------------------------------------------------


def test_an_endpoint_where_nobody_listens_is_passing_trouble(
    s3: S3Server, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    _hurry(monkeypatch)
    endpoint = f"http://{HOST}:{free_port()}"
    with (
        reaching(endpoint, s3.environment()),
        pytest.raises(Transient, match=f"{endpoint} cannot be reached; check spec.storage.s3"),
    ):
        fetch(f"{bucket.uri}/data/")


def test_a_certificate_nobody_vouches_for_is_refused_until_its_authority_is_given(
    s3_with_tls: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _hurry(monkeypatch)
    bucket = s3_with_tls.bucket()
    environment = s3_with_tls.environment()
    authority = environment.pop("AWS_CA_BUNDLE")
    entries = write_files(tmp_path, {"small": b"1", "large": LARGE})
    with reaching(s3_with_tls.endpoint, environment), pytest.raises(AccessError) as caught:
        place_for(bucket.uri).files()
    for part in ("is not trusted", "spec.storage.s3.caBundle", "AWS_CA_BUNDLE"):
        assert part in str(caught.value)
    with reaching(s3_with_tls.endpoint, {**environment, "AWS_CA_BUNDLE": authority}):
        place = place_for(bucket.uri)
        assert place.publish(tmp_path, entries) == []
        (tmp_path / "copy").mkdir()
        place.get(entries, tmp_path / "copy")


def test_a_ca_bundle_that_is_missing_is_named(
    s3_with_tls: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _hurry(monkeypatch)
    environment = {**s3_with_tls.environment(), "AWS_CA_BUNDLE": str(tmp_path / "no.pem")}
    with (
        reaching(s3_with_tls.endpoint, environment),
        pytest.raises(AccessError, match=r"AWS_CA_BUNDLE=.*no\.pem: no such file"),
    ):
        place_for("s3://bucket").files()


def test_all_calls_go_through_a_proxy_where_one_is_set(
    proxy: FaultProxy, s3: S3Server, bucket: Bucket
) -> None:
    with reaching("http://store.invalid:9000", s3.environment(), proxy=proxy.endpoint):
        fetch(f"{bucket.uri}/data/")
        place_for(bucket.uri).create("a", b"1")
    assert [call.operation for call in proxy.calls] == ["ListObjectsV2", "GetObject", "PutObject"]
    assert {call.request.headers["host"] for call in proxy.calls} == {"store.invalid:9000"}


def test_tls_goes_through_a_proxy_by_a_tunnel(s3_with_tls: S3Server, tmp_path: Path) -> None:
    bucket = s3_with_tls.bucket()
    bucket.put("data/a", b"1")
    upstream = s3_with_tls.endpoint.replace("https", "http")
    with (
        fault_proxy(upstream) as proxy,
        reaching(s3_with_tls.endpoint, s3_with_tls.environment(), tmp_path, proxy=proxy.endpoint),
    ):
        assert (fetch(f"{bucket.uri}/data") / "a").read_bytes() == b"1"
    assert {call.request.method for call in proxy.calls} == {"CONNECT"}


def test_a_proxy_that_is_not_there_is_named(
    s3: S3Server, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    _hurry(monkeypatch)
    missing = f"http://{HOST}:{free_port()}"
    with (
        reaching(s3.endpoint, s3.environment(), proxy=missing),
        pytest.raises(Transient, match=r"spec.storage.s3.proxy") as caught,
    ):
        fetch(f"{bucket.uri}/data/")
    assert missing in str(caught.value)


# ---- encryption --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "algorithm", "key"),
    [
        ({}, None, None),
        ({"server_side_encryption": "AES256"}, "AES256", None),
        ({"server_side_encryption": "KMS"}, "aws:kms", None),
        ({"kms_key_id": "key-1"}, "aws:kms", "key-1"),
        (
            {"server_side_encryption": "DualLayerKMS", "kms_key_id": "key-1"},
            "aws:kms:dsse",
            "key-1",
        ),
    ],
    ids=["none", "AES256", "KMS", "key", "dual"],
)
def test_whatever_makes_an_object_asks_for_its_encryption(
    proxy: FaultProxy,
    s3: S3Server,
    bucket: Bucket,
    tmp_path: Path,
    asked: dict[str, str],
    algorithm: str | None,
    key: str | None,
) -> None:
    entries = write_files(tmp_path, {"small": b"1", "large": LARGE})
    with reaching(proxy.endpoint, s3.environment(), **asked):
        place = place_for(bucket.uri)
        place.publish(tmp_path, entries)
        place.create("claim", b"1")
        place.put("checkpoint", lambda path: path.write_bytes(LARGE))
        place.read("claim")

    def seen(request: Request) -> tuple[str | None, str | None]:
        prefix = "x-amz-server-side-encryption"
        headers = request.headers
        return headers.get(prefix), headers.get(f"{prefix}-aws-kms-key-id")

    makers = ("PutObject", "CreateMultipartUpload")
    made = [call for call in proxy.calls if call.operation in makers]
    assert len(made) == 4
    assert {seen(call.request) for call in made} == {(algorithm, key)}
    others = [call for call in proxy.calls if call.operation not in makers]
    assert {seen(call.request) for call in others} == {(None, None)}


def test_the_specs_own_words_lead_to_a_store(s3: S3Server, bucket: Bucket) -> None:
    spec = Storage.model_validate({"s3": {"endpoint": s3.endpoint, "pathStyle": True}})
    assert spec.s3.endpoint is not None
    with reaching(spec.s3.endpoint, s3.environment(), path_style=spec.s3.path_style):
        fetch(f"{bucket.uri}/data/")


def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the waits between tries pass at once."""
    monkeypatch.setattr(time, "sleep", lambda _: None)
