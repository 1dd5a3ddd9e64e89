"""From SparseZoo identifiers to entries of a catalogue, and to the recipes that they ask for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

from sparse_transfer_api.errors import InputError
from sparse_transfer_api.suggest import without_separators

from .choice import packaged_has
from .models import Catalog, CatalogEntry
from .reading import packaged_catalog
from .stubs import ZooStub, parse_stub

Side = Literal["sparse", "dense"]

_FRAMEWORKS = (None, "pytorch")
"""Models of other frameworks are not the same ones, though their identifiers are alike."""
_FAMILIES = {
    "classification": "image",
    "detection": "detection",
    "segmentation": "segmentation",
}
"""Of the sub-domains of ``cv``; all of ``nlp`` is text."""
_BLOCKS = "block4"
_ALIKE = 0.6
"""Of two architectures' names; below it nothing is called near."""


@dataclass(frozen=True)
class FoundStub:
    """What an identifier stands for.

    Args:
        stub: As read.
        entry: The catalogue's.
        side: Which of its models.
    """

    stub: ZooStub
    entry: CatalogEntry
    side: Side

    @property
    def recipe(self) -> str | None:
        """Address of the recipe that the identifier asks for; None where it asks for none.

        Raises:
            InputError: The catalogue has no such recipe for it.
        """
        if self.stub.recipe_type is None:
            return None
        return recipe_of_type(self.entry, self.stub.recipe_type, self.stub.text)


def find_stub(catalog: Catalog, text: str) -> FoundStub:
    """Returns what an identifier stands for, whichever grammar it and the catalogue use.

    Raises:
        InputError: It is no identifier, or the catalogue does not have it; says what is near.
    """
    stub = parse_stub(text)
    found = _found(catalog, stub)
    if found is not None:
        return found
    packaged = _found(packaged_catalog(), stub)
    if packaged is not None:
        raise InputError(f"{text}: not in the catalogue in force; {packaged_has(packaged.entry)}")
    raise InputError(
        f"{text}: not in the catalogue, and the SparseZoo is gone; {_near(catalog, stub)}; name "
        "another model (sparse-transfer catalog list), or put yours into a catalogue of your own, "
        "with the identifier under 'zoo'"
    )


def _found(catalog: Catalog, stub: ZooStub) -> FoundStub | None:
    for entry in catalog.models:
        if stub.framework in _FRAMEWORKS and _family(stub) in (None, entry.family):
            for side, known in _identifiers(entry):
                if parse_stub(known).identity == stub.identity:
                    return FoundStub(stub, entry, side)
    return None


def recipe_of_type(entry: CatalogEntry, wanted: str, stub: str) -> str:
    """Returns the address of an entry's recipe of a type, or of the one type that begins so.

    Args:
        entry: The catalogue's.
        wanted: The type, such as ``transfer-text_classification``; case and separators do not
            count.
        stub: For messages.

    Raises:
        InputError: There is none, or there are several that differ.
    """
    plain = without_separators(wanted)
    by_type = {without_separators(name): address for name, address in entry.recipes.items()}
    exact = [by_type[plain]] if plain in by_type else []
    found = exact or list(
        dict.fromkeys(address for name, address in by_type.items() if name.startswith(plain))
    )
    if len(found) == 1:
        return found[0]
    types = ", ".join(entry.recipes) or "none"
    problem = "names several recipes" if found else "names a recipe that is not known"
    raise InputError(
        f"{stub}: {wanted!r} {problem} (catalog:{entry.name} has {types}); the SparseZoo's own can "
        "no longer be fetched: leave it out for the default recipe, or give the recipe's text in "
        "spec.recipe.inline or a file in spec.recipe.uri"
    )


def _identifiers(entry: CatalogEntry) -> Iterator[tuple[Side, str]]:
    made = entry.upstream.zoo if entry.upstream is not None else ()
    for name in (*(entry.sparse.zoo if entry.sparse is not None else ()), *made):
        yield "sparse", name
    for name in entry.dense.zoo if entry.dense is not None else ():
        yield "dense", name


def _near(catalog: Catalog, stub: ZooStub) -> str:
    """Returns what comes nearest: the same architecture and task, then the same sparsity."""
    near = max(catalog.models, key=lambda entry: _likeness(entry, stub), default=None)
    if near is None or _likeness(near, stub)[0] < _ALIKE:
        return "nothing in it is near"
    return f"nearest: catalog:{near.name} ({_described(near)})"


def _likeness(entry: CatalogEntry, stub: ZooStub) -> tuple[float, ...]:
    """Returns how near an entry is: by architecture, task, side, pattern, and sparsity."""
    if entry.architecture is None or _family(stub) not in (None, entry.family):
        return (0.0,)
    names = SequenceMatcher(None, entry.architecture, stub.kind.removesuffix("-none")).ratio()
    near = (round(names, 1), entry.task in (None, stub.dataset))
    if stub.dense:
        return (*near, entry.dense is not None)
    sparsity = _sparsity(entry)
    if sparsity is None:
        return near
    distance = abs(sparsity - stub.sparsity) if stub.sparsity is not None else 0.0
    return (*near, True, (_pattern(entry) == _BLOCKS) == stub.in_blocks, -distance)


def _sparsity(entry: CatalogEntry) -> float | None:
    if entry.sparse is not None:
        return entry.sparse.sparsity
    return entry.upstream.sparsity if entry.upstream is not None else None


def _pattern(entry: CatalogEntry) -> str | None:
    if entry.sparse is not None:
        return entry.sparse.pattern
    return entry.upstream.pattern if entry.upstream is not None else None


def _family(stub: ZooStub) -> str | None:
    if stub.domain is None:
        return None
    return "text" if stub.domain == "nlp" else _FAMILIES.get(stub.sub_domain or "")


def _described(entry: CatalogEntry) -> str:
    sparsity = _sparsity(entry)
    parts = [entry.architecture or entry.family]
    parts += [f"trained for {entry.task}"] if entry.task is not None else []
    parts += [f"{sparsity:.0%} sparse"] if sparsity is not None else ["dense"]
    return ", ".join(parts)
