"""The layout of recipes: every form that SparseML 1.8 reads, and no object beyond plain data."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.recipes.yaml_document import (
    MAX_NODES,
    Located,
    Reference,
    read_document,
)
from sparse_transfer_runner.recipes.yaml_text import MAX_DEPTH, without_markdown


def names(text: str) -> list[tuple[str, str | None]]:
    return [(m.name, m.stage) for m in read_document(text, "recipe.yaml").modifiers]


@pytest.mark.parametrize(
    "text",
    [
        "modifiers:\n  - !EpochRangeModifier\n    end_epoch: 1",
        "training_modifiers:\n  - !EpochRangeModifier\n      end_epoch: 1",
        "- !EpochRangeModifier\n  end_epoch: 1",
        "!EpochRangeModifier\nend_epoch: 1",
        "modifiers: [!EpochRangeModifier {end_epoch: 1}]",
        "modifiers:\n  - !pytorch.EpochRangeModifier\n    end_epoch: 1",
        "modifiers:\n  - EpochRangeModifier:\n      end_epoch: 1",
        "training_modifiers:\n  EpochRangeModifier:\n    end_epoch: 1",
        "---\nmodifiers:\n  - !EpochRangeModifier\n    end_epoch: 1\n---\n# A card\n\n---\n",
        "<!-- licence:\n-->\n\n---\nmodifiers: [!EpochRangeModifier {end_epoch: 1}]\n---\n# Card",
        "# comment\n---\nmodifiers: [!EpochRangeModifier {end_epoch: 1}]",
        '{"modifiers": [{"EpochRangeModifier": {"end_epoch": 1}}]}',
    ],
)
def test_a_modifier_is_found_in_every_flat_form(text: str) -> None:
    (modifier,) = read_document(text, "recipe.yaml").modifiers
    assert (modifier.name, modifier.stage) == ("EpochRangeModifier", None)
    assert modifier.fields["end_epoch"].value == 1


@pytest.mark.parametrize(
    "text",
    [
        "first:\n  run_type: train\n  a: 1\n  a_modifiers: [!A {x: 1}]\nlast: {modifiers: [!B ]}",
        "stages:\n  first:\n    a: 1\n    a_modifiers: {A: {x: 1}}\n  last:\n    modifiers: [!B ]",
    ],
)
def test_stages_keep_their_modifiers_and_variables_apart(text: str) -> None:
    assert names(text) == [("A", "first"), ("B", "last")]
    stages = read_document(text, "recipe.yaml").stages
    assert {name: dict(stage) for name, stage in stages.items()} == {
        "first": {"a": Located(1, stages["first"]["a"].line)},
        "last": {},
    }


def test_an_alias_refers_to_the_variable_so_that_settings_reach_it() -> None:
    document = read_document(
        "num_epochs: &n 13\nmodifiers:\n  - !EpochRangeModifier\n    end_epoch: *n", "r"
    )
    assert document.variables == {"num_epochs": Located(13, 1)}
    assert document.modifiers[0].fields["end_epoch"] == Located(Reference("num_epochs"), 4)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("1e-4", 0.0001),
        ("1.e-6", 1e-6),
        ("5E+2", 500.0),
        ("1.5e-4", 0.00015),
        ("0.5", 0.5),
        ("3", 3),
        ("True", True),
        ("null", None),
        ("2024-01-31", "2024-01-31"),
        ("1e", "1e"),
        ("'1e-4'", "1e-4"),
    ],
)
def test_numbers_are_read_as_people_write_them(written: str, read: object) -> None:
    document = read_document(f"value: {written}\nmodifiers: [!A {{}}]", "r")
    assert document.variables["value"].value == read
    assert type(document.variables["value"].value) is type(read)


def test_lines_stay_true_behind_front_matter() -> None:
    text = "# Card\n\n---\nnum_epochs: 2\nmodifiers:\n  - !A\n    x: 1\n---\ntext"
    document = read_document(text, "card.md")
    assert document.variables["num_epochs"].line == 4
    assert (document.modifiers[0].line, document.modifiers[0].fields["x"].line) == (6, 7)


def test_metadata_is_no_variable() -> None:
    document = read_document("__metadata__: {a: 1}\nmodifiers: [!A {}]", "r")
    assert document.variables == {}


BAD = {
    "nothing": ("", "the recipe is empty", None),
    "a lone value": ("5", "expected a mapping", 1),
    "no modifiers": ("num_epochs: 1", "no modifiers found", 1),
    "broken YAML": ("a: 1\nmodifiers: [", "expected the node content", 2),
    "a control character": ("a: \x00", "special characters are not allowed", None),
    "two documents": ("a: 1\n--- \nb: 2\n", "another document", 2),
    "a Python object": ("a: !!python/object/apply:os.system [x]\nmodifiers: [!A {}]", "os.sys", 1),
    "a tag outside a list": ("a: !A {x: 1}\nmodifiers: [!A {}]", "`!A` is not expected here", 1),
    "a key given twice": ("a: 1\na: 2\nmodifiers: [!A {}]", "`a` is given twice", 2),
    "a field given twice": ("modifiers: [!A {x: 1, x: 2}]", "`x` is given twice", 1),
    "a merge key": ("a: &a {x: 1}\nmodifiers: [!A {<<: *a}]", "expected a plain name", 2),
    "a list as key": ("? [1]\n: 2\nmodifiers: [!A {}]", "expected a plain name", 1),
    "a value as modifier": ("modifiers:\n  - 5", "expected a modifier such as", 2),
    "a value as list": ("modifiers: 5", "expected a list of modifiers", 1),
    "fields that are none": ("modifiers:\n  - !A [1]", "A: expected its fields", 2),
    "a stage without fields": ("stages: {a: 5, b: {modifiers: [!A {}]}}", "stage `a`", 1),
    "one-shot stages": ("s:\n  run_type: oneshot\n  modifiers: [!A {}]", "'oneshot' is not", 2),
    "a number that is none": ("a: 0b_\nmodifiers: [!A {}]", "cannot be read", 1),
    "an alias inside itself": ("a: &a [*a]\nmodifiers: [!A {}]", "an alias contains itself", 1),
    "an unknown alias": ("a: *b\nmodifiers: [!A {}]", "undefined alias", 1),
    "deep nesting": (f"a: {'[' * 1000}{']' * 1000}", f"nested deeper than {MAX_DEPTH}", 1),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_layout_is_refused_with_its_line(case: str) -> None:
    text, complaint, line = BAD[case]
    with pytest.raises(InputError) as error:
        read_document(text, "recipe.yaml")
    found = [(problem.line, problem.message) for problem in error.value.problems]
    assert any(complaint in message and at == line for at, message in found), found


def test_aliases_that_multiply_are_refused_at_once() -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 20)]
    with pytest.raises(InputError, match=f"more than {MAX_NODES} nodes"):
        read_document("\n".join(lines), "bomb.yaml")


def test_aliases_that_nest_ever_deeper_are_refused() -> None:
    nested = ", ".join(["a0: &a0 [1]", *(f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 2000))])
    with pytest.raises(InputError, match=f"or {MAX_DEPTH} levels"):
        read_document(f"a: {{{nested}}}\nmodifiers: [!A {{}}]", "deep.yaml")


def test_a_recipe_without_front_matter_is_left_alone() -> None:
    text = "a: 1\n---\nb: 2\n---\n"
    assert without_markdown(text) == text


@settings(max_examples=300)
@given(st.text(alphabet="am: -!&*[]{}#'\"\n<01.e", max_size=60))
def test_any_text_is_read_or_refused_and_never_crashes(text: str) -> None:
    try:
        read_document(text, "fuzz.yaml")
    except InputError as error:
        assert error.problems
