"""What the container asks for: the template's, with the operator's defaults where nobody says.

A default must not make what the user asked for impossible: a request by default yields to a lower
limit of the user's, and a limit by default to a higher request.
"""

from __future__ import annotations

from typing import Any

from sparse_transfer_api.contract import Stage
from sparse_transfer_api.quantity import amount_of
from sparse_transfer_api.spec import SparseTransferSpec, StageTemplate
from sparse_transfer_operator.actions import CreateJob

Json = dict[str, Any]


def resources(spec: SparseTransferSpec, order: CreateJob, template: StageTemplate) -> Json:
    """Returns the container's resources.

    Args:
        spec: The user's, to tell what is theirs.
        order: A Job that only reads a record gets prepare's.
        template: All layers merged.
    """
    stage = Stage.PREPARE if order.recorded_only else order.stage
    asked = getattr(spec.stages, stage.value).resources
    requests, limits = dict(template.resources.requests), dict(template.resources.limits)
    for name in requests.keys() & limits.keys():
        if amount_of(requests[name]) <= amount_of(limits[name]):
            continue
        if name not in asked.requests:
            requests[name] = limits[name]
        elif name not in asked.limits:
            limits[name] = requests[name]
    found = {"requests": requests, "limits": limits}
    return {name: amounts for name, amounts in found.items() if amounts}
