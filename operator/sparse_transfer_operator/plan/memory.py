"""What the status remembers of one spec's run, and what it says of it after another look.

Without a search there is one run; a search has one for each level. A run is known by its first
stage's key, so that what was recorded is found again where an experiment becomes a search, or a
search an experiment.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from sparse_transfer_api.contract import Stage
from sparse_transfer_api.keys import stage_key
from sparse_transfer_api.optim_level import band_of
from sparse_transfer_api.results import Artifact, Resolved, Results
from sparse_transfer_api.search import headline_point
from sparse_transfer_api.spec import SparseTransferSpec
from sparse_transfer_api.status import SparseTransferStatus, StageStatus

from .chain import Chain

MAX_ARTIFACTS = 64
"""As many as the status holds."""


@dataclass(frozen=True)
class Memory:
    """One run, by the status's own field names."""

    stages: tuple[StageStatus, ...] = ()
    resolved: Resolved | None = None
    results: Results | None = None
    artifacts: tuple[Artifact, ...] = ()

    @property
    def handed_over_bytes(self) -> int:
        """How much stages handed over, as JSON: packed as it came, it may have been far less."""
        parts = (self.resolved, self.results, *self.artifacts)
        return sum(len(part.model_dump_json()) for part in parts if part is not None)

    def within(self, limit: int) -> Memory:
        """Returns the memory with less of what was handed over, where that is more than so much.

        The manifest has it all. What a level is chosen by goes last.
        """
        for smaller in self._ever_smaller():
            if smaller.handed_over_bytes <= limit:
                return smaller
        return replace(self, resolved=None, results=None, artifacts=())

    def _ever_smaller(self) -> Iterator[Memory]:
        yield self
        less = replace(self, artifacts=())
        yield less
        if self.resolved is not None:
            less = replace(less, resolved=self.resolved.model_copy(update={"settings": {}}))
            yield less
        if self.results is not None:
            point = headline_point(self.results)
            engines = [] if point is None else [point.model_copy(update={"notes": []})]
            yield replace(less, results=self.results.model_copy(update={"engines": engines}))

    def after(self, chain: Chain, spec: SparseTransferSpec) -> Memory:
        """Returns what is remembered after a look; what is of keys that nobody wants is not."""
        found = replace(self, stages=chain.records, resolved=_resolved(self, chain, spec))
        if chain.diverged is not None:
            found = replace(found, results=None, artifacts=())
        for result in chain.results:
            if result.stage is Stage.PACKAGE:
                artifacts = _distinct(result.artifacts)
                found = replace(found, results=result.results, artifacts=artifacts)
        return found


def remembered(
    status: SparseTransferStatus, spec: SparseTransferSpec, level: float | None = None
) -> Memory:
    """Returns what a status remembers of a spec's run.

    Args:
        status: As written last.
        spec: Whose run is meant.
        level: Of a search: the level whose spec it is.
    """
    alone = _alone(status)
    levels = () if status.search is None else status.search.levels
    memories = [
        *(Memory(each.stages, each.resolved, each.results, each.artifacts) for each in levels),
        alone,
    ]
    key = stage_key(spec, Stage.PREPARE, None, {})
    for memory in memories:
        if memory.stages and memory.stages[0].key == key:
            return memory
    if level is None:
        return alone  # of other keys, which is told
    return next(
        (found for each, found in zip(levels, memories, strict=False) if each.level == level),
        Memory(),
    )


def _alone(status: SparseTransferStatus) -> Memory:
    return Memory(status.stages, status.resolved, status.results, status.artifacts)


def _resolved(memory: Memory, chain: Chain, spec: SparseTransferSpec) -> Resolved:
    """Returns what the spec alone says, and once prepare is done, what it found."""
    found = memory.resolved
    if found is None or chain.diverged is Stage.PREPARE:
        level = spec.optim_level
        found = Resolved(use_case=spec.use_case.value, level=level, band=band_of(level).name)
    for result in chain.results:
        if result.stage is Stage.PREPARE:
            told = {} if result.resolved is None else dict(result.resolved)
            told = {name: value for name, value in told.items() if value not in (None, {})}
            found = found.model_copy(update={"digests": result.digests, **told})
    return found


def _distinct(artifacts: list[Artifact]) -> tuple[Artifact, ...]:
    """Returns the artifacts, the first of each name: names are keys in the status."""
    return tuple({each.name: each for each in reversed(artifacts)}.values())[::-1][:MAX_ARTIFACTS]
