"""What a library takes away with it is a process that nobody misses."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from sparse_transfer_runner.engines.isolation import Isolated, ProcessEnded

MODULE = """
import os
import signal
from multiprocessing.connection import Connection


def double(descriptor):
    with Connection(descriptor) as connection:
        while True:
            try:
                message = connection.recv()
            except EOFError:
                return
            if message == "crash":
                os.kill(os.getpid(), signal.SIGSEGV)
            if message == "leave":
                os._exit(3)
            print("not for the records")
            connection.send(2 * message)
"""


@pytest.fixture
def process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Isolated:
    (tmp_path / "doubling.py").write_text(MODULE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return Isolated("doubling", "double")


def test_each_question_has_its_answer(process: Isolated) -> None:
    assert [process.ask(number) for number in (1, 2, 3)] == [2, 4, 6]


def test_all_questions_go_to_one_process(process: Isolated) -> None:
    assert process.pid is None
    process.ask(1)
    first = process.pid
    process.ask(1)
    assert process.pid == first != os.getpid()


@pytest.mark.parametrize(
    ("message", "how"),
    [("crash", "its process ended with SIGSEGV"), ("leave", "its process ended with exit code 3")],
)
def test_its_end_is_an_error_that_says_how(message: str, how: str, process: Isolated) -> None:
    with pytest.raises(ProcessEnded, match=how):
        process.ask(message)
    assert process.pid is None


def test_the_next_question_starts_it_anew(process: Isolated) -> None:
    with pytest.raises(ProcessEnded):
        process.ask("crash")
    assert process.ask(4) == 8


def test_an_end_between_two_questions_is_found(process: Isolated) -> None:
    process.ask(1)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(ProcessEnded, match="SIGKILL"):
        process.ask(1)


def test_what_it_prints_is_not_on_standard_output(
    process: Isolated, capfd: pytest.CaptureFixture[str]
) -> None:
    process.ask(1)
    with pytest.raises(ProcessEnded):
        process.ask("leave")
    assert "not for the records" not in capfd.readouterr().out
