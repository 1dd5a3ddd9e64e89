from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest

from sparse_transfer_runner.packaging.latency import Latency, Schedule, Seconds, measure


class _Machine:
    """A clock that only runs while something runs."""

    def __init__(self) -> None:
        self.now = 0.0
        self.order: list[str] = []

    def task(self, name: str, durations: Iterator[float]) -> Callable[[], None]:
        def run() -> None:
            self.now += next(durations)
            self.order.append(name)

        return run


def _always(seconds: float) -> Iterator[float]:
    while True:
        yield seconds


def test_median_and_95th_percentile_are_in_milliseconds() -> None:
    latency = Latency.of([0.001 * n for n in range(1, 101)])
    assert latency == Latency(median_ms=50.5, p95_ms=95.05, runs=100)


@pytest.mark.parametrize(
    ("seconds", "durations", "schedule"),
    [
        pytest.param(2.0, [0.01, 0.005], Schedule(20, 1, 3), id="fast files get many runs"),
        pytest.param(2.0, [0.04, 0.04], Schedule(6, 1, 3), id="slower ones as many as fit"),
        pytest.param(0.1, [0.04, 0.04], Schedule(4, 1, 3), id="never less than twelve"),
        pytest.param(2.0, [0.3, 0.1], Schedule(5, 0, 1), id="long runs need no warm-up"),
        pytest.param(60.0, [0.3, 0.1], Schedule(20, 0, 1), id="nor more than twenty"),
    ],
)
def test_a_schedule_fits_its_budget(
    seconds: float, durations: list[float], schedule: Schedule
) -> None:
    assert Schedule.within(seconds, durations) == schedule


def test_files_take_turns_and_no_file_is_always_first() -> None:
    machine = _Machine()
    fast, slow = machine.task("fast", _always(0.001)), machine.task("slow", _always(0.004))
    latencies = measure([fast, slow], budget=0.4, clock=lambda: machine.now)
    assert [latency.median_ms for latency in latencies] == [1.0, 4.0]
    assert {latency.runs for latency in latencies} == {60}
    blocks = machine.order[4:]
    starts = [blocks[i] for i in range(0, len(blocks), 8)]
    assert all(first != second for first, second in pairwise(starts))


def test_a_neighbour_that_slows_the_machine_down_slows_all_files_alike() -> None:
    machine = _Machine()

    def drifting(seconds: float) -> Iterator[float]:
        while True:
            yield seconds * (1 + machine.now)

    first, second = machine.task("a", drifting(0.002)), machine.task("b", drifting(0.001))
    a, b = measure([first, second], budget=0.5, clock=lambda: machine.now)
    assert a.median_ms / b.median_ms == pytest.approx(2, rel=0.05)


def test_a_measurement_can_be_stopped_between_rounds() -> None:
    class Stop(Exception):
        pass

    def stop() -> None:
        raise Stop

    with pytest.raises(Stop):
        measure([lambda: None], budget=1, check=stop)


def test_a_run_in_another_process_is_believed_how_long_it_took() -> None:
    machine = _Machine()
    around = machine.task("asked", _always(0.5))

    def run() -> Seconds:
        around()
        return Seconds(0.002)

    (latency,) = measure([run], budget=0.1, clock=lambda: machine.now)
    assert latency.median_ms == 2.0
