"""Making sparse foundation models where none is published."""

from .foundry import UpstreamOptions, make_foundation

__all__ = ["UpstreamOptions", "make_foundation"]
