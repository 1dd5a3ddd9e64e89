"""Operators as processes on a real API server: progress from a pod's environment to the status."""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.access import Cluster
from tests.operator.experiments import Experiment
from tests.operator.operators import (
    OperatorProcess,
    operator_settings,
    running_operator,
    start_operator,
)
from tests.operator.progress.endpoints import HOST
from tests.servers.processes import free_port, wait_until

from sparse_transfer_api.contract import (
    ENV_PROGRESS_CA,
    ENV_PROGRESS_TOKEN,
    ENV_PROGRESS_URL,
    Stage,
    progress_path,
)
from sparse_transfer_api.records import Progress
from sparse_transfer_api.spec.experiment import Metadata
from sparse_transfer_runner.progress_post import Pace, posting

HANGS = {"sim/hang": ""}
PACE = Pace(interval=0.2, shortest=0.2, longest=0.5, silence=3, closing=3)


@pytest.fixture
def settings(namespace: str) -> dict[str, Any]:
    progress = {"host": HOST, "port": free_port(), "intervalSeconds": 0.2}
    return operator_settings(namespace, progress=progress)


@pytest.fixture
def operator(experiments_known: Cluster, settings: dict[str, Any]) -> Iterator[OperatorProcess]:
    with running_operator(experiments_known, settings) as running:
        yield running


def running_pod(experiment: Experiment, stage: str) -> dict[str, Any]:
    """Waits for a stage's pod and returns it."""
    experiment.wait_until_running(stage)
    (found,) = [
        each
        for each in experiment.children("pods")
        if each["metadata"]["labels"]["sparsetransfer.dev/stage"] == stage
    ]
    return dict(found)


def environment(experiment: Experiment, pod: dict[str, Any], folder: Path) -> dict[str, str]:
    """Returns what the pod's container would have: its variables, and its token by the kubelet."""
    (container,) = pod["spec"]["containers"]
    variables = {each["name"]: each.get("value", "") for each in container["env"]}
    (audience,) = [
        source["serviceAccountToken"]["audience"]
        for volume in pod["spec"]["volumes"]
        for source in volume.get("projected", {}).get("sources", ())
        if "audience" in source.get("serviceAccountToken", {})
    ]
    token = folder / "token"
    token.write_text(bound_token(experiment, pod, audience))
    return {
        ENV_PROGRESS_URL: variables[ENV_PROGRESS_URL],
        ENV_PROGRESS_CA: variables[ENV_PROGRESS_CA],
        ENV_PROGRESS_TOKEN: str(token),
    }


def bound_token(experiment: Experiment, pod: dict[str, Any], audience: str) -> str:
    """Returns a token as the kubelet has one made for a pod."""
    bound = ("--bound-object-kind=Pod", f"--bound-object-name={pod['metadata']['name']}")
    account = pod["spec"]["serviceAccountName"]
    return experiment.kubectl("create", "token", account, f"--audience={audience}", *bound)


def report(experiment: Experiment, values: dict[str, str], percentage: float) -> None:
    """Posts once, as the runner does, and waits until the status shows it."""
    progress = Progress(stage=Stage.TRAIN, activity="transfer", step=1, percentage=percentage)
    metadata = Metadata(name=experiment.name, namespace=experiment.namespace)
    with posting(values, metadata, PACE) as post:
        post(progress)
        experiment.wait_until(
            lambda: experiment.status().get("progress", {}).get("percentage") == percentage,
            f"{percentage} %",
        )


def no_progress(experiment: Experiment) -> bool:
    return "progress" not in experiment.status()


def test_progress_is_shown_while_a_stage_runs_and_never_after(
    operator: OperatorProcess, experiment: Experiment, tmp_path: Path
) -> None:
    experiment.apply(stages={"train": HANGS, "package": HANGS})
    values = environment(experiment, running_pod(experiment, "train"), tmp_path)
    report(experiment, values, 25)
    report(experiment, values, 50)
    assert experiment.kubectl("get", "ste", experiment.name).count(" 50 ") == 1
    gauge = "sparse_transfer_experiment_progress_percentage"
    wait_until(lambda: operator.total(gauge, name=experiment.name) == 50, "the metric")
    assert operator.total("sparse_transfer_progress_posts_total", code="204") >= 2

    experiment.end_pod("train")
    running_pod(experiment, "package")
    experiment.wait_until(lambda: no_progress(experiment), "no progress of train")
    with posting(values, Metadata(name=experiment.name, namespace=experiment.namespace), PACE) as p:
        p(Progress(stage=Stage.TRAIN, activity="late", percentage=99))
        p(Progress(stage=Stage.PACKAGE, activity="foreign", percentage=99))
    assert no_progress(experiment)
    experiment.end_pod("package")
    experiment.wait_for("Complete")
    assert no_progress(experiment)


def test_a_new_leader_takes_away_what_is_stale_and_takes_what_is_new(
    experiments_known: Cluster, settings: dict[str, Any], experiment: Experiment, tmp_path: Path
) -> None:
    with running_operator(experiments_known, settings):
        experiment.apply(stages={"train": HANGS, "package": HANGS})
        values = environment(experiment, running_pod(experiment, "train"), tmp_path)
        report(experiment, values, 25)
    with running_operator(experiments_known, settings):
        # Jobs that run already trust the authority of before, and the new leader has its key.
        report(experiment, values, 75)
    experiment.end_pod("train")
    with running_operator(experiments_known, settings):
        running_pod(experiment, "package")
        experiment.wait_until(lambda: no_progress(experiment), "no progress of train")


def test_another_replica_takes_over_with_the_same_authority(
    experiments_known: Cluster,
    settings: dict[str, Any],
    operator: OperatorProcess,
    experiment: Experiment,
    tmp_path: Path,
) -> None:
    experiment.apply(stages={"train": HANGS})
    pod = running_pod(experiment, "train")
    values = environment(experiment, pod, tmp_path)
    # Here there is no Service before them, so the other one has an address of its own.
    other = {**settings["progress"], "port": free_port()}
    url = f"https://{HOST}:{other['port']}"
    token = tmp_path / "other-token"
    token.write_text(bound_token(experiment, pod, url))
    values = {**values, ENV_PROGRESS_URL: url, ENV_PROGRESS_TOKEN: str(token)}
    second = {**settings, "httpPort": free_port(), "progress": other}
    standby = start_operator(experiments_known.kubeconfig, second, experiments_known.folder)
    try:
        wait_until(lambda: answer(values, experiment) == 503, "a standby that refuses")
        operator.stop()
        standby.wait_until_leading()
        report(experiment, values, 50)
    finally:
        standby.stop()


def answer(values: dict[str, str], experiment: Experiment) -> int:
    """Returns the status that a post is answered with; 0 where nobody listens."""
    context = ssl.create_default_context(cadata=values[ENV_PROGRESS_CA])
    path = progress_path(experiment.namespace, experiment.name)
    request = urllib.request.Request(values[ENV_PROGRESS_URL] + path, b"{}", method="POST")
    client = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    try:
        with client.open(request, timeout=10) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0
