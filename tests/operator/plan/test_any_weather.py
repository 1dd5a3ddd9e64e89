"""Whatever happens in a cluster, and in whatever order: planning converges, and loses nothing."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sparse_transfer_api.contract import Stage
from sparse_transfer_api.status import Phase
from sparse_transfer_operator.observed import ObservedPod

from .builders import Experiment, experiment
from .simulated_cluster import Cluster
from .stage_results import level_results

ANY = st.randoms(use_true_random=False)
LEVELS = st.sampled_from([0.1, 0.5, 0.9])
ENGINES = st.sampled_from([["onnxruntime"], ["openvino"]])
ACCEPTANCES = st.sampled_from([{}, {"minSpeedup": 2.0}, {"minSpeedup": 100.0}])
Search = dict[str, Any]
SEARCHES: st.SearchStrategy[Search] = st.fixed_dictionaries(
    # Some of one band, which come to the same model.
    {
        "levels": st.lists(
            st.sampled_from([0.0, 0.1, 0.5, 0.6, 0.9]), min_size=1, max_size=3, unique=True
        )
    },
    optional={
        "objective": st.sampled_from(["Fastest", "Smallest"]),
        "minRecovery": st.sampled_from([0.5, 0.95, 1.5]),
    },
)
LIMITS = st.sampled_from([None, 60, 3600])


class Weather(RuleBasedStateMachine):
    """A cluster in which anything may happen between two looks at an experiment."""

    cluster: Cluster

    def begin(
        self, owner: Experiment, queued: bool, active: int | None, pending: int | None
    ) -> None:
        owner = owner.policy(backoffLimit=1)
        for name, limit in (("active", active), ("pending", pending)):
            if limit is not None:
                owner = owner.policy(**{f"{name}DeadlineSeconds": limit})
        self.cluster = Cluster(owner.in_queue() if queued else owner)

    def _alive(self) -> bool:
        return not self.cluster.gone

    # ---- the operator

    @precondition(_alive)
    @rule()
    def the_operator_settles(self) -> None:
        self.cluster.settle()

    @precondition(_alive)
    @rule()
    def the_operator_dies_before_it_writes(self) -> None:
        self.cluster.reconcile(status_is_lost=True)

    # ---- the user

    @rule(level=LEVELS)
    def the_level_is_edited(self, level: float) -> None:
        self.cluster.owner = self.cluster.owner.edited(optimLevel=level)

    @rule(engines=ENGINES)
    def the_targets_are_edited(self, engines: list[str]) -> None:
        self.cluster.owner = self.cluster.owner.edited(export={"targets": engines})

    @rule(acceptance=ACCEPTANCES)
    def the_acceptance_is_edited(self, acceptance: dict[str, float]) -> None:
        self.cluster.owner = self.cluster.owner.edited(acceptance=acceptance)

    @rule(suspend=st.booleans())
    def suspension_is_edited(self, suspend: bool) -> None:
        policy = {**self.cluster.owner.spec["runPolicy"], "suspend": suspend}
        self.cluster.owner = self.cluster.owner.edited(runPolicy=policy)

    @rule()
    def an_edit_breaks_the_spec(self) -> None:
        self.cluster.owner = self.cluster.owner.invalid("no such field")

    @rule()
    def the_spec_is_mended(self) -> None:
        self.cluster.owner = self.cluster.owner.mended()

    @rule(value=st.sampled_from(["1", "2", "3"]))
    def a_retry_is_asked_for(self, value: str) -> None:
        self.cluster.owner = self.cluster.owner.retried(value)

    @rule(random=ANY)
    def somebody_deletes_a_job(self, random) -> None:  # type: ignore[no-untyped-def]
        if self.cluster.jobs:
            self.cluster.delete_job(random.choice(sorted(self.cluster.jobs)))

    # ---- the cluster

    @rule()
    def deleted_jobs_are_collected(self) -> None:
        self.cluster.collect()

    @rule()
    def the_job_controller_acts(self) -> None:
        self.cluster.control_jobs()

    @rule(suspend=st.booleans())
    def the_queue_manager_decides(self, suspend: bool) -> None:
        for name, job in list(self.cluster.jobs.items()):
            if job.queued:
                self.cluster.set_suspended(name, suspend)

    @rule()
    def pods_start(self) -> None:
        for _, pod in self.cluster.live():
            if pod.started is None:
                self.cluster.start(pod)

    @rule()
    def an_image_cannot_be_pulled(self) -> None:
        for _, pod in self.cluster.live():
            if pod.started is None:
                self.cluster.cannot_start(pod)

    @rule()
    def pods_do_their_work(self) -> None:
        for job, pod in self.cluster.live():
            self.cluster.work(job, pod)

    @rule(code=st.sampled_from([1, 2, 10, 12, 13, 14, 75, 137, 143]))
    def pods_fail(self, code: int) -> None:
        for job, pod in self.cluster.live():
            self.cluster.fail(job, pod, code)

    @rule()
    def pods_are_evicted(self) -> None:
        for _, pod in self.cluster.live():
            self.cluster.disrupt(pod)

    @rule(random=ANY)
    def a_pod_is_gone(self, random) -> None:  # type: ignore[no-untyped-def]
        if self.cluster.pods:
            pods: dict[str, ObservedPod] = self.cluster.pods
            self.cluster.remove_pod(pods[random.choice(sorted(pods))])

    @rule()
    def the_bucket_is_emptied(self) -> None:
        self.cluster.output.clear()

    @rule(seconds=st.sampled_from([1, 20, 600, 4000, 1_000_000]))
    def time_passes(self, seconds: int) -> None:
        self.cluster.pass_time(seconds)

    @rule(late=st.booleans())
    def the_watch_of_pods_falls_behind_or_catches_up(self, late: bool) -> None:
        self.cluster.seen = tuple(self.cluster.pods.values()) if late else None

    # ---- what holds

    @invariant()
    def the_status_is_one_situation(self) -> None:
        status = self.cluster.owner.status
        holds = {each.type.value for each in status.conditions if each.status == "True"}
        assert ("Complete" in holds) == (status.phase is Phase.SUCCEEDED)
        assert ("Failed" in holds) == ("Stalled" in holds) == (status.phase is Phase.FAILED)
        assert ("Suspended" in holds) == (status.phase is Phase.SUSPENDED)
        assert not {"Ready", "Reconciling"} <= holds
        if status.phase is Phase.SUCCEEDED:
            assert {"Prepared", "Trained", "Packaged", "Ready"} <= holds
            assert status.results is not None

    @invariant()
    def nothing_is_called_running_before_a_pod_runs(self) -> None:
        running = (Phase.PREPARING, Phase.TRAINING, Phase.PACKAGING)
        if self.cluster.owner.status.phase in running:
            assert self.cluster.owner.status.stages[-1].start_time is not None

    def teardown(self) -> None:
        if not hasattr(self, "cluster"):
            return
        self._comes_to_an_end()
        if not self.cluster.gone:
            self._stays_ended()

    def _comes_to_an_end(self) -> None:
        policy = {**self.cluster.owner.spec["runPolicy"], "suspend": False}
        self.cluster.owner = self.cluster.owner.mended().edited(runPolicy=policy)
        self.cluster.run_to_the_end()

    def _stays_ended(self) -> None:
        cluster = self.cluster
        phase, made = cluster.owner.status.phase, cluster.made
        cluster.pass_time(10_000_000)
        for _ in range(3):
            cluster.settle()
            cluster.collect()
        assert not cluster.jobs, "expired Jobs are still there"
        assert (cluster.owner.status.phase, cluster.made) == (phase, made), "made again"
        assert not [each for each in Stage if each.value in cluster.jobs]


class AnyWeather(Weather):
    """An experiment of one level."""

    @initialize(queued=st.booleans(), active=LIMITS, pending=LIMITS)
    def an_experiment(self, queued: bool, active: int | None, pending: int | None) -> None:
        self.begin(experiment(), queued, active, pending)


class AnySearch(Weather):
    """A search over levels, which may become an experiment of one level, and a search again."""

    @initialize(queued=st.booleans(), active=LIMITS, pending=LIMITS, search=SEARCHES)
    def a_search(
        self, queued: bool, active: int | None, pending: int | None, search: Search
    ) -> None:
        self.begin(experiment().with_spec(search=search), queued, active, pending)

    @rule(search=SEARCHES)
    def the_search_is_edited(self, search: Search) -> None:
        self.cluster.owner = self.cluster.owner.edited(search=search)

    @rule()
    def the_search_is_taken_away(self) -> None:
        self.cluster.owner = self.cluster.owner.edited(search=None)

    @rule()
    def a_round_of_fair_weather(self) -> None:
        if not self.cluster.gone:
            self.cluster.settle()
            self.cluster.work_in_fair_weather()

    @invariant()
    def a_search_shows_the_results_of_its_level_when_all_have_ended(self) -> None:
        status = self.cluster.owner.status
        if status.search is None:
            return
        levels = {each.level: each for each in status.search.levels}
        ended = all(each.outcome not in (None, "Running") for each in levels.values())
        if status.search.selected is None:
            assert status.results is None
        else:
            assert ended
            assert status.results == levels[status.search.selected].results
            assert status.resolved is not None
            assert status.resolved.level == status.search.selected
        if status.phase is Phase.SUCCEEDED:
            assert status.search.selected is not None

    @invariant()
    def no_level_has_the_results_of_another(self) -> None:
        status = self.cluster.owner.status
        for each in status.search.levels if status.search is not None else ():
            assert each.results in (None, level_results(each.level))


WEATHER = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
AnyWeather.TestCase.settings = AnySearch.TestCase.settings = WEATHER
TestAnyWeather = AnyWeather.TestCase
TestAnySearch = AnySearch.TestCase
