"""Names of parameters as SparseML writes them."""

from __future__ import annotations

import pytest

from sparse_transfer_runner.recipes import matches, unmatched

QUERY = "bert.encoder.layer.0.attention.self.query.weight"


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ([QUERY], True),
        (["query.weight"], False),
        (["re:bert.encoder.layer.*.attention.self.query.weight"], True),
        (["re:query"], False),
        (["re:.*query"], True),
        (["re:^((?!dfl).)*$"], True),
        (["__ALL__"], True),
        (["__ALL_PRUNABLE__"], True),
        (["other", "re:.*weight"], True),
        ([], False),
    ],
)
def test_a_name_is_matched_as_sparseml_does(patterns: list[str], expected: bool) -> None:
    assert matches(patterns, QUERY) is expected


def test_patterns_that_fit_nothing_are_named() -> None:
    assert unmatched(["re:.*query.*", "re:.*qurey.*", "__ALL__"], [QUERY]) == ("re:.*qurey.*",)
