"""SparseML trains every use case of the project's own loop by the packaged recipes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("sparseml", reason="make test-neuralmagic")

from tests.neuralmagic.tiny_experiment import RECIPE, TinyExperiment, Trained
from tests.runner.tiny_models import random_batch, tiny_config, write_tiny_encoder
from tests.runner.tiny_pictures import write_picture_sources
from tests.runner.tiny_questions import write_questions
from tests.runner.tiny_tagged import write_tagged
from transformers import BertForTokenClassification

from sparse_transfer_api.contract import Stage
from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.catalog.image_architectures import architecture_named
from sparse_transfer_runner.neuralmagic.backend import SparseMlBackend
from sparse_transfer_runner.neuralmagic.manager import rehearse
from sparse_transfer_runner.packaging.evaluation import Evaluation
from sparse_transfer_runner.recipes import SPARSEML, parse_recipe
from sparse_transfer_runner.training.backend import NativeBackend, Teacher
from sparse_transfer_runner.training.distillation import (
    PROBLEM_POSITIONS,
    PROBLEM_SINGLE,
    PROBLEM_SPAN,
    task_loss,
)
from sparse_transfer_runner.use_cases.protocol import IGNORED
from sparse_transfer_runner.use_cases.question_model import build_answerer

BACKENDS = ("Native", "SparseML")
TEXTS = {"epochs": 6, "batchSize": 16, "learningRate": 0.01, "precision": "Fp32"}
PICTURES = {"imageSize": 32, "epochs": 6, "batchSize": 16, "learningRate": 0.003}
DISTILLATION = """
modifiers:
  - !EpochRangeModifier {start_epoch: 0.0, end_epoch: 2.0}
  - !SetLearningRateModifier {start_epoch: 0.0, learning_rate: 0.1}
  - !DistillationModifier {hardness: 0.9, temperature: 2.0, distill_output_keys: [logits]}
"""
QUANTIZATION = """
modifiers:
  - !EpochRangeModifier {start_epoch: 0.0, end_epoch: 2.0}
  - !SetLearningRateModifier {start_epoch: 0.0, learning_rate: 0.1}
  - !QuantizationModifier {start_epoch: 0.0, freeze_bn_stats_epoch: 1.0}
"""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network whose batch norms hold activations, and of whose convolutions some pad."""
    return write_picture_sources(tmp_path_factory.mktemp("pictures"), settings={"pad_type": "same"})


@pytest.fixture(scope="module", params=["cv-classification", "nlp-question_answering", "ner"])
def both(request: pytest.FixtureRequest, sources: Path, pictures: Path) -> dict[str, Trained]:
    """The packaged recipe on both backends."""
    use = str(request.param)
    root, training = (pictures, PICTURES) if use.startswith("cv") else (sources, TEXTS)
    data = root / "data"
    if root is sources:
        data = (write_tagged if use == "ner" else write_questions)(root / f"data-{use}")

    def trained(backend: str) -> Trained:
        spec = {
            "useCase": use,
            "data": {"uri": data.as_uri()},
            "recipe": {"backend": backend},
            "training": training,
        }
        name = f"{use}-{backend}".lower().replace("_", "-")
        return TinyExperiment(root, backend, name=name, spec=spec).trained()

    return {backend: trained(backend) for backend in BACKENDS}


def losses(trained: Trained) -> list[float]:
    history = json.loads((trained.train / "history.json").read_text())
    return [point["loss"] for point in history if point["phase"] == "transfer"]


def test_both_backends_have_the_same_curve_of_losses(both: dict[str, Trained]) -> None:
    assert both["SparseML"].plan.training.backend == SPARSEML
    native, sparseml = (losses(both[backend]) for backend in BACKENDS)
    assert sparseml == pytest.approx(native, rel=0.1)
    assert sparseml[-1] < sparseml[0]


def test_both_backends_hold_the_mask(both: dict[str, Trained]) -> None:
    for trained in both.values():
        for name, mask in trained.masks.items():
            assert torch.equal(trained.weights[name] != 0, mask.bool()), name


