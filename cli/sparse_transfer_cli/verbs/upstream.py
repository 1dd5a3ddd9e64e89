"""``upstream``: a sparse foundation model where none is published."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

from sparse_transfer_api.contract import Stage
from sparse_transfer_api.optim_level import Size
from sparse_transfer_cli.console import print_plain, stderr, stdout
from sparse_transfer_cli.display import (
    JsonLinesDisplay,
    ProgressStyle,
    activity_display,
    document,
    shows_bars,
)
from sparse_transfer_cli.experiment_file import file_uri
from sparse_transfer_cli.requirements import require_runner
from sparse_transfer_cli.summary import percent

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class UpstreamArguments:
    """The arguments as typed; the runner's ``UpstreamOptions`` says what each means."""

    model: str
    data: Path
    output: Path
    name: str | None
    licence: str | None
    sparsity: float
    method: str
    pattern: str
    budgets: str
    calibration_rows: int
    refine_rounds: int
    block_steps: int
    gradual_steps: int | None
    prune_every: int
    initial_sparsity: float
    recovery_steps: int
    batch_size: int
    precision: str
    max_length: int
    image_size: int | None
    seed: int
    trust_pickle: bool


def make(
    arguments: UpstreamArguments, *, catalog: Path | None, size: Size, style: ProgressStyle
) -> None:
    """Makes the foundation, says how good it is, and adds it to a catalogue when one is given.

    Args:
        arguments: As typed.
        catalog: The user's own catalogue; it is created when missing.
        size: Which size of its family it is taken for in that catalogue.
        style: How progress is shown.
    """
    require_runner()
    # The libraries' own bars would run through ours.
    os.environ.setdefault("TQDM_DISABLE", "1")
    from sparse_transfer_runner.catalog.reading import load_catalog
    from sparse_transfer_runner.catalog.resolution import resolve_address
    from sparse_transfer_runner.progress import Reporter
    from sparse_transfer_runner.upstream import UpstreamOptions, make_foundation

    model = resolve_address(file_uri(arguments.model, Path.cwd()), load_catalog())
    options = UpstreamOptions(**{**asdict(arguments), "model": model})
    console = stdout()
    bar = shows_bars(style, console)
    with _stopped_by_signals() as stop, activity_display("Upstream", console, bar=bar) as sink:
        # No stage of an experiment; the reporter wants one, and the display leaves it out.
        foundation = make_foundation(options, Reporter(Stage.PREPARE, sink), stop)
    if not bar:
        JsonLinesDisplay().line("foundation", path=str(options.output), **document(foundation))
    lines = [
        f"{foundation.name}: {foundation.architecture}, {percent(foundation.sparsity)} sparse "
        f"({foundation.method}, {foundation.pattern})",
        *(f"  {name} {value:g}" for name, value in foundation.quality.items()),
        f"written to {arguments.output}",
    ]
    report = console if bar else stderr()
    print_plain(report, "\n".join(lines))
    if catalog is not None:
        from sparse_transfer_cli.verbs.catalog import add_model

        add_model(arguments.output, catalog, size, report)


@contextmanager
def _stopped_by_signals() -> Iterator[threading.Event]:
    """Turns the first signal into a wish to stop; the second one ends the process at once."""
    stop = threading.Event()
    previous = {number: signal.getsignal(number) for number in _SIGNALS}

    def on_signal(_: int, __: FrameType | None) -> None:
        stop.set()
        restore()

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    for number in _SIGNALS:
        signal.signal(number, on_signal)
    try:
        yield stop
    finally:
        restore()
