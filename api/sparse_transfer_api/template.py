"""What a stage's pod looks like after merging: operator settings < template < stage.

Scalars override, maps merge, environment and volumes merge by name and mounts by path, tolerations
append, affinity replaces. Nothing here changes a result, so nothing here enters a key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from .contract import Stage
from .spec import PodTemplate, SparseTransferSpec, StageTemplate
from .spec.pod import DEFAULT_GRACE_SECONDS, Resources


def stage_template(
    spec: SparseTransferSpec, stage: Stage, settings: PodTemplate | None = None
) -> StageTemplate:
    """Returns how a stage's pod shall look.

    Args:
        spec: The user's spec.
        stage: The stage.
        settings: The operator's settings for this stage, which all else goes before.
    """
    layers = [settings or PodTemplate(), spec.template, getattr(spec.stages, stage.value)]
    found = merged(layers)
    if found.termination_grace_period_seconds is None:
        return found.model_copy(update={"termination_grace_period_seconds": DEFAULT_GRACE_SECONDS})
    return found


def merged(layers: Iterable[PodTemplate]) -> StageTemplate:
    """Returns one template from several, the later ones going before the earlier ones."""
    found = StageTemplate()
    for layer in layers:
        changes = {
            name: MERGES[name](getattr(found, name), getattr(layer, name))
            for name in type(layer).model_fields
        }
        found = found.model_copy(update=changes)
    return found


def _override(low: Any, high: Any) -> Any:
    return low if high is None else high


def _merge_maps(low: dict[str, Any], high: dict[str, Any]) -> dict[str, Any]:
    return {**low, **high}


def _merge_by(field: str) -> Callable[[tuple[Any, ...], tuple[Any, ...]], tuple[Any, ...]]:
    def merge(low: tuple[Any, ...], high: tuple[Any, ...]) -> tuple[Any, ...]:
        known = {getattr(item, field): item for item in low}
        return tuple({**known, **{getattr(item, field): item for item in high}}.values())

    return merge


def _append(low: tuple[Any, ...], high: tuple[Any, ...]) -> tuple[Any, ...]:
    return (*low, *(item for item in high if item not in low))


def _merge_resources(low: Resources, high: Resources) -> Resources:
    return Resources(
        requests=_merge_maps(low.requests, high.requests),
        limits=_merge_maps(low.limits, high.limits),
    )


MERGES: dict[str, Callable[[Any, Any], Any]] = {
    "service_account_name": _override,
    "node_selector": _merge_maps,
    "tolerations": _append,
    "affinity": _override,
    "priority_class_name": _override,
    "runtime_class_name": _override,
    "scheduler_name": _override,
    "image_pull_secrets": _merge_by("name"),
    "env": _merge_by("name"),
    "volumes": _merge_by("name"),
    "volume_mounts": _merge_by("mount_path"),
    "labels": _merge_maps,
    "annotations": _merge_maps,
    "shm_size": _override,
    "pod_security_context": _override,
    "termination_grace_period_seconds": _override,
    "resources": _merge_resources,
}
"""How each field is merged."""
