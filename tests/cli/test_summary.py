"""The closing table: every promised figure, unknown ones as unknown, paths unfolded."""

from __future__ import annotations

import importlib.util
import io
import sys
from pathlib import Path
from types import ModuleType

import pytest
from rich.console import Console

from sparse_transfer_api.results import Results
from sparse_transfer_cli.summary import megabytes, number, paths, print_summary, times


def stand_in() -> ModuleType:
    path = Path(__file__).with_name("stand_in_runner.py")
    spec = importlib.util.spec_from_file_location("stand_in_runner", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def results() -> Results:
    found: Results = stand_in().results()
    return found


def printed(results: Results, folder: Path, width: int = 120) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_summary(console, results, str(folder))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(
    "figure",
    [
        "accuracy", "0.8400", "0.8200", "3000 rows of test",
        "0.9762", "95 % interval 0.9650 to 0.9900",
        "80.0 %",
        "91.0 MB", "23.0 MB", "83.0 MB", "12.0 MB",
        "onnxruntime 1.26", "AVX2, 2 threads", "11.70", "5.85", "2.00x", "1.01x",
        "smallest of the fastest", "sparsity brings no time here",
    ],
)  # fmt: skip
def test_the_table_shows_every_promised_figure(results: Results, figure: str) -> None:
    assert figure in printed(results, Path("/out"))


@pytest.mark.parametrize(
    ("layers", "line"),
    [
        (12, "sparse       onnxruntime: 12 layers computed without their zeros"),
        (1, "sparse       onnxruntime: 1 layer computed without its zeros"),
        (0, "sparse       onnxruntime: no layer gains by leaving its zeros out"),
    ],
)
def test_layers_that_leave_zeros_out_are_counted_once(
    results: Results, layers: int, line: str
) -> None:
    assert line not in printed(results, Path("/out"))
    engines = [each.model_copy(update={"sparse_layers": layers}) for each in results.engines]
    counted = results.model_copy(update={"engines": engines})
    assert printed(counted, Path("/out")).splitlines().count(line) == 1


def test_paths_are_never_folded(results: Results) -> None:
    folder = Path("/a/very/long/place") / ("x" * 100)
    text = printed(results, folder, width=60)
    for path in paths(results, str(folder)).values():
        assert path in text


@pytest.mark.parametrize("show", [number, times, megabytes])
def test_what_is_unknown_is_shown_as_unknown(show: object) -> None:
    assert callable(show)
    assert show(None) == "-"
