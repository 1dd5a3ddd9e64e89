"""The training loop, what joins it, and what it leaves behind."""
