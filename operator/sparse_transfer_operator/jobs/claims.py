"""The PersistentVolumeClaims that an experiment names, and whether it writes to them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sparse_transfer_api.errors import InputError, Problem
from sparse_transfer_api.spec import SparseTransferSpec

_SCHEME = "pvc://"
_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_CLAIM = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_LONGEST = 253


def claims(spec: SparseTransferSpec, catalog: str | None) -> dict[str, bool]:
    """Returns the names of all claims in order, and whether each is written to.

    Args:
        spec: The user's, its output place filled in.
        catalog: Address of the catalogue that the settings name.

    Raises:
        InputError: An address names no claim.
    """
    found: dict[str, bool] = {}
    problems: list[Problem] = []
    for where, uri, writes in _addresses(spec, catalog):
        if uri is None or not uri.startswith(_SCHEME):
            continue
        name = uri.removeprefix(_SCHEME).partition("/")[0]
        if len(name) > _LONGEST or not _CLAIM.fullmatch(name):
            problems.append(
                Problem(
                    where, f"{name!r} is no claim's name; expected pvc://CLAIM/path, as in {uri}"
                )
            )
        found[name] = found.get(name, False) or writes
    if problems:
        raise InputError("addresses name no claim", problems)
    if spec.storage.cache.claim is not None:
        found[spec.storage.cache.claim] = True
    return dict(sorted(found.items()))


def _addresses(
    spec: SparseTransferSpec, catalog: str | None
) -> Iterator[tuple[str, str | None, bool]]:
    """Yields where each address stands, the address, and whether it is written to."""
    yield "spec.data.uri", spec.data.uri, False
    yield "spec.model.uri", spec.model.uri, False
    yield "spec.teacher.uri", spec.teacher.uri, False
    yield "spec.recipe.uri", spec.recipe.uri, False
    yield "spec.output.uri", spec.output.uri, True
    yield "the operator's catalog", catalog, False
