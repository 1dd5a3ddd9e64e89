"""Ultralytics is kept to itself, and where it is missing its extra and its licence are named."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.yolo import library

WITHOUT_A_SCREEN = """
import sys
class Refused:
    def find_spec(self, name, *_):
        if name == "cv2":
            raise ImportError("libGL.so.1: cannot open shared object file")
sys.meta_path.insert(0, Refused())
from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.yolo.library import require_ultralytics
try:
    require_ultralytics()
except InputError as error:
    print(error)
"""

PROGRAM = """
import os, socket, sys
import numpy, torch
from PIL import Image
def refused(*_, **__):
    raise AssertionError("asked the network")
before = dict(os.environ), torch.load, torch.save, Image.open, numpy.get_printoptions()
from sparse_transfer_runner.yolo.library import require_ultralytics
socket.socket.connect = socket.getaddrinfo = socket.create_connection = refused
require_ultralytics()
from ultralytics.utils import AUTOINSTALL, ONLINE, SETTINGS
assert before == (
    dict(os.environ), torch.load, torch.save, Image.open, numpy.get_printoptions()
), "left something behind"
assert not AUTOINSTALL and not ONLINE and not SETTINGS["sync"]
print(SETTINGS.file)
"""


def test_it_asks_no_network_and_leaves_nothing_behind(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM],
        env={**os.environ, "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert not Path(done.stdout.splitlines()[-1]).exists()
    left = [path for path in tmp_path.rglob("*") if path.is_file() and "cache" not in str(path)]
    assert not left


def test_where_it_cannot_be_imported_the_package_that_helps_is_named(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WITHOUT_A_SCREEN],
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert "libGL.so.1" in done.stdout, done.stderr
    assert "opencv-python-headless" in done.stdout


def test_pictures_are_opened_by_pillow_alone() -> None:
    library.require_ultralytics()
    assert Image.open.__module__ == "PIL.Image"


def test_where_it_is_missing_extra_and_licence_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "find_spec", lambda name: None)
    library.require_ultralytics.cache_clear()
    try:
        with pytest.raises(InputError, match=r"extra 'yolo'.*AGPL-3\.0"):
            library.require_ultralytics()
    finally:
        monkeypatch.undo()
        library.require_ultralytics.cache_clear()
        library.require_ultralytics()
    assert importlib.util.find_spec("ultralytics") is not None
