"""Variables and ``eval(...)`` expressions of a recipe, evaluated without Python's ``eval``.

Allowed: numbers, variables, ``+ - * / // % **``, and abs, float, int, max, min, round; the same
set as SparseML's. Everything else is refused by name.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

from .yaml_document import Located, Reference

MAX_LENGTH = 200
"""Characters of one expression; keeps parsing and integers bounded."""

MAX_CHAIN = 50
"""Variables that may depend on each other in a row."""

Number = int | float

_BINARY: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    # As floats: a power of integers can be too large to compute.
    ast.Pow: lambda base, exponent: float(base) ** float(exponent),
}
_UNARY: Mapping[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "abs": abs,
    "float": float,
    "int": int,
    "max": max,
    "min": min,
    "round": round,
}


class ExpressionError(ValueError):
    """An expression cannot be evaluated; the message says why."""


def expression_in(value: str) -> str | None:
    """Returns what stands inside ``eval(...)``, or None for any other text."""
    text = value.strip()
    return text[5:-1].strip() if text.startswith("eval(") and text.endswith(")") else None


def evaluate(expression: str, variable: Callable[[str], Any]) -> Number:
    """Evaluates an arithmetic expression.

    Args:
        expression: Such as ``0.75 * num_epochs``.
        variable: Returns a variable's value.

    Returns:
        A finite number.

    Raises:
        ExpressionError: It is malformed, uses what is not allowed, or has no finite value.
    """
    if len(expression) > MAX_LENGTH:
        raise ExpressionError(f"longer than {MAX_LENGTH} characters")
    try:
        body = ast.parse(expression, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise ExpressionError("not an arithmetic expression") from error
    try:
        result = _evaluate(body, variable)
    except ExpressionError:
        raise
    except OverflowError as error:
        raise ExpressionError("its value is too large") from error
    except (ArithmeticError, TypeError, ValueError) as error:
        raise ExpressionError(str(error)) from error
    if not isinstance(result, int | float) or not math.isfinite(result):
        raise ExpressionError(f"its value is {result!r}, not a finite number")
    return result


def _evaluate(node: ast.expr, variable: Callable[[str], Any]) -> Any:
    match node:
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.Name(id=name):
            return _number(name, variable(name))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _BINARY[type(op)](_evaluate(left, variable), _evaluate(right, variable))
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
            return _UNARY[type(op)](_evaluate(operand, variable))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
            return _FUNCTIONS[name](*(_evaluate(arg, variable) for arg in args))
        case _:
            allowed = ", ".join(_FUNCTIONS)
            raise ExpressionError(
                f"`{ast.unparse(node)}` is not allowed; use numbers, variables, "
                f"+ - * / // % ** and {allowed}"
            )


def _number(name: str, value: Any) -> Number:
    if not isinstance(value, int | float):
        raise ExpressionError(f"`{name}` is {value!r}, not a number")
    return value


class Variables:
    """A recipe's (or a stage's) variables, each evaluated when it is first asked for.

    Args:
        values: Unevaluated values by name.
        outer: The variables around a stage; a stage's own ones hide them.
    """

    def __init__(self, values: Mapping[str, Located], outer: Variables | None = None) -> None:
        self._values = values
        self._outer = outer
        self._known: dict[str, Any] = {}
        self._pending: list[str] = []
        self.used: set[str] = set()
        """Names that were asked for so far."""

    @property
    def own(self) -> Mapping[str, Located]:
        """Its own variables, unevaluated, without those around it."""
        return self._values

    @property
    def names(self) -> list[str]:
        """All visible names, sorted."""
        return sorted({*self._values, *(self._outer.names if self._outer else ())})

    def value(self, name: str) -> Any:
        """Returns a variable's evaluated value.

        Raises:
            ExpressionError: It does not exist, depends on itself, or cannot be evaluated.
        """
        if name not in self._values:
            if self._outer is None:
                raise ExpressionError(f"there is no variable `{name}`{self.hint(name)}")
            return self._outer.value(name)
        self.used.add(name)
        if name not in self._known:
            if name in self._pending:
                circle = " → ".join([*self._pending, name])
                raise ExpressionError(f"variables depend on each other: {circle}")
            if len(self._pending) >= MAX_CHAIN:
                raise ExpressionError(f"more than {MAX_CHAIN} variables depend on each other")
            self._pending.append(name)
            try:
                self._known[name] = self.resolve(self._values[name].value)
            finally:
                self._pending.pop()
        return self._known[name]

    def resolve(self, value: Any) -> Any:
        """Returns a value with every expression and reference in it evaluated.

        Raises:
            ExpressionError: One of them cannot be.
        """
        match value:
            case Reference(name=name):
                return self.value(name)
            case list():
                return [self.resolve(item) for item in value]
            case dict():
                return {key: self.resolve(item) for key, item in value.items()}
            case str() if (expression := expression_in(value)) is not None:
                if expression in self.names:  # alone, a variable may be of any type
                    return self.value(expression)
                try:
                    return evaluate(expression, self.value)
                except ExpressionError as error:
                    raise ExpressionError(f"{value}: {error}") from error
            case _:
                return value

    def hint(self, name: str) -> str:
        """Returns a suggestion and the list of variables, to end an error message with."""
        near = get_close_matches(name, self.names, n=1)
        suggestion = f"; did you mean `{near[0]}`?" if near else ""
        listed = ", ".join(self.names) or "none"
        return f"{suggestion} (the recipe's variables: {listed})"
