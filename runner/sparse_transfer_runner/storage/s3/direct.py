"""Small objects by requests of our own: signed by botocore, sent by urllib3, and nothing between.

What botocore does around a request (rules of endpoints, events, parsing, retries) takes the
interpreter three times as long as a small object itself. A direct request that does not go well
says so and nothing more: the same request is then made through botocore, which knows redirects,
other regions, retries and what errors mean.
"""

from __future__ import annotations

import base64
import hashlib
import os
import zlib
from collections.abc import Mapping
from contextlib import closing
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError, ClientError
from botocore.httpsession import get_cert_path
from botocore.utils import get_environ_proxies, percent_encode
from urllib3 import HTTPConnectionPool, PoolManager, Timeout
from urllib3.exceptions import HTTPError, SSLError

from .objects import Arrived, lowered

if TYPE_CHECKING:
    from botocore.credentials import Credentials
    from mypy_boto3_s3.client import S3Client

_PIECE_BYTES = 256 << 10
_UNESCAPED = "/~"
"""In the path of an object's address, as the signature counts it."""
_PASSING = frozenset({404, 408, 409, 412, 429})
"""Answers that are about one object or one moment; so are those from 500 on."""
_DESCRIPTION = "x-amz-meta-"
_WITH_CHECKSUMS = {"x-amz-checksum-mode": "ENABLED"}
"""Asks for those that the store keeps of an object, as botocore does."""
_HEADERS = {
    "ServerSideEncryption": "x-amz-server-side-encryption",
    "SSEKMSKeyId": "x-amz-server-side-encryption-aws-kms-key-id",
    "ChecksumSHA256": "x-amz-checksum-sha256",
    "IfNoneMatch": "If-None-Match",
}
"""What the parameters of a request are on the wire."""


@dataclass
class DirectRequests:
    """Requests to one bucket.

    Args:
        server: The part of all addresses before the path, such as ``https://HOST``.
        folder: The path of the bucket's objects, with a slash at its end.
        region: That signatures name.
        credentials: Refreshed by botocore.
        pool: Of connections to the server.
        usable: Cleared once the store refuses requests of this kind for good.
    """

    server: str
    folder: str
    region: str
    credentials: Credentials
    pool: HTTPConnectionPool
    usable: bool = field(default=True)

    def get(self, key: str, target: Path) -> Arrived | None:
        """Fetches an object into a file; None where that has to be asked for through botocore."""
        if not self.usable:
            return None
        digest, crc = hashlib.sha256(), 0
        try:
            answer = self._answer("GET", key, None, _WITH_CHECKSUMS)
            # A body that is not read to its end keeps its connection.
            with closing(answer):
                if not self._good(answer.status):
                    return None
                with target.open("wb") as file:
                    for piece in answer.stream(_PIECE_BYTES, decode_content=False):
                        digest.update(piece)
                        crc = zlib.crc32(piece, crc)
                        file.write(piece)
                answer.release_conn()
        except (BotoCoreError, ClientError, HTTPError) as error:
            self._failed(error)
            return None
        if not _as_stored(answer.headers, digest.digest(), crc):
            return None
        metadata = {
            name[len(_DESCRIPTION) :]: value
            for name, value in answer.headers.items()
            if name.lower().startswith(_DESCRIPTION)
        }
        return Arrived(digest.hexdigest(), lowered(metadata), answer.headers.get("ETag"))

    def put(self, key: str, content: bytes, parameters: Mapping[str, Any]) -> bool:
        """Writes an object.

        Args:
            key: The object's.
            content: All of it.
            parameters: As boto3's ``put_object`` takes them; only some are known here.

        Returns:
            Whether it was written for sure; if not, that has to be asked for through botocore.
        """
        if not self.usable:
            return False
        headers = {
            f"{_DESCRIPTION}{name}": value for name, value in parameters.get("Metadata", {}).items()
        }
        for name in parameters.keys() - {"Metadata"}:
            headers[_HEADERS[name]] = parameters[name]
        try:
            answer = self._answer("PUT", key, content, headers)
            with closing(answer):
                answer.drain_conn()
                return self._good(answer.status)
        except (BotoCoreError, ClientError, HTTPError) as error:
            self._failed(error)
            return False

    def path(self, key: str) -> str:
        """Returns the path of an object's address."""
        return self.folder + percent_encode(key, safe=_UNESCAPED)

    def _answer(self, method: str, key: str, body: bytes | None, headers: Mapping[str, str]) -> Any:
        """Sends a signed request; returns the answer, its body still to be read."""
        path = self.path(key)
        request = AWSRequest(method, self.server + path, headers=headers, data=body)
        frozen = self.credentials.get_frozen_credentials()
        S3SigV4Auth(frozen, "s3", self.region).add_auth(request)
        # Of whole addresses urllib3 takes away what it thinks is nothing, such as ``./``.
        return self.pool.urlopen(
            method,
            path,
            body=body,
            headers=dict(request.headers),
            retries=False,
            redirect=False,
            preload_content=False,
        )

    def _good(self, status: int) -> bool:
        if status != 200 and status < 500 and status not in _PASSING:
            self.usable = False
        return status == 200

    def _failed(self, error: Exception) -> None:
        if isinstance(error, SSLError):
            self.usable = False


