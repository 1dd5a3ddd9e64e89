"""What is known of the cluster is the newest, in whatever order it is told."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.operator.bodies import NAME, NAMESPACE, UID, experiment_body, job_body, pod_body

from sparse_transfer_api.contract import Stage
from sparse_transfer_api.status import Phase
from sparse_transfer_operator.object_key import ObjectKey
from sparse_transfer_operator.observer import Kind, News, Observer

KEY = ObjectKey(NAMESPACE, NAME)
URGENT, NOT_URGENT = News(KEY, urgent=True), News(KEY, urgent=False)
DELETING = {"deletionTimestamp": "2026-03-01T12:00:00Z"}
FAILED = {"conditions": [{"type": "Failed", "status": "True"}]}
ENDED = {"conditions": [{"type": "Complete", "status": "True"}]}


@pytest.fixture
def observer() -> Observer:
    return Observer()


def _phase(observer: Observer) -> Phase | None:
    seen = observer.look(KEY)
    assert seen is not None
    return seen[0].status.phase


def test_a_change_leads_to_its_experiment(observer: Observer) -> None:
    assert observer.see(Kind.EXPERIMENT, experiment_body()) == URGENT
    assert observer.see(Kind.JOB, job_body()) == NOT_URGENT
    assert observer.see(Kind.POD, pod_body()) == NOT_URGENT
    seen = observer.look(KEY)
    assert seen is not None
    experiment, children, _ = seen
    assert experiment.uid == UID
    assert [job.stage for job in children.jobs] == [Stage.TRAIN]
    assert [pod.job_uid for pod in children.pods] == [children.jobs[0].uid]


def test_what_does_not_matter_leads_nowhere(observer: Observer) -> None:
    observer.see(Kind.EXPERIMENT, experiment_body(1))
    observer.see(Kind.JOB, job_body(2))
    progress = {"progress": {"stage": "train", "percentage": 5.0}}
    assert observer.see(Kind.EXPERIMENT, experiment_body(3, status=progress)) is None
    assert observer.see(Kind.JOB, job_body(4, status={"ready": 1})) is None
    summary = observer.summary(KEY)
    assert summary is not None
    assert summary.percentage == 5.0


@pytest.mark.parametrize(
    ("kind", "body", "news"),
    [
        (Kind.JOB, job_body(9, status={"failed": 1}), NOT_URGENT),
        (Kind.JOB, job_body(9, status=ENDED), NOT_URGENT),
        (Kind.JOB, job_body(9, status=FAILED), URGENT),
        (Kind.JOB, job_body(9, spec={"suspend": True}), URGENT),
        (Kind.JOB, job_body(9, metadata=DELETING), URGENT),
        (Kind.POD, pod_body(9, phase="Running"), NOT_URGENT),
        (Kind.POD, pod_body(9, phase="Failed"), NOT_URGENT),
        (Kind.POD, pod_body(9, phase="Succeeded"), URGENT),
    ],
)
def test_what_something_follows_of_is_urgent(
    kind: Kind, body: dict[str, object], news: News, observer: Observer
) -> None:
    observer.see(Kind.JOB, job_body(2))
    observer.see(Kind.POD, pod_body(3))
    assert observer.see(kind, body) == news


def test_late_news_change_nothing(observer: Observer) -> None:
    observer.see(Kind.EXPERIMENT, experiment_body(5, status={"phase": "Training"}))
    assert observer.see(Kind.EXPERIMENT, experiment_body(4, status={"phase": "Pending"})) is None
    assert _phase(observer) is Phase.TRAINING


def test_a_version_holds_while_nothing_changes_that_is_planned_with(observer: Observer) -> None:
    observer.see(Kind.EXPERIMENT, experiment_body(1))
    seen = observer.look(KEY)
    assert seen is not None
    observer.see(Kind.EXPERIMENT, experiment_body(2, status={"progress": {"stage": "train"}}))
    assert observer.version(KEY, seen.mark) == 2
    observer.see(Kind.EXPERIMENT, experiment_body(3, uid="another"))
    assert observer.version(KEY, seen.mark) is None


def test_a_status_that_is_being_written_is_no_news(observer: Observer) -> None:
    observer.see(Kind.EXPERIMENT, experiment_body(1))
    observer.expect(KEY, {"phase": "Training"})
    assert observer.see(Kind.EXPERIMENT, experiment_body(2, status={"phase": "Training"})) is None
    assert _phase(observer) is Phase.TRAINING
    observer.expect(KEY, {"phase": "Packaging"})
    edited = experiment_body(3, status={"phase": "Packaging"}, metadata={"generation": 2})
    assert observer.see(Kind.EXPERIMENT, edited) == URGENT
    observer.expect(KEY, None)
    assert observer.see(Kind.EXPERIMENT, experiment_body(4)) == URGENT


def test_what_was_deleted_does_not_come_back(observer: Observer) -> None:
    observer.see(Kind.EXPERIMENT, experiment_body(5))
    assert observer.forget(Kind.EXPERIMENT, experiment_body(6)) == URGENT
    assert observer.see(Kind.EXPERIMENT, experiment_body(7)) is None
    assert observer.look(KEY) is None
    assert list(observer.summaries()) == []


def test_another_experiment_of_the_same_name_is_another_one() -> None:
    gone: list[tuple[ObjectKey, str]] = []
    observer = Observer(gone=lambda key, uid: gone.append((key, uid)))
    observer.see(Kind.EXPERIMENT, experiment_body(5, uid="old", status={"phase": "Failed"}))
    observer.see(Kind.EXPERIMENT, experiment_body(7, uid="new"))
    assert observer.forget(Kind.EXPERIMENT, experiment_body(6, uid="old")) is None
    assert _phase(observer) is None
    assert [uid for _, uid in gone] == ["old"]
    observer.forget(Kind.EXPERIMENT, experiment_body(8, uid="new"))
    assert [uid for _, uid in gone] == ["old", "new"]


def test_children_without_an_experiment_are_remembered_until_it_comes(observer: Observer) -> None:
    observer.see(Kind.JOB, job_body())
    assert observer.look(KEY) is None
    assert len(observer) == 0
    observer.see(Kind.EXPERIMENT, experiment_body(9))
    seen = observer.look(KEY)
    assert seen is not None
    assert len(seen[1].jobs) == 1


def test_nothing_is_kept_of_what_is_gone(observer: Observer) -> None:
    for kind, body in (
        (Kind.EXPERIMENT, experiment_body()),
        (Kind.JOB, job_body()),
        (Kind.POD, pod_body()),
    ):
        observer.see(kind, body)
        observer.forget(kind, body)
    assert [list(observer.known(kind)) for kind in Kind] == [[], [], []]
    assert observer.experiments() == []


def test_a_pod_of_a_running_job_has_an_owner(observer: Observer) -> None:
    observer.see(Kind.EXPERIMENT, experiment_body())
    observer.see(Kind.JOB, job_body())
    observer.see(Kind.POD, pod_body())
    owner = observer.owner("uid-of-the-pod")
    assert owner is not None
    assert (owner.experiment.uid, owner.stage) == (UID, Stage.TRAIN)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (Kind.JOB, job_body(9, status=ENDED)),
        (Kind.JOB, job_body(9, metadata=DELETING)),
        (Kind.POD, pod_body(9, state={"terminated": {"finishedAt": "2026-03-01T12:00:00Z"}})),
        (Kind.EXPERIMENT, experiment_body(9, uid="another")),
    ],
)
def test_a_pod_that_works_on_nothing_has_no_owner(
    kind: Kind, body: dict[str, object], observer: Observer
) -> None:
    observer.see(Kind.EXPERIMENT, experiment_body())
    observer.see(Kind.JOB, job_body(2))
    observer.see(Kind.POD, pod_body())
    observer.see(kind, body)
    assert observer.owner("uid-of-the-pod") is None
    assert observer.owner("another-pod") is None


@given(st.randoms(use_true_random=False))
def test_the_order_of_news_does_not_matter(chance: random.Random) -> None:
    news = [
        *((Kind.EXPERIMENT, experiment_body(v, status={"phase": p})) for v, p in PHASES),
        *((Kind.JOB, job_body(v, status={"failed": v})) for v in (2, 5, 8)),
        *((Kind.POD, pod_body(v, phase=p)) for v, p in ((3, "Pending"), (6, "Running"))),
    ]
    chance.shuffle(news)
    observer = Observer()
    for kind, body in itertools.chain(news, news):
        observer.see(kind, body)
    seen = observer.look(KEY)
    assert seen is not None
    experiment, children, _ = seen
    assert experiment.status.phase is Phase.TRAINING
    assert [job.failed for job in children.jobs] == [8]
    assert [pod.phase for pod in children.pods] == ["Running"]


PHASES = ((1, "Pending"), (4, "Preparing"), (7, "Training"))


def test_a_namespace_that_is_lost_can_come_back() -> None:
    gone: list[tuple[ObjectKey, str]] = []
    observer = Observer(gone=lambda *what: gone.append(what))
    bodies = {Kind.EXPERIMENT: experiment_body(), Kind.JOB: job_body(), Kind.POD: pod_body()}
    for kind, body in bodies.items():
        observer.see(kind, body)
    observer.lose("another")
    assert len(observer) == 1
    observer.lose(NAMESPACE)
    assert observer.look(KEY) is None
    assert [*observer.known(Kind.JOB), *observer.known(Kind.POD)] == []
    assert gone == [(KEY, UID)]
    for kind, body in bodies.items():
        assert observer.see(kind, body) is not None
    assert observer.look(KEY) is not None