def test_sparseml_hands_on_a_scale_for_all_that_the_native_backend_rounds(
    both: dict[str, Trained],
) -> None:
    native, sparseml = (both[backend].scales for backend in BACKENDS)
    assert native.keys() <= sparseml.keys()
    for name, scale in native.items():
        assert sparseml[name].input_scale == pytest.approx(scale.input_scale, rel=0.25), name
        assert abs(sparseml[name].input_zero_point - scale.input_zero_point) <= 16, name


def test_pictures_that_sparseml_trained_ship_with_all_convolutions_in_int8(pictures: Path) -> None:
    spec = {
        "useCase": "cv-classification",
        "recipe": {"backend": "SparseML"},
        "training": PICTURES,
        "export": {"targets": ["onnxruntime"]},
        "benchmark": {"batchSizes": [1]},
    }
    experiment = TinyExperiment(pictures, "SparseML", name="shipped", spec=spec)
    trained = experiment.trained()
    packaged = experiment.run(Stage.PACKAGE)
    assert packaged.outcome == "Succeeded", packaged.message
    folder = trained.train.with_name(f"package-{packaged.key}")
    found = Evaluation.model_validate_json((folder / "evaluation.json").read_bytes())
    (shipped,) = (file for file in found.files if file.shipped)
    assert shipped.role == "sparse-int8"
    assert shipped.label_agreement > 0.9
    weights = onnx.load(folder / shipped.path).graph.initializer
    rounded = [w for w in weights if w.data_type == onnx.TensorProto.INT8 and len(w.dims) == 4]
    plain = [w for w in weights if w.data_type == onnx.TensorProto.FLOAT and len(w.dims) == 4]
    assert len(rounded) == sum(
        trained.weights[f"{name}.weight"].dim() == 4 for name in trained.scales
    )
    assert not plain


def picture_batch(rows: int = 4) -> dict[str, Tensor]:
    chance = torch.Generator().manual_seed(0)
    return {"pixel_values": torch.randn(rows, 3, 32, 32, generator=chance)}


def classifier(seed: int, _: Path, name: str = "timm/test_resnet") -> nn.Module:
    torch.manual_seed(seed)
    return architecture_named(name).build(3)


def answerer(seed: int, folder: Path) -> nn.Module:
    return build_answerer(write_tiny_encoder(folder / str(seed), seed), seed)


def tagger(seed: int, _: Path) -> nn.Module:
    torch.manual_seed(seed)
    return BertForTokenClassification(tiny_config(labels=3))


def tags() -> Tensor:
    """Returns tags of some positions, among them none that is padding."""
    targets = torch.full((4, 10), IGNORED)
    targets[:, 1], targets[2:, 2] = 1, 2
    return targets


Build = Callable[[int, Path], nn.Module]
KINDS: Mapping[str, tuple[str, Build, Callable[[], dict[str, Tensor]], Tensor]] = {
    "pictures": (PROBLEM_SINGLE, classifier, picture_batch, torch.tensor([0, 1, 2, 1])),
    "spans": (
        PROBLEM_SPAN,
        answerer,
        lambda: random_batch(2, rows=4),
        torch.tensor([[0, 1], [1, 2], [0, 0], [2, 2]]),
    ),
    "tags": (PROBLEM_POSITIONS, tagger, lambda: random_batch(2, rows=4), tags()),
}


@pytest.mark.parametrize(("problem", "build", "batch", "targets"), KINDS.values(), ids=KINDS)
def test_both_backends_have_the_same_loss(
    problem: str,
    build: Build,
    batch: Callable[[], dict[str, Tensor]],
    targets: Tensor,
    tmp_path: Path,
) -> None:
    """The student's logits of padding are out of the way, the teacher's are not."""
    student, teacher = build(0, tmp_path).train(), build(1, tmp_path).eval()
    recipes = parse_recipe(DISTILLATION), parse_recipe(DISTILLATION, backend=SPARSEML)
    native = NativeBackend(student, recipes[0], problem, teacher=Teacher(teacher, nullcontext))
    sparseml = SparseMlBackend(student, recipes[1], problem, steps_per_epoch=4, teacher=teacher)
    sparseml.begin(torch.optim.SGD(student.parameters(), lr=0.1))
    for backend in (native, sparseml):
        backend.enter(0.0)
    inputs, rows = batch(), torch.arange(4)
    with torch.no_grad():
        expected, got = (each.loss(inputs, targets, rows) for each in (native, sparseml))
        alone = task_loss(student(**inputs).logits, targets, problem)
    assert float(got) == pytest.approx(float(expected), rel=1e-4)
    assert abs(float(got) - float(alone)) > 0.05


