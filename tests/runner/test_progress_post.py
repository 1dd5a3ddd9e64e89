"""Posting progress: the newest only, seldom, in nobody's way, whatever the endpoint does."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.servers.processes import wait_until
from tests.servers.web import web_server

from sparse_transfer_api.contract import (
    ENV_PROGRESS_CA,
    ENV_PROGRESS_TOKEN,
    ENV_PROGRESS_URL,
    Stage,
)
from sparse_transfer_api.records import Progress
from sparse_transfer_api.spec.experiment import Metadata
from sparse_transfer_runner.progress import Reporter
from sparse_transfer_runner.progress_post import Pace, PostFailed, ProgressPoster, posting

QUICK = Pace(interval=0.2, shortest=0.02, longest=0.3, silence=1, closing=1)
NEVER = Pace(interval=3600, shortest=0.02, longest=3600, silence=1, closing=1)
EXPERIMENT = Metadata(name="reviews", namespace="team")


@dataclass
class Endpoint:
    """Takes posts, or does not.

    Args:
        refusals: What the next posts meet.
        taken: In order.
        gate: While it is closed, posts hang.
    """

    refusals: list[PostFailed] = field(default_factory=list)
    taken: list[Progress] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)

    def post(self, progress: Progress) -> None:
        self.gate.wait(20)
        if self.refusals:
            raise self.refusals.pop(0)
        self.taken.append(progress)

    @property
    def steps(self) -> list[int | None]:
        return [each.step for each in self.taken]


@pytest.fixture
def endpoint() -> Endpoint:
    made = Endpoint()
    made.gate.set()
    return made


@contextmanager
def posted(endpoint: Endpoint, pace: Pace) -> Iterator[ProgressPoster]:
    poster = ProgressPoster(endpoint.post, pace)
    try:
        yield poster
    finally:
        poster.close()


def at(step: int | None, total: int | None = 100) -> Progress:
    return Progress(stage=Stage.TRAIN, activity="transfer", step=step, total_steps=total)


def test_the_first_report_is_posted_at_once(endpoint: Endpoint) -> None:
    with posted(endpoint, NEVER) as poster:
        poster(at(7))
        wait_until(lambda: endpoint.steps == [7], "a post")


def test_between_two_posts_only_the_newest_is_kept(endpoint: Endpoint) -> None:
    endpoint.gate.clear()
    with posted(endpoint, QUICK) as poster:
        poster(at(1))
        wait_until(lambda: poster._newest is None, "a post")
        for step in range(2, 90):
            poster(at(step))
        endpoint.gate.set()
        wait_until(lambda: len(endpoint.taken) == 2, "another post")
        assert endpoint.steps == [1, 89]


@pytest.mark.parametrize(
    "milestone",
    [
        pytest.param(at(0), id="an activity begins"),
        pytest.param(at(100), id="an activity ends"),
        pytest.param(at(None, None), id="an activity ends whose steps nobody counted"),
    ],
)
def test_begin_and_end_of_an_activity_do_not_wait(endpoint: Endpoint, milestone: Progress) -> None:
    with posted(endpoint, NEVER) as poster:
        poster(at(5))
        wait_until(lambda: len(endpoint.taken) == 1, "a post")
        poster(milestone)
        wait_until(lambda: endpoint.taken[1:] == [milestone], "the milestone")


def test_what_is_left_is_posted_in_the_end(endpoint: Endpoint) -> None:
    with posted(endpoint, NEVER) as poster:
        poster(at(1))
        wait_until(lambda: len(endpoint.taken) == 1, "a post")
        poster(at(2))
    assert endpoint.steps == [1, 2]


def test_the_end_waits_for_another_try_but_not_for_long(endpoint: Endpoint) -> None:
    endpoint.refusals = [PostFailed("503 standby", 0.1)]
    with posted(endpoint, NEVER) as poster:
        poster(at(1))
    assert endpoint.steps == [1]
    endpoint.refusals = [PostFailed("503 standby", 1000)]
    begin = time.monotonic()
    with posted(endpoint, NEVER) as poster:
        poster(at(2))
    assert time.monotonic() - begin < 10
    assert endpoint.steps == [1]


def test_an_endpoint_that_hangs_holds_up_neither_the_work_nor_its_end(endpoint: Endpoint) -> None:
    endpoint.gate.clear()
    begin = time.monotonic()
    with posted(endpoint, QUICK) as poster:
        for step in range(1000):
            poster(at(step))
    assert time.monotonic() - begin < 10  # though the post hangs for longer
    endpoint.gate.set()


def test_a_failed_report_is_posted_again_unless_there_is_a_newer_one(endpoint: Endpoint) -> None:
    endpoint.refusals = [PostFailed("no")]
    with posted(endpoint, QUICK) as poster:
        poster(at(1))
        wait_until(lambda: endpoint.steps == [1], "another try")
        endpoint.refusals = [PostFailed("no", 0.2)]
        poster(at(2))
        wait_until(lambda: not endpoint.refusals, "a failure")
        poster(at(3))
        wait_until(lambda: len(endpoint.taken) == 2, "another try")
    assert endpoint.steps == [1, 3]


def test_failures_are_told_once(endpoint: Endpoint, caplog: pytest.LogCaptureFixture) -> None:
    endpoint.refusals = [PostFailed(f"failure {n}") for n in range(4)]
    with caplog.at_level(logging.INFO), posted(endpoint, QUICK) as poster:
        poster(at(1))
        wait_until(lambda: bool(endpoint.taken), "the fifth try")
    (record,) = caplog.records
    assert "failure 0" in record.getMessage()
    assert record.levelno == logging.WARNING


def environment(folder: Path, url: str, authority: str) -> dict[str, str]:
    token = folder / "token"
    token.write_text("a-token")
    return {
        ENV_PROGRESS_URL: url,
        ENV_PROGRESS_CA: authority,
        ENV_PROGRESS_TOKEN: str(token),
    }


@pytest.mark.parametrize("missing", [ENV_PROGRESS_URL, ENV_PROGRESS_CA])
def test_without_an_endpoint_nothing_is_posted(tmp_path: Path, missing: str) -> None:
    values = environment(tmp_path, "https://localhost:1", "x")
    del values[missing]
    threads = threading.active_count()
    with posting(values, EXPERIMENT) as post:
        post(at(1))
        assert threading.active_count() == threads


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        pytest.param("http://localhost:1", None, id="no TLS"),
        pytest.param("https://", None, id="no host"),
        pytest.param("https://localhost:port", None, id="no port"),
        pytest.param("https://[", None, id="no address"),
        pytest.param("https://localhost:1", "no PEM", id="no authority"),
    ],
)
def test_an_endpoint_that_cannot_be_one_is_told_and_nothing_else(
    tmp_path: Path, url: str, authority: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    with web_server(tmp_path) as server:
        trusted = server.authority.read_text()
    with posting(environment(tmp_path, url, authority or trusted), EXPERIMENT) as post:
        post(at(1))
    (record,) = caplog.records
    assert ENV_PROGRESS_URL in record.getMessage()


@contextmanager
def silent_server() -> Iterator[int]:
    """Gives the port of a server that accepts, and says nothing."""
    with socket.create_server(("localhost", 0)) as server:
        yield server.getsockname()[1]


@contextmanager
def nobody() -> Iterator[int]:
    """Gives a port that nobody listens on."""
    with socket.create_server(("localhost", 0)) as server:
        port = server.getsockname()[1]
    yield port


@pytest.mark.parametrize("server", [silent_server, nobody])
def test_an_endpoint_that_is_not_there_does_no_harm(
    tmp_path: Path,
    server: Callable[[], AbstractContextManager[int]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    with web_server(tmp_path) as web:
        authority = web.authority.read_text()
    pace = Pace(interval=0.1, shortest=0.02, longest=0.1, silence=0.2, closing=1)
    with server() as port:
        values = environment(tmp_path, f"https://localhost:{port}", authority)
        with posting(values, EXPERIMENT, pace) as post:
            post(at(1))
            wait_until(lambda: bool(caplog.records), "a failure")
    assert "does not mind" in caplog.text


def test_a_token_that_is_not_there_does_no_harm(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with web_server(tmp_path) as server:
        values = environment(tmp_path, server.url(""), server.authority.read_text())
        (tmp_path / "token").unlink()
        with posting(values, EXPERIMENT, QUICK) as post:
            post(at(1))
            wait_until(lambda: bool(caplog.records), "a failure")
    assert "FileNotFoundError" in caplog.text


def test_an_endpoint_that_another_authority_vouches_for_gets_no_token(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "other").mkdir()
    with web_server(tmp_path) as server, web_server(tmp_path / "other") as other:
        values = environment(tmp_path, server.url(""), other.authority.read_text())
        with posting(values, EXPERIMENT, QUICK) as post:
            post(at(1))
            wait_until(lambda: bool(caplog.records), "a failure")
        assert not server.requests
    assert "certificate verify failed" in caplog.text


def test_a_loss_that_is_no_number_is_left_out() -> None:
    sent: list[Progress] = []
    reporter = Reporter(Stage.TRAIN, sent.append, clock=iter(range(100)).__next__)
    with reporter.activity("transfer", 1.0, total=2):
        reporter.step(1, metrics={"loss": float("nan"), "accuracy": 0.5})
    assert sent[1].metrics == {"accuracy": 0.5}
    assert all(Progress.model_validate_json(each.to_json()) == each for each in sent)
