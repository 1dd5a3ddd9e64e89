from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from tests.runner.exported_model import ExportedModel, exact_logits, numpy_batch, write_exported

from sparse_transfer_api.errors import Stopped
from sparse_transfer_runner.engines import engine
from sparse_transfer_runner.engines.forms import Form, InputScale
from sparse_transfer_runner.engines.onnxruntime import OnnxRuntime
from sparse_transfer_runner.engines.protocol import Quantizable, Session
from sparse_transfer_runner.packaging.calibration import most_sensitive
from sparse_transfer_runner.packaging.choice import ChoiceScore
from sparse_transfer_runner.packaging.selection import Selection

_BATCH = numpy_batch(8, rows=16)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> ExportedModel:
    return write_exported(tmp_path_factory.mktemp("exported"))


def _nearness(exported: ExportedModel, error: float) -> Callable[[Session], ChoiceScore]:
    """Returns a score: 1 where a file is exact, less the farther it is from that."""
    exact = exact_logits(exported, _BATCH)

    def score(session: Session) -> ChoiceScore:
        return ChoiceScore(1 - float(np.abs(session.run(_BATCH) - exact).max()) / error)

    return score


def _selection(
    exported: ExportedModel, folder: Path, name: str, score: Callable[[Session], ChoiceScore]
) -> Selection:
    model = exported.quantizable
    return Selection(
        engine=engine(name),
        model=model,
        folder=folder,
        threads=1,
        example=numpy_batch(1, rows=1),
        score_of=score,
        reference=1.0,
        sensitive=lambda: most_sensitive(
            exported.module, exported.linear, model.scales, model.calibration
        ),
        check=lambda: None,
    )


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_the_first_form_that_keeps_accuracy_is_chosen(
    name: str, exported: ExportedModel, tmp_path: Path
) -> None:
    selection = _selection(exported, tmp_path, name, _nearness(exported, error=1e6))
    chosen, notes = selection.run()
    assert chosen.keeps
    assert chosen.item.form in engine(name).forms(exported.quantizable)
    assert chosen.item.path.is_file()
    assert not notes


class _OneForm(OnnxRuntime):
    """onnxruntime with learned scales only."""

    def forms(self, model: Quantizable) -> Sequence[Form]:
        return (Form.QDQ,)


def test_sensitive_layers_stay_in_fp32_where_that_repairs_it(
    exported: ExportedModel, tmp_path: Path
) -> None:
    coarse = "bert.encoder.layer.1.intermediate.dense"
    scales = dict(exported.quantizable.scales)
    healthy = tmp_path / "healthy.onnx"
    _OneForm().quantize(exported.quantizable, Form.QDQ, healthy)
    exact = exact_logits(exported, _BATCH)
    error = np.abs(_OneForm().load(healthy, threads=1).run(_BATCH) - exact).max()
    scales[coarse] = InputScale(scales[coarse].scale * 100, 0)
    damaged = dataclasses.replace(
        exported, quantizable=dataclasses.replace(exported.quantizable, scales=scales)
    )
    selection = _selection(damaged, tmp_path, "onnxruntime", _nearness(exported, 200 * error))
    chosen, notes = dataclasses.replace(selection, engine=_OneForm()).run()
    assert chosen.keeps
    assert chosen.item.kept == (coarse,)
    assert chosen.item.name == "qdq, 1 layer in fp32"
    assert notes == [f"left in fp32, as INT8 disturbs them most: {coarse}"]


def test_what_nothing_repairs_ships_at_its_best_and_says_so(
    exported: ExportedModel, tmp_path: Path
) -> None:
    selection = _selection(exported, tmp_path, "openvino", _nearness(exported, error=1e-9))
    chosen, notes = selection.run()
    assert not chosen.keeps
    written = {path.parent.name for path in tmp_path.rglob("model.xml")}
    assert f"{Form.NNCF}-0" in written
    assert {f"{Form.QDQ}-{count}" for count in (0, 1, 2, 4)} <= written
    assert "no INT8 form keeps accuracy within 1%" in notes[-1]


def test_a_selection_can_be_stopped(exported: ExportedModel, tmp_path: Path) -> None:
    def stop() -> None:
        raise Stopped("asked to stop")

    selection = _selection(exported, tmp_path, "onnxruntime", lambda session: ChoiceScore(1.0))
    with pytest.raises(Stopped):
        dataclasses.replace(selection, check=stop).run()
