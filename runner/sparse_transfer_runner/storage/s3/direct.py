"""Small objects by requests of our own: signed by botocore, sent by urllib3, and nothing between.

What botocore does around a request (rules of endpoints, events, parsing, retries) takes the
interpreter three times as long as a small object itself. A direct request that does not go well
says so and nothing more: the same request is then made through botocore, which knows redirects,
other regions, retries and what errors mean.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSPreparedRequest, AWSRequest
from botocore.exceptions import BotoCoreError
from botocore.httpsession import get_cert_path
from botocore.utils import get_environ_proxies, percent_encode
from urllib3 import PoolManager, Timeout
from urllib3.exceptions import HTTPError, SSLError

if TYPE_CHECKING:
    from botocore.credentials import Credentials
    from mypy_boto3_s3.client import S3Client

_PIECE_BYTES = 256 << 10
_UNESCAPED = "/~"
"""In the path of an object's address, as the signature counts it."""
_PASSING = frozenset({404, 408, 409, 412, 429})
"""Answers that are about one object or one moment; so are those from 500 on."""
_DESCRIPTION = "x-amz-meta-"
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
        base: Address of the bucket's objects, with a slash at its end.
        region: That signatures name.
        credentials: Refreshed by botocore.
        pool: Of connections.
        usable: Cleared once the store refuses requests of this kind for good.
    """

    base: str
    region: str
    credentials: Credentials
    pool: PoolManager
    usable: bool = field(default=True)

    def get(self, key: str, target: Path) -> tuple[str, dict[str, str]] | None:
        """Fetches an object into a file.

        Returns:
            Its SHA-256 and its metadata; None where that has to be asked for through botocore.
        """
        if not self.usable:
            return None
        digest = hashlib.sha256()
        try:
            answer = self._answer("GET", key, None, {})
            # A body that is not read to its end keeps its connection.
            with closing(answer):
                if not self._good(answer.status):
                    return None
                with target.open("wb") as file:
                    for piece in answer.stream(_PIECE_BYTES, decode_content=False):
                        digest.update(piece)
                        file.write(piece)
                answer.release_conn()
        except (BotoCoreError, HTTPError) as error:
            self._failed(error)
            return None
        found = {name.lower(): value for name, value in answer.headers.items()}
        return digest.hexdigest(), {
            name.removeprefix(_DESCRIPTION): value
            for name, value in found.items()
            if name.startswith(_DESCRIPTION)
        }

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
        except (BotoCoreError, HTTPError) as error:
            self._failed(error)
            return False

    def _answer(self, method: str, key: str, body: bytes | None, headers: dict[str, str]) -> Any:
        """Sends a signed request; returns the answer, its body still to be read."""
        url = self.base + percent_encode(key, safe=_UNESCAPED)
        request = AWSRequest(method, url, headers=headers, data=body)
        frozen = self.credentials.get_frozen_credentials()
        S3SigV4Auth(frozen, "s3", self.region).add_auth(request)
        return self.pool.request(
            method,
            url,
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
    config: Any = client.meta.config
    if credentials is None or config.signature_version != "s3v4":
        return None
    base = _base(client, bucket)
    if config.proxies or get_environ_proxies(base):
        return None
    timeout = Timeout(connect=config.connect_timeout, read=config.read_timeout)
    authorities = os.environ.get("AWS_CA_BUNDLE") or get_cert_path(True)
    pool = PoolManager(maxsize=connections, timeout=timeout, ca_certs=authorities)
    return DirectRequests(base, client.meta.region_name, credentials, pool)


class _Resolved(Exception):
    """Ends a request that was only made to learn its address."""


def _base(client: S3Client, bucket: str) -> str:
    """Returns the address of a bucket's objects, by botocore's own rules; asks nobody."""
    found: list[str] = []

    def learn(request: AWSPreparedRequest, **_: object) -> None:
        found.append(request.url)
        raise _Resolved

    event = "before-send.s3.HeadBucket"
    client.meta.events.register(event, learn)
    try:
        client.head_bucket(Bucket=bucket)
    except _Resolved:
        pass
    finally:
        client.meta.events.unregister(event, learn)
    address = urlsplit(found[0])
    return urlunsplit((address.scheme, address.netloc, f"{address.path.rstrip('/')}/", "", ""))
