"""Kubeconfigs: found, read, and refused with what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from sparse_transfer_api.errors import AccessError, InputError, SparseTransferError, UsageError
from sparse_transfer_cli.cluster.connection import Connection, Target, connect


def kubeconfig(path: Path, *names: str, current: str | None = None, **context: Any) -> Path:
    """Writes a kubeconfig with contexts of these names."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": name, "cluster": {"server": f"https://{name}.example:6443"}} for name in names
        ],
        "users": [{"name": name, "user": {"token": f"token-of-{name}"}} for name in names],
        "contexts": [
            {"name": name, "context": {"cluster": name, "user": name, **context}} for name in names
        ],
        **({"current-context": current} if current is not None else {}),
    }
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without a kubeconfig, and no pod around."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    return tmp_path


def told(found: Connection) -> tuple[str, str | None, str]:
    return found.server, found.context, found.namespace


def test_the_kubeconfig_at_home_is_the_last_resort(home: Path) -> None:
    (home / ".kube").mkdir()
    kubeconfig(home / ".kube/config", "a", current="a")
    assert told(connect(Target())) == ("https://a.example:6443", "a", "default")


def test_the_environment_is_read_each_time(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "ab":
        path = kubeconfig(home / name, name, current=name, namespace=f"space-{name}")
        monkeypatch.setenv("KUBECONFIG", str(path))
        assert told(connect(Target())) == (f"https://{name}.example:6443", name, f"space-{name}")


def test_several_kubeconfigs_are_one(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = kubeconfig(home / "1", "a", current="a"), kubeconfig(home / "2", "b")
    monkeypatch.setenv("KUBECONFIG", f"{first}:{home / 'missing'}:{second}")
    assert connect(Target()).context == "a"
    assert connect(Target(context="b")).server == "https://b.example:6443"


def test_what_is_typed_goes_before(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(home / "1", "a", current="a")))
    other = kubeconfig(home / "2", "b", "c", current="b", namespace="theirs")
    found = connect(Target(namespace="mine", context="c", kubeconfig=other))
    assert told(found) == ("https://c.example:6443", "c", "mine")


def test_nothing_is_written_where_the_kubeconfig_is(home: Path) -> None:
    path = kubeconfig(home / "1", "a", current="a")
    before = path.read_bytes()
    connect(Target(kubeconfig=path))
    assert path.read_bytes() == before
    assert [each.name for each in home.iterdir()] == ["1"]


@pytest.mark.parametrize(
    ("target", "error", "words"),
    [
        (Target(), AccessError, r"no kubeconfig: .*/\.kube/config does not exist; .*--kubeconfig"),
        (Target(kubeconfig=Path("nowhere")), AccessError, "nowhere: there is no such file"),
        (Target(kubeconfig=Path("two"), context="prod"), UsageError, "did you mean prod-eu?"),
        (Target(kubeconfig=Path("two"), context="xyz"), UsageError, "there is dev or prod-eu"),
        (Target(kubeconfig=Path("two")), UsageError, "no context is chosen; .* dev or prod-eu"),
        (Target(kubeconfig=Path("none")), UsageError, "there is none in it"),
        (Target(kubeconfig=Path("dangling")), UsageError, "no context is chosen"),
        (Target(kubeconfig=Path("text")), InputError, "not a usable kubeconfig"),
        (Target(kubeconfig=Path("broken")), InputError, "not a usable kubeconfig"),
        (Target(kubeconfig=Path("binary")), InputError, "not a usable kubeconfig"),
        (Target(kubeconfig=Path("empty")), InputError, "not a usable kubeconfig"),
        (Target(kubeconfig=Path("no-ca")), InputError, "ca.crt"),
        (Target(kubeconfig=Path()), AccessError, "Is a directory"),
    ],
)  # fmt: skip
def test_mistakes_are_explained(
    target: Target,
    error: type[SparseTransferError],
    words: str,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(home)
    kubeconfig(home / "two", "dev", "prod-eu")
    kubeconfig(home / "none")
    kubeconfig(home / "dangling", "a", current="b")
    (home / "text").write_text("hello")
    (home / "broken").write_text("a: [")
    (home / "binary").write_bytes(b"\xff\xfe\x00")
    (home / "empty").write_text("")
    document = yaml.safe_load(kubeconfig(home / "no-ca", "a", current="a").read_text())
    document["clusters"][0]["cluster"]["certificate-authority"] = "ca.crt"
    (home / "no-ca").write_text(yaml.safe_dump(document))
    with pytest.raises(error, match=words):
        connect(target)


def test_a_pod_that_mounts_no_token_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    with pytest.raises(AccessError, match="this pod's service account cannot be used"):
        connect(Target())
    with pytest.raises(UsageError, match="there is no kubeconfig"):
        connect(Target(context="a"))
