"""What a kubelet changes for the whole machine, given back once the last node of the tests is gone.

The values from before are kept in a file meanwhile, so that a run that was killed is made up for by
the next one.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

from tests.servers.go_programs import alone, cache_folder

_SETTINGS = ("vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops")
_KUBELET_OWN = Path("/var/lib/kubelet")


def keep_settings() -> None:
    """Writes down how this machine is, where no other node has done so."""
    with _alone():
        if not _record().exists():
            values = {name: _setting(name).read_text() for name in _SETTINGS}
            kept = {"values": values, "folder": _KUBELET_OWN.exists()}
            _record().write_text(json.dumps(kept))


def restore_settings() -> None:
    """Gives this machine back as it was, where no other node is up."""
    with _alone():
        if not _record().exists() or any(cache_folder().glob("node-*/")):
            return
        kept = json.loads(_record().read_text())
        for name, value in kept["values"].items():
            _setting(name).write_text(value)
        if not kept["folder"]:
            shutil.rmtree(_KUBELET_OWN, ignore_errors=True)
        _record().unlink()


def _record() -> Path:
    return cache_folder() / "machine-settings.json"


def _setting(name: str) -> Path:
    return Path("/proc/sys") / name


def _alone() -> contextlib.AbstractContextManager[None]:
    return alone(cache_folder() / "machine-settings.lock")
