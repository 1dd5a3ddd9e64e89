from __future__ import annotations

import pytest
from tests.operator.jobs.manifests import (
    KEY,
    PROGRESS,
    env_of,
    experiment,
    job,
    mounts_of,
    runner_of,
    values_of,
)

from sparse_transfer_api.errors import InputError
from sparse_transfer_api.handover import read_stage_document


def test_the_container_gets_the_contracts_variables() -> None:
    found = values_of(job(settings={"image": "runner:1", "catalog": "s3://models/catalog.yaml"}))
    handed = read_stage_document(found["STE_EXPERIMENT"])
    assert handed.spec == experiment().spec
    assert handed.metadata.uid is not None
    assert found["STE_STAGE_KEY"] == KEY
    assert found["STE_IMAGE"] == "runner:1"
    assert found["STE_CATALOG"] == "s3://models/catalog.yaml"
    assert found["STE_PROGRESS_URL"] == PROGRESS.url
    assert found["STE_PROGRESS_CA"] == PROGRESS.ca_pem


def test_what_shapes_pods_alone_is_not_handed_to_the_stage() -> None:
    spec = {
        "template": {"annotations": {"a": "never handed on"}},
        "image": "never-handed-on:1",
        "credentials": {"secretRef": {"name": "never-handed-on"}},
    }
    assert "handed" not in values_of(job(spec))["STE_EXPERIMENT"]


def test_dollars_reach_the_process_as_they_are() -> None:
    inline = "a: $(HOME) $$HOME $(STE_STAGE_KEY) $x $"
    found = values_of(
        job({"recipe": {"inline": inline}, "template": {"env": [{"name": "HOME", "value": "/x"}]}})
    )
    assert read_stage_document(found["STE_EXPERIMENT"]).spec.recipe.inline == inline


def test_a_templates_own_variables_may_refer_to_each_other() -> None:
    env = [{"name": "A", "value": "1"}, {"name": "B", "value": "$(A)2"}]
    assert values_of(job({"template": {"env": env}}))["B"] == "12"


def test_without_an_endpoint_nothing_is_posted() -> None:
    made = job(progress=None)
    assert not [name for name in env_of(made) if name.startswith("STE_PROGRESS")]
    assert not [path for path in mounts_of(made) if "secrets" in path]


def test_credentials_are_taken_from_the_secret_and_never_copied() -> None:
    container = runner_of(job({"credentials": {"secretRef": {"name": "bucket"}}}))
    assert container["envFrom"] == [{"secretRef": {"name": "bucket"}}]
    assert "envFrom" not in runner_of(job())


def test_libraries_write_where_they_can() -> None:
    found = values_of(job())
    writable = [path for path in mounts_of(job()) if "mnt" not in path]
    for name in ("HOME", "XDG_CACHE_HOME", "TMPDIR"):
        assert any(found[name].startswith(path) for path in writable)


def test_a_template_sets_and_replaces_variables() -> None:
    env = [
        {"name": "HOME", "value": "/scratch/home"},
        {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}},
    ]
    made = job({"template": {"env": env}})
    assert values_of(made)["HOME"] == "/scratch/home"
    assert env_of(made)["HF_TOKEN"]["valueFrom"]["secretKeyRef"]["name"] == "hub"


def test_a_variable_of_the_contract_is_refused_in_a_template_by_name() -> None:
    env = [{"name": "STE_STAGE_KEY", "value": "x"}, {"name": "STE_NEW"}]
    with pytest.raises(InputError, match=r"env\.STE_STAGE_KEY") as caught:
        job({"stages": {"train": {"env": env}}})
    assert [each.where for each in caught.value.problems] == ["env.STE_STAGE_KEY", "env.STE_NEW"]


def test_a_bundle_of_the_experiments_goes_before_the_settings_and_excludes_a_variable() -> None:
    trust = {"storage": {"s3": {"caBundle": {"configMap": "authorities"}}}}
    template = {"env": [{"name": "AWS_CA_BUNDLE", "value": "/etc/ssl/all.pem"}]}
    with pytest.raises(InputError, match=r"env\.AWS_CA_BUNDLE.*keep one"):
        job({**trust, "template": template})
    for spec, file in (({}, "/etc/ssl/all.pem"), (trust, "/etc/sparse-transfer/trust/ca.crt")):
        made = job(spec, settings={"template": template})
        assert values_of(made)["AWS_CA_BUNDLE"] == file
