"""A store in force: the real server, and the same behind a proxy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.runner.storage.reaching import reaching
from tests.servers.fault_proxy import FaultProxy
from tests.servers.s3_server import Bucket, S3Server


@pytest.fixture
def store(s3: S3Server, bucket: Bucket, tmp_path: Path) -> Iterator[Bucket]:
    """A fresh bucket of the store in force, with the administrator's rights."""
    with reaching(s3.endpoint, s3.environment(), tmp_path / "cache"):
        yield bucket


@pytest.fixture
def faulty_store(
    proxy: FaultProxy, s3: S3Server, bucket: Bucket, tmp_path: Path
) -> Iterator[Bucket]:
    """A fresh bucket, reached through the proxy."""
    with reaching(proxy.endpoint, s3.environment(), tmp_path / "cache"):
        yield bucket
