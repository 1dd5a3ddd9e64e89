"""Making an entry's sparse model: where its parts lie, and the entry for what was made.

The work itself is ``sparse-transfer upstream``'s; this module says what it is called with.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.digests import digest_of_tree
from sparse_transfer_runner.storage import fetch
from sparse_transfer_runner.upstream.depth import keep_lowest_layers

from .foundation import FOUNDATION_FILE, read_foundation
from .models import Catalog, CatalogEntry, Source, UpstreamJob
from .resolution import resolve_address

EXAMPLE = "example:"
"""What begins the name of a packaged data set, in the place of an address."""


@dataclass(frozen=True)
class Build:
    """One entry on its way to a model.

    Args:
        entry: With an upstream job.
        folder: Where its parts go: ``dense`` where layers are taken off, and ``sparse``.
    """

    entry: CatalogEntry
    folder: Path

    @property
    def job(self) -> UpstreamJob:
        """The entry's.

        Raises:
            InputError: It has none.
        """
        if self.entry.upstream is None:
            raise InputError(
                f"catalog:{self.entry.name}: there is nothing to make: the catalogue says where "
                "its models are (sparse-transfer catalog show)"
            )
        return self.entry.upstream

    @property
    def sparse(self) -> Path:
        """The folder of the sparse model."""
        return self.folder / "sparse"

    @property
    def dense(self) -> Path:
        """The folder of the dense model, where it has fewer layers than the job's."""
        return self.folder / "dense"

    @property
    def is_made(self) -> bool:
        """Whether the sparse model is there; upstream writes it whole or not at all."""
        return (self.sparse / FOUNDATION_FILE).is_file()

    def parent(self, catalog: Catalog) -> str:
        """Returns the address of the dense model that upstream starts from.

        Args:
            catalog: In force, for a job that names its model by one of its entries.
        """
        if self.job.layers is not None:
            return self.dense.resolve().as_uri()
        return resolve_address(self.job.model, catalog)

    def take_off_layers(self, catalog: Catalog) -> None:
        """Writes the dense model with fewer layers, where the job asks for one and none is there.

        Raises:
            InputError: The job's model is no text encoder, or not deeper.
            AccessError: It is not where it should be.
        """
        if self.job.layers is None or self.dense.exists():
            return
        keep_lowest_layers(
            fetch(resolve_address(self.job.model, catalog)), self.dense, self.job.layers
        )

    def arguments(self, catalog: Catalog, data: str) -> list[str]:
        """Returns what ``sparse-transfer upstream`` is called with.

        Args:
            catalog: In force.
            data: Path of the data.
        """
        return self.job.arguments(
            model=self.parent(catalog),
            data=data,
            output=str(self.sparse),
            name=self.entry.name,
        )

    def made_entry(self) -> CatalogEntry:
        """Returns the entry with the models that were made, and their digests.

        Raises:
            InputError: Nothing was made.
        """
        record = read_foundation(self.sparse)
        if record is None or record.parent is None:
            raise InputError(f"{self.sparse}: no {FOUNDATION_FILE} with a parent; build it again")
        zoo = self.entry.dense.zoo if self.entry.dense is not None else ()
        sparse = Source(
            uri=self.sparse.resolve().as_uri(),
            sparsity=record.sparsity,
            pattern=record.pattern_of_blocks,
            licence=record.licence,
            digest=digest_of_tree(self.sparse),
        )
        dense = Source(
            uri=record.parent.uri,
            digest=record.parent.digest,
            licence=self.entry.dense.licence if self.entry.dense is not None else record.licence,
            zoo=zoo,
        )
        return self.entry.model_copy(
            update={"sparse": sparse, "dense": dense, "shares_parent": True}
        )
