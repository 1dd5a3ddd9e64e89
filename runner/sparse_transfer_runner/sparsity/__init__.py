"""Which weights may be zero, keeping them zero, and choosing them."""
