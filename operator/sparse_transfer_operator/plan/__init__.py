"""The state machine: what follows from what was observed of one experiment.

Pure and complete: no I/O and no clock, the same answer to the same question. Everything that has to
be remembered is in the status; what can be seen is looked at again each time, so that a lost write,
a restart or a hand in the cluster leads back to the same way.
"""

from __future__ import annotations

from .entry import plan

__all__ = ["plan"]
