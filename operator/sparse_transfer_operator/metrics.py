"""The operator's metrics.

Gauges of experiments are made of what is known at the moment of the scrape, so that the series of a
deleted experiment are gone with it; counters and histograms stay.
"""

from __future__ import annotations

import os
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.metrics import disable_created_metrics
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sparse_transfer_api.contract import ENV_REVISION
from sparse_transfer_api.status import SparseTransferStatus, StageStatus

from .actions import Plan
from .object_key import ObjectKey
from .observed import Children, ObservedExperiment
from .summary import Summary

_STAGE_BUCKETS = (1, 5, 15, 60, 300, 900, 1800, 3600, 7200, 14400, 28800, 86400)
_WAIT_BUCKETS = (0.5, 1, 2, 5, 15, 60, 300, 900, 3600, 14400, 86400)
_RECONCILE_BUCKETS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10)

_MAX_REASONS = 64
_OTHER = "Other"

Summaries = Callable[[], Iterable[tuple[ObjectKey, Summary]]]


class Metrics:
    """All metrics, in a registry of their own.

    Args:
        summaries: All experiments at the moment.
    """

    def __init__(self, summaries: Summaries) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._stage_reasons, self._error_reasons = _Reasons(), _Reasons()
        self.registry = CollectorRegistry()
        self.registry.register(_Experiments(summaries))
        ProcessCollector(registry=self.registry)
        self._stage_duration = Histogram(
            "sparse_transfer_stage_duration_seconds",
            "How long stages ran, from their first pod to their end.",
            ("stage", "use_case", "outcome"),
            buckets=_STAGE_BUCKETS,
            registry=self.registry,
        )
        self._queue_wait = Histogram(
            "sparse_transfer_queue_wait_seconds",
            "How long stages waited, from their Job to their first running pod.",
            buckets=_WAIT_BUCKETS,
            registry=self.registry,
        )
        self._stage_failures = Counter(
            "sparse_transfer_stage_failures_total",
            "Stages that failed for good.",
            ("stage", "reason"),
            registry=self.registry,
        )
        self._reconcile_duration = Histogram(
            "sparse_transfer_reconcile_duration_seconds",
            "How long one reconcile of one experiment took.",
            buckets=_RECONCILE_BUCKETS,
            registry=self.registry,
        )
        self._reconcile_errors = Counter(
            "sparse_transfer_reconcile_errors_total",
            "Reconciles and watches that failed, and are tried again.",
            ("reason",),
            registry=self.registry,
        )
        # By the name that Kubernetes' own clients give it.
        self._requests = Counter(
            "rest_client_requests_total",
            "Requests to the API server; code 0 without an answer.",
            ("method", "resource", "code"),
            registry=self.registry,
        )
        self._progress_posts = Counter(
            "sparse_transfer_progress_posts_total",
            "Posts of progress, by the status that they were answered with; 204 is taken.",
            ("code",),
            registry=self.registry,
        )
        Gauge(
            "sparse_transfer_build_info",
            "1, with the version and the revision that this is built of.",
            ("version", "revision"),
            registry=self.registry,
        ).labels(_version(), os.environ.get(ENV_REVISION, "unknown")).set(1)

    def answered(self, method: str, resource: str, status: int) -> None:
        """Counts a request to the API server."""
        self._requests.labels(method, resource, str(status)).inc()

    def posted(self, status: int) -> None:
        """Counts a post of progress."""
        self._progress_posts.labels(str(status)).inc()

    def reconciled(self, seconds: float) -> None:
        """Counts a reconcile."""
        self._reconcile_duration.observe(seconds)

    def failed(self, reason: str) -> None:
        """Counts a reconcile or a watch that failed."""
        self._reconcile_errors.labels(self._error_reasons.label(reason)).inc()

    def written(self, before: ObservedExperiment, children: Children, after: Plan) -> None:
        """Counts what a new status says: stages that began or ended."""
        use_case = before.experiment.spec.use_case.value if before.experiment else "unknown"
        for stage in after.status.all_stages:
            known = _stage(before.status, stage)
            if stage.start_time is not None and (known is None or known.start_time is None):
                self._began(stage, children)
            if _ended(stage) and (known is None or not _ended(known)):
                self._finished(stage, use_case)

    def _began(self, stage: StageStatus, children: Children) -> None:
        job = next((each for each in children.jobs if each.name == stage.job), None)
        if job is not None and stage.start_time is not None:
            self._queue_wait.observe(max(0.0, (stage.start_time - job.created).total_seconds()))

    def _finished(self, stage: StageStatus, use_case: str) -> None:
        outcome = stage.outcome or "Stopped"
        if stage.start_time is not None and stage.completion_time is not None:
            seconds = (stage.completion_time - stage.start_time).total_seconds()
            self._stage_duration.labels(stage.name.value, use_case, outcome).observe(
                max(0.0, seconds)
            )
        if outcome == "Failed":
            reason = self._stage_reasons.label(stage.reason or "Unknown")
            self._stage_failures.labels(stage.name.value, reason).inc()


class _Reasons:
    """Reasons as a label's values: any image can make up as many as it likes, but not here."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def label(self, reason: str) -> str:
        """Returns a reason, or that it is another than the many that there are already."""
        if reason not in self._known and len(self._known) >= _MAX_REASONS:
            return _OTHER
        self._known.add(reason)
        return reason


class _Experiments(Collector):
    """Gauges of the experiments that there are."""

    def __init__(self, summaries: Summaries) -> None:
        self._summaries = summaries

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        known = list(self._summaries())
        count = GaugeMetricFamily(
            "sparse_transfer_experiments",
            "Experiments that there are.",
            labels=("namespace", "use_case", "phase"),
        )
        tally = Tally(
            (key.namespace, each.use_case, each.phase or "Pending") for key, each in known
        )
        for labels, number in sorted(tally.items()):
            count.add_metric(labels, number)
        yield count
        yield _gauge(known, "accuracy_recovery_ratio", "Metric / baseline's.", _of("recovery"))
        yield _gauge(known, "speedup_ratio", "Dense latency / shipped.", _of("speedup"))
        yield _gauge(known, "sparsity_ratio", "Masked / prunable weights.", _of("sparsity"))
        for name, text, attribute in (
            ("progress_percentage", "Of the running stage, 0 to 100.", "percentage"),
            ("remaining_seconds", "Of the running stage, estimated.", "remaining_seconds"),
        ):
            yield _gauge(known, name, text, _of(attribute), "stage")


def _of(attribute: str) -> Callable[[Summary], float | None]:
    def read(each: Summary) -> float | None:
        value: float | None = getattr(each, attribute)
        return value

    return read


def _gauge(
    known: list[tuple[ObjectKey, Summary]],
    name: str,
    text: str,
    value: Callable[[Summary], float | None],
    by: str = "use_case",
) -> Metric:
    family = GaugeMetricFamily(
        f"sparse_transfer_experiment_{name}", text, labels=("namespace", "name", by)
    )
    for key, each in known:
        number = value(each)
        if number is not None:
            family.add_metric((key.namespace, key.name, getattr(each, by)), number)
    return family


def _stage(status: SparseTransferStatus, stage: StageStatus) -> StageStatus | None:
    """Returns the same stage under the same key in another status."""
    for each in status.all_stages:
        if each.name == stage.name and each.key == stage.key:
            return each
    return None


def _ended(stage: StageStatus) -> bool:
    return stage.outcome in ("Succeeded", "Failed", "Stopped")


def _version() -> str:
    try:
        return version("sparse-transfer")
    except PackageNotFoundError:
        return "unknown"
