"""The catalogue's format: which foundation models there are, and where."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field, model_validator

from sparse_transfer_api.base import ApiModel
from sparse_transfer_api.optim_level import Size


class Source(ApiModel):
    """Where one model is.

    A digest is SHA-256 over names and contents of the folder's files, as ``sparse-transfer catalog
    show`` prints it; it is checked where it is known.
    """

    uri: str = Field(description="file://, package://, or what a storage scheme reads.")
    sparsity: float | None = Field(None, ge=0, le=1, description="Zeros / prunable weights.")
    licence: str | None = None
    digest: str | None = Field(None, pattern="^[0-9a-f]{64}$")
    zoo: tuple[str, ...] = Field((), description="SparseZoo identifiers that stand for it.")


class CatalogEntry(ApiModel):
    """One foundation model: sparse, dense, or both."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", description="For catalog:NAME.")
    family: Literal["text", "image"]
    size: Size
    task: str | None = Field(
        None, description="What it is trained for already; such a model is never chosen by size."
    )
    sparse: Source | None = None
    dense: Source | None = None
    shares_parent: bool = Field(
        False, description="The dense model is the one that the sparse one was pruned from."
    )
    recipe: str | None = Field(None, description="Address of the recipe for its transfer.")
    teacher: str | None = Field(None, description="Address of a model to give as spec.teacher.uri.")

    @model_validator(mode="after")
    def _has_a_source(self) -> CatalogEntry:
        if self.sparse is None and self.dense is None:
            raise ValueError(f"{self.name}: expected sparse, dense or both")
        return self


class Catalog(ApiModel):
    """A catalogue: entries in the order of preference."""

    model_config = ConfigDict(protected_namespaces=())

    schema_version: Literal[1] = 1
    extends: Literal["packaged"] | None = Field(
        None, description="Put these entries before those that come with the runner."
    )
    models: tuple[CatalogEntry, ...] = ()

    @model_validator(mode="after")
    def _names_are_unique(self) -> Catalog:
        names = [entry.name for entry in self.models]
        doubled = {name for name in names if names.count(name) > 1}
        if doubled:
            raise ValueError(f"two entries are called {', '.join(sorted(doubled))}")
        return self
