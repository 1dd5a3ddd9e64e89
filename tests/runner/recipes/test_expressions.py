"""Arithmetic in recipes: evaluated by SparseML's rules, and nothing beyond arithmetic."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparse_transfer_runner.recipes.expressions import (
    MAX_CHAIN,
    MAX_LENGTH,
    ExpressionError,
    Variables,
    evaluate,
    expression_in,
)
from sparse_transfer_runner.recipes.yaml_document import Located


def no_variables(name: str) -> object:
    raise ExpressionError(f"no {name}")


def variables(**values: object) -> Variables:
    return Variables({name: Located(value, 1) for name, value in values.items()})


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("1 + 2 * 3", 7),
        ("-(4 - 6)", 2),
        ("+1.5", 1.5),
        ("7 // 2", 3),
        ("7 % 4", 3),
        ("2 ** 3", 8),
        ("1e-4", 0.0001),
        ("max(1, 2.5)", 2.5),
        ("min(3, 2, 1)", 1),
        ("round(2.345, 1)", 2.3),
        ("int(2.9)", 2),
        ("float(3)", 3.0),
        ("abs(-2)", 2),
    ],
)
def test_arithmetic_has_its_usual_value(expression: str, expected: float) -> None:
    assert evaluate(expression, no_variables) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("expression", "complaint"),
    [
        ("__import__('os').system('true')", "is not allowed"),
        ("open('/etc/passwd')", "is not allowed"),
        ("(1).__class__", "is not allowed"),
        ("[1][0]", "is not allowed"),
        ("'a' * 3", "is not allowed"),
        ("1 if 2 else 3", "is not allowed"),
        ("1 < 2", "is not allowed"),
        ("max(*[1, 2])", "is not allowed"),
        ("round(number=1)", "is not allowed"),
        ("(lambda: 1)()", "is not allowed"),
        ("1 +", "not an arithmetic expression"),
        ("", "not an arithmetic expression"),
        ("1 / 0", "division by zero"),
        ("max()", "max expected"),
        ("9 ** 9 ** 9", "too large"),
        ("(-8) ** 0.5", "not a finite number"),
        ("int(1e308 * 10 - 1e308 * 10)", "NaN"),
        ("int(1e308 * 10)", "too large"),
        ("1 \x00", "not an arithmetic expression"),
        ("1e308 * 10", "not a finite number"),
        ("1" * (MAX_LENGTH + 1), f"longer than {MAX_LENGTH}"),
        ("(" * 150, "not an arithmetic expression"),
    ],
)
def test_everything_else_is_refused(expression: str, complaint: str) -> None:
    with pytest.raises(ExpressionError, match=complaint.replace("(", r"\(")):
        evaluate(expression, no_variables)


@given(st.text(max_size=60))
def test_no_text_does_more_than_give_a_number_or_a_refusal(text: str) -> None:
    with suppress(ExpressionError):
        assert isinstance(evaluate(text, no_variables), int | float)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("eval(a)", "a"), (" eval( a + 1 ) ", "a + 1"), ("re:eval(a)", None), ("a", None)],
)
def test_an_expression_is_recognised_by_its_eval(value: str, expected: str | None) -> None:
    assert expression_in(value) == expected


def test_a_variable_may_depend_on_others_in_any_order() -> None:
    scope = variables(end="eval(start + length)", start="eval(length / 2)", length=4)
    assert scope.value("end") == 6


def test_an_expression_that_is_one_variable_takes_its_value_of_any_type() -> None:
    scope = variables(layers=["re:a", "b"], also="eval(layers)")
    assert scope.resolve({"params": "eval(also)"}) == {"params": ["re:a", "b"]}


def test_text_cannot_be_calculated_with() -> None:
    with pytest.raises(ExpressionError, match="`name` is 'bert', not a number"):
        variables(name="bert").resolve("eval(name + 1)")


def test_an_unknown_variable_is_answered_with_the_nearest() -> None:
    with pytest.raises(ExpressionError, match="did you mean `num_epochs`"):
        variables(num_epochs=2).resolve("eval(0.5 * num_epoch)")


def test_variables_in_a_circle_are_refused() -> None:
    with pytest.raises(ExpressionError, match="a → b → a"):
        variables(a="eval(b)", b="eval(a)").value("a")


def test_a_long_chain_of_variables_is_refused_rather_than_exhausting_the_stack() -> None:
    chain = {f"v{i}": f"eval(v{i + 1} + 1)" for i in range(20 * MAX_CHAIN)}
    with pytest.raises(ExpressionError, match="variables depend on each other"):
        variables(**chain, **{f"v{20 * MAX_CHAIN}": 1}).value("v0")


def test_a_stage_sees_the_variables_around_it_and_hides_them_by_its_own() -> None:
    outer = variables(lr=1, epochs=3)
    stage = Variables({"lr": Located(2, 1)}, outer)
    assert stage.resolve(["eval(lr)", "eval(epochs)"]) == [2, 3]
    assert (outer.used, stage.used) == ({"epochs"}, {"lr"})
