from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import date
from itertools import pairwise
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sparse_transfer_api.errors import ExitCode, InputError
from sparse_transfer_api.spec import parse_experiment

Document = dict[str, Any]
MakeDocument = Callable[..., Document]
ProblemsOf = Callable[[Any], dict[str, str]]

HEAD = """
apiVersion: sparsetransfer.dev/v1alpha1
kind: SparseTransferExperiment
metadata: {name: film-reviews}
"""


def test_the_smallest_experiment_is_valid(parsed: Callable[..., Any]) -> None:
    experiment = parsed()
    assert experiment.metadata.name == "film-reviews"
    assert experiment.spec.use_case == "nlp-sentiment_analysis"


def test_a_document_is_not_changed_by_reading_it(document: MakeDocument) -> None:
    made = document({"spec.trainin": {"epoch": 3}, "spec.optimLevel": 7, "status": {"a": 1}})
    before = copy.deepcopy(made)
    with pytest.raises(InputError):
        parse_experiment(made, "experiment.yaml")
    assert made == before


def test_an_error_names_its_source_and_ends_with_the_code_for_input(
    document: MakeDocument,
) -> None:
    with pytest.raises(InputError) as raised:
        parse_experiment(document({"spec.optimLevel": 7}), "runs/experiment.yaml")
    assert str(raised.value).startswith("runs/experiment.yaml: ")
    assert raised.value.exit_code == ExitCode.INPUT


