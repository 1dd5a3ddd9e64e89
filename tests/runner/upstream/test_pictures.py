"""Image classifiers made sparse on pictures without labels."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.runner.image_folders import write_folder
from tests.runner.upstream.test_resume import assert_same, stops_until_made

from sparse_transfer_api.contract import Stage
from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.catalog.image_architectures import Architecture
from sparse_transfer_runner.catalog.image_models import check_image_model
from sparse_transfer_runner.progress import Reporter
from sparse_transfer_runner.sparsity.patterns import Pattern
from sparse_transfer_runner.upstream import UpstreamOptions, make_foundation
from sparse_transfer_runner.upstream.pictures import HELD_OUT_ROWS, open_pictures
from sparse_transfer_runner.use_cases.image_model import build_classifier

CONFIG = {"architecture": "test_efficientnet", "library": "timm"}
QUIET = Reporter(Stage.PREPARE, lambda _: None)


@pytest.fixture
def options(tmp_path: Path) -> UpstreamOptions:
    dense = tmp_path / "dense"
    dense.mkdir()
    torch.manual_seed(0)
    net = Architecture("timm", "test_efficientnet").build(2)
    save_file(net.state_dict(), dense / "model.safetensors")
    (dense / "config.json").write_text(json.dumps(CONFIG))
    return UpstreamOptions(
        model=dense.as_uri(),
        data=write_folder(tmp_path / "pictures", {"train": 160}),
        output=tmp_path / "foundation",
        sparsity=0.6,
        calibration_rows=32,
        batch_size=16,
        image_size=32,
        recovery_steps=2,
    )


def of(options: UpstreamOptions, **changes: object) -> UpstreamOptions:
    from dataclasses import replace

    return replace(options, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("method", "pattern"),
    [("admm", Pattern.BLOCK4), ("sparsegpt", Pattern.UNSTRUCTURED), ("gradual", Pattern.BLOCK4)],
)
def test_a_classifier_is_pruned_on_pictures_but_for_depthwise_layers_and_colours(
    options: UpstreamOptions, method: str, pattern: Pattern
) -> None:
    steps = 10 if method == "gradual" else None
    made = make_foundation(of(options, method=method, pattern=pattern, gradual_steps=steps), QUIET)
    assert (made.family, made.pattern, made.method) == ("image", pattern, method)
    weights = load_file(options.output / "model.safetensors")
    total = zeros = 0
    for name in made.prunable:
        units = weights[name].movedim(1, -1).unflatten(-1, (-1, pattern.width)) == 0
        assert torch.equal(units.all(-1), units.any(-1))
        total, zeros = total + units.numel(), zeros + int(units.sum())
    assert abs(zeros - 0.6 * total) <= pattern.width
    dense = [name for name in weights if name.endswith(".weight") and weights[name].dim() == 4]
    dense = [name for name in dense if name not in made.prunable]
    assert dense
    assert all(weights[name].shape[1] < 4 for name in dense)
    assert all(bool((weights[name] != 0).all()) for name in dense)
    assert made.quality["hiddenErrorAfterRecovery"] > 0
    assert [f"{each.name}.weight" for each in made.layers] == made.prunable
    checked = check_image_model(options.output, trusted=False)
    assert checked.sparsity == pytest.approx(made.sparsity, abs=1e-4)
    build_classifier(options.output, ("red", "blue"), 0)


@pytest.mark.parametrize("method", ["admm", "gradual"])
def test_work_that_is_stopped_goes_on_to_the_same_bits_and_statistics(
    options: UpstreamOptions, method: str
) -> None:
    steps = 10 if method == "gradual" else None
    options = of(options, method=method, gradual_steps=steps, block_steps=0 if steps else 2)
    make_foundation(options, QUIET)
    broken = of(options, output=options.output.with_name("broken"))
    assert stops_until_made(broken) >= 2
    assert_same(options.output, broken.output)
    dense, made = (
        load_file(options.output.with_name(name) / "model.safetensors")
        for name in ("dense", "broken")
    )
    statistics = [name for name in dense if "running" in name]
    assert statistics
    assert not any(torch.equal(dense[name], made[name]) for name in statistics)


def test_a_sparsezoo_folder_is_pruned_from_its_training_files_with_trust_where_they_need_it(
    options: UpstreamOptions, tmp_path: Path
) -> None:
    zoo = tmp_path / "zoo"
    (zoo / "training").mkdir(parents=True)
    (zoo / "model.onnx").touch()
    weights = load_file(tmp_path / "dense" / "model.safetensors")
    content = {"state_dict": weights, "args": argparse.Namespace(lr=0.1)}
    torch.save(content, zoo / "training" / "model.pth")
    (zoo / "training" / "config.json").write_text(json.dumps(CONFIG))
    options = of(options, model=zoo.as_uri(), method="magnitude", recovery_steps=0)
    with pytest.raises(InputError, match=r"argparse\.Namespace.*--trust-pickle is enough"):
        make_foundation(options, QUIET)
    made = make_foundation(of(options, trust_pickle=True), QUIET)
    assert made.parent is not None
    assert made.parent.uri == f"{zoo.as_uri()}/training"


def test_too_few_pictures_are_refused_with_what_is_needed(options: UpstreamOptions) -> None:
    with pytest.raises(InputError, match="320 pictures, but 520 are needed"):
        make_foundation(of(options, calibration_rows=500), QUIET)


def test_a_damaged_picture_is_named_before_any_work(options: UpstreamOptions) -> None:
    first = min(options.data.rglob("*.png"))
    first.write_bytes(first.read_bytes()[:200])
    with pytest.raises(InputError, match="1 problem found") as caught:
        make_foundation(of(options, recovery_steps=200), QUIET)
    (problem,) = caught.value.problems
    assert problem.where == str(first)
    assert "damaged or cut short" in problem.message


def test_only_as_many_pictures_are_looked_at_as_are_used(options: UpstreamOptions) -> None:
    small = of(options, recovery_steps=0, calibration_rows=33)
    opened = open_pictures(options.data.parent / "dense", small, torch.device("cpu"))
    assert len(opened.material.rows) == 33 + 16 + HELD_OUT_ROWS
    sizes = [len(batch["pixel_values"]) for batch in opened.material.held_out()]
    assert sum(sizes) == HELD_OUT_ROWS


def test_of_few_pictures_as_many_are_held_out_as_are_left(options: UpstreamOptions) -> None:
    small = of(options, recovery_steps=40, calibration_rows=290)
    opened = open_pictures(options.data.parent / "dense", small, torch.device("cpu"))
    assert opened.material.facts()["heldOutRows"] == 320 - 290 - 16
    assert sum(len(batch["pixel_values"]) for batch in opened.material.held_out()) == 14
    assert sum(len(batch["pixel_values"]) for batch in opened.material.calibration()) == 290


def test_a_size_that_the_classifier_cannot_take_is_refused(
    options: UpstreamOptions, tmp_path: Path
) -> None:
    folder = tmp_path / "vit"
    folder.mkdir()
    net = Architecture("timm", "vit_tiny_patch16_224").build(2)
    save_file(net.state_dict(), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"architecture": "vit_tiny_patch16_224"}))
    with pytest.raises(InputError, match=r"--image-size: timm/vit_tiny_patch16_224 .* 32 x 32"):
        make_foundation(of(options, model=folder.as_uri()), QUIET)
