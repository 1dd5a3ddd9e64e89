"""Work that is broken off goes on where it was, to the same bits."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from safetensors.torch import load_file

from sparse_transfer_api.contract import Stage
from sparse_transfer_api.errors import InputError, Stopped
from sparse_transfer_runner.catalog.foundation import Foundation, read_foundation
from sparse_transfer_runner.progress import Reporter
from sparse_transfer_runner.storage.locks import exclusive, lock_file
from sparse_transfer_runner.upstream import UpstreamOptions, make_foundation

WAYS: dict[str, dict[str, object]] = {
    "one-shot": {
        "method": "sparsegpt",
        "budgets": "layer-error",
        "refine_rounds": 1,
        "block_steps": 6,
        "recovery_steps": 12,
    },
    "gradual": {"method": "gradual", "gradual_steps": 10, "prune_every": 4, "recovery_steps": 4},
    "without recovery": {"block_steps": 6},
}


def made(options: UpstreamOptions, stop: threading.Event | None = None) -> Foundation:
    return make_foundation(options, Reporter(Stage.PREPARE, lambda _: None), stop)


class Impatient(threading.Event):
    """A wish to stop that comes after somebody has looked so many times."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self._left = looks

    def is_set(self) -> bool:
        self._left -= 1
        return self._left < 0


def without_seconds(foundation: Foundation | None) -> Foundation:
    assert foundation is not None
    quality = {name: value for name, value in foundation.quality.items() if name != "seconds"}
    layers = [each.model_copy(update={"seconds": None}) for each in foundation.layers]
    return foundation.model_copy(update={"quality": quality, "layers": layers, "name": ""})


def assert_same(first: Path, second: Path) -> None:
    own, other = (load_file(each / "model.safetensors") for each in (first, second))
    assert own.keys() == other.keys()
    assert all(own[name].equal(other[name]) for name in own)
    assert without_seconds(read_foundation(first)) == without_seconds(read_foundation(second))


def stops_until_made(options: UpstreamOptions) -> int:
    """Makes a foundation by processes that are stopped; returns how many were."""
    stops = 0
    while not options.output.exists():
        try:
            made(options, Impatient(7 + 17 * stops))
        except Stopped as stopped:
            stops += 1
            assert "the same command goes on" in str(stopped)
        assert stops < 20, "no stop may lose what the one before it had kept"
    return stops


@pytest.mark.parametrize("way", WAYS)
def test_work_that_is_stopped_again_and_again_ends_in_the_same_bits(
    options: UpstreamOptions, way: str
) -> None:
    options = dataclasses.replace(options, **WAYS[way])  # type: ignore[arg-type]
    made(options)
    broken = dataclasses.replace(options, output=options.output.with_name("broken"))
    assert stops_until_made(broken) >= 2
    assert_same(options.output, broken.output)
    assert not broken.output.with_name(".broken.partial").exists()


_KILLED = """
import os, signal, sys
from pathlib import Path
from sparse_transfer_api.contract import Stage
from sparse_transfer_runner.progress import Reporter
from sparse_transfer_runner.training import checkpoint_files
from sparse_transfer_runner.upstream import UpstreamOptions, make_foundation, unfinished

unfinished._SECONDS = 0.0
left = iter(range(int(sys.argv[4])))
write = checkpoint_files.CheckpointFolder.write

def killed(self, position, state):
    write(self, position, state)
    if next(left, None) is None:
        os.kill(os.getpid(), signal.SIGKILL)

checkpoint_files.CheckpointFolder.write = killed
make_foundation(
    UpstreamOptions(
        model=sys.argv[1], data=Path(sys.argv[2]), output=Path(sys.argv[3]), sparsity=0.5,
        calibration_rows=96, batch_size=16, recovery_steps=6, block_steps=4,
    ),
    Reporter(Stage.PREPARE, lambda _: None),
)
"""


@pytest.mark.slow
def test_a_killed_process_is_followed_by_one_that_goes_on(options: UpstreamOptions) -> None:
    options = dataclasses.replace(options, block_steps=4, recovery_steps=6)
    made(options)
    broken = options.output.with_name("broken")
    arguments = [sys.executable, "-c", _KILLED, options.model, str(options.data), str(broken)]
    for checkpoint in (0, 2):
        ended = subprocess.run([*arguments, str(checkpoint)], check=False, timeout=600)
        assert ended.returncode == -signal.SIGKILL
    assert not broken.exists()
    subprocess.run([*arguments, "1000"], check=True, timeout=600)
    assert_same(options.output, broken)


def test_unfinished_work_with_other_settings_is_given_up_and_said_so(
    options: UpstreamOptions, caplog: pytest.LogCaptureFixture
) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        made(options, stop)
    other = dataclasses.replace(options, sparsity=0.6)
    assert made(other).sparsity == pytest.approx(0.6, abs=1e-3)
    assert "unfinished work with another sparsity is given up" in caplog.text


def test_two_processes_do_not_make_one_foundation(options: UpstreamOptions) -> None:
    folder = options.output.with_name(".foundation.partial")
    with lock_file(folder / ".lock") as lock:
        exclusive(lock)
        with pytest.raises(InputError, match="another process is making it"):
            made(options)
    assert made(options).sparsity == pytest.approx(0.5, abs=1e-3)
