"""A real S3 server on loopback: buckets, users and rights for tests.

Versity's S3 Gateway over a folder. It checks signatures, answers 403 for unknown users, keeps
bucket policies, conditional writes, multipart uploads and checksums. Beyond what Amazon's does:
a key cannot be a file and a folder at once.
"""

from __future__ import annotations

import itertools
import json
import os
import secrets
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from ssl import create_default_context
from typing import TYPE_CHECKING, Any

from tests.servers.processes import free_port, running
from tests.servers.versitygw import versitygw

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

HOST = "127.0.0.1"
REGION = "eu-test-1"
_HEALTH = "/healthz"

READ = ("s3:GetObject", "s3:ListBucket")
WRITE = ("s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload")


@dataclass(frozen=True)
class Keys:
    """Credentials of one user."""

    access: str
    secret: str = field(default_factory=lambda: secrets.token_hex(20))

    def environment(self) -> dict[str, str]:
        """Returns the variables that hand these credentials to a process, and no others."""
        return {
            **no_credentials(),
            "AWS_ACCESS_KEY_ID": self.access,
            "AWS_SECRET_ACCESS_KEY": self.secret,
        }


def no_credentials() -> dict[str, str]:
    """Returns the variables that keep a process from finding any credentials of this machine."""
    return {
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@dataclass(frozen=True)
class Certificate:
    """PEM files of a server with TLS."""

    chain: Path
    key: Path
    authority: Path


@dataclass(frozen=True)
class Bucket:
    """A bucket, seen with the administrator's rights."""

    server: S3Server
    name: str

    @property
    def uri(self) -> str:
        return f"s3://{self.name}"

    def put(self, key: str, content: bytes) -> None:
        self.server.client().put_object(Bucket=self.name, Key=key, Body=content)

    def get(self, key: str) -> bytes:
        return self.server.client().get_object(Bucket=self.name, Key=key)["Body"].read()

    def delete(self, key: str) -> None:
        self.server.client().delete_object(Bucket=self.name, Key=key)

    def keys(self, prefix: str = "") -> list[str]:
        pages = self.server.client().get_paginator("list_objects_v2")
        found = pages.paginate(Bucket=self.name, Prefix=prefix)
        return sorted(entry["Key"] for page in found for entry in page.get("Contents", ()))

    def unfinished_uploads(self) -> list[str]:
        """Returns the keys of multipart uploads that were neither completed nor aborted."""
        answer = self.server.client().list_multipart_uploads(Bucket=self.name)
        return [upload["Key"] for upload in answer.get("Uploads", ())]

    def allow(self, rights: Mapping[str, tuple[str, ...]]) -> None:
        """Sets what each user may do, by access key (``*`` for everybody); nothing else stays."""
        arn = f"arn:aws:s3:::{self.name}"
        statements: list[dict[str, Any]] = []
        for user, actions in rights.items():
            # Actions on buckets and on objects may not share a statement here.
            for resource, chosen in (
                (arn, [action for action in actions if "Bucket" in action]),
                (f"{arn}/*", [action for action in actions if "Bucket" not in action]),
            ):
                if chosen:
                    statements.append(
                        {
                            "Effect": "Allow",
                            "Principal": {"AWS": user} if user != "*" else "*",
                            "Action": chosen,
                            "Resource": resource,
                        }
                    )
        client = self.server.client()
        if statements:
            policy = {"Version": "2012-10-17", "Statement": statements}
            client.put_bucket_policy(Bucket=self.name, Policy=json.dumps(policy))
        else:
            client.delete_bucket_policy(Bucket=self.name)


@dataclass(frozen=True)
class S3Server:
    """A running server.

    Args:
        endpoint: Its address.
        keys: The administrator's.
        folder: Where it keeps objects (below ``data/BUCKET/``), users and its log.
        certificate: With TLS.
    """

    endpoint: str
    keys: Keys
    folder: Path
    certificate: Certificate | None = None
    _names: Iterator[int] = field(default_factory=itertools.count, repr=False)
    _clients: dict[str, S3Client] = field(default_factory=dict, repr=False)

    def environment(self, keys: Keys | None = None) -> dict[str, str]:
        """Returns the variables that lead a process here, with the administrator's rights."""
        found = {**(keys or self.keys).environment(), "AWS_REGION": REGION}
        if self.certificate is not None:
            found["AWS_CA_BUNDLE"] = str(self.certificate.authority)
        return found

    def client(self, keys: Keys | None = None) -> S3Client:
        """Returns a plain boto3 client."""
        import boto3
        from botocore.config import Config

        chosen = keys or self.keys
        if chosen.access not in self._clients:
            self._clients[chosen.access] = boto3.client(
                "s3",
                endpoint_url=self.endpoint,
                region_name=REGION,
                aws_access_key_id=chosen.access,
                aws_secret_access_key=chosen.secret,
                verify=str(self.certificate.authority) if self.certificate else None,
                config=Config(s3={"addressing_style": "path"}, proxies={}),
            )
        return self._clients[chosen.access]

    def bucket(self) -> Bucket:
        """Makes a fresh bucket."""
        name = f"bucket-{next(self._names)}"
        self.client().create_bucket(Bucket=name)
        return Bucket(self, name)

    def user(self) -> Keys:
        """Makes a user without any rights."""
        keys = Keys(f"user-{next(self._names)}")
        self._administer("create-user", "-a", keys.access, "-s", keys.secret, "-r", "user")
        return keys

    def remove_user(self, keys: Keys) -> None:
        """Forgets a user, while his processes may still run."""
        self._administer("delete-user", "-a", keys.access)

    def _administer(self, *arguments: str) -> None:
        subprocess.run(
            [
                str(versitygw()),
                "admin",
                *("--access", self.keys.access, "--secret", self.keys.secret),
                *("--endpoint-url", self.endpoint, "--region", REGION, "--allow-insecure"),
                *arguments,
            ],
            check=True,
            capture_output=True,
            timeout=60,
        )


@contextmanager
def s3_server(
    folder: Path, certificate: Certificate | None = None, host: str = HOST, port: int = 0
) -> Iterator[S3Server]:
    """Runs a server until the block ends.

    Args:
        folder: An empty folder of its own.
        certificate: For TLS.
        host: A loopback address.
        port: Any that is free by default.

    Raises:
        NoServer: Its program is missing.
        OSError: The port is not free.
    """
    port = free_port(host, port)
    keys = Keys("administrator")
    for name in ("data", "users", "metadata"):
        (folder / name).mkdir(parents=True)
    command = [
        str(versitygw()),
        *("--port", f"{host}:{port}", "--region", REGION, "--health", _HEALTH),
        *("--iam-dir", str(folder / "users"), "--iam-cache-disable", "--quiet"),
        *(_with_tls(certificate) if certificate else ["--keep-alive"]),
        "posix",
        *(() if _knows_attributes(folder) else ("--sidecar", str(folder / "metadata"))),
        str(folder / "data"),
    ]
    scheme = "https" if certificate else "http"
    server = S3Server(f"{scheme}://{host}:{port}", keys, folder, certificate)
    environment = {
        "PATH": os.environ["PATH"],
        "ROOT_ACCESS_KEY": keys.access,
        "ROOT_SECRET_KEY": keys.secret,
    }
    with running(command, lambda: _answers(server), folder / "server.log", environment):
        try:
            yield server
        finally:
            for client in server._clients.values():
                client.close()


def _with_tls(certificate: Certificate) -> list[str]:
    # Without connections that are kept: there the server takes the end of a body with a trailing
    # checksum, which clients send over TLS, for the next request now and then.
    return ["--cert", str(certificate.chain), "--key", str(certificate.key)]


def _answers(server: S3Server) -> bool:
    context = None
    if server.certificate is not None:
        context = create_default_context(cafile=str(server.certificate.authority))
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if context is not None:
        handlers.append(urllib.request.HTTPSHandler(context=context))
    try:
        with urllib.request.build_opener(*handlers).open(
            server.endpoint + _HEALTH, timeout=5
        ) as answer:
            return int(answer.status) == 200
    except urllib.error.URLError:
        return False


def _knows_attributes(folder: Path) -> bool:
    """Returns whether the file system keeps attributes of users, as the server wants them."""
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        try:
            os.setxattr(file.name, "user.sparse-transfer", b"")
        except OSError:
            return False
    return True
