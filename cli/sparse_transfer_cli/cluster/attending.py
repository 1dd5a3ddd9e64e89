"""Being with an experiment until it ends: what it does is shown as it happens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sparse_transfer_api.errors import AccessError
from sparse_transfer_cli.console import stdout
from sparse_transfer_cli.display import (
    Display,
    JsonLinesDisplay,
    ProgressStyle,
    shows_bars,
    terminal_display,
)

from .announcing import Announcer
from .ending import show_end
from .experiments import Experiments
from .following import Deleted, Seen, follow
from .observed import Observed, observed
from .outcome import outcome_of
from .patience import Lost, Timing


@contextmanager
def display_for(style: ProgressStyle) -> Iterator[tuple[Display, bool]]:
    """Yields what to show an experiment on, and whether that has bars."""
    console = stdout()
    if shows_bars(style, console):
        with terminal_display(console) as display:
            yield display, True
    else:
        yield JsonLinesDisplay(), False


def attend(
    experiments: Experiments,
    name: str,
    style: ProgressStyle,
    *,
    until: float | None = None,
    timing: Timing | None = None,
) -> int | None:
    """Shows what an experiment does until it ends, and then how.

    Args:
        experiments: Of its namespace.
        name: The experiment's.
        style: How it is shown.
        until: The clock's time at which to stop looking.
        timing: How long things may take.

    Returns:
        The exit code of its outcome; None where the time was up before.

    Raises:
        AccessError: It was deleted.
        SparseTransferError: The cluster cannot be asked.
    """
    last: Observed | None = None
    with display_for(style) as (display, bars):
        announcer = Announcer(display)
        for sighting in follow(experiments, name, until=until, timing=timing):
            match sighting:
                case Seen(document):
                    last = observed(document)
                    announcer.show(last)
                    if outcome_of(last) is not None:
                        break
                case Deleted(replaced):
                    raise AccessError(_gone(name, experiments.namespace, replaced=replaced))
                case Lost(message):
                    display.note(f"lost sight of it, trying again: {message}")
                case _:
                    display.note("the cluster answers again")
    outcome = outcome_of(last) if last is not None else None
    if last is None or outcome is None:
        return None
    show_end(last, outcome, bars=bars)
    return outcome.exit_code


def _gone(name: str, namespace: str, *, replaced: bool) -> str:
    what = f"{name} in namespace {namespace} was deleted meanwhile"
    if replaced:
        return f"{what}, and another experiment has its name now"
    return f"{what}, and its Jobs with it; finished results stay in the output place"
