"""SparseML's own manager in the train stage, beside the native backend."""

from __future__ import annotations

import json
import math
import threading
from contextlib import chdir
from pathlib import Path

import pytest
import torch

pytest.importorskip("sparseml", reason="make test-neuralmagic")

from tests.neuralmagic.tiny_experiment import RECIPE, TinyExperiment, Trained
from tests.runner.tiny_models import random_batch, tiny_classifier

from sparse_transfer_api.contract import Stage
from sparse_transfer_api.errors import InputError, Stopped
from sparse_transfer_api.records import Progress
from sparse_transfer_runner.neuralmagic.backend import SparseMlBackend
from sparse_transfer_runner.recipes import SPARSEML, parse_recipe
from sparse_transfer_runner.sparsity.prunable import prunable_weights
from sparse_transfer_runner.sparsity.solve import magnitude_mask
from sparse_transfer_runner.training.distillation import PROBLEM_SINGLE

BACKENDS = ("Native", "SparseML")
GRADUAL = """
num_epochs: 4
modifiers:
  - !EpochRangeModifier {start_epoch: 0.0, end_epoch: eval(num_epochs)}
  - !SetLearningRateModifier {start_epoch: 0.0, learning_rate: 0.005}
  - !GMPruningModifier
      params: __ALL_PRUNABLE__
      init_sparsity: 0.5
      final_sparsity: 0.75
      start_epoch: 0.0
      end_epoch: eval(0.75 * num_epochs)
      update_frequency: 0.25
"""


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workplace")


@pytest.fixture(scope="module")
def both(sources: Path, workplace: Path) -> dict[str, Trained]:
    """The same recipe on both backends."""
    with chdir(workplace):
        return {backend: TinyExperiment(sources, backend).trained() for backend in BACKENDS}


def test_the_plan_says_which_backend_runs_the_recipe(both: dict[str, Trained]) -> None:
    assert both["Native"].plan.training.backend is None
    assert both["SparseML"].plan.training.backend == "sparseml"
    assert any("runs on SparseML" in warning for warning in both["SparseML"].plan.warnings)