# Changes to a valid experiment, the field that is blamed, and what the message says.
MISTAKES: dict[str, tuple[dict[str, Any], str, list[str]]] = {
    "a level in per cent": (
        {"spec.optimLevel": 50},
        "spec.optimLevel",
        ["found 50", "a number from 0 to 1", "did you mean 0.5?"],
    ),
    "a level below its range": ({"spec.optimLevel": -0.1}, "spec.optimLevel", ["found -0.1"]),
    "a level that is no number": (
        {"spec.optimLevel": float("nan")},
        "spec.optimLevel",
        ["found nan"],
    ),
    "a quoted number": (
        {"spec.optimLevel": "0.5"},
        "spec.optimLevel",
        ["found '0.5'", "without quotes"],
    ),
    "an unknown use case": (
        {"spec.useCase": "sentimnt"},
        "spec.useCase",
        ["found 'sentimnt'", "nlp-named_entity_recognition", "did you mean sentiment?"],
    ),
    "no use case": ({"spec.useCase": ...}, "spec.useCase", ["missing", "cv-classification"]),
    "no data": ({"spec.data": ...}, "spec.data", ["missing", "uri"]),
    "data without an address": ({"spec.data": {}}, "spec.data.uri", ["missing", "s3://…"]),
    "an address instead of a block": (
        {"spec.data": "s3://bucket/x"},
        "spec.data",
        ["found 's3://bucket/x'", "did you mean {uri: s3://bucket/x}?"],
    ),
    "a path instead of an address": (
        {"spec.data.uri": "./reviews"},
        "spec.data.uri",
        ["found './reviews'", "did you mean file://./reviews?"],
    ),
    "an unknown scheme": (
        {"spec.data.uri": "pcv://claim/reviews"},
        "spec.data.uri",
        ["pvc://…", "did you mean pvc?"],
    ),
    "a scheme that cannot be written to": (
        {"spec.output.uri": "hf://me/out"},
        "spec.output.uri",
        ["s3://…, pvc://… or file://…"],
    ),
    "an address with one slash": (
        {"spec.data.uri": "s3:/bucket/x"},
        "spec.data.uri",
        ["did you mean s3://bucket/x?"],
    ),
    "an address of nothing": ({"spec.data.uri": "s3://"}, "spec.data.uri", ["found 's3://'"]),
    "a field with a typing mistake": (
        {"spec.runPolcy": {"suspend": True}},
        "spec.runPolcy",
        ["unknown field", "did you mean spec.runPolicy?"],
    ),
    "a field as Python has it": (
        {"spec.optim_level": 0.3},
        "spec.optim_level",
        ["did you mean spec.optimLevel?"],
    ),
    "a field in the wrong block": (
        {"spec.learningRate": 0.1},
        "spec.learningRate",
        ["did you mean spec.training.learningRate?"],
    ),
    "a field like no other": (
        {"spec.data.zzz": 1},
        "spec.data.zzz",
        ["unknown field", "uri, revision, columns"],
    ),
    "an enum in another case": (
        {"spec.model": {"uri": "s3://a/b", "trust": "pickle"}},
        "spec.model.trust",
        ["found 'pickle'", "Safe or Pickle", "did you mean Pickle?"],
    ),
    "an engine by another name": (
        {"spec.export.targets": ["onnx"]},
        "spec.export.targets[0]",
        ["found 'onnx'", "did you mean onnxruntime?"],
    ),
    "an engine twice": (
        {"spec.export.targets": ["openvino", "openvino"]},
        "spec.export.targets",
        ["openvino is there twice"],
    ),
    "one value instead of a list": (
        {"spec.data.columns": {"text": "review"}},
        "spec.data.columns.text",
        ["found 'review'", "a list of 1 to 2", "did you mean [review]?"],
    ),
    "too many columns": (
        {"spec.data.columns": {"text": ["a", "b", "c"]}},
        "spec.data.columns.text",
        ["found a list of 3", "1 to 2"],
    ),
    "an empty list": (
        {"spec.export.targets": []},
        "spec.export.targets",
        ["found an empty list", "1 to 8"],
    ),
    "a truth instead of a number": (
        {"spec.training.epochs": True},
        "spec.training.epochs",
        ["found true", "a number from 0.01 to 1000"],
    ),
    "a fraction instead of a whole number": (
        {"spec.training.seed": 1.5},
        "spec.training.seed",
        ["found 1.5", "a whole number from 0"],
    ),
    "a number instead of text": (
        {"spec.data.revision": 3},
        "spec.data.revision",
        ["found 3", "put it in quotes"],
    ),
    "a date instead of text": (
        {"spec.data.revision": date(2026, 3, 1)},
        "spec.data.revision",
        ["the date 2026-03-01", "in quotes"],
    ),
    "recovery in per cent": (
        {"spec.acceptance.minRecovery": 97},
        "spec.acceptance.minRecovery",
        ["did you mean 0.97?"],
    ),
    "a quantity with a space": (
        {"spec.stages": {"train": {"resources": {"limits": {"memory": "16 GB"}}}}},
        "spec.stages.train.resources.limits.memory",
        ["found '16 GB'", "16Gi"],
    ),
    "a quantity with a fraction that is no text": (
        {"spec.stages": {"train": {"resources": {"limits": {"cpu": 0.5}}}}},
        "spec.stages.train.resources.limits.cpu",
        ["found 0.5", "in quotes"],
    ),
    "a variable's value that is no text": (
        {"spec.template.env": [{"name": "A", "value": 1}]},
        "spec.template.env[0].value",
        ["found 1", "put it in quotes"],
    ),
    "a variable without a name": (
        {"spec.template.env": [{"value": "1"}]},
        "spec.template.env[0].name",
        ["missing"],
    ),
    "two volumes of one name": (
        {"spec.template.volumes": [{"name": "a"}, {"name": "a", "emptyDir": {}}]},
        "spec.template.volumes",
        ["a is there twice"],
    ),
    "a recipe's variable that is a list": (
        {"spec.recipe.args": {"layers": [1, 2]}},
        "spec.recipe.args.layers",
        ["found a list of 2", "a number, text, or true or false"],
    ),
    "an empty name of a variable": (
        {"spec.recipe.args": {"": 1}},
        "spec.recipe.args['']",
        ["empty or too long"],
    ),
    "a name that is too long": (
        {"metadata.name": "a" * 41},
        "metadata.name",
        ["at most 40"],
    ),
    "a name with a dot": ({"metadata.name": "a.b"}, "metadata.name", ["found 'a.b'"]),
    "a name with a line break": ({"metadata.name": "a\n"}, "metadata.name", ["found 'a\\n'"]),
    "no name": ({"metadata.name": ...}, "metadata.name", ["missing"]),
    "an unknown field of the metadata": (
        {"metadata.nmespace": "x"},
        "metadata.nmespace",
        ["did you mean metadata.namespace?"],
    ),
    "another version": (
        {"apiVersion": "sparsetransfer.dev/v1"},
        "apiVersion",
        ["found 'sparsetransfer.dev/v1'", "expected sparsetransfer.dev/v1alpha1"],
    ),
    "another kind": ({"kind": "Job"}, "kind", ["expected SparseTransferExperiment"]),
    "no version": ({"apiVersion": ...}, "apiVersion", ["missing"]),
    "no spec": ({"spec": ...}, "spec", ["missing", "useCase and data"]),
    "a spec that is a list": ({"spec": []}, "spec", ["found an empty list"]),
    "text that UTF-8 cannot hold": ({"spec.image": "a\udc80"}, "spec.image", ["found 'a\\udc80'"]),
    "a huge number": ({"spec.training.seed": 16**5000}, "spec.training.seed", ["a huge number"]),
    "an engine to show that is not exported for": (
        {"spec.benchmark.headline": {"engine": "deepsparse"}},
        "spec.benchmark.headline.engine",
        ["one of export.targets"],
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_problem_with_its_place_and_what_was_expected(
    name: str, document: MakeDocument, problems_of: ProblemsOf
) -> None:
    changes, where, said = MISTAKES[name]
    problems = problems_of(document(changes))
    assert list(problems) == [where]
    for part in said:
        assert part in problems[where]


def test_all_mistakes_are_found_at_once(problems_of: ProblemsOf) -> None:
    text = f"""{HEAD}
spec:
  useCase: sentimnt
  optim_level: 50
  data: {{uri: ./reviews}}
  trainin: {{epoch: 3, nodes: 2, seed: "5", batchSize: 0}}
  model: {{uri: s4://x, trust: pickle}}
  export: {{targets: [onnx, openvino]}}
  benchmark: {{batchSizes: [1, 2, yes]}}
  baseline: {{mode: Given}}
  recipe: {{uri: s3://x/y, inline: a}}
  acceptance: {{minRecovery: 97}}
  template: {{env: [{{name: A, value: 3}}, {{nam: B}}]}}
  credentials: {{secretRef: {{}}}}
"""
    assert set(problems_of(yaml.safe_load(text))) == {
        "spec.useCase",
        "spec.optim_level",
        "spec.optimLevel",
        "spec.data.uri",
        "spec.trainin",
        "spec.training.epoch",
        "spec.training.nodes",
        "spec.training.seed",
        "spec.training.batchSize",
        "spec.model.uri",
        "spec.model.trust",
        "spec.export.targets[0]",
        "spec.benchmark.batchSizes[2]",
        "spec.baseline.value",
        "spec.recipe.inline",
        "spec.acceptance.minRecovery",
        "spec.template.env[0].value",
        "spec.template.env[1].nam",
        "spec.credentials.secretRef.name",
    }


def test_problems_come_in_the_order_of_the_document(problems_of: ProblemsOf) -> None:
    text = f"""{HEAD}
spec:
  training: {{seed: x, epochs: 0}}
  data: {{uri: here}}
  useCase: none
"""
    assert list(problems_of(yaml.safe_load(text))) == [
        "spec.training.seed",
        "spec.training.epochs",
        "spec.data.uri",
        "spec.useCase",
    ]


def test_an_empty_block_is_the_same_as_none(parsed: Callable[..., Any]) -> None:
    assert parsed({"spec.training": None, "spec.data.revision": None}) == parsed()
    assert parsed({"spec.training": {}}) == parsed()


@pytest.mark.parametrize("name", ["Film-Reviews", "-a", "a-", "a_b", "", "ä"])
def test_names_are_dns_labels(name: str, document: MakeDocument, problems_of: ProblemsOf) -> None:
    assert list(problems_of(document({"metadata.name": name}))) == ["metadata.name"]


def test_what_a_cluster_adds_to_an_object_is_no_mistake(
    document: MakeDocument, parsed: Callable[..., Any]
) -> None:
    made = document(
        {
            "schemaVersion": 1,
            "status": {"phase": "Running", "whatever": 1},
            "metadata.uid": "0b5c9d0e",
            "metadata.generation": 3,
            "metadata.creationTimestamp": "2026-01-01T00:00:00Z",
            "metadata.managedFields": [{"manager": "kubectl"}],
            "metadata.annotations": {"sparsetransfer.dev/retry": "1"},
        }
    )
    experiment = parse_experiment(made, "object")
    assert experiment.metadata.uid == "0b5c9d0e"
    assert experiment.spec == parsed().spec


WEIRD_YAML = {
    "nothing": "",
    "a number": "5",
    "a text": "hello",
    "a list": "[1, 2]",
    "a cycle": "a: &a [*a]",
    "a cycle of mappings": HEAD + "spec: &a {useCase: qa, data: *a}",
    "a set": HEAD + "spec: !!set {useCase, data}",
    "binary data": HEAD + "spec: {useCase: !!binary aGVsbG8=, data: {uri: s3://a/b}}",
    "names that are no text": HEAD + "spec: {1: a, 2.5: b, null: c, 2020-01-01: d}",
    "yes as a name": HEAD + "spec: {useCase: qa, data: {uri: s3://a/b}, on: 1}",
    "a time": HEAD + "spec: {useCase: 2020-01-01 10:00:00, data: {uri: s3://a/b}}",
    "infinity": HEAD + "spec: {useCase: qa, data: {uri: s3://a/b}, optimLevel: .inf}",
    "a pair list": HEAD + "spec: !!pairs [a: b]",
    "an ordered map": HEAD + "spec: !!omap [a: b]",
    "very deep": "a: " + "[" * 60 + "]" * 60,
    "a line break in a name": HEAD + 'spec: {"use\\nCase\\u0007": qa}',
    "half a character for an object": 'metadata: "\\uD800"\nspec: {}',
    "a line break in an address": HEAD + 'spec: {useCase: qa, data: {uri: "s3:/a\\nb"}}',
    "many lines from few": "a: &a [x,x,x,x,x,x,x,x,x]\n"
    + "\n".join(f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]" for a, b in pairwise("abcdefgh")),
}


@pytest.mark.parametrize("name", WEIRD_YAML)
def test_whatever_yaml_holds_is_answered_with_problems(name: str, problems_of: ProblemsOf) -> None:
    problems = problems_of(yaml.safe_load(WEIRD_YAML[name]))
    assert problems
    assert all(message.isprintable() for message in problems.values())


def test_a_document_of_a_million_values_is_refused_as_a_whole(problems_of: ProblemsOf) -> None:
    problems = problems_of({"spec": [0] * 1_000_000})
    assert list(problems) == ["document"]


def test_more_problems_than_anybody_reads_are_counted(
    document: MakeDocument, problems_of: ProblemsOf
) -> None:
    made = document({f"spec.zz{number}": 1 for number in range(150)})
    problems = problems_of(made)
    assert len(problems) == 101
    assert problems["document"] == "50 more problems"


_names = st.text(max_size=12) | st.sampled_from(["spec", "data", "useCase", "training", "env"])
_scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=12)
    | st.binary(max_size=4)
    | st.dates()
    | st.datetimes()
    | st.sampled_from([set(), (), {1, 2}, 10**400, "\udfff"])
)
_keys = _names | st.integers() | st.booleans() | st.none() | st.floats() | st.dates()
_anything = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_keys, inner, max_size=4),
    max_leaves=12,
)


