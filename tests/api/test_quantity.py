from __future__ import annotations

from decimal import Decimal

import pytest

from sparse_transfer_api.quantity import amount_of, bytes_of


@pytest.mark.parametrize(
    ("quantity", "amount"),
    [
        ("2", 2),
        ("500m", Decimal("0.5")),
        ("16Gi", 16 * 1024**3),
        ("1.5Ki", 1536),
        ("3k", 3000),
        ("1E", 10**18),
        ("1e3", 1000),
        ("2E-1", Decimal("0.2")),
        ("7n", Decimal("7e-9")),
    ],
)
def test_a_quantity_is_read_exactly(quantity: str, amount: Decimal) -> None:
    assert amount_of(quantity) == amount


def test_bytes_are_whole() -> None:
    assert bytes_of("1.5") == 1


@pytest.mark.parametrize("text", ["", "Gi", "1.5.2", "lots"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no quantity"):
        amount_of(text)