@pytest.mark.parametrize("held", [True, False])
def test_sparseml_alone_holds_the_zeros(held: bool) -> None:
    """Without our masks, into quantization, and also where a weight is not trained."""
    model = tiny_classifier().train()
    weights = prunable_weights(model)
    with torch.no_grad():
        for weight in weights.values():
            weight.mul_(magnitude_mask(weight, 0.5))
    start = {name: weight.detach().clone() for name, weight in weights.items()}
    frozen = "bert.encoder.layer.0.output.dense.weight"
    weights[frozen].requires_grad_(False)
    lines = [line for line in RECIPE.splitlines() if held or "ConstantPruning" not in line]
    recipe = parse_recipe("\n".join(lines), backend=SPARSEML)
    backend = SparseMlBackend(model, recipe, PROBLEM_SINGLE, steps_per_epoch=2)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
    backend.begin(optimizer)
    for step in range(12):
        backend.enter(step / 2)
        optimizer.zero_grad()
        labels = torch.arange(8) % 2
        backend.loss(random_batch(step), labels, torch.arange(8)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert backend.quantizing
    backend.finish()
    assert torch.equal(weights.pop(frozen), start[frozen])
    for name, weight in weights.items():
        assert not torch.equal(weight, start[name]), name
        zeros = int(((weight == 0) & (start[name] == 0)).sum())
        assert zeros == (int((start[name] == 0).sum()) if held else 0), name


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_product_is_zero_where_the_mask_says_so_and_only_there(
    backend: str, both: dict[str, Trained]
) -> None:
    weights, masks = both[backend].weights, both[backend].masks
    for name, mask in masks.items():
        assert torch.equal(weights[name] != 0, mask.bool()), name


def test_both_backends_train(both: dict[str, Trained]) -> None:
    native, sparseml = (both[backend].weights for backend in BACKENDS)
    moved = [name for name in native if not torch.equal(native[name], sparseml[name])]
    assert len(moved) > len(both["Native"].masks)


def test_accuracies_are_the_same_within_noise(both: dict[str, Trained]) -> None:
    native, sparseml = (both[backend].headline["accuracy"] for backend in BACKENDS)
    assert native is not None
    assert sparseml is not None
    rows = 40
    spread = math.sqrt(native * (1 - native) / rows + sparseml * (1 - sparseml) / rows)
    assert min(native, sparseml) > 0.8
    assert abs(native - sparseml) <= 2 * max(spread, 1 / rows)


def test_both_backends_learn_a_scale_for_the_same_modules(both: dict[str, Trained]) -> None:
    native, sparseml = (both[backend].scales for backend in BACKENDS)
    encoder = {name for name in native if "encoder" in name}
    assert len(encoder) == 12
    assert encoder <= sparseml.keys()
    for name in encoder:
        assert sparseml[name].input_scale == pytest.approx(native[name].input_scale, rel=0.25), name
        assert abs(sparseml[name].input_zero_point - native[name].input_zero_point) <= 16, name


def test_the_product_is_a_plain_model(both: dict[str, Trained]) -> None:
    assert both["SparseML"].weights.keys() == both["Native"].weights.keys()


@pytest.mark.usefixtures("both")
def test_nothing_is_written_into_the_working_directory(workplace: Path) -> None:
    assert not list(workplace.iterdir())


@pytest.mark.parametrize("step", [10, 30])
def test_a_stopped_run_goes_on_to_the_same_weights(
    step: int, sources: Path, both: dict[str, Trained]
) -> None:
    """Once before quantization has renamed the modules, and once after."""
    again = TinyExperiment(sources, "SparseML", name=f"stopped-{step}")
    again.run(Stage.PREPARE)
    stop = threading.Event()

    def note(progress: Progress) -> None:
        if (progress.activity, progress.step) == ("transfer", step):
            stop.set()

    with pytest.raises(Stopped):
        again.run(Stage.TRAIN, note, stop)
    resumed = again.trained()
    expected = both["SparseML"].weights
    assert all(torch.equal(resumed.weights[name], expected[name]) for name in expected)
    history = json.loads((resumed.train / "history.json").read_text())
    assert history == json.loads((both["SparseML"].train / "history.json").read_text())


def test_a_recipe_that_prunes_further_ends_with_its_own_mask(sources: Path) -> None:
    trained = TinyExperiment(sources, "Auto", GRADUAL, name="gradual").trained()
    assert trained.plan.training.backend == "sparseml"
    assert any("prunes while it trains" in warning for warning in trained.plan.warnings)
    masks = trained.masks
    kept = sum(int(mask.sum()) for mask in masks.values())
    assert 1 - kept / sum(mask.numel() for mask in masks.values()) == pytest.approx(0.75, abs=0.01)
    weights = trained.weights
    for name, mask in masks.items():
        assert torch.equal(weights.pop(name) != 0, mask.bool()), name
    others = {name: float((weight == 0).float().mean()) for name, weight in weights.items()}
    assert max(others.values()) < 0.1, others


def test_auto_stays_native_where_that_is_enough(sources: Path) -> None:
    experiment = TinyExperiment(sources, "Auto", name="auto")
    experiment.run(Stage.PREPARE)
    (plan,) = (sources / "runs" / "default" / "auto").glob("prepare-*/plan.json")
    assert "backend" not in json.loads(plan.read_text())["training"]


REFUSED = {
    "a field that it does not have": (
        "!GMPruningModifier {params: __ALL_PRUNABLE__, init_sparsity: 0.5, finale: 1}",
        ["spec.recipe.inline: SparseML 1.8.0 refuses it", "finale"],
    ),
    "a modifier of one-shot sessions": (
        "!SparseGPTModifier {sparsity: 0.5}",
        ["SparseGPTModifier belongs to SparseML's one-shot sessions", "no backend runs it"],
    ),
}


@pytest.mark.parametrize(("modifier", "said"), REFUSED.values(), ids=REFUSED)
def test_what_sparseml_does_not_take_is_refused_before_training(
    modifier: str, said: list[str], sources: Path
) -> None:
    with pytest.raises(InputError) as refused:
        TinyExperiment(sources, "SparseML", f"{RECIPE}  - {modifier}\n", name="refused").run(
            Stage.PREPARE
        )
    for words in said:
        assert words in str(refused.value)


@pytest.mark.parametrize("backend", [*BACKENDS, "Auto"])
def test_a_modifier_that_nobody_knows_is_refused_by_its_name(backend: str, sources: Path) -> None:
    recipe = f"{RECIPE}  - !GMPrunerModifier {{}}\n"
    with pytest.raises(InputError) as refused:
        TinyExperiment(sources, backend, recipe, name="unknown").run(Stage.PREPARE)
    for words in (
        "GMPrunerModifier is not a modifier of SparseML 1.8",
        "did you mean GMPruningModifier?",
    ):
        assert words in str(refused.value)


def test_a_name_that_the_model_lacks_is_told_in_sparsemls_words(sources: Path) -> None:
    recipe = RECIPE.replace("ignore: [", "ignore: [decoder, ")
    with pytest.raises(InputError, match=r"SparseML 1\.8\.0 refuses it.*decoder"):
        TinyExperiment(sources, "SparseML", recipe, name="unmatched").run(Stage.PREPARE)
