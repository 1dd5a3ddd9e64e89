"""Reading experiments, those of a newer operator too."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.cli.cluster.experiments import condition, document, seen, stage, succeeded, training

from sparse_transfer_api.contract import Stage
from sparse_transfer_cli.cluster.observed import observed


def test_before_anything_is_resolved_the_spec_speaks() -> None:
    experiment = seen(None, spec={"optimLevel": 0.25})
    assert (experiment.use_case, experiment.level) == ("sentiment-analysis", 0.25)
    assert seen(None).level == 0.5
    assert seen(training()).use_case == "nlp-sentiment_analysis"


def test_what_a_newer_operator_says_is_left_out_and_the_rest_is_kept() -> None:
    status = succeeded()
    status["phase"] = "Celebrating"
    status["stages"] = [*status["stages"], stage("distill", "Succeeded")]
    status["conditions"] = [condition("Blessed", "True", "ByMany"), *status["conditions"]]
    status["progress"] = {"stage": "distill"}
    status["mood"] = "good"
    experiment = seen(status)
    assert experiment.phase == "Celebrating"
    assert experiment.status.phase is None
    assert [each.name for each in experiment.status.stages] == list(Stage)
    assert [each.type for each in experiment.status.conditions] == [
        each["type"] for each in succeeded()["conditions"]
    ]
    assert experiment.status.progress is None
    assert experiment.status.results is not None


def test_criteria_that_cannot_be_read_are_none() -> None:
    assert seen(None, spec={"acceptance": {"minRecovery": 0.9}}).acceptance.min_recovery == 0.9
    assert seen(None, spec={"acceptance": {"minBeauty": 1}}).acceptance.min_recovery is None


def test_another_manager_is_known_by_the_spec() -> None:
    assert seen(None).managed_by is None
    assert seen(None, spec={"runPolicy": {"managedBy": "a.b/c"}}).managed_by == "a.b/c"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


# A busy machine may take a second for the first example.
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(succeeded())), JSON))
def test_no_status_stops_the_reading(status: dict[str, object]) -> None:
    observed(document({**succeeded(), **status}))
