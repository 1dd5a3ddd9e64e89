"""The rules between fields: what the models refuse, CEL refuses, and the other way round."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.api.rule_cases import BROKEN, CLUSTER_BROKEN, KEPT

from sparse_transfer_api.spec.rules import CLUSTER_RULES, RULES, Rule
from sparse_transfer_api.use_cases import ALL_NAMES

Document = dict[str, Any]
MakeDocument = Callable[..., Document]
ProblemsOf = Callable[[Any], dict[str, str]]

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


def test_values_for_the_packaged_recipe_are_refused_at_level_0_by_the_models_alone(
    document: MakeDocument, problems_of: ProblemsOf
) -> None:
    made = document({"spec.search.levels": [0, 0.5], "spec.recipe.args": {"num_epochs": 3}})
    assert list(problems_of(made)) == ["spec.search.levels"]


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
