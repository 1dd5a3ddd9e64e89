"""Watching, though connections break, beginnings are forgotten, and experiments come and go."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from tests.cli.cluster.command import Command
from tests.cli.cluster.conftest import Served
from tests.cli.cluster.experiments import Document, succeeded, training
from tests.cli.cluster.proxy import Proxy, proxied

from sparse_transfer_api.errors import Transient
from sparse_transfer_cli.cluster.connection import Target, connect
from sparse_transfer_cli.cluster.experiments import Experiments
from sparse_transfer_cli.cluster.following import Deleted, Listed, Seen, follow, follow_all
from sparse_transfer_cli.cluster.patience import Back, Lost, Timing
from sparse_transfer_cli.cluster.refusals import Expired, NotThere

Start = Callable[..., Command]

QUICK = Timing(watch_seconds=1, patience_seconds=30, pause=lambda _: time.sleep(0.05))


@pytest.fixture
def proxy(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A way to the API server that can be cut, which the kubeconfig of this process takes."""
    with proxied(served.cluster.server) as running:
        path = tmp_path / "proxied"
        document = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text())
        for cluster in document["clusters"]:
            cluster["cluster"]["server"] = running.address
        path.write_text(yaml.safe_dump(document))
        monkeypatch.setenv("KUBECONFIG", str(path))
        yield running


def experiments() -> Experiments:
    return Experiments(connect(Target()))


def percentage(sight: object) -> float:
    assert isinstance(sight, Seen), sight
    found: float = sight.document["status"]["progress"]["percentage"]
    return found


class Counting(Experiments):
    """Does something when a watch is begun for the third time: those before saw nothing."""

    def __init__(self, third: Callable[[], None]) -> None:
        super().__init__(connect(Target()))
        self._third = third
        self._watches = 0

    def watch(self, **options: object) -> Iterator[tuple[str, Document]]:  # type: ignore[override]
        self._watches += 1
        if self._watches == 3:
            self._third()
        return super().watch(**options)  # type: ignore[arg-type, return-value]


def test_watches_that_end_are_renewed_and_nothing_is_missed(served: Served) -> None:
    served.create(status=training(1))
    watched = Counting(lambda: served.say(training(2)))
    sights = follow(watched, "film-reviews", timing=QUICK)
    assert [percentage(next(sights)) for _ in range(2)] == [1, 2]


def test_an_old_beginning_is_refused_by_the_server(served: Served) -> None:
    served.create()
    with pytest.raises(Expired):
        list(experiments().watch(since="1", seconds=2))


class Forgetful(Experiments):
    """Begins watches so long ago that the server has forgotten it, once in a while."""

    forgets = 2

    def watch(self, *, since: str, **options: object) -> Iterator[tuple[str, Document]]:
        if self.forgets:
            self.forgets -= 1
            since = "1"
        return super().watch(since=since, **options)  # type: ignore[arg-type, return-value]


def test_a_forgotten_beginning_costs_nothing(served: Served) -> None:
    served.create(status=training(1))
    sights = follow(Forgetful(connect(Target())), "film-reviews", timing=QUICK)
    assert percentage(next(sights)) == 1
    served.say(training(2))
    assert percentage(next(sights)) == 2


def test_a_server_that_goes_and_comes_back_is_told_of(served: Served, proxy: Proxy) -> None:
    served.create(status=training(1))
    sights = follow(experiments(), "film-reviews", timing=QUICK)
    assert percentage(next(sights)) == 1
    proxy.stop()
    lost = next(sights)
    assert isinstance(lost, Lost)
    assert proxy.address in lost.message
    served.say(training(2))
    proxy.start()
    assert isinstance(next(sights), Back)
    assert percentage(next(sights)) == 2


def test_a_server_that_stays_away_ends_patience(served: Served, proxy: Proxy) -> None:
    served.create(status=training(1))
    timing = Timing(watch_seconds=1, patience_seconds=0.2, pause=lambda _: time.sleep(0.05))
    sights = follow(experiments(), "film-reviews", timing=timing)
    next(sights)
    proxy.stop()
    with pytest.raises(Transient, match="cannot be reached"):
        list(sights)


def test_one_that_never_was_is_not_waited_for(served: Served) -> None:
    with pytest.raises(NotThere):
        next(follow(experiments(), "film-reviews", timing=QUICK))


def test_one_that_was_made_anew_is_another(served: Served, proxy: Proxy) -> None:
    served.create(status=training(1))
    sights = follow(experiments(), "film-reviews", timing=QUICK)
    next(sights)
    proxy.stop()
    assert isinstance(next(sights), Lost)
    served.kubectl("delete", "ste", "film-reviews")
    served.create(status=training(99))
    proxy.start()
    assert list(sights) == [Back(), Deleted(replaced=True)]


def test_one_that_was_deleted_in_a_gap_is_gone(served: Served, proxy: Proxy) -> None:
    served.create()
    sights = follow(experiments(), "film-reviews", timing=QUICK)
    next(sights)
    proxy.stop()
    assert isinstance(next(sights), Lost)
    served.kubectl("delete", "ste", "film-reviews")
    proxy.start()
    assert list(sights) == [Back(), Deleted()]


def test_the_list_survives_the_same(served: Served, proxy: Proxy) -> None:
    served.create("a")
    sights = follow_all(experiments(), everywhere=False, timing=QUICK)
    first = next(sights)
    assert isinstance(first, Listed)
    assert first.changed == ((served.namespace, "a"),)
    proxy.stop()
    assert isinstance(next(sights), Lost)
    served.kubectl("delete", "ste", "a")
    served.create("b")
    proxy.start()
    assert isinstance(next(sights), Back)
    after = next(sights)
    assert isinstance(after, Listed)
    assert list(after.documents) == [(served.namespace, "b")]
    assert after.changed == ((served.namespace, "b"),)


def test_a_command_goes_on_when_the_server_is_back(
    served: Served, proxy: Proxy, start: Start
) -> None:
    served.create(status=training(1))
    with start("status", "film-reviews", "--watch") as command:
        command.wait_for_record("progress", percentage=1)
        proxy.stop()
        command.wait_for(lambda line: "lost sight of it, trying again" in line)
        served.say(succeeded())
        proxy.start()
        command.wait_for_record("note", message="the cluster answers again")
        command.wait_for_record("end", phase="Succeeded")
        code, errors = command.end()
    assert code == 0
    assert "Traceback" not in errors
    assert "accuracy" in errors


def test_a_terminal_has_a_bar_and_ctrl_c_ends_it(served: Served) -> None:
    served.create(status=training(45))
    near, far = pty.openpty()
    arguments = [sys.executable, "-m", "sparse_transfer_cli", "status", "film-reviews", "--watch"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(arguments, stdin=far, stdout=far, stderr=far, env=environment) as process:
        os.close(far)
        shown = _read_until(near, "45%")
        assert "Train" in shown
        assert "transfer · 450/1000" in shown
        served.say(training(50))
        _read_until(near, "50%")
        process.send_signal(signal.SIGINT)
        rest = _read_until(near, "no longer watching")
        assert process.wait(30) == 0
    os.close(near)
    assert "Traceback" not in rest


def _read_until(terminal: int, words: str) -> str:
    text = ""
    deadline = time.monotonic() + 60
    while words not in text:
        assert time.monotonic() < deadline, text
        if select.select([terminal], [], [], 1)[0]:
            text += os.read(terminal, 65_536).decode(errors="replace")
    return text