NETS = {
    "activations within batch norms": "timm/test_efficientnet",
    "batch norms that begin at 0": "timm/test_resnet",
    "an activation used twice": "torchvision/resnet18",
}


@pytest.mark.parametrize("name", NETS.values(), ids=NETS)
def test_a_rounded_network_still_computes_what_it_did(name: str, tmp_path: Path) -> None:
    net, inputs = classifier(0, tmp_path, name).train(), picture_batch(8)
    with torch.no_grad():
        plain = net(**inputs).logits
    backend = quantizing(net)
    with torch.no_grad():
        rounded = net(**inputs).logits
    assert float((rounded - plain).norm() / plain.norm()) < 0.2
    record = backend.finish()
    assert record is not None
    convolutions = {n for n, m in net.named_modules() if isinstance(m, nn.Conv2d)}
    assert convolutions <= record.modules.keys()


@pytest.mark.parametrize("name", NETS.values(), ids=NETS)
def test_batch_norms_stand_still_where_the_recipe_says_so(name: str, tmp_path: Path) -> None:
    net, inputs = classifier(0, tmp_path, name).train(), picture_batch(8)
    figures = {n: b for n, b in net.named_buffers() if n.endswith("running_mean")}
    backend = quantizing(net)
    moved = []
    for epoch in (0.5, 1.0):
        backend.enter(epoch)
        backend.step()
        before = {name: figure.clone() for name, figure in figures.items()}
        backend.enter(epoch)
        with torch.no_grad():
            net(**inputs)
        moved.append([n for n in figures if not torch.equal(figures[n], before[n])])
    assert moved == [list(figures), []]


def test_a_checkpoint_from_within_quantization_fits(tmp_path: Path) -> None:
    nets = [classifier(seed, tmp_path, "timm/test_efficientnet").train() for seed in (0, 1)]
    first = quantizing(nets[0])
    with torch.no_grad():
        nets[0](**picture_batch())
    resumed = quantizing(nets[1])
    resumed.load_state_dict(first.state_dict())
    nets[1].load_state_dict(nets[0].state_dict())
    with torch.no_grad():
        first_logits, logits = (net.eval()(**picture_batch()).logits for net in nets)
    assert torch.equal(logits, first_logits)
    assert resumed.finish() == first.finish()


class Stepped(SparseMlBackend):
    """Knows the optimizer, and takes its steps without a gradient."""

    def step(self) -> None:
        assert self._optimizer is not None
        self._optimizer.step()


def quantizing(net: nn.Module) -> Stepped:
    recipe = parse_recipe(QUANTIZATION, backend=SPARSEML)
    backend = Stepped(net, recipe, PROBLEM_SINGLE, steps_per_epoch=4)
    backend.begin(torch.optim.SGD(net.parameters(), lr=0.1))
    backend.enter(0.0)
    return backend


def test_outputs_that_models_do_not_have_are_refused_before_training(sources: Path) -> None:
    recipe = RECIPE.replace("[logits]", "[logits, pooled]")
    with pytest.raises(InputError, match=r"inline: .*distill_output_keys: 'pooled': .*logits"):
        TinyExperiment(sources, "SparseML", recipe, name="pooled").run(Stage.PREPARE)


class Tied(nn.Module):
    """Reads the weight of its layer by itself; wrapped, the layer has none."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) @ self.layer.weight


def test_a_model_that_cannot_run_rounded_is_refused_before_training() -> None:
    text = parse_recipe(QUANTIZATION, backend=SPARSEML).text
    with pytest.raises(InputError, match=r"Tied does not run.*weight.*ignore"):
        rehearse(text, Tied(), {"x": np.ones((2, 4), np.float32)})
