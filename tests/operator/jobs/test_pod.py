from __future__ import annotations

from typing import Any

import pytest
from tests.operator.jobs.manifests import (
    KEY,
    PROGRESS,
    env_of,
    expanded,
    experiment,
    job,
    mounts_of,
    pod_of,
    runner_of,
)

from sparse_transfer_api.contract import Stage
from sparse_transfer_api.errors import InputError
from sparse_transfer_api.handover import read_stage_document


def values(made: dict[str, Any]) -> dict[str, str]:
    """Returns the variables that have values, as the process gets them."""
    found: dict[str, str] = {}
    for name, variable in env_of(made).items():
        if "value" in variable:
            found[name] = expanded(variable["value"], found)
    return found


# ---- rights


def test_the_pod_has_as_few_rights_as_it_can() -> None:
    made = job()
    assert pod_of(made)["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "fsGroup": 65532,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert runner_of(made)["securityContext"] == {
        "runAsNonRoot": True,
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert pod_of(made)["automountServiceAccountToken"] is False
    assert pod_of(made)["enableServiceLinks"] is False


# The template's podSecurityContext, and what of it the container's settings follow.
SECURITY: dict[str, tuple[dict[str, Any], bool, str]] = {
    "a group for a claim's files": ({"fsGroup": 2000}, True, "RuntimeDefault"),
    "the cluster chooses the user": ({}, True, "RuntimeDefault"),
    "a profile of the node's": (
        {"seccompProfile": {"type": "Localhost", "localhostProfile": "a.json"}},
        True,
        "Localhost",
    ),
    "root, where somebody insists": (
        {"runAsUser": 0, "runAsNonRoot": False},
        False,
        "RuntimeDefault",
    ),
}


@pytest.mark.parametrize("name", SECURITY)
def test_a_security_context_replaces_the_pods_and_keeps_the_containers(name: str) -> None:
    context, non_root, profile = SECURITY[name]
    made = job({"template": {"podSecurityContext": context}})
    assert pod_of(made)["securityContext"] == context
    kept = runner_of(made)["securityContext"]
    assert kept["runAsNonRoot"] is non_root
    assert kept["seccompProfile"]["type"] == profile
    assert kept["readOnlyRootFilesystem"] is True
    assert kept["capabilities"] == {"drop": ["ALL"]}


# ---- environment


def test_the_container_gets_the_contracts_variables() -> None:
    found = values(job(settings={"image": "runner:1", "catalog": "s3://models/catalog.yaml"}))
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
    assert "handed" not in values(job(spec))["STE_EXPERIMENT"]


def test_dollars_reach_the_process_as_they_are() -> None:
    inline = "a: $(HOME) $$HOME $(STE_STAGE_KEY) $x $"
    found = values(
        job({"recipe": {"inline": inline}, "template": {"env": [{"name": "HOME", "value": "/x"}]}})
    )
    assert read_stage_document(found["STE_EXPERIMENT"]).spec.recipe.inline == inline


def test_a_templates_own_variables_may_refer_to_each_other() -> None:
    env = [{"name": "A", "value": "1"}, {"name": "B", "value": "$(A)2"}]
    assert values(job({"template": {"env": env}}))["B"] == "12"


def test_without_an_endpoint_nothing_is_posted() -> None:
    made = job(progress=None)
    assert not [name for name in env_of(made) if name.startswith("STE_PROGRESS")]
    assert not [path for path in mounts_of(made) if "secrets" in path]


def test_credentials_are_taken_from_the_secret_and_never_copied() -> None:
    container = runner_of(job({"credentials": {"secretRef": {"name": "bucket"}}}))
    assert container["envFrom"] == [{"secretRef": {"name": "bucket"}}]
    assert "envFrom" not in runner_of(job())


def test_libraries_write_where_they_can() -> None:
    found = values(job())
    writable = [path for path in mounts_of(job()) if "mnt" not in path]
    for name in ("HOME", "XDG_CACHE_HOME", "TMPDIR"):
        assert any(found[name].startswith(path) for path in writable)


def test_a_template_sets_and_replaces_variables() -> None:
    env = [
        {"name": "HOME", "value": "/scratch/home"},
        {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}},
    ]
    made = job({"template": {"env": env}})
    assert values(made)["HOME"] == "/scratch/home"
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
        assert values(made)["AWS_CA_BUNDLE"] == file


# ---- image


@pytest.mark.parametrize(("spec", "image"), [({}, "runner:1"), ({"image": "mine:2"}, "mine:2")])
def test_the_experiments_image_goes_before_the_settings(spec: dict[str, Any], image: str) -> None:
    made = job(spec, settings={"image": "runner:1", "imagePullPolicy": "Always"})
    assert runner_of(made)["image"] == image == values(made)["STE_IMAGE"]
    assert runner_of(made)["imagePullPolicy"] == "Always"


