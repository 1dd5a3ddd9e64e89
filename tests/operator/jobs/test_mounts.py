from __future__ import annotations

from typing import Any

import pytest
from tests.operator.jobs.manifests import (
    PROGRESS,
    env_of,
    job,
    mounts_of,
    pod_of,
    runner_of,
    values_of,
)

from sparse_transfer_api.errors import InputError


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
    file = values_of(made)["AWS_CA_BUNDLE"]
    folder, _, name = file.rpartition("/")
    mount = mounts_of(made)[folder]
    assert mount["readOnly"] is True
    assert mount["volume"]["configMap"] == {
        "name": "authorities",
        "items": [{"key": "store.pem", "path": name}],
    }


def test_a_cache_on_a_claim_is_where_the_runner_looks() -> None:
    made = job({"storage": {"cache": {"claim": "cache"}}})
    assert values_of(made)["STE_CACHE"] == "/mnt/pvc/cache/sparse-transfer-cache"


def test_a_cache_on_the_node_has_to_be_there() -> None:
    made = job({"storage": {"cache": {"hostPath": "/var/models"}}})
    mount = mounts_of(made)[values_of(made)["STE_CACHE"]]
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
