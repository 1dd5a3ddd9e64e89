"""Making sparse foundation models where none is published."""

from .foundry import make_foundation
from .options import UpstreamOptions

__all__ = ["UpstreamOptions", "make_foundation"]
