"""How much memory training will take: an estimate to choose a machine by, not a limit.

The larger of the two runs, baseline and transfer, in bytes:

- weights, gradients and AdamW's two moments: 16 for each parameter;
- the copy of weights and moments that a checkpoint is written from: 12 for each parameter;
- a teacher beside the student: 4 for each of its parameters;
- what a step keeps for its backward pass (the use case's estimate); learning INT8 keeps a rounded
  copy of each input and each weight as well, so it counts twice, and 4 more for each parameter;
- the process with its libraries, and the allocator's slack.
"""

from __future__ import annotations

from pathlib import Path

from sparse_transfer_api.records import Plan
from sparse_transfer_runner.use_cases.protocol import UseCase

_PROCESS_BYTES = 1 << 30
_OPTIMIZED = 16
_COPIED = 12
_FP32 = 4


def training_bytes(plan: Plan, use: UseCase, model: Path) -> int:
    """Returns the expected memory of the train stage.

    Args:
        plan: Its settings, lengths and models.
        use: The use case.
        model: The foundation's folder.
    """
    parameters = plan.model.parameters
    activations = use.activation_bytes(model, plan)
    total = _PROCESS_BYTES + parameters * (_OPTIMIZED + _COPIED) + activations
    if plan.teacher_uri is not None or (plan.baseline is not None and plan.level > 0):
        total += parameters * _FP32
    if plan.quantize:
        total += parameters * _FP32 + activations
    return total
