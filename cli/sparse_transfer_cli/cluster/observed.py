"""An experiment as the cluster has it, read so that a newer operator's words do no harm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from sparse_transfer_api.contract import ANNOTATION_RETRY, MANAGER, Stage
from sparse_transfer_api.errors import InputError
from sparse_transfer_api.optim_level import DEFAULT_LEVEL
from sparse_transfer_api.spec import Acceptance, Search
from sparse_transfer_api.status import LevelStatus, SparseTransferStatus, StageStatus
from sparse_transfer_api.suggest import listed

_ROUNDS = 10
_LONGEST_RETRY = 256


@dataclass(frozen=True)
class Observed:
    """One experiment.

    Args:
        name: The experiment's.
        namespace: Its namespace.
        uid: The very experiment: one made anew under its name has another.
        generation: Of its spec.
        created: When it was made.
        spec: As the user wrote it.
        status: What the operator said last; empty before.
        phase: Its phase in the operator's word, even one that this version does not know.
        deleting: It is being deleted.
        retry: The value of the annotation that asks for a failed stage to be run again.
        alone: The only level of its search that is looked at; None for all of it.
    """

    name: str
    namespace: str
    uid: str
    generation: int
    created: datetime
    spec: Mapping[str, Any] = field(default_factory=dict)
    status: SparseTransferStatus = field(default_factory=SparseTransferStatus)
    phase: str | None = None
    deleting: bool = False
    retry: str | None = None
    alone: LevelStatus | None = None

    @property
    def use_case(self) -> str:
        """As resolved, or as the user wrote it."""
        resolved = self.status.resolved
        return (resolved and resolved.use_case) or str(self.spec.get("useCase", ""))

    @property
    def level(self) -> float:
        """As resolved, or as the user wrote it."""
        resolved = self.status.resolved
        if resolved is not None and resolved.level is not None:
            return resolved.level
        return float(self.spec.get("optimLevel", DEFAULT_LEVEL))

    @property
    def managed_by(self) -> str | None:
        """Who reconciles it instead of this project's operator."""
        named = dict(self.spec.get("runPolicy") or {}).get("managedBy")
        return None if named == MANAGER else named

    @property
    def acceptance(self) -> Acceptance:
        """What the result must reach."""
        try:
            return Acceptance.model_validate(self.spec.get("acceptance") or {})
        except ValidationError:
            return Acceptance()

    @property
    def search(self) -> Search:
        """What is searched for; no levels where it is no search."""
        try:
            return Search.model_validate(self.spec.get("search") or {})
        except ValidationError:
            return Search()

    @property
    def up_to_date(self) -> bool:
        """Whether the status speaks of the spec as it is now."""
        return self.status.observed_generation in (None, self.generation)

    @property
    def retry_pending(self) -> bool:
        """Whether it was asked to try again, and nobody has acted on that yet."""
        asked = self.retry
        # Of longer ones the status keeps a digest.
        known = asked is None or len(asked) > _LONGEST_RETRY
        return not known and asked != self.status.observed_retry

    def at_level(self, level: float) -> Observed:
        """Returns the experiment as if one level of its search were all there is.

        Raises:
            InputError: It does not try that level.
        """
        levels = () if self.status.search is None else self.status.search.levels
        for each in levels:
            if each.level == level:
                status = self.status.model_copy(update={"stages": each.stages})
                return replace(self, status=status, alone=each)
        tried = listed(f"{each.level:g}" for each in levels) if levels else "no levels"
        raise InputError(f"{self.name}: does not try level {level:g}; it searches over {tried}")

    def stage(self, name: Stage) -> StageStatus | None:
        """Returns how a stage went, or None before it."""
        return next((stage for stage in self.status.stages if stage.name == name), None)

    @property
    def running(self) -> StageStatus | None:
        """The stage that runs now."""
        return next((stage for stage in self.status.stages if stage.outcome == "Running"), None)


def observed(document: Mapping[str, Any]) -> Observed:
    """Reads an experiment as the API server returns it."""
    metadata = document["metadata"]
    status = document.get("status") or {}
    return Observed(
        name=metadata["name"],
        namespace=metadata["namespace"],
        uid=metadata["uid"],
        generation=metadata.get("generation", 1),
        created=datetime.fromisoformat(metadata["creationTimestamp"]),
        spec=document.get("spec") or {},
        status=_status(status),
        phase=status.get("phase"),
        deleting="deletionTimestamp" in metadata,
        retry=(metadata.get("annotations") or {}).get(ANNOTATION_RETRY),
    )


def _status(document: Mapping[str, Any]) -> SparseTransferStatus:
    """Returns a status without what this version cannot read, such as a stage of a newer one."""
    left = dict(document)
    for _ in range(_ROUNDS):
        try:
            return SparseTransferStatus.model_validate(left)
        except ValidationError as error:
            for details in error.errors():
                _leave_out(left, details["loc"])
    return SparseTransferStatus()


def _leave_out(document: dict[str, Any], place: tuple[int | str, ...]) -> None:
    """Removes the field at a place of the status, of a list only the item in question."""
    name, *rest = place
    value = document.get(str(name))
    if isinstance(value, list) and rest and isinstance(rest[0], int) and rest[0] < len(value):
        document[str(name)] = [*value[: rest[0]], *value[rest[0] + 1 :]]
    else:
        document.pop(str(name), None)
