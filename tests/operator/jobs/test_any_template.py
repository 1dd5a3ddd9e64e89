from __future__ import annotations

import posixpath
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.operator.jobs.manifests import env_of, job, pod_of, runner_of
from tests.operator.jobs.templates import SPECS

from sparse_transfer_api.contract import Stage

ORDERS = st.fixed_dictionaries(
    {"stage": st.sampled_from(Stage), "recorded_only": st.booleans(), "suspended": st.booleans()},
    optional={"active_deadline_seconds": st.integers(0, 10**6)},
)


@settings(max_examples=100, deadline=None)
@given(spec=SPECS, order=ORDERS)
def test_every_job_has_kubernetes_schema_and_keeps_the_contract(
    spec: dict[str, Any], order: dict[str, Any]
) -> None:
    made = job(spec, **order)
    container, pod = runner_of(made), pod_of(made)
    env = [each["name"] for each in container["env"]]
    assert len(env) == len(set(env))
    assert {"STE_EXPERIMENT", "STE_STAGE_KEY", "STE_IMAGE"} <= set(env_of(made))
    paths = [posixpath.normpath(each["mountPath"]) for each in container["volumeMounts"]]
    assert len(paths) == len(set(paths)), "nothing is mounted over something else"
    assert {"/scratch", "/tmp"} <= set(paths)
    volumes = [each["name"] for each in pod["volumes"]]
    assert len(volumes) == len(set(volumes))
    assert {each["name"] for each in container["volumeMounts"]} <= set(volumes)
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert pod["restartPolicy"] == "Never"
