"""What is shown of whom, and when: rates, stale progress, failures, in any order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sparse_transfer_api.contract import Stage
from sparse_transfer_api.status import ProgressStatus, SparseTransferStatus, StageStatus
from sparse_transfer_operator.progress.board import Board, Outcome, Write
from sparse_transfer_operator.progress.owners import (
    ExperimentId,
    PodOwner,
    RunningStage,
    running_stage,
)

INTERVAL, RETRY = 30.0, 5.0
EXPERIMENT = ExperimentId("team", "reviews", "uid")
OTHER = ExperimentId("team", "other", "other-uid")
STARTED = datetime(2026, 3, 1, tzinfo=UTC)
TRAIN = RunningStage(Stage.TRAIN, "aaaaaaaaaa", STARTED)
EDITED = RunningStage(Stage.TRAIN, "bbbbbbbbbb", STARTED)
PACKAGE = RunningStage(Stage.PACKAGE, "cccccccccc", STARTED)


def owner(running: RunningStage, experiment: ExperimentId = EXPERIMENT) -> PodOwner:
    return PodOwner(experiment, running.stage, running.key)


def progress(running: RunningStage = TRAIN, step: int = 1) -> ProgressStatus:
    return ProgressStatus(stage=running.stage, step=step)


@pytest.fixture
def board() -> Board:
    return Board(INTERVAL, RETRY)


def write_now(board: Board, now: float, outcome: Outcome = Outcome.DONE) -> list[Write]:
    """Does all that is due."""
    done = []
    while (write := board.take(now)) is not None:
        board.ended(write, outcome, now)
        done.append(write)
    return done


def test_the_first_report_is_shown_at_once(board: Board) -> None:
    assert board.report(owner(TRAIN), progress(), 0)
    assert write_now(board, 0) == [Write(EXPERIMENT, progress())]
    assert board.next_due() is None


def test_of_many_reports_the_newest_is_shown_an_interval_later(board: Board) -> None:
    for step in range(100):
        board.report(owner(TRAIN), progress(step=step), step / 4)
        assert len(write_now(board, step / 4)) == (step == 0)
    assert board.next_due() == INTERVAL
    assert write_now(board, INTERVAL) == [Write(EXPERIMENT, progress(step=99))]


def test_what_is_shown_already_is_not_written_again(board: Board) -> None:
    board.report(owner(TRAIN), progress(), 0)
    write_now(board, 0)
    board.report(owner(TRAIN), progress(), 60)
    assert board.next_due() is None


def test_a_report_during_a_write_is_not_lost(board: Board) -> None:
    board.report(owner(TRAIN), progress(step=1), 0)
    write = board.take(0)
    assert write is not None
    board.report(owner(TRAIN), progress(step=2), 1)
    assert board.take(100) is None  # one write of an experiment at a time
    board.ended(write, Outcome.DONE, 2)
    assert write_now(board, INTERVAL) == [Write(EXPERIMENT, progress(step=2))]


def test_progress_is_taken_away_at_once_when_the_experiment_ends(board: Board) -> None:
    board.settle(EXPERIMENT, TRAIN, None, 0)
    board.report(owner(TRAIN), progress(), 0)
    write_now(board, 0)
    board.report(owner(TRAIN), progress(step=2), 1)
    assert board.settle(EXPERIMENT, None, None, 2)
    assert write_now(board, 2) == [Write(EXPERIMENT, None)]


def test_an_experiment_that_ended_is_remembered_for_an_interval(board: Board) -> None:
    board.report(owner(TRAIN), progress(), 0)
    write_now(board, 0)
    board.settle(EXPERIMENT, None, None, 2)
    write_now(board, 2)
    board.report(owner(TRAIN), progress(step=2), 3)
    assert board.next_due() == INTERVAL
    board.settle(EXPERIMENT, None, None, 4)
    assert write_now(board, INTERVAL) == []
    assert len(board) == 0


@pytest.mark.parametrize("then", [PACKAGE, EDITED])
def test_progress_of_a_stage_that_is_over_gives_way_to_nothing(
    board: Board, then: RunningStage
) -> None:
    board.settle(EXPERIMENT, TRAIN, None, 0)
    board.report(owner(TRAIN), progress(), 0)
    write_now(board, 0)
    assert board.settle(EXPERIMENT, then, None, 1)
    assert write_now(board, 1) == [Write(EXPERIMENT, None)]
    assert not board.report(owner(TRAIN), progress(step=9), 2)
    assert board.report(owner(then), progress(then), 2)
    assert board.next_due() == INTERVAL


def test_a_report_before_the_first_word_on_what_runs_is_shown(board: Board) -> None:
    board.report(owner(TRAIN), progress(), 0)
    assert not board.settle(EXPERIMENT, TRAIN, None, 0)
    assert write_now(board, 0) == [Write(EXPERIMENT, progress())]


def test_what_a_write_showed_after_the_stage_was_over_is_taken_away(board: Board) -> None:
    board.report(owner(TRAIN), progress(), 0)
    write = board.take(0)
    assert write is not None
    board.settle(EXPERIMENT, None, None, 1)
    board.ended(write, Outcome.DONE, 2)
    assert write_now(board, 2) == [Write(EXPERIMENT, None)]


@pytest.mark.parametrize(
    ("running", "shown", "stale"),
    [
        pytest.param(None, STARTED, True, id="nothing runs any more"),
        pytest.param(PACKAGE, STARTED - timedelta(hours=1), True, id="of an earlier stage"),
        pytest.param(PACKAGE, STARTED + timedelta(hours=1), False, id="of the running stage"),
        pytest.param(PACKAGE, None, False, id="nothing is shown"),
        pytest.param(None, None, False, id="nothing runs and nothing is shown"),
    ],
)
def test_a_new_leader_takes_away_what_the_old_one_left(
    board: Board, running: RunningStage | None, shown: datetime | None, stale: bool
) -> None:
    assert board.settle(EXPERIMENT, running, shown, 0) is stale
    assert write_now(board, 0) == ([Write(EXPERIMENT, None)] if stale else [])


def test_a_late_watch_takes_nothing_away(board: Board) -> None:
    board.settle(EXPERIMENT, TRAIN, None, 0)
    board.report(owner(TRAIN), progress(), 0)
    write_now(board, 0)
    assert not board.settle(EXPERIMENT, TRAIN, STARTED - timedelta(days=1), 1)
    assert board.next_due() is None


def test_a_failed_write_is_tried_again_later(board: Board) -> None:
    board.report(owner(TRAIN), progress(), 0)
    assert len(write_now(board, 0, Outcome.FAILED)) == 1
    assert board.next_due() == INTERVAL  # for it may have been done
    board.settle(EXPERIMENT, None, None, 1)
    assert board.next_due() == RETRY
    assert len(write_now(board, RETRY, Outcome.FAILED)) == 1
    assert board.next_due() == 2 * RETRY


def test_a_refused_report_is_not_tried_again(board: Board) -> None:
    board.report(owner(TRAIN), progress(step=1), 0)
    write_now(board, 0)
    board.report(owner(TRAIN), progress(step=2), 1)
    write_now(board, INTERVAL, Outcome.REFUSED)
    assert write_now(board, 2 * INTERVAL) == [Write(EXPERIMENT, None)]
    assert board.next_due() is None


def test_an_experiment_that_is_gone_is_forgotten(board: Board) -> None:
    board.report(owner(TRAIN), progress(), 0)
    write_now(board, 0, Outcome.GONE)
    assert len(board) == 0
    board.report(owner(TRAIN), progress(), 0)
    board.forget(EXPERIMENT)
    assert board.next_due() is None


def test_who_waits_for_longest_is_written_first(board: Board) -> None:
    board.report(owner(TRAIN, OTHER), progress(), 0)
    board.report(owner(TRAIN), progress(), 1)
    board.report(owner(TRAIN, OTHER), progress(step=2), 2)
    assert [each.experiment for each in write_now(board, 3)] == [OTHER, EXPERIMENT]


@pytest.mark.parametrize(
    ("stage", "running"),
    [
        pytest.param(
            StageStatus(name=Stage.TRAIN, key=TRAIN.key, outcome="Running", start_time=STARTED),
            TRAIN,
            id="it runs",
        ),
        pytest.param(
            StageStatus(name=Stage.TRAIN, key=TRAIN.key, outcome="Running"),
            None,
            id="no pod of it has run",
        ),
        pytest.param(
            StageStatus(name=Stage.TRAIN, key=TRAIN.key, outcome="Succeeded", start_time=STARTED),
            None,
            id="it is over",
        ),
    ],
)
def test_the_status_says_what_runs(stage: StageStatus, running: RunningStage | None) -> None:
    assert running_stage(SparseTransferStatus(stages=(stage,))) == running


class AnyOrder(RuleBasedStateMachine):
    """A cluster, a board, and everything that can happen between them."""

    def __init__(self) -> None:
        super().__init__()
        self.board = Board(INTERVAL, RETRY)
        self.now = 0.0
        self.running: RunningStage | None = None
        self.settled = False
        self.cluster: ProgressStatus | None = None
        self.written: list[tuple[float, Write]] = []
        self.writing: Write | None = None
        self.step = 0

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 29.9, 30.0, 100.0]))
    def time_goes_by(self, seconds: float) -> None:
        self.now += seconds

    @rule(of=st.sampled_from([TRAIN, EDITED, PACKAGE]))
    def a_pod_reports(self, of: RunningStage) -> None:
        self.step += 1
        taken = self.board.report(owner(of), progress(of, self.step), self.now)
        if self.running is not None:
            assert taken == (of == self.running)

    @rule(running=st.sampled_from([None, TRAIN, EDITED, PACKAGE]))
    def something_else_runs(self, running: RunningStage | None) -> None:
        shown = None if self.cluster is None else STARTED
        self.board.settle(EXPERIMENT, running, shown, self.now)
        self.running = running

    @precondition(lambda self: self.writing is None)
    @rule()
    def a_write_begins(self) -> None:
        self.writing = self.board.take(self.now)
        if self.writing is not None:
            if self.writing.progress is not None and self.running is not None:
                assert self.writing.progress.stage is self.running.stage
            self.written.append((self.now, self.writing))

    @precondition(lambda self: self.writing is not None)
    @rule(
        outcome=st.sampled_from([Outcome.DONE, Outcome.DONE, Outcome.REFUSED, Outcome.FAILED]),
        reached=st.booleans(),
    )
    def a_write_ends(self, outcome: Outcome, reached: bool) -> None:
        assert self.writing is not None
        if outcome is Outcome.DONE or (outcome is Outcome.FAILED and reached):
            self.cluster = self.writing.progress
        self.board.ended(self.writing, outcome, self.now)
        self.writing = None

    @invariant()
    def progress_is_written_once_in_an_interval(self) -> None:
        times = [when for when, write in self.written if write.progress is not None]
        assert all(later - earlier >= INTERVAL - 1e-9 for earlier, later in pairwise(times))

    def teardown(self) -> None:
        """In quiet times, nothing stale stays, and nothing is remembered for nothing."""
        if self.writing is not None:
            self.a_write_ends(Outcome.DONE, True)
        self.board.settle(EXPERIMENT, None, None, self.now)
        self.now += 1000
        for write in write_now(self.board, self.now):
            self.cluster = write.progress
        assert self.cluster is None
        assert len(self.board) == 0
        assert self.board.next_due() is None


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(deadline=None, max_examples=200, stateful_step_count=30)


@given(st.lists(st.sampled_from([f"e{n}" for n in range(5)]), max_size=50))
def test_nobody_is_passed_over(names: list[str]) -> None:
    board = Board(INTERVAL, RETRY)
    for number, name in enumerate(names):
        who = ExperimentId("team", name, name)
        board.report(owner(TRAIN, who), progress(step=number), number)
    assert {each.experiment.name for each in write_now(board, 100)} == set(names)