# ---- volumes


def test_the_pod_can_write_to_scratch_and_tmp_alone() -> None:
    mounts = mounts_of(job())
    writable = {path for path, mount in mounts.items() if not mount.get("readOnly")}
    assert writable == {"/scratch", "/tmp"}
    assert all(mounts[path]["volume"]["emptyDir"] == {} for path in writable)


def test_shared_memory_is_as_large_as_asked_for() -> None:
    made = job({"template": {"shmSize": "2Gi"}})
    volume = mounts_of(made)["/dev/shm"]["volume"]
    assert volume["emptyDir"] == {"medium": "Memory", "sizeLimit": "2Gi"}


def test_the_token_for_progress_is_for_the_endpoint_alone() -> None:
    mount = mounts_of(job())["/var/run/secrets/sparsetransfer.dev/progress"]
    assert mount["readOnly"] is True
    (source,) = mount["volume"]["projected"]["sources"]
    assert source == {
        "serviceAccountToken": {
            "audience": PROGRESS.url,
            "expirationSeconds": 3600,
            "path": "token",
        }
    }


# More of the spec, the settings, and for each claim whether it is mounted to be written.
CLAIMS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, bool]]] = {
    "none": ({}, {}, {}),
    "data is read": ({"data": {"uri": "pvc://data/a/b"}}, {}, {"data": False}),
    "a claim alone": ({"data": {"uri": "pvc://data"}}, {}, {"data": False}),
    "output is written": ({"output": {"uri": "pvc://runs/x"}}, {}, {"runs": True}),
    "one claim for both": (
        {"data": {"uri": "pvc://all/data"}, "output": {"uri": "pvc://all/runs"}},
        {},
        {"all": True},
    ),
    "everything": (
        {
            "model": {"uri": "pvc://models.v1/m"},
            "recipe": {"uri": "pvc://recipes/r.yaml"},
            "teacher": {"mode": "Given", "uri": "pvc://teachers/t"},
            "storage": {"cache": {"claim": "cache"}},
        },
        {"catalog": "pvc://catalog/catalog.yaml"},
        {"models.v1": False, "recipes": False, "teachers": False, "cache": True, "catalog": False},
    ),
}


@pytest.mark.parametrize("name", CLAIMS)
def test_every_claim_that_is_named_is_mounted_where_the_runner_looks(name: str) -> None:
    spec, settings, expected = CLAIMS[name]
    mounts = mounts_of(job(spec, settings=settings))
    found = {
        mount["volume"]["persistentVolumeClaim"]["claimName"]: (path, not mount.get("readOnly"))
        for path, mount in mounts.items()
        if "persistentVolumeClaim" in mount["volume"]
    }
    assert found == {claim: (f"/mnt/pvc/{claim}", writes) for claim, writes in expected.items()}


@pytest.mark.parametrize("uri", ["pvc://Data/x", "pvc:///x", f"pvc://{'a' * 254}/x", "pvc://a..b"])
def test_an_address_that_names_no_claim_is_refused(uri: str) -> None:
    with pytest.raises(InputError, match=r"spec\.data\.uri"):
        job({"data": {"uri": uri}})


def test_the_authorities_of_a_store_are_trusted() -> None:
    bundle = {"configMap": "authorities", "key": "store.pem"}
    made = job({"storage": {"s3": {"caBundle": bundle}}})
    file = values(made)["AWS_CA_BUNDLE"]
    folder, _, name = file.rpartition("/")
    mount = mounts_of(made)[folder]
    assert mount["readOnly"] is True
    assert mount["volume"]["configMap"] == {
        "name": "authorities",
        "items": [{"key": "store.pem", "path": name}],
    }


def test_a_cache_on_a_claim_is_where_the_runner_looks() -> None:
    made = job({"storage": {"cache": {"claim": "cache"}}})
    assert values(made)["STE_CACHE"] == "/mnt/pvc/cache/sparse-transfer-cache"


def test_a_cache_on_the_node_has_to_be_there() -> None:
    made = job({"storage": {"cache": {"hostPath": "/var/models"}}})
    mount = mounts_of(made)[values(made)["STE_CACHE"]]
    assert mount["volume"]["hostPath"] == {"path": "/var/models", "type": "Directory"}
    assert "STE_CACHE" not in env_of(job())


