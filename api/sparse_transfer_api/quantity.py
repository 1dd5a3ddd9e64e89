"""Amounts as Kubernetes writes them, in exact arithmetic."""

from __future__ import annotations

from decimal import Decimal

_SUFFIXES = {
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate("kMGTPE", 1)},
    **{f"{suffix}i": Decimal(1024) ** power for power, suffix in enumerate("KMGTPE", 1)},
    **{suffix: Decimal(1000) ** -power for power, suffix in enumerate("mun", 1)},
}


def amount_of(quantity: str) -> Decimal:
    """Returns the amount that a quantity such as ``16Gi``, ``500m`` or ``1e3`` stands for.

    Args:
        quantity: As the spec's ``Quantity`` type accepts it.

    Raises:
        ValueError: It is no quantity.
    """
    suffix = next((end for end in (quantity[-2:], quantity[-1:]) if end in _SUFFIXES), "")
    try:
        return Decimal(quantity.removesuffix(suffix)) * _SUFFIXES.get(suffix, 1)
    except ArithmeticError as error:
        raise ValueError(f"{quantity!r} is no quantity such as 16Gi") from error


def bytes_of(quantity: str) -> int:
    """Returns a quantity of bytes as a whole number, fractions cut.

    Raises:
        ValueError: It is no quantity.
    """
    return int(amount_of(quantity))
