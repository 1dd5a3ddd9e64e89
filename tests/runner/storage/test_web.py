"""``https://``: fetched once, in spite of bad connections, and from nobody but who is trusted."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.servers.web import (
    Change,
    Cut,
    Page,
    Silence,
    Status,
    Trouble,
    WebServer,
    connect_proxy,
    web_server,
)

from sparse_transfer_api.errors import AccessError, InputError, Stopped, Transient
from sparse_transfer_runner.storage import fetch
from sparse_transfer_runner.storage.addresses import shown
from sparse_transfer_runner.storage.connections import Patience
from sparse_transfer_runner.storage.protocol import Missing
from sparse_transfer_runner.storage.settings import StorageSettings, using
from sparse_transfer_runner.storage.web import WebSource

QUICK = Patience(tries=3, longest_wait_seconds=0.01, connect_seconds=5, silence_seconds=5)
BODY = os.urandom(300_000)
PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
DATE = "Mon, 01 Jan 2024 00:00:00 GMT"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    with web_server(tmp_path_factory.mktemp("web")) as server:
        yield server


@pytest.fixture
def web(running: WebServer, monkeypatch: pytest.MonkeyPatch) -> WebServer:
    """A server without pages, whose authority the environment trusts."""
    for name in PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(running.authority))
    running.pages.clear()
    running.requests.clear()
    running.sent = 0
    return running


@pytest.fixture(autouse=True)
def store(tmp_path: Path) -> Iterator[Path]:
    with using(StorageSettings(cache=tmp_path / "cache")):
        yield tmp_path / "cache"


def get(uri: str, patience: Patience = QUICK) -> Path:
    return WebSource(patience).fetch(uri)


def zipped(**files: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in files.items():
            archive.writestr(f"reviews/{name}.csv", content)
    return file.getvalue()


def left_in(store: Path) -> list[Path]:
    return list((store / "work").glob("*"))


def test_an_archive_becomes_a_folder(web: WebServer) -> None:
    folder = get(web.add("/reviews.zip", Page(zipped(train=b"1", val=b"2"))))

    assert sorted(path.name for path in folder.iterdir()) == ["train.csv", "val.csv"]


def test_another_file_is_the_file_itself(web: WebServer) -> None:
    file = get(web.add("/recipes/my%20recipe.yaml", Page(b"modifiers: []")))

    assert file.name == "my recipe.yaml"
    assert file.read_bytes() == b"modifiers: []"


@pytest.mark.parametrize(
    ("path", "headers", "name"),
    [
        ("/get?id=5", {"Content-Disposition": 'attachment; filename="reviews.zip"'}, None),
        ("/zip/main", {"Content-Disposition": "attachment; filename*=UTF-8''re%20views.zip"}, None),
        ("/recipe.md", {"Content-Disposition": 'filename="other.txt"'}, "recipe.md"),
        ("/get", {"Content-Disposition": 'filename="../../x.yaml"'}, "get"),
        ("/get", {"Content-Disposition": 'filename="/a/x.yaml"'}, "x.yaml"),
        ("/", {}, "download"),
    ],
)
def test_what_the_address_does_not_name_the_server_does(
    path: str, headers: dict[str, str], name: str | None, web: WebServer
) -> None:
    found = get(web.add(path, Page(zipped(train=b"1"), headers=headers)))

    assert found.is_dir() if name is None else found.name == name


def test_a_redirect_is_followed_and_names_the_file(web: WebServer) -> None:
    web.add("/v2/reviews.zip", Page(zipped(train=b"1")))
    latest = web.add(
        "/latest", Page(troubles=deque([Status(302, {"Location": "/v2/reviews.zip"})]))
    )

    assert (get(latest) / "train.csv").read_bytes() == b"1"


@pytest.mark.parametrize(
    "page", [Page(BODY, etag='"1"'), Page(BODY, etag='W/"1"'), Page(BODY, modified=DATE)]
)
def test_what_did_not_change_is_not_fetched_again(page: Page, web: WebServer) -> None:
    uri = web.add("/train.csv", page)
    first = get(uri)

    assert get(uri) == first
    assert web.sent == len(BODY)
    assert len(web.requests) == 2


def test_what_changed_is_fetched_again(web: WebServer) -> None:
    uri = web.add("/train.csv", Page(b"old", etag='"1"'))
    get(uri)
    web.add("/train.csv", Page(b"new", etag='"2"'))

    assert get(uri).read_bytes() == b"new"


def test_what_has_no_version_is_fetched_once_by_a_process(
    web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = web.add("/train.csv", Page(BODY))
    first = get(uri)
    assert get(uri) == first

    web.pages["/train.csv"].content = b"new"
    monkeypatch.setattr("sparse_transfer_runner.storage.web._THIS_PROCESS", "another")
    assert get(uri).read_bytes() == b"new"


def test_a_damaged_copy_is_fetched_again(web: WebServer) -> None:
    uri = web.add("/train.csv", Page(BODY, etag='"1"'))
    get(uri).write_bytes(b"short")

    assert get(uri).read_bytes() == BODY


def test_a_digest_is_checked_and_saves_the_next_request(web: WebServer) -> None:
    digest = hashlib.sha256(BODY).hexdigest()
    uri = web.add("/train.csv", Page(BODY))

    first = get(f"{uri}#sha256={digest.upper()}")

    assert get(f"{uri}#sha256={digest}") == first
    assert len(web.requests) == 1


def test_a_file_of_another_digest_is_refused(web: WebServer, store: Path) -> None:
    uri = web.add("/train.csv", Page(BODY))

    with pytest.raises(InputError, match=r"has SHA-256 .* but its address expects 0000"):
        get(f"{uri}#sha256={'0' * 64}")

    assert left_in(store) == []


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("https://", "expected https://HOST/path"),
        ("https:///reviews.zip", "expected https://HOST/path"),
        ("https://host:port/x", "not a web address"),
        ("https://[::1/x", "not a web address"),
        ("https://host/x#sha256=12", "64 hexadecimal digits"),
        ("https://host/x#top", "64 hexadecimal digits"),
        ("https://host/x.7z", "cannot be unpacked here"),
    ],
)
def test_a_malformed_address_is_refused(uri: str, message: str, web: WebServer) -> None:
    if uri.endswith(".7z"):
        uri = web.add("/x.7z", Page(b"7z"))

    with pytest.raises(InputError, match=message):
        get(uri)


@pytest.mark.parametrize(
    ("status", "error", "message"),
    [
        (401, AccessError, "asks for credentials"),
        (403, AccessError, "may not be read with these credentials"),
        (404, Missing, "nothing at this address"),
        (410, Missing, "taken away for good"),
        (451, AccessError, "legal reasons"),
        (204, AccessError, "not an answer that can be used"),
        (206, AccessError, "not an answer that can be used"),
        (304, AccessError, "not an answer that can be used"),
        (418, AccessError, "not an answer that can be used"),
    ],
)
def test_a_refusal_is_named_at_once(
    status: int, error: type[Exception], message: str, web: WebServer
) -> None:
    uri = web.add("/train.csv", Page(BODY, troubles=deque([Status(status)] * 9)))

    with pytest.raises(error, match=f"/train.csv: {status} .*{message}"):
        get(uri)

    assert len(web.requests) == 1


def test_nothing_at_an_address_is_missing(web: WebServer) -> None:
    with pytest.raises(Missing, match="404"):
        get(web.url("/nowhere"))


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_passing_trouble_passes(status: int, web: WebServer) -> None:
    trouble = Status(status, {"Retry-After": "0"})
    uri = web.add("/train.csv", Page(BODY, troubles=deque([trouble, trouble])))

    assert get(uri).read_bytes() == BODY


def test_trouble_that_stays_is_said_after_the_last_try(web: WebServer) -> None:
    uri = web.add("/train.csv", Page(BODY, troubles=deque([Status(503)] * 9)))

    with pytest.raises(Transient, match=r"/train.csv: 503 .* in spite of retries"):
        get(uri)

    assert len(web.requests) == QUICK.tries


@pytest.mark.parametrize(
    "page",
    [Page(BODY, etag='"1"'), Page(BODY, modified=DATE)],
    ids=["by its tag", "by its date"],
)
def test_a_broken_transfer_goes_on_where_it_stopped(page: Page, web: WebServer) -> None:
    page.troubles = deque([Cut(100_000), Status(503), Cut(150_000)])
    uri = web.add("/train.csv", page)

    assert get(uri).read_bytes() == BODY
    assert web.sent == len(BODY)
    ranges = [request.headers.get("Range") for request in web.asked("/train.csv")]
    assert ranges == [None, "bytes=100000-", "bytes=100000-", "bytes=250000-"]
    assert web.requests[1].headers["If-Range"] == (page.etag or page.modified)


def test_a_transfer_that_comes_further_each_time_is_not_given_up(web: WebServer) -> None:
    steps = [Cut(30_000)] * 9
    uri = web.add("/train.csv", Page(BODY, etag='"1"', troubles=deque(steps)))

    assert get(uri).read_bytes() == BODY
    assert len(web.requests) > QUICK.tries


@pytest.mark.parametrize(
    "page",
    [Page(BODY), Page(BODY, etag='W/"1"'), Page(BODY, etag='"1"', ranges=False)],
    ids=["no version", "a weak tag", "no parts"],
)
def test_what_cannot_be_gone_on_with_is_begun_anew(page: Page, web: WebServer) -> None:
    page.troubles = deque([Cut(100_000)])

    assert get(web.add("/train.csv", page)).read_bytes() == BODY


def test_a_server_that_refuses_the_part_is_asked_for_all(web: WebServer) -> None:
    troubles: deque[Trouble] = deque([Cut(100_000), Status(416)])
    uri = web.add("/train.csv", Page(BODY, etag='"1"', troubles=troubles))

    assert get(uri).read_bytes() == BODY


def test_what_changes_during_the_transfer_is_not_mixed(web: WebServer, store: Path) -> None:
    troubles: deque[Trouble] = deque([Cut(100_000), Change(BODY[::-1], '"2"')])
    uri = web.add("/train.csv", Page(BODY, etag='"1"', troubles=troubles))

    with pytest.raises(Transient, match="changed while it was fetched"):
        get(uri)
    assert left_in(store) == []


def test_an_answer_cut_short_again_and_again_is_trouble(web: WebServer, store: Path) -> None:
    uri = web.add("/train.csv", Page(BODY, troubles=deque([Cut(1000)] * 9)))

    with pytest.raises(Transient, match="in spite of retries"):
        get(uri)

    assert left_in(store) == []


def test_silence_is_not_waited_for_without_end(web: WebServer) -> None:
    impatient = Patience(tries=2, longest_wait_seconds=0.01, silence_seconds=0.3)
    uri = web.add("/train.csv", Page(BODY, etag='"1"', troubles=deque([Silence(1000)])))

    assert get(uri, impatient).read_bytes() == BODY


def test_a_length_that_nobody_says_is_not_needed(web: WebServer) -> None:
    assert get(web.add("/train.csv", Page(BODY, length=False))).read_bytes() == BODY


def test_a_body_that_was_compressed_on_the_way_is_refused(web: WebServer) -> None:
    page = Page(BODY, headers={"Content-Encoding": "gzip"})

    with pytest.raises(AccessError, match="comes compressed on the way"):
        get(web.add("/train.csv", page))


def test_what_is_larger_than_the_disk_is_not_begun(
    web: WebServer, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000}))

    with pytest.raises(Transient, match=r"no space for .*/train.csv \(300000 bytes, 1000 free\)"):
        get(web.add("/train.csv", Page(BODY)))

    assert left_in(store) == []


def test_a_hostile_archive_leaves_nothing(web: WebServer, store: Path) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("good", b"x")
        archive.writestr("../bad", b"x")
    uri = web.add("/reviews.zip", Page(file.getvalue()))

    with pytest.raises(InputError, match=r"/reviews.zip: its entry '../bad' leads out"):
        get(uri)

    assert left_in(store) == []
    assert list((store / "objects").glob("*")) == []


def test_a_transfer_can_be_stopped(web: WebServer, store: Path) -> None:
    def stop() -> None:
        raise Stopped("asked to stop")

    with using(StorageSettings(cache=store, raise_if_stopped=stop)), pytest.raises(Stopped):
        get(web.add("/train.csv", Page(BODY)))

    assert left_in(store) == []


def test_an_unknown_authority_is_named_with_the_way_out(
    web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    uri = web.add("/train.csv", Page(BODY))

    with pytest.raises(AccessError, match=r"certificate is not trusted .* SSL_CERT_FILE"):
        get(uri)

    assert web.requests == []


def test_a_certificate_for_another_name_is_not_trusted(web: WebServer) -> None:
    uri = web.add("/train.csv", Page(BODY)).replace("localhost", "127.0.0.1")

    with pytest.raises(AccessError, match="certificate is not trusted"):
        get(uri)


def test_certificates_that_cannot_be_read_are_said(
    web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/authority.pem")

    with pytest.raises(AccessError, match="SSL_CERT_FILE"):
        get(web.add("/train.csv", Page(BODY)))


def test_a_redirect_to_an_open_connection_is_refused(web: WebServer, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    with web_server(tmp_path / "plain", encrypted=False) as plain:
        plain.add("/train.csv", Page(BODY))
        target = f"http://localhost:{plain.port}/train.csv"
        uri = web.add("/train.csv", Page(troubles=deque([Status(302, {"Location": target})])))

        with pytest.raises(AccessError, match="not encrypted"):
            get(uri)

        assert plain.requests == []


def test_redirects_in_a_circle_end(web: WebServer) -> None:
    uri = web.add("/a", Page(troubles=deque([Status(302, {"Location": "/a"})] * 50)))

    with pytest.raises(AccessError, match="lead in a circle"):
        get(uri)


def test_nobody_at_the_address_is_passing_trouble(web: WebServer) -> None:
    with pytest.raises(Transient, match=r"localhost:1/x: cannot be reached just now"):
        get("https://localhost:1/x")


def test_credentials_are_given_to_their_own_host_and_never_shown(
    web: WebServer, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    uri = web.add("/train.csv", Page(BODY, credentials="me:p@ss"))
    secret = uri.replace("https://", "https://me:p%40ss@")
    assert get(secret).read_bytes() == BODY

    wrong = uri.replace("https://", "https://me:wr0ng@") + "?sig=s3cret"
    web.pages["/train.csv?sig=s3cret"] = web.pages["/train.csv"]
    with pytest.raises(AccessError, match="asks for credentials") as caught:
        get(wrong)
    assert "wr0ng" not in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_credentials_do_not_follow_a_redirect_to_another_host(
    web: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    with web_server(tmp_path / "other") as other:
        both = tmp_path / "both.pem"
        both.write_bytes(web.authority.read_bytes() + other.authority.read_bytes())
        monkeypatch.setenv("SSL_CERT_FILE", str(both))
        target = other.add("/train.csv", Page(BODY))
        uri = web.add("/train.csv", Page(troubles=deque([Status(302, {"Location": target})])))

        get(uri.replace("https://", "https://me:secret@"))

        assert "Authorization" in web.requests[0].headers
        assert "Authorization" not in other.requests[0].headers


def test_a_proxy_of_the_environment_is_used(
    web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = web.add("/train.csv", Page(BODY))
    with connect_proxy() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        assert get(uri).read_bytes() == BODY
        assert proxy.tunnels == [f"localhost:{web.port}"]

        proxy.refuses = True
        with pytest.raises(AccessError, match=r"the proxy refuses .*407"):
            get(web.add("/val.csv", Page(BODY)))

        monkeypatch.setenv("NO_PROXY", "localhost")
        assert get(uri).read_bytes() == BODY


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("https://me:secret@host:1/a?token=secret#sha256=12", "https://host:1/a?…"),
        ("https://host/a", "https://host/a"),
        ("https://[bad", "https://…"),
        ("file:///a?b", "file:///a?b"),
    ],
)
def test_an_address_is_shown_without_its_secrets(uri: str, expected: str) -> None:
    assert shown(uri) == expected


def test_the_scheme_is_known(web: WebServer) -> None:
    assert fetch(web.add("/train.csv", Page(b"1"))).read_bytes() == b"1"
