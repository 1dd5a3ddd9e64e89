"""The image use case: splits, transforms that travel with the model, augmentation, metrics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from tests.runner.image_folders import write_folder

from sparse_transfer_api.errors import InputError
from sparse_transfer_api.records import ModelSource, Plan, TrainingSettings
from sparse_transfer_api.spec import SparseTransferSpec, parse_experiment
from sparse_transfer_runner.catalog.image_architectures import architecture_named
from sparse_transfer_runner.pictures.preprocessing import Preprocessing
from sparse_transfer_runner.sparsity.prunable import prunable_weights
from sparse_transfer_runner.use_cases import use_case
from sparse_transfer_runner.use_cases.image_inputs import EncodedPictures, ImagePreprocessor
from sparse_transfer_runner.use_cases.image_model import has_depthwise
from sparse_transfer_runner.use_cases.metrics import names_for_classes, score_classes
from sparse_transfer_runner.use_cases.protocol import AugmentedSplit

USE = use_case("image-classification")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    save_file(
        architecture_named("timm/test_efficientnet").build(5).state_dict(),
        folder / "model.safetensors",
    )
    (folder / "config.json").write_text(json.dumps({"architecture": "test_efficientnet"}))
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("data"), {"train": 12, "val": 4})


def spec_of(data: Path, **training: Any) -> SparseTransferSpec:
    document = {
        "apiVersion": "sparsetransfer.dev/v1alpha1",
        "kind": "SparseTransferExperiment",
        "metadata": {"name": "colours"},
        "spec": {
            "useCase": "ic",
            "data": {"uri": data.as_uri()},
            "output": {"uri": "file:///nowhere"},
            "training": {"imageSize": 32, **training},
        },
    }
    return parse_experiment(document, "test").spec


def plan_of(data: Path, model: Path, **training: Any) -> Plan:
    spec = spec_of(data, **training)
    summary = USE.inspect(data, spec)
    source = ModelSource(
        uri=model.as_uri(),
        digest="0" * 64,
        format="x",
        architecture="x",
        sparsity=0,
        parameters=0,
    )
    return Plan(
        use_case=USE.name,
        level=0.5,
        band="MediumSparseInt8",
        problem_type=summary.problem_type,
        columns={},
        labels=list(summary.labels),
        splits=list(summary.splits),
        evaluation_split="val",
        choice_split="train",
        data_digest=summary.digest,
        inputs=USE.input_names(summary, USE.preprocessor(model)),
        preprocessing=USE.preprocessing(model, spec),
        model=source,
        quantize=True,
        training=TrainingSettings(epochs=1, learning_rate=1e-3, batch_size=4, seed=0, recipe=""),
        total_steps=0,
        expected_memory_bytes=0,
    )


def train_rows(data: Path, model: Path, **training: Any) -> EncodedPictures:
    plan = plan_of(data, model, **training)
    rows = USE.load(data, plan, "train", USE.preprocessor(model, plan))
    assert isinstance(rows, EncodedPictures)
    return rows


def test_splits_have_rows_targets_and_equal_lengths(data: Path, model: Path) -> None:
    plan = plan_of(data, model)
    preprocessor = USE.preprocessor(model, plan)
    train, choice, val = (
        USE.load(data, plan, split, preprocessor) for split in ("train", "choice", "val")
    )
    assert (len(train), len(choice), len(val)) == (22, 2, 8)
    assert np.bincount(val.targets).tolist() == [4, 4]
    assert set(train.lengths) == {1}
    batch = val.collate([0, 5])
    assert batch["pixel_values"].shape == (2, 3, 32, 32)
    assert batch["pixel_values"].dtype == np.float32


def test_what_training_sees_is_a_function_of_seed_epoch_and_row(data: Path, model: Path) -> None:
    rows = train_rows(data, model)
    assert isinstance(rows, AugmentedSplit)
    seen = rows.augmented([3, 4], seed=1, epoch=2)["pixel_values"]
    again = train_rows(data, model).augmented([4, 3], seed=1, epoch=2)["pixel_values"]
    assert np.array_equal(seen, again[::-1])
    for seed, epoch in ((2, 2), (1, 3)):
        other = rows.augmented([3, 4], seed=seed, epoch=epoch)["pixel_values"]
        assert not np.array_equal(seen, other)


def test_without_augmentation_training_sees_what_evaluation_sees(data: Path, model: Path) -> None:
    rows = train_rows(data, model, augmentation="None")
    seen = rows.augmented([1], seed=0, epoch=0)["pixel_values"]
    assert np.array_equal(seen, rows.collate([1])["pixel_values"])


def test_crops_alone_never_mirror(data: Path, model: Path) -> None:
    config = train_rows(data, model, augmentation="Crop").preprocessor.config
    assert config["augmentation"]["flip"] == 0


def test_the_transforms_of_the_plan_travel_with_the_model(
    data: Path, model: Path, tmp_path: Path
) -> None:
    plan = plan_of(data, model)
    USE.preprocessor(model, plan).save(tmp_path)
    saved = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert saved == plan.preprocessing
    assert saved["crop_size"] == {"height": 32, "width": 32}
    assert saved["augmentation"]["flip"] == 0.5
    (tmp_path / "config.json").write_bytes((model / "config.json").read_bytes())
    (tmp_path / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes())
    assert USE.preprocessor(tmp_path) == USE.preprocessor(model, plan)


@pytest.mark.parametrize(
    ("config", "size", "crop"),
    [
        (
            {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}},
            {"shortest_edge": 36},
            {"height": 32, "width": 32},
        ),
        (
            {"size": {"height": 24, "width": 24}},
            {"height": 24, "width": 24},
            {"height": 24, "width": 24},
        ),
        ({"size": 20}, {"shortest_edge": 20}, {"height": 20, "width": 20}),
        (
            {"size": {"shortest_edge": 36}, "do_center_crop": False},
            {"height": 36, "width": 36},
            {"height": 36, "width": 36},
        ),
    ],
)
def test_processors_of_hugging_face_are_understood(
    config: dict[str, Any], size: dict[str, int], crop: dict[str, int], model: Path, tmp_path: Path
) -> None:
    for file in model.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    found = USE.preprocessor(tmp_path)
    assert isinstance(found, ImagePreprocessor)
    assert (found.config["size"], found.config["crop_size"]) == (size, crop)


def test_what_a_processor_leaves_out_changes_nothing(model: Path, tmp_path: Path) -> None:
    for file in model.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = {"size": 8, "do_rescale": False, "do_normalize": False}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    found = USE.preprocessor(tmp_path)
    assert isinstance(found, ImagePreprocessor)
    values = Preprocessing(dict(found.config))(Image.new("RGB", (8, 8), (255, 128, 0)))
    assert values[:, 4, 4].tolist() == [255, 128, 0]
    found.save(tmp_path)
    assert USE.preprocessor(tmp_path) == found


def test_a_processor_that_is_not_understood_is_refused(model: Path, tmp_path: Path) -> None:
    for file in model.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "preprocessor_config.json").write_text('{"size": {"longest_edge": 9}}')
    with pytest.raises(InputError, match=r"preprocessor_config\.json: cannot be understood"):
        USE.preprocessor(tmp_path)


@pytest.mark.parametrize(
    "published",
    [{"interpolation": "cubic"}, {"interpolation": 3}, {"crop_pct": "most"}, ["bicubic"]],
    ids=str,
)
def test_published_transforms_that_are_not_understood_are_refused(
    published: object, model: Path, tmp_path: Path
) -> None:
    (tmp_path / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes())
    config = {"architecture": "test_efficientnet", "pretrained_cfg": published}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"pretrained_cfg of .*config\.json cannot.*bicubic, box"):
        USE.preprocessor(tmp_path)


def test_a_size_that_an_architecture_cannot_take_is_refused(data: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "vit_tiny_patch16_224"}))
    weights = architecture_named("timm/vit_tiny_patch16_224").build(2).state_dict()
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=r"imageSize: timm/vit_tiny_patch16_224 .* 96 x 96"):
        USE.preprocessing(tmp_path, spec_of(data, imageSize=96))


def test_a_model_knows_its_head_and_prunes_the_rest(data: Path, model: Path) -> None:
    net = USE.build(model, plan_of(data, model))
    names = prunable_weights(net)
    assert not any(name.startswith("classifier") for name in names)
    assert "blocks.0.0.conv.weight" in names
    assert "conv_stem.weight" not in names, "it reads colours, and stays dense"
    logits = net(pixel_values=torch.zeros(2, 3, 32, 32)).logits
    assert logits.shape == (2, 2)


def test_memory_grows_with_batch_and_size(data: Path, model: Path) -> None:
    plan = plan_of(data, model)
    larger = plan.model_copy(
        update={"training": plan.training.model_copy(update={"batch_size": 8})}
    )
    finer = plan_of(data, model, imageSize=64)
    usual = USE.activation_bytes(model, plan)
    assert USE.activation_bytes(model, larger) == 2 * usual
    assert 3 * usual < USE.activation_bytes(model, finer) < 5 * usual


@pytest.mark.parametrize(
    ("architecture", "depthwise"),
    [
        ("timm/efficientnet_lite0", True),
        ("torchvision/mobilenet_v3_small", True),
        ("timm/resnet18", False),
        ("timm/vit_tiny_patch16_224", False),
    ],
)
def test_networks_with_a_filter_for_each_channel_are_known(
    architecture: str, depthwise: bool
) -> None:
    assert has_depthwise(architecture_named(architecture).skeleton()) is depthwise


def test_a_network_with_a_filter_for_each_channel_trains_in_fp32_on_a_cpu(model: Path) -> None:
    assert not USE.gains_from_bf16(model)


def test_top_5_is_told_where_there_are_more_than_five_classes() -> None:
    logits = np.eye(7, dtype=np.float32)[[0, 1, 2, 3]]
    scores = score_classes(logits + np.arange(7, 0, -1) / 100, np.array([0, 1, 3, 6]))
    assert scores["accuracy"] == 0.5
    assert scores["top5_accuracy"] == 0.75
    assert "top5_accuracy" not in score_classes(logits[:, :5], np.array([0, 1, 2, 3]))
    assert names_for_classes(5)[0] == names_for_classes(1000)[0] == "accuracy"
    assert "top5_accuracy" in names_for_classes(6)
