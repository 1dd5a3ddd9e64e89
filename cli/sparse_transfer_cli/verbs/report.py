"""``report``: the page of a finished experiment, written again from its records."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import TypeAdapter

from sparse_transfer_api.contract import Stage
from sparse_transfer_api.errors import AccessError
from sparse_transfer_cli.console import stdout
from sparse_transfer_cli.finished import Finished, find_finished, read_plan
from sparse_transfer_cli.requirements import require

_HISTORY = "history.json"
_EVALUATION = "evaluation.json"


def write_report(result: str, output: Path | None) -> None:
    """Writes the report, by default into the current folder.

    The one that package wrote stays as it is: its digest is in the manifest.

    Args:
        result: Path or address of the experiment's result.
        output: The HTML file.

    Raises:
        AccessError: The result, or a record that the report needs, is not there; or the file
            cannot be written.
    """
    require(("jinja2",), "runner")
    from sparse_transfer_cli.within_reach import within_reach

    with TemporaryDirectory() as folder:
        finished = find_finished(within_reach(result, Path(folder), stages=True))
        target = output or Path(f"{finished.experiment.metadata.name}-report.html")
        html = _render(finished)
    try:
        target.write_text(html, encoding="utf-8")
    except OSError as error:
        raise AccessError(
            f"{target}: cannot be written ({error.strerror}); choose another --output"
        ) from error
    stdout().print(str(target), highlight=False, soft_wrap=True)


def _render(finished: Finished) -> str:
    from sparse_transfer_runner.packaging.evaluation import Evaluation, HistoryPoint
    from sparse_transfer_runner.report import render_report

    stages = finished.stages()
    history = TypeAdapter(list[HistoryPoint])
    files = (folder / _HISTORY for name, folder in stages.items() if name != Stage.PREPARE)
    # The transfer's history may hold the baseline's points too.
    points = {
        point.model_dump_json(): point
        for file in files
        if file.is_file()
        for point in history.validate_json(file.read_bytes())
    }
    return render_report(
        plan=read_plan(stages[Stage.PREPARE]),
        results=finished.results,
        evaluation=Evaluation.model_validate_json((finished.package / _EVALUATION).read_bytes()),
        history=list(points.values()),
        manifest=finished.manifest,
    )