def _as_stored(headers: Mapping[str, str], sha256: bytes, crc32: int) -> bool:
    """Returns whether what arrived has the store's checksums, as far as it keeps these."""
    found = {
        "x-amz-checksum-sha256": base64.b64encode(sha256).decode(),
        "x-amz-checksum-crc32": base64.b64encode(crc32.to_bytes(4, "big")).decode(),
    }
    # With a dash they are of the parts' checksums, as ETags are.
    return all(
        kept == found[name] or "-" in kept
        for name in found
        if (kept := headers.get(name)) is not None
    )


@lru_cache(maxsize=8)
def direct_requests(
    client: S3Client, bucket: str, credentials: Credentials | None, connections: int
) -> DirectRequests | None:
    """Returns requests to a bucket; None where only botocore knows how to reach it.

    The same ones for the same client and bucket, so that their connections are kept.

    Args:
        client: Says how the bucket is reached.
        bucket: The bucket.
        credentials: None where there are none.
        connections: At most so many at once.
    """
    if credentials is None:
        return None
    address = _address(client, bucket)
    parts = urlsplit(address.url)
    config: Any = client.meta.config
    proxies = config.proxies or get_environ_proxies(address.url)
    if address.signature != "s3v4" or parts.scheme in proxies:
        return None
    server = f"{parts.scheme}://{parts.netloc}"
    timeout = Timeout(connect=config.connect_timeout, read=config.read_timeout)
    authorities = os.environ.get("AWS_CA_BUNDLE") or get_cert_path(True)
    pools = PoolManager(maxsize=connections, timeout=timeout, ca_certs=authorities)
    folder = f"{parts.path.rstrip('/')}/"
    pool = pools.connection_from_url(server)
    return DirectRequests(server, folder, address.region, credentials, pool)


_ASKING = ContextVar("asking for an address", default=False)
"""Whether this thread does, of those that share a client."""


class _Address(Exception):
    """Ends a request that was only made to learn where it would go, and how it would be signed."""

    def __init__(self, url: str, region: str, signature: str) -> None:
        super().__init__(url)
        self.url = url
        self.region = region
        self.signature = signature


def _address(client: S3Client, bucket: str) -> _Address:
    """Returns the address of a bucket, by botocore's own rules; asks nobody, not for credentials.

    A handler sees the requests of all threads, and of botocore itself, which asks for buckets that
    may be in other regions; so it stays, and does something only for the one who asks.
    """
    client.meta.events.register("before-sign.s3.HeadBucket", _learned, unique_id=__name__)
    asking = _ASKING.set(True)
    try:
        client.head_bucket(Bucket=bucket)
    except _Address as address:
        return address
    finally:
        _ASKING.reset(asking)
    raise AssertionError("a request was made without being signed")


def _learned(request: AWSRequest, region_name: str, signature_version: str, **_: object) -> None:
    if _ASKING.get():
        region = request.context.get("signing", {}).get("region") or region_name
        raise _Address(str(request.url), region, signature_version)
