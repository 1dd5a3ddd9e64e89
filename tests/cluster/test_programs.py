"""Where the programs of a cluster come from, and what is said where there are none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cluster.programs import (
    CONTROL_PLANE,
    ENV_ASSETS,
    KUBERNETES_VERSION,
    control_plane_servers,
    coredns,
    kwok,
)
from tests.servers.go_programs import NoProgram


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without Go, on which nothing has been built."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv(ENV_ASSETS, raising=False)
    return tmp_path


def _assets(folder: Path, names: tuple[str, ...]) -> Path:
    folder.mkdir()
    for name in names:
        (folder / name).touch(mode=0o755)
    return folder


def test_the_assets_of_others_are_taken_where_all_servers_are_there(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _assets(bare / "assets", CONTROL_PLANE)
    monkeypatch.setenv(ENV_ASSETS, str(folder))
    assert control_plane_servers().command("etcd") == [str(folder / "etcd")]


def test_assets_without_controllers_are_not_enough(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENV_ASSETS, str(_assets(bare / "assets", CONTROL_PLANE[:2])))
    with pytest.raises(NoProgram):
        control_plane_servers()


@pytest.mark.parametrize("program", [control_plane_servers, kwok, coredns])
def test_without_go_the_command_that_would_help_is_named(
    program: Callable[[], object], bare: Path
) -> None:
    with pytest.raises(NoProgram, match=r"no Go here; .*`python -m tests.cluster.build`"):
        program()


def test_what_was_built_is_called_by_the_server_s_name() -> None:
    try:
        servers = control_plane_servers()
    except NoProgram as error:
        pytest.skip(str(error))
    program, name = servers.command("kubelet")
    assert name == "kubelet"
    assert KUBERNETES_VERSION in program