@given(_anything)
def test_anything_at_all_is_answered_with_an_experiment_or_with_problems(
    problems_of: ProblemsOf, made: Any
) -> None:
    assert problems_of(made)


@settings(max_examples=150)
@given(data=st.data())
def test_anything_in_place_of_any_part_is_answered_too(
    data: st.DataObject, problems_of: ProblemsOf, valid_documents: st.SearchStrategy[Document]
) -> None:
    made: Any = data.draw(valid_documents)
    node = made
    while True:
        steps = list(node) if isinstance(node, dict) else range(len(node))
        step = data.draw(st.sampled_from(list(steps)))
        if not isinstance(node[step], dict | list) or not node[step] or data.draw(st.booleans()):
            break
        node = node[step]
    node[step] = data.draw(_anything)
    problems_of(made)


@settings(max_examples=50)
@given(data=st.data())
def test_what_is_read_is_written_and_read_again_the_same(
    data: st.DataObject, valid_documents: st.SearchStrategy[Document]
) -> None:
    experiment = parse_experiment(data.draw(valid_documents), "experiment.yaml")
    text = yaml.safe_dump(experiment.to_json_dict())
    assert parse_experiment(yaml.safe_load(text), "again") == experiment


@given(st.text(max_size=200))
def test_any_text_that_is_yaml_is_answered(problems_of: ProblemsOf, text: str) -> None:
    try:
        made = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        return
    problems_of(made)
