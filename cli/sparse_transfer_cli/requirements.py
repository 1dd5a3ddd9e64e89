"""Whether the parts that a verb needs are installed, found out before any work begins."""

from __future__ import annotations

from importlib.util import find_spec

from sparse_transfer_api.errors import UsageError

_RUNNER = ("torch", "transformers", "onnxruntime")
"""Libraries that only the extra brings; finding them does not import them."""


def require_runner() -> None:
    """Refuses to start work that the runner's libraries are needed for when they are missing.

    Raises:
        UsageError: They are not installed; the message says how to install them.
    """
    require(_RUNNER, "runner")


def require(modules: tuple[str, ...], extra: str) -> None:
    """Refuses to go on without the modules that an extra brings.

    Raises:
        UsageError: One of them is not installed.
    """
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"{', '.join(missing)} not installed; this verb needs the extra {extra!r}: "
            f"pip install 'sparse-transfer[{extra}]'"
        )
