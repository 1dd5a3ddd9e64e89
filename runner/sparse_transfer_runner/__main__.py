"""Entry point of the runner."""
