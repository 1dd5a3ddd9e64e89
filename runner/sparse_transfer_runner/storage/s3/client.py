"""Clients of the store: what spec and environment say, translated for boto3.

Credentials are boto3's to find: static keys in the environment (a Secret's), a web identity token
(workload identity), or a container's credentials; whatever it finds, it refreshes in time.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import boto3
from botocore import UNSIGNED
from botocore.config import Config

from sparse_transfer_api.spec import S3Storage, ServerSideEncryption

if TYPE_CHECKING:
    from botocore.credentials import Credentials
    from mypy_boto3_s3.client import S3Client

CONNECTIONS = 16
"""Requests at once. More bring nothing: the interpreter is busy with fewer already."""
_ATTEMPTS = 8
"""Of each request within some seconds, with exponential waits and jitter between them."""
_CONNECT_SECONDS = 10
_READ_SECONDS = 30
"""Without a single byte, after which a request is given up and made again."""
_DEFAULT_REGION = "us-east-1"
"""What stores other than Amazon's expect in a signature where nobody says."""
_ENCRYPTIONS = {
    ServerSideEncryption.AES256: "AES256",
    ServerSideEncryption.KMS: "aws:kms",
    ServerSideEncryption.DUAL_LAYER_KMS: "aws:kms:dsse",
}


def client(settings: S3Storage) -> S3Client:
    """Returns a client; the same one for the same settings, since making one takes a while."""
    return _client(settings.model_dump_json(by_alias=True), _environment(), exclusive=False)


def exclusive_client(settings: S3Storage) -> S3Client:
    """Returns a client whose uploads never replace an object, in one part or in many.

    The transfer manager does not know conditional writes; so the condition is added to the
    requests that make an object appear.
    """
    return _client(settings.model_dump_json(by_alias=True), _environment(), exclusive=True)


def credentials(settings: S3Storage) -> Credentials | None:
    """Returns what the clients of these settings sign with; None where they do not sign."""
    if settings.anonymous:
        return None
    return _session(settings.region, _environment()).get_credentials()


def encryption(settings: S3Storage) -> dict[str, Any]:
    """Returns the parameters that ask the store to encrypt what is written."""
    chosen = settings.server_side_encryption
    if chosen is None and settings.kms_key_id is not None:
        chosen = ServerSideEncryption.KMS
    if chosen is None:
        return {}
    key = {} if settings.kms_key_id is None else {"SSEKMSKeyId": settings.kms_key_id}
    return {"ServerSideEncryption": _ENCRYPTIONS[chosen], **key}


def _environment() -> tuple[tuple[str, str], ...]:
    """Returns what boto3 reads its settings from."""
    return tuple(sorted(item for item in os.environ.items() if item[0].startswith("AWS_")))


@lru_cache(maxsize=8)
def _client(
    settings_json: str, environment: tuple[tuple[str, str], ...], *, exclusive: bool
) -> S3Client:
    settings = S3Storage.model_validate_json(settings_json)
    session = _session(settings.region, environment)
    made = session.client("s3", endpoint_url=settings.endpoint, config=_config(settings))
    if exclusive:
        for operation in ("PutObject", "CompleteMultipartUpload"):
            made.meta.events.register(f"before-parameter-build.s3.{operation}", _unless_there)
    return made


@lru_cache(maxsize=8)
def _session(region: str | None, environment: tuple[tuple[str, str], ...]) -> boto3.session.Session:
    """Returns a session, whose credentials all its clients share and refresh."""
    # Clusters that hand out workload identities set AWS_REGION, which boto3 alone does not read.
    region = region or os.environ.get("AWS_REGION") or boto3.session.Session().region_name
    return boto3.session.Session(region_name=region or _DEFAULT_REGION)


def _config(settings: S3Storage) -> Config:
    proxy = settings.proxy
    return Config(
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        max_pool_connections=CONNECTIONS,
        tcp_keepalive=True,
        user_agent_extra="sparse-transfer",
        s3={
            "addressing_style": "path" if settings.path_style else "auto",
            # Bodies are covered by checksums, which are signed, in place of another digest.
            "payload_signing_enabled": False,
        },
        proxies={"http": proxy, "https": proxy} if proxy is not None else None,
        signature_version=UNSIGNED if settings.anonymous else None,
    )


def _unless_there(params: dict[str, Any], **_: object) -> None:
    params["IfNoneMatch"] = "*"
