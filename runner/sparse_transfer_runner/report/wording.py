"""Numbers and names as the report's readers see them; one place, so that all figures agree."""

from __future__ import annotations

from sparse_transfer_runner.packaging.evaluation import Role

TIMES = "\N{MULTIPLICATION SIGN}"
MINUS = "\N{MINUS SIGN}"
UNKNOWN = "\N{EN DASH}"
SPACE = "\N{NO-BREAK SPACE}"
"""Between a number and its unit."""

ROLE_NAMES: dict[Role, str] = {
    "dense-fp32": "dense fp32",
    "dense-int8": "dense INT8",
    "sparse-fp32": "sparse fp32",
    "sparse-int8": "sparse INT8",
}
ROLE_KINDS: dict[Role, str] = {
    "dense-fp32": "dense",
    "dense-int8": "dense-int8",
    "sparse-fp32": "sparse-fp32",
    "sparse-int8": "sparse",
}
"""CSS class of each role's bars."""


def ratio(value: float | None) -> str:
    """Returns a ratio or metric with its 4 digits."""
    return UNKNOWN if value is None else f"{value:.4f}".replace("-", MINUS)


def percent(value: float | None) -> str:
    """Returns a share in per cent with one digit."""
    return UNKNOWN if value is None else f"{100 * value:.1f}{SPACE}%".replace("-", MINUS)


def times(value: float | None) -> str:
    """Returns a factor, such as 2.05 with a times sign."""
    return UNKNOWN if value is None else f"{value:.2f}{TIMES}"


def milliseconds(value: float | None) -> str:
    """Returns a latency with three significant digits."""
    if value is None:
        return UNKNOWN
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:.{digits}f}{SPACE}ms"


def layer_milliseconds(value: float | None) -> str:
    """Returns the latency of one layer, which is a fraction of a millisecond."""
    return UNKNOWN if value is None else f"{value:.3f}{SPACE}ms"


def megabytes(size: int | None) -> str:
    """Returns a size in megabytes (10^6 bytes), below 100 kB in kilobytes."""
    if size is None:
        return UNKNOWN
    return f"{size / 1e6:.1f}{SPACE}MB" if size >= 100_000 else f"{size / 1e3:.1f}{SPACE}kB"


def points(value: float) -> str:
    """Returns a difference of two metrics in points (hundredths), with its sign."""
    return f"{100 * value:+.2f}".replace("-", MINUS)


def number(value: float | int) -> str:
    """Returns a count with a thin space between thousands."""
    return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