# The path at which a template mounts a disk of its own, in place of ours.
@pytest.mark.parametrize("path", ["/scratch", "/scratch/", "/tmp", "/mnt/pvc/data"])
def test_a_templates_volume_takes_the_place_of_one_to_write_or_of_a_claims(path: str) -> None:
    template = {
        "volumes": [
            {
                "name": "fast",
                "ephemeral": {
                    "volumeClaimTemplate": {
                        "spec": {
                            "accessModes": ["ReadWriteOnce"],
                            "resources": {"requests": {"storage": "1Ti"}},
                        }
                    }
                },
            }
        ],
        "volumeMounts": [{"name": "fast", "mountPath": path}],
    }
    made = job({"data": {"uri": "pvc://data/x"}, "template": template})
    at = [
        mount
        for mount in runner_of(made)["volumeMounts"]
        if mount["mountPath"].rstrip("/") == path.rstrip("/")
    ]
    assert [mount["name"] for mount in at] == ["fast"]
    names = [volume["name"] for volume in pod_of(made)["volumes"]]
    used = {mount["name"] for mount in runner_of(made)["volumeMounts"]}
    assert set(names) == used, "no volume is attached for nothing"


# A template that takes what is the operator's, and what the message names.
TAKEN: dict[str, tuple[dict[str, Any], str]] = {
    "a volume's name": ({"volumes": [{"name": "ste-scratch"}]}, r"volumes\.ste-scratch"),
    "the token's folder": (
        {
            "volumes": [{"name": "a"}],
            "volumeMounts": [
                {"name": "a", "mountPath": "/var/run/secrets/sparsetransfer.dev//progress/"}
            ],
        },
        r"volumeMounts\./var/run",
    ),
}


@pytest.mark.parametrize("name", TAKEN)
def test_what_is_the_operators_own_is_refused_in_a_template(name: str) -> None:
    template, where = TAKEN[name]
    with pytest.raises(InputError, match=where):
        job({"template": template})


# ---- placement and resources


def test_settings_come_before_the_template_and_that_before_the_stage() -> None:
    settings = {
        "template": {"priorityClassName": "low", "tolerations": [{"key": "a"}]},
        "stages": {"train": {"runtimeClassName": "nvidia", "schedulerName": "operator"}},
    }
    spec = {
        "template": {
            "schedulerName": "template",
            "serviceAccountName": "reader",
            "tolerations": [{"key": "b", "operator": "Exists"}],
            "imagePullSecrets": [{"name": "registry"}],
        },
        "stages": {
            "train": {
                "serviceAccountName": "trainer",
                "nodeSelector": {"gpu": "h100"},
                "affinity": {"nodeAffinity": {}},
                "terminationGracePeriodSeconds": 300,
            }
        },
    }
    pod = pod_of(job(spec, settings=settings))
    assert pod["priorityClassName"] == "low"
    assert pod["runtimeClassName"] == "nvidia"
    assert pod["schedulerName"] == "template"
    assert pod["serviceAccountName"] == "trainer"
    assert pod["tolerations"] == [{"key": "a"}, {"key": "b", "operator": "Exists"}]
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert pod["nodeSelector"] == {"gpu": "h100"}
    assert pod["affinity"] == {"nodeAffinity": {}}
    assert pod["terminationGracePeriodSeconds"] == 300
    assert pod_of(job(spec, stage=Stage.PACKAGE))["serviceAccountName"] == "reader"


def test_a_checkpoint_has_two_minutes_where_nobody_says_otherwise() -> None:
    assert pod_of(job())["terminationGracePeriodSeconds"] == 120


# What the stage's resources say, and what the container asks for; the settings' default is
# 2 CPUs and 8Gi, at most 16Gi.
RESOURCES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "nothing": ({}, {"requests": {"cpu": "2", "memory": "8Gi"}, "limits": {"memory": "16Gi"}}),
    "a device": (
        {"limits": {"nvidia.com/gpu": 1}},
        {
            "requests": {"cpu": "2", "memory": "8Gi"},
            "limits": {"memory": "16Gi", "nvidia.com/gpu": "1"},
        },
    ),
    "a limit below the default request": (
        {"limits": {"memory": "4000Mi", "cpu": "500m"}},
        {
            "requests": {"cpu": "500m", "memory": "4000Mi"},
            "limits": {"memory": "4000Mi", "cpu": "500m"},
        },
    ),
    "a request above the default limit": (
        {"requests": {"memory": "64Gi"}},
        {"requests": {"cpu": "2", "memory": "64Gi"}, "limits": {"memory": "64Gi"}},
    ),
    "a mistake of the user's is left to the API server": (
        {"requests": {"memory": "8Gi"}, "limits": {"memory": "4Gi"}},
        {"requests": {"cpu": "2", "memory": "8Gi"}, "limits": {"memory": "4Gi"}},
    ),
}


@pytest.mark.parametrize("name", RESOURCES)
def test_defaults_yield_to_what_a_stage_asks_for(name: str) -> None:
    asked, expected = RESOURCES[name]
    assert runner_of(job({"stages": {"train": {"resources": asked}}}))["resources"] == expected
