"""Fixtures of the servers, for every part of the suite; loaded by the top conftest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.servers.fault_proxy import FaultProxy, fault_proxy
from tests.servers.hub import Hub, hub_server
from tests.servers.s3_server import HOST, Bucket, Certificate, S3Server, s3_server
from tests.servers.versitygw import NoServer, versitygw


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server on loopback."""
    _require_program()
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="session")
def s3_with_tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server whose certificate nobody but its own authority vouches for."""
    import trustme

    _require_program()
    folder = tmp_path_factory.mktemp("s3-tls")
    authority = trustme.CA()
    leaf = authority.issue_cert(HOST)
    certificate = Certificate(folder / "chain.pem", folder / "key.pem", folder / "authority.pem")
    for blob in leaf.cert_chain_pems:
        blob.write_to_path(certificate.chain, append=True)
    leaf.private_key_pem.write_to_path(certificate.key)
    authority.cert_pem.write_to_path(certificate.authority)
    with s3_server(folder / "server", certificate) as server:
        yield server


@pytest.fixture
def bucket(s3: S3Server) -> Bucket:
    """A fresh bucket."""
    return s3.bucket()


@pytest.fixture
def proxy(s3: S3Server) -> Iterator[FaultProxy]:
    """A proxy before the server that does nothing yet; its schedule says what goes wrong."""
    with fault_proxy(s3.endpoint) as running:
        yield running


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that this process asks, without a token; the library does not wait between tries."""
    pause = SimpleNamespace(sleep=lambda _: None)
    monkeypatch.setattr("huggingface_hub.utils._http.time", pause)
    monkeypatch.setattr("huggingface_hub.file_download.time", pause)
    for name in ("HF_HUB_OFFLINE", "HF_TOKEN", "http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with hub_server() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


def _require_program() -> Path:
    try:
        return versitygw()
    except NoServer as error:
        pytest.skip(str(error))
