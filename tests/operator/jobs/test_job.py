from __future__ import annotations

from typing import Any

import pytest
from tests.operator.jobs.manifests import KEY, UID, document, job, pod_of, runner_of

from sparse_transfer_api.contract import ENV_EXPERIMENT, Stage
from sparse_transfer_api.errors import InputError
from sparse_transfer_api.handover import read_stage_document
from sparse_transfer_api.spec import parse_experiment
from sparse_transfer_operator.actions import CreateJob
from sparse_transfer_operator.jobs import build
from sparse_transfer_operator.names import labels
from sparse_transfer_operator.settings import OperatorSettings

QUEUE = {"kueue.x-k8s.io/queue-name": "team", "kueue.x-k8s.io/priority-class": "low"}


def test_a_job_belongs_to_its_experiment_and_goes_with_it() -> None:
    (owner,) = job()["metadata"]["ownerReferences"]
    assert owner == {
        "apiVersion": "sparsetransfer.dev/v1alpha1",
        "kind": "SparseTransferExperiment",
        "name": "film-reviews",
        "uid": UID,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def test_an_experiment_without_a_uid_owns_nothing() -> None:
    made = document()
    del made["metadata"]["uid"]
    order = CreateJob(Stage.TRAIN, KEY)
    with pytest.raises(ValueError, match="UID"):
        build(parse_experiment(made, "x"), order, OperatorSettings(), None)


def test_jobs_and_pods_are_found_by_the_same_labels() -> None:
    made = job(labels={"team": "film", **QUEUE})
    wanted = labels("film-reviews", Stage.TRAIN, KEY)
    for metadata in (made["metadata"], made["spec"]["template"]["metadata"]):
        assert wanted.items() <= metadata["labels"].items()
        assert QUEUE.items() <= metadata["labels"].items(), "a queue manager reads these"
        assert "team" not in metadata["labels"], "other labels stay the experiment's"


def test_a_job_of_a_search_is_built_of_its_level_and_says_which() -> None:
    made = job({"search": {"levels": [0.3, 0.6], "minRecovery": 0.9}}, level=0.3)
    for metadata in (made["metadata"], made["spec"]["template"]["metadata"]):
        assert metadata["labels"]["sparsetransfer.dev/level"] == "0.3"
    variables = {each["name"]: each.get("value") for each in runner_of(made)["env"]}
    spec = read_stage_document(variables[ENV_EXPERIMENT].replace("$$", "$")).spec
    assert (spec.optim_level, spec.search.levels) == (0.3, (0.3,))
    assert spec.search.min_recovery == 0.9


# The order, the experiment's labels, and whether the Job is made suspended.
SUSPENDED: dict[str, tuple[dict[str, Any], dict[str, str], bool]] = {
    "runs at once": ({}, {}, False),
    "as ordered": ({"suspended": True}, {}, True),
    "a queue manager resumes it": ({}, QUEUE, True),
    "a queue manager resumes a record's reader, too": ({"recorded_only": True}, QUEUE, True),
    "a priority alone queues nothing": ({}, {"kueue.x-k8s.io/priority-class": "low"}, False),
}


@pytest.mark.parametrize("name", SUSPENDED)
def test_how_a_job_begins(name: str) -> None:
    order, given, suspended = SUSPENDED[name]
    assert job(labels=given, **order)["spec"]["suspend"] is suspended


def test_the_queues_label_is_a_setting() -> None:
    settings = {"queueLabel": "queue.example.com/name"}
    made = job(labels={"queue.example.com/name": "team"}, settings=settings)
    assert made["spec"]["suspend"] is True
    assert made["metadata"]["labels"]["queue.example.com/name"] == "team"
    assert job(labels=QUEUE, settings=settings)["spec"]["suspend"] is False


def test_one_pod_at_a_time_is_tried_as_often_as_the_run_policy_says() -> None:
    spec = job({"runPolicy": {"backoffLimit": 7}})["spec"]
    assert (spec["completions"], spec["parallelism"], spec["backoffLimit"]) == (1, 1, 7)
    assert spec["podReplacementPolicy"] == "Failed"
    assert spec["template"]["spec"]["restartPolicy"] == "Never"


def test_a_job_is_never_removed_behind_the_operators_back() -> None:
    assert "ttlSecondsAfterFinished" not in job()["spec"]


@pytest.mark.parametrize("seconds", [None, 0, 3600])
def test_a_job_has_the_running_time_that_is_left(seconds: int | None) -> None:
    made = job(active_deadline_seconds=seconds)
    assert made["spec"].get("activeDeadlineSeconds") == seconds


def test_disruptions_do_not_count_and_hopeless_failures_end_the_job() -> None:
    ignore, fail = job()["spec"]["podFailurePolicy"]["rules"]
    assert ignore == {
        "action": "Ignore",
        "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
    }
    assert fail == {
        "action": "FailJob",
        "onExitCodes": {
            "containerName": "runner",
            "operator": "In",
            "values": [2, 10, 12, 13, 14],
        },
    }


@pytest.mark.parametrize("stage", Stage)
def test_the_container_is_asked_for_its_stage(stage: Stage) -> None:
    container = runner_of(job(stage=stage))
    assert container["name"] == "runner"
    assert container["args"] == [stage.value]
    assert "command" not in container, "the image's entry point is the runner"


def test_a_reader_of_a_record_works_with_what_prepare_has() -> None:
    spec = {
        "stages": {
            "prepare": {"resources": {"requests": {"cpu": "100m"}}},
            "train": {
                "resources": {"limits": {"nvidia.com/gpu": 8}},
                "nodeSelector": {"gpu": "h100"},
            },
        }
    }
    made = job(spec, recorded_only=True)
    assert made["metadata"]["name"].startswith(f"film-reviews-train-{KEY}-")
    assert made["metadata"]["labels"]["sparsetransfer.dev/stage"] == "train"
    assert made["metadata"]["labels"]["sparsetransfer.dev/recorded-only"] == "true"
    container = runner_of(made)
    assert container["args"] == ["train", "--recorded-only"]
    assert container["resources"]["requests"] == {"cpu": "100m", "memory": "2Gi"}
    assert "nvidia.com/gpu" not in container["resources"]["limits"]
    assert "nodeSelector" not in pod_of(made)


def test_labels_that_pods_are_found_by_are_refused_in_a_template() -> None:
    template = {"labels": {"sparsetransfer.dev/stage": "other", "team": "film"}}
    with pytest.raises(InputError, match=r"labels\.sparsetransfer\.dev/stage") as caught:
        job({"template": template})
    assert len(caught.value.problems) == 1


def test_a_templates_labels_and_annotations_are_the_pods() -> None:
    made = job({"template": {"labels": {"team": "film"}, "annotations": {"note": "x"}}})
    metadata = made["spec"]["template"]["metadata"]
    assert metadata["labels"]["team"] == "film"
    assert metadata["annotations"]["note"] == "x"
    assert metadata["annotations"]["kubectl.kubernetes.io/default-container"] == "runner"
    assert "team" not in made["metadata"]["labels"]


def test_an_experiment_that_is_too_large_is_refused() -> None:
    recipe = {"recipe": {"args": {f"a{number}": "x" * 256 for number in range(64)}}}
    data = {"data": {"uri": "s3://b/", "columns": {"text": ["x" * 256]}}}
    inline = {"recipe": {**recipe["recipe"], "inline": "é\n" * (16 * 1024)}}
    with pytest.raises(InputError, match=r"spec\.recipe\.uri"):
        job({**data, **inline})
