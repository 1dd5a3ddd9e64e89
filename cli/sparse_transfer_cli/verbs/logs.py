"""``logs``: what the pods of an experiment's stages write."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from sparse_transfer_api.contract import ExitCode, Stage
from sparse_transfer_api.errors import AccessError, Transient, UsageError
from sparse_transfer_cli.cluster.choosing_pods import chosen, no_pods, of_stage, stage_of_interest
from sparse_transfer_cli.cluster.connection import Target, connect
from sparse_transfer_cli.cluster.experiments import Experiments
from sparse_transfer_cli.cluster.following_logs import Began, Line, Waiting, follow_logs
from sparse_transfer_cli.cluster.interrupted import until_interrupted
from sparse_transfer_cli.cluster.log_lines import readable
from sparse_transfer_cli.cluster.observed import Observed, observed
from sparse_transfer_cli.cluster.outcome import outcome_of
from sparse_transfer_cli.cluster.patience import Lost
from sparse_transfer_cli.cluster.pods import Pods, RunnerPod
from sparse_transfer_cli.console import print_plain, stderr


@dataclass(frozen=True)
class LogOptions:
    """Which logs are meant, and how they are shown.

    Args:
        stage: The stage; None for the one that runs, or that ran last.
        follow: Go on with what is written.
        previous: The pod before the newest.
        attempt: This attempt's pod.
        raw: As the pods wrote it.
        level: Of a search: this level's pods; None for the level that runs, or that is kept.
    """

    stage: Stage | None = None
    follow: bool = False
    previous: bool = False
    attempt: int | None = None
    raw: bool = False
    level: float | None = None

    @property
    def one_pod(self) -> bool:
        """Whether a single pod is meant, whatever comes after it."""
        return self.previous or self.attempt is not None or self.level is not None


def show_logs(name: str, target: Target, options: LogOptions) -> int:
    """Writes what pods wrote to standard output, and whose it is to standard error.

    Args:
        name: The experiment's.
        target: The cluster.
        options: Which, and how.

    Returns:
        The exit code.

    Raises:
        AccessError: The pods are gone, or the cluster refuses.
        InputError: It does not try the level.
        Transient: The pod has not begun to write.
        SparseTransferError: The cluster cannot be asked.
    """
    if options.previous and options.attempt is not None:
        raise UsageError("--previous and --attempt both choose a pod; give one of them")
    experiments = Experiments(connect(target))
    experiment = observed(experiments.get(name))
    if options.level is not None:
        experiment = experiment.at_level(options.level)
    stage = options.stage or stage_of_interest(experiment)
    every = Pods(experiments.connection).of(name)
    pods = of_stage(every, experiment, stage)
    pod = chosen(pods, previous=options.previous, attempt=options.attempt)
    goes_on = options.follow and options.level is None and _goes_on(experiment, options.stage)
    if pod is None and not goes_on:
        raise AccessError(no_pods(experiment, stage))
    if pod is not None and (options.one_pod or not options.follow):
        return _write_one(Pods(experiments.connection), pod, options)
    skipped = frozenset(each.uid for each in every if pod is None or _earlier(each, pod))
    return until_interrupted(
        lambda: _follow(experiments, name, skipped, options),
        told=f"no longer following; {name} goes on in the cluster",
        code=ExitCode.DONE,
    )


def _goes_on(experiment: Observed, stage: Stage | None) -> bool:
    """Whether pods may still come: of a stage, or of any."""
    status = experiment.stage(stage) if stage is not None else None
    if status is not None and experiment.up_to_date:
        return status.outcome in (None, "Running")
    return outcome_of(experiment) is None


def _write_one(pods: Pods, pod: RunnerPod, options: LogOptions) -> int:
    if not pod.started:
        hint = "" if options.one_pod else "; --follow waits for it"
        raise Transient(f"pod {pod.name}: has not begun ({pod.waiting}){hint}")
    _began(pod)
    for _, text in pods.log(pod.name, follow=options.follow):
        _write(text, raw=options.raw)
    return ExitCode.DONE


def _earlier(pod: RunnerPod, than: RunnerPod) -> bool:
    return pod.uid != than.uid and (pod.created, pod.name) < (than.created, than.name)


def _follow(
    experiments: Experiments, name: str, skipped: frozenset[str], options: LogOptions
) -> int:
    for heard in follow_logs(experiments, name, stage=options.stage, skipped=skipped):
        match heard:
            case Line(text):
                _write(text, raw=options.raw)
            case Began(pod):
                _began(pod)
            case Waiting(reason):
                _note(reason)
            case Lost(message):
                _note(f"trying again: {message}")
            case _:
                _note("the cluster answers again")
    return ExitCode.DONE


def _began(pod: RunnerPod) -> None:
    attempt = f", attempt {pod.attempt}" if pod.attempt > 1 else ""
    _note(f"{pod.stage}{attempt}: pod {pod.name}")


def _write(text: str, *, raw: bool) -> None:
    sys.stdout.write(f"{text if raw else readable(text)}\n")
    sys.stdout.flush()


def _note(text: str) -> None:
    print_plain(stderr(), text, style="dim")
