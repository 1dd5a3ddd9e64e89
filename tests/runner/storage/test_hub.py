"""``hf://``: a commit's files, fetched once, and the hub's refusals told apart."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.servers.hub import LARGE_BYTES, Cut, Hub, Other, Refusal, Trouble

from sparse_transfer_api.errors import AccessError, InputError, Stopped, Transient
from sparse_transfer_api.spec import Data, ModelOverride
from sparse_transfer_runner.digests import digest_of_tree
from sparse_transfer_runner.storage.addresses import (
    HubAddress,
    data_address,
    hub_address,
    model_address,
)
from sparse_transfer_runner.storage.connections import Patience
from sparse_transfer_runner.storage.hub import HubSource
from sparse_transfer_runner.storage.hub.model_files import needed
from sparse_transfer_runner.storage.protocol import Missing
from sparse_transfer_runner.storage.settings import StorageSettings, using

QUICK = Patience(tries=3, longest_wait_seconds=0.01, connect_seconds=5, silence_seconds=5)
LARGE = os.urandom(LARGE_BYTES * 5)
MODEL = {"config.json": b"{}", "tokenizer.json": b"[]", "model.safetensors": LARGE}
DATA = {"train.csv": b"text,label\n", "val.csv": b"text,label\n", "README.md": b"about"}
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def store(tmp_path: Path) -> Iterator[Path]:
    with using(StorageSettings(cache=tmp_path / "cache")):
        yield tmp_path / "cache"


def get(uri: str) -> Path:
    return HubSource(QUICK).fetch(uri)


def pin(uri: str) -> str:
    return HubSource(QUICK).pinned(uri)


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def left_in(store: Path) -> list[Path]:
    return list((store / "work").glob("*"))


ADDRESSES = {
    "hf://me/model": HubAddress("model", "me/model"),
    "hf://models/me/model": HubAddress("model", "me/model"),
    "hf://bert-base": HubAddress("model", "bert-base"),
    "HF://me/model/": HubAddress("model", "me/model"),
    "hf://me/model@v1.0/sub/a.json": HubAddress("model", "me/model", "v1.0", "sub/a.json"),
    "hf://me/model/sub": HubAddress("model", "me/model", None, "sub"),
    "hf://bert-base@main/sub": HubAddress("model", "bert-base", "main", "sub"),
    "hf://datasets/me/data": HubAddress("dataset", "me/data"),
    "hf://datasets/imdb": HubAddress("dataset", "imdb"),
    "hf://datasets/imdb@main": HubAddress("dataset", "imdb", "main"),
    "hf://me/model@feature%2Fx": HubAddress("model", "me/model", "feature/x"),
    "hf://me/model@refs/pr/7/sub": HubAddress("model", "me/model", "refs/pr/7", "sub"),
    "hf://datasets/x@refs/convert/parquet": HubAddress("dataset", "x", "refs/convert/parquet"),
}


@pytest.mark.parametrize(("uri", "address"), ADDRESSES.items())
def test_an_address_is_read_and_written(uri: str, address: HubAddress) -> None:
    assert hub_address(uri) == address
    assert hub_address(str(address)) == address


@pytest.mark.parametrize(
    "uri",
    [
        "hf://",
        "hf:///model",
        "hf://me/",
        "hf://me//model@",
        "hf://me/model@",
        "hf://-x/model",
        "hf://me/mod el",
        "hf://me/model/../x",
        "hf://spaces/me/demo",
        "hf://buckets/me/data",
    ],
)
def test_a_malformed_address_is_refused(uri: str) -> None:
    if uri == "hf://me/":
        assert hub_address(uri) == HubAddress("model", "me")
        return
    with pytest.raises(InputError):
        hub_address(uri)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"uri": "hf://sst2"}, "hf://datasets/sst2"),
        ({"uri": "hf://me/data", "revision": "v1"}, "hf://datasets/me/data@v1"),
        ({"uri": "hf://me/data@v1", "revision": "v1"}, "hf://datasets/me/data@v1"),
        ({"uri": "hf://datasets/me/data", "revision": "a/b"}, "hf://datasets/me/data@a%2Fb"),
        ({"uri": "s3://bucket/data", "revision": "2"}, "s3://bucket/data"),
    ],
)
def test_data_of_a_hub_is_a_data_set_of_its_revision(data: dict[str, str], expected: str) -> None:
    assert data_address(Data(**data)) == expected


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ({}, None),
        ({"uri": "hf://me/model", "revision": "v1"}, "hf://me/model@v1"),
        ({"uri": "catalog:minilm-l6"}, "catalog:minilm-l6"),
    ],
)
def test_a_model_of_a_hub_has_its_revision(model: dict[str, str], expected: str | None) -> None:
    assert model_address(ModelOverride(**model)) == expected


def test_what_contradicts_itself_is_refused() -> None:
    with pytest.raises(InputError, match=r"spec\.data\.revision: v2, but spec\.data\.uri names v1"):
        data_address(Data(uri="hf://me/data@v1", revision="v2"))
    with pytest.raises(InputError, match="is a model; expected hf://datasets/"):
        data_address(Data(uri="hf://models/me/model"))
    with pytest.raises(InputError, match="is a dataset; expected hf://OWNER/NAME"):
        model_address(ModelOverride(uri="hf://datasets/me/data"))


def test_a_model_is_fetched_whole_and_as_it_is(hub: Hub) -> None:
    hub.add("me/model", MODEL)

    assert files_of(get("hf://me/model")) == MODEL


def test_a_data_set_of_many_pages_is_fetched_whole(hub: Hub) -> None:
    many = {f"sub/{number}.csv": b"%d" % number for number in range(20)}
    hub.add("me/data", many, "dataset")

    assert files_of(get("hf://datasets/me/data")) == many


def test_an_old_name_of_one_part_is_found(hub: Hub) -> None:
    hub.add("imdb", DATA, "dataset")

    assert files_of(get("hf://datasets/imdb")) == DATA


def test_an_address_is_pinned_to_the_commit_of_its_branch(hub: Hub) -> None:
    model = hub.add("me/model", {"config.json": b"old"})
    old = model.branches["main"]
    new = model.commit({"config.json": b"new"})
    model.commit({"config.json": b"other"}, "feature/x")

    assert pin("hf://me/model") == f"hf://me/model@{new}"
    assert pin("hf://me/model@feature%2Fx/sub") == (
        f"hf://me/model@{model.branches['feature/x']}/sub"
    )
    assert files_of(get(f"hf://me/model@{old}")) == {"config.json": b"old"}
    assert files_of(get("hf://me/model@main")) == {"config.json": b"new"}


def test_a_commit_that_was_fetched_asks_nobody(hub: Hub) -> None:
    model = hub.add("me/model", MODEL)
    uri = pin("hf://me/model")
    first = get(uri)
    asked = hub.asked()

    assert get(uri) == first
    assert pin(uri) == uri
    assert hub.asked() == asked
    assert hub.fetched() == Counter(MODEL.keys())
    assert get(f"{uri}/config.json") == first / "config.json"
    assert hub.asked() == asked
    assert model.branches["main"] in uri


def test_a_new_commit_is_fetched(hub: Hub) -> None:
    model = hub.add("me/model", {"config.json": b"old"})
    get("hf://me/model")
    model.commit({"config.json": b"new"})

    assert files_of(get("hf://me/model")) == {"config.json": b"new"}


def test_a_folder_and_a_file_are_fetched_alone(hub: Hub) -> None:
    hub.add("me/data", {"a/train.csv": b"1", "a/sub/x": b"2", "b/val.csv": b"3"}, "dataset")

    assert files_of(get("hf://datasets/me/data/a")) == {"train.csv": b"1", "sub/x": b"2"}
    assert get("hf://datasets/me/data/b/val.csv").read_bytes() == b"3"
    assert set(hub.fetched()) == {"a/train.csv", "a/sub/x", "b/val.csv"}


def test_the_digest_of_what_was_fetched_is_that_of_its_files(hub: Hub) -> None:
    hub.add("me/model", MODEL)

    folder = get("hf://me/model")

    assert folder.name == digest_of_tree(folder)


def test_what_other_frameworks_need_is_left_out(hub: Hub) -> None:
    other = {"tf_model.h5": LARGE, "onnx/model.onnx": b"x", "pytorch_model.bin": b"y"}
    hub.add("me/model", {**MODEL, **other, ".gitattributes": b"z"})

    assert files_of(get("hf://me/model")) == MODEL
    assert set(hub.fetched()) == set(MODEL)
    assert files_of(get("hf://me/model/onnx")) == {"model.onnx": b"x"}
    assert get("hf://me/model/tf_model.h5").read_bytes() == LARGE


@pytest.mark.parametrize(
    ("paths", "left_out"),
    [
        (["model.safetensors", "pytorch_model.bin"], ["pytorch_model.bin"]),
        (["pytorch_model.bin", "flax_model.msgpack", "rust_model.ot"],
         ["flax_model.msgpack", "rust_model.ot"]),
        (["model-00001-of-00002.safetensors", "model.safetensors.index.json",
          "pytorch_model-00001-of-00002.bin", "pytorch_model.bin.index.json"],
         ["pytorch_model-00001-of-00002.bin", "pytorch_model.bin.index.json"]),
        (["model.safetensors", "checkpoint-500/model.safetensors", "checkpoint-500/optimizer.pt"],
         ["checkpoint-500/model.safetensors", "checkpoint-500/optimizer.pt"]),
        (["model.safetensors", "openvino/openvino_model.xml", "1_Pooling/config.json"],
         ["openvino/openvino_model.xml"]),
        (["onnx/model.onnx", "config.json"], []),
        (["training/pytorch_model.bin", "deployment/model.onnx", "training/optimizer.pt"],
         ["training/optimizer.pt"]),
        (["best.pt", "README.md"], []),
    ],
)  # fmt: skip
def test_a_model_needs_the_weights_once(paths: list[str], left_out: list[str]) -> None:
    assert [path for path in paths if path not in needed(paths)] == left_out


def refused(hub: Hub, uri: str) -> str:
    with pytest.raises(AccessError) as caught:
        get(uri)
    assert uri.removeprefix("hf://") in str(caught.value)
    return str(caught.value)


def test_without_a_token_nobody_knows_whether_it_is_missing_or_private(hub: Hub) -> None:
    hub.add("me/private", MODEL).private = True

    for name in ("me/private", "me/nothing"):
        assert "does not exist, or is private" in refused(hub, f"hf://{name}")


def test_with_a_token_a_private_repository_is_read(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("me/private", MODEL).private = True
    hub.rights = {"hf_good": {"me/private"}, "hf_other": set()}

    monkeypatch.setenv("HF_TOKEN", "hf_other")
    assert "404: there is no such model, or the account" in refused(hub, "hf://me/private")
    monkeypatch.setenv("HF_TOKEN", "hf_expired")
    message = refused(hub, "hf://me/private")
    assert "401: the hub refuses the token in HF_TOKEN (Invalid credentials" in message
    assert "hf_expired" not in message
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    assert files_of(get("hf://me/private")) == MODEL


def test_a_gated_repository_says_where_to_consent(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("me/gated", DATA, "dataset").gated = True
    hub.rights = {"hf_good": {"me/gated"}, "hf_other": set()}

    message = refused(hub, "hf://datasets/me/gated")
    assert f"401: its owner asks for consent; give it at {hub.url}/datasets/me/gated" in message
    assert "set HF_TOKEN" in message
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    assert "403: its owner asks for consent" in refused(hub, "hf://datasets/me/gated")
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    assert files_of(get("hf://datasets/me/gated")) == DATA


def test_a_disabled_repository_is_said(hub: Hub) -> None:
    hub.add("me/model", MODEL).disabled = True

    assert "403: may not be read (Access to this resource is disabled" in refused(
        hub, "hf://me/model"
    )


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("hf://me/model@v9", "404: it has no revision v9; see"),
        (f"hf://me/model@{COMMIT}", f"404: it has no revision {COMMIT}"),
        ("hf://me/model/modle.safetensors", "did you mean model.safetensors"),
    ],
)
def test_what_a_repository_lacks_is_missing(uri: str, message: str, hub: Hub) -> None:
    hub.add("me/model", MODEL)

    with pytest.raises(Missing, match=message.replace("?", r"\?")):
        get(uri)


def test_what_is_no_hub_is_said(hub: Hub) -> None:
    hub.add("me/model", MODEL)
    hub.troubles["/api/"] = deque([Refusal(200, body=b"<html>")])
    assert "does not answer as a hub does; check HF_ENDPOINT" in refused(hub, "hf://me/model")

    hub.troubles["HEAD"] = deque([Refusal(200, body=b"x")] * 9)
    assert "does not answer as a hub does; check HF_ENDPOINT" in refused(hub, "hf://me/model")


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("where", ["/api/models/me/model", "/tree/", "HEAD", "GET /me", "/large/"])
def test_passing_trouble_passes(status: int, where: str, hub: Hub) -> None:
    hub.add("me/model", MODEL)
    hub.troubles[where] = deque([Refusal(status, headers={"Retry-After": "0"})] * 2)

    assert files_of(get("hf://me/model")) == MODEL


@pytest.mark.parametrize("trouble", [Cut(1000), Other()], ids=["cut short", "changed"])
def test_a_file_that_arrives_damaged_is_fetched_again(trouble: Trouble, hub: Hub) -> None:
    hub.add("me/model", MODEL)
    hub.troubles["/large/"] = deque([trouble])

    assert files_of(get("hf://me/model")) == MODEL


@pytest.mark.parametrize("where", ["/large/", "GET /me/model/resolve"])
def test_a_file_that_always_arrives_damaged_is_trouble(where: str, hub: Hub, store: Path) -> None:
    hub.add("me/model", MODEL)
    hub.troubles[where] = deque([Other()] * 9)

    with pytest.raises(Transient, match="arrived damaged, in spite of retries"):
        get("hf://me/model")
    assert left_in(store) == []


def test_trouble_that_stays_is_said_with_the_ways_out(hub: Hub, store: Path) -> None:
    hub.add("me/model", MODEL)
    hub.troubles["/api/"] = deque([Refusal(503)] * 99)

    with pytest.raises(Transient, match="is busy or broken, in spite of retries"):
        get("hf://me/model")

    hub.gone = True
    with pytest.raises(Transient) as caught:
        get("hf://me/model")
    for part in ("cannot be reached just now", "copy it to a folder", "STE_CATALOG"):
        assert part in str(caught.value)
    assert left_in(store) == []


def test_a_hub_that_is_gone_is_done_without_where_the_commit_is_known(
    hub: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    commit = hub.add("me/model", MODEL).branches["main"]
    first = get("hf://me/model")
    hub.gone = True

    assert get("hf://me/model") == first
    assert f"hf://me/model: the last known commit, {commit[:12]}, is used" in caplog.text
    assert pin("hf://me/model") == f"hf://me/model@{commit}"
    with pytest.raises(Transient):
        get("hf://me/model@v1")


def test_a_refusal_is_not_overruled_by_the_cache(hub: Hub) -> None:
    model = hub.add("me/model", MODEL)
    get("hf://me/model")
    model.private = True

    assert "does not exist, or is private" in refused(hub, "hf://me/model")


def test_who_is_offline_uses_what_the_cache_knows(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    commit = hub.add("me/model", MODEL).branches["main"]
    first = get("hf://me/model")
    asked = hub.asked()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    assert get("hf://me/model") == get(f"hf://me/model@{commit}") == first
    assert "HF_HUB_OFFLINE is set" in caplog.text
    for uri in ("hf://me/other", f"hf://me/model@{COMMIT}", "hf://me/model@v1"):
        message = refused(hub, uri)
        assert "HF_HUB_OFFLINE forbids to ask the hub" in message
        assert "copy it to a folder" in message
    assert hub.asked() == asked


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x"])
def test_a_hub_cannot_write_elsewhere(path: str, hub: Hub, store: Path) -> None:
    hub.add("me/model", {**MODEL, path: b"x"})

    with pytest.raises(InputError, match="its file"):
        get("hf://me/model")
    assert left_in(store) == []


def test_what_is_larger_than_the_disk_is_not_begun(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("me/model", MODEL)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))

    with pytest.raises(Transient, match="no space for hf://me/model"):
        get("hf://me/model")
    assert hub.fetched() == {}


def test_a_download_can_be_stopped(hub: Hub, store: Path) -> None:
    hub.add("me/model", MODEL)

    def stop() -> None:
        if hub.fetched():
            raise Stopped("asked to stop")

    with using(StorageSettings(cache=store, raise_if_stopped=stop)), pytest.raises(Stopped):
        get("hf://me/model")
    assert left_in(store) == []


PROGRAM = """
import sys
from sparse_transfer_runner.storage import fetch
from sparse_transfer_api.errors import AccessError
from huggingface_hub import HfApi

try:
    print(fetch("hf://me/model").is_dir())
except AccessError as error:
    print(error)
try:
    print(HfApi(endpoint=sys.argv[1]).model_info("me/model").id)
except ConnectionError as error:
    print(type(error).__name__)
"""


@pytest.mark.parametrize(
    ("offline", "ours", "of_a_library"),
    [
        (None, "True", "OfflineModeIsEnabled"),
        ("1", "HF_HUB_OFFLINE forbids", "OfflineModeIsEnabled"),
        ("0", "True", "me/model"),
    ],
)
def test_what_the_user_names_is_fetched_and_what_a_library_looks_up_is_not(
    offline: str | None, ours: str, of_a_library: str, hub: Hub
) -> None:
    hub.add("me/model", MODEL)
    environment = {**os.environ, "HF_ENDPOINT": hub.url}
    environment.pop("TRANSFORMERS_OFFLINE", None)
    if offline is not None:
        environment["HF_HUB_OFFLINE"] = offline

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, hub.url],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    first, second = done.stdout.splitlines()
    assert ours in first
    assert second == of_a_library
