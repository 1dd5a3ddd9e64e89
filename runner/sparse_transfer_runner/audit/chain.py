"""Whether keys follow from the recorded experiment and from what the stages before recorded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise

from sparse_transfer_api.contract import MANIFEST, PLAN, TEACHER_FOLDER, Stage
from sparse_transfer_api.keys import planned_teacher_key, stage_key
from sparse_transfer_api.records import Plan
from sparse_transfer_api.spec import SparseTransferSpec

from .findings import Check, Finding, Kind
from .folders import StageRecords, StoredStage

_ORDER = tuple(Stage)
_WHOLE = "check the folder of the experiment, with all its stages in it"


class Chain:
    """The stages of the experiments below an address, each with those that led to it.

    Args:
        all_records: Of every finished folder.
    """

    def __init__(self, all_records: Iterable[StageRecords]) -> None:
        self._by_place: dict[tuple[str, str, str], StageRecords] = {
            (each.stored.above, each.stored.stage, each.stored.key): each for each in all_records
        }

    def check(self, records: StageRecords) -> Iterator[Finding]:
        """Yields whether a folder's key does not follow, or why that cannot be told."""
        if records.stored.stage == TEACHER_FOLDER:
            yield from self._teacher(records)
        elif records.experiment is not None:
            yield from self._stage(records, records.experiment.spec)
        else:
            said = "the experiment is not recorded, so that its key cannot be computed"
            yield self._unchecked(records, said)

    def plan(self, records: StageRecords) -> Plan | None:
        """Returns the plan that a folder was made by; None where it is not there."""
        if records.stored.stage == Stage.PREPARE:
            return records.plan
        prepare = self._beside(records, Stage.PREPARE, _earlier(records).get(Stage.PREPARE, ""))
        return prepare.plan if prepare is not None else None

    def _stage(self, records: StageRecords, spec: SparseTransferSpec) -> Iterator[Finding]:
        """Computes the keys of the stages in their order, as a run does."""
        stored, recorded = records.stored, _earlier(records)
        key = stage_key(spec, Stage.PREPARE, None, {})
        for stage, following in pairwise(_ORDER):
            if stage == stored.stage:
                break
            if recorded.get(stage) not in (None, key):
                said = (
                    f"says that {stage}-{recorded[stage]} led to it, but the recorded experiment, "
                    f"and what the stages before it recorded, give {stage}-{key}"
                )
                yield stored.damage(Check.KEY, MANIFEST, said)
                return
            before = self._beside(records, stage, key)
            if before is None or before.manifest is None:
                said = f"{stage}-{key}, which led to it, cannot be read beside it; {_WHOLE}"
                yield self._unchecked(records, said)
                return
            key = stage_key(spec, following, key, before.digests)
        if key != stored.key:
            said = (
                f"the recorded experiment, and what the stages before it recorded, give the key "
                f"{key}, not {stored.key}"
            )
            yield stored.damage(Check.KEY, MANIFEST, said)

    def _teacher(self, records: StageRecords) -> Iterator[Finding]:
        stored = records.stored
        plan = self.plan(records) or self._plan_of_another(stored)
        if plan is None:
            said = f"no prepare that led to it can be read beside it; {_WHOLE}"
            yield self._unchecked(records, said)
            return
        key = planned_teacher_key(plan)
        if key != stored.key:
            said = f"the {PLAN} that it was made by gives the key {key}, not {stored.key}"
            yield stored.damage(Check.KEY, MANIFEST, said)

    def _plan_of_another(self, teacher: StoredStage) -> Plan | None:
        """Returns the plan of an experiment that shares the teacher with the one that made it."""
        plans = (each.plan for place, each in self._by_place.items() if place[0] == teacher.above)
        return next((plan for plan in plans if plan and plan.teacher_key == teacher.key), None)

    def _beside(self, records: StageRecords, stage: str, key: str) -> StageRecords | None:
        return self._by_place.get((records.stored.above, str(stage), key))

    def _unchecked(self, records: StageRecords, said: str) -> Finding:
        return records.stored.finding(Check.KEY, Kind.UNCHECKED, "", f"its key: {said}")


def _earlier(records: StageRecords) -> Mapping[str, str]:
    """Returns the keys of the stages that are said to have led to a folder."""
    earlier = records.manifest.provenance.get("earlier") if records.manifest is not None else None
    return earlier if isinstance(earlier, dict) else {}
