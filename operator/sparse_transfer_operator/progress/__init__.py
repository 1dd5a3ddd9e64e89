"""The endpoint that runners post their progress to: HTTPS, a pod's own token, one writer.

Progress is for people who watch: losing some of it changes nothing, and nothing is decided by it.
What the rest of the operator meets is ``ProgressEndpoint``, and ``owners``, which it is asked by.
"""

from __future__ import annotations

from .endpoint import ProgressEndpoint
from .listener import Limits
from .owners import ExperimentId, PodOwner, PodOwners, RunningStage, running_stage

__all__ = [
    "ExperimentId",
    "Limits",
    "PodOwner",
    "PodOwners",
    "ProgressEndpoint",
    "RunningStage",
    "running_stage",
]
