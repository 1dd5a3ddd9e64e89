"""Image classifiers as files: by name, as SparseML saves them, and everything that can be wrong."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from sparse_transfer_api.errors import InputError
from sparse_transfer_api.optim_level import band_of
from sparse_transfer_runner.catalog.image_architectures import Architecture, architecture_named
from sparse_transfer_runner.catalog.image_models import check_image_model, read_image_model
from sparse_transfer_runner.catalog.models import Catalog
from sparse_transfer_runner.catalog.resolution import ResolvedModel, fetched_model, resolve_model
from sparse_transfer_runner.catalog.sparseml_images import sparseml_model
from sparse_transfer_runner.use_cases.image_model import build_classifier, save_classifier

TINY = "timm/test_efficientnet"
"""timm's own test architecture: 0.36 million weights, depthwise convolutions among them."""

Weights = dict[str, Tensor]


def as_sparseml(arch_key: str, classes: int = 3) -> Weights:
    """Returns random weights under the names that SparseML gives them.

    The names are those of SparseML 1.8's modules, turned back from the library's.
    ``tests/neuralmagic`` compares its own networks.
    """
    model = sparseml_model(arch_key)
    wanted = {
        name: tensor for name, tensor in model.architecture.build(classes).state_dict().items()
    }
    names = model.renamed(SPARSEML_NAMES[arch_key](wanted))
    assert set(names.values()) == set(wanted), "the test's names are not those of the architecture"
    return {old: wanted[new] for old, new in names.items()}


def _norm(place: str) -> list[str]:
    parts = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    return [f"{place}.{part}" for part in parts]


def _conv_and_norm(conv: str, norm: str) -> list[str]:
    return [f"{conv}.weight", *_norm(norm)]


def _head(place: str) -> list[str]:
    return [f"{place}.weight", f"{place}.bias"]


def resnet18(_: Mapping[str, Tensor]) -> list[str]:
    names = _conv_and_norm("input.conv", "input.bn")
    for section in range(4):
        for block in range(2):
            place = f"sections.{section}.{block}"
            for number in (1, 2):
                names += _conv_and_norm(f"{place}.conv{number}", f"{place}.bn{number}")
            if section and not block:
                names += _conv_and_norm(f"{place}.identity.conv", f"{place}.identity.bn")
    return names + _head("classifier.fc")


def mobilenet(_: Mapping[str, Tensor]) -> list[str]:
    names = _conv_and_norm("input.conv", "input.bn")
    for section, blocks in enumerate((1, 2, 2, 6, 2)):
        for block in range(blocks):
            for part in ("depth", "point"):
                place = f"sections.{section}.{block}.{part}"
                names += _conv_and_norm(f"{place}.conv", f"{place}.bn")
    return names + _head("classifier.fc")


def mobilenet_v2(_: Mapping[str, Tensor]) -> list[str]:
    names = []
    for section, blocks in enumerate((1, 2, 3, 4, 3, 3, 1)):
        for block in range(blocks):
            for part in ("expand", "spatial", "compress"):
                place = f"sections.{section}.{block}.{part}"
                names += _conv_and_norm(f"{place}.conv", f"{place}.bn")
    names += _conv_and_norm("feat_extraction.conv", "feat_extraction.bn")
    return names + _head("classifier.fc")


def efficientnet_b0(_: Mapping[str, Tensor]) -> list[str]:
    names = _conv_and_norm("input.conv", "input.bn")
    for section, blocks in enumerate((1, 2, 2, 3, 3, 4, 1)):
        for block in range(blocks):
            here = f"sections.{section}.{block}"
            for part in ("expand", "spatial")[0 if section else 1 :]:
                names += _conv_and_norm(f"{here}.{part}.conv", f"{here}.{part}.bn")
            names += [*_head(f"{here}.se.reduce.conv"), *_head(f"{here}.se.expand.conv")]
            names += _conv_and_norm(f"{here}.project.conv", f"{here}.project.bn")
    names += _conv_and_norm("classifier.conv", "classifier.bn")
    return names + _head("classifier.fc")


def vgg11bn(_: Mapping[str, Tensor]) -> list[str]:
    names = []
    for section, blocks in enumerate((1, 1, 2, 2, 2)):
        for block in range(blocks):
            place = f"sections.{section}.{block}"
            names += [*_head(f"{place}.conv"), *_norm(f"{place}.bn")]
    return names + [name for number in (0, 3, 6) for name in _head(f"classifier.mlp.{number}")]


SPARSEML_NAMES: dict[str, Callable[[Mapping[str, Tensor]], list[str]]] = {
    "resnet18": resnet18,
    "mobilenet": mobilenet,
    "mobilenet_v2": mobilenet_v2,
    "efficientnet_b0": efficientnet_b0,
    "vgg11bn": vgg11bn,
}
"""SparseML's names in the order of the forward pass, in which the libraries list theirs."""


@pytest.mark.parametrize("arch_key", SPARSEML_NAMES)
def test_every_parameter_of_sparseml_s_has_its_place(arch_key: str) -> None:
    model = sparseml_model(arch_key)
    with torch.device("meta"):
        expected = model.architecture.build(3).state_dict()
    names = model.renamed(SPARSEML_NAMES[arch_key](expected))
    assert list(names.values()) == list(expected)


@pytest.mark.parametrize(
    ("arch_key", "architecture"),
    {
        "resnet-50": "torchvision/resnet50",
        "resnetv1_101": "torchvision/resnet101",
        "ResNet152": "torchvision/resnet152",
        "resnext50": "timm/resnext50_32x4d",
        "mobilenet_v1_100": "timm/mobilenetv1_100",
        "mobilenet-v2-100": "torchvision/mobilenet_v2",
        "vgg-19": "torchvision/vgg19",
        "vgg_16bn": "torchvision/vgg16_bn",
        "efficientnet-b7": "torchvision/efficientnet_b7",
        "efficientnetv2-s": "torchvision/efficientnet_v2_s",
    }.items(),
)
def test_every_spelling_of_an_arch_key_is_known(arch_key: str, architecture: str) -> None:
    assert str(sparseml_model(arch_key).architecture) == architecture


@pytest.mark.parametrize(
    ("arch_key", "size"),
    [("resnet50", 224), ("efficientnet-b4", 380), ("efficientnetv2-s", 384)]
    + [(f"efficientnet_v2_{letter}", 480) for letter in "ml"],
)
def test_pictures_have_the_size_that_sparseml_registers(arch_key: str, size: int) -> None:
    assert sparseml_model(arch_key).size == size


@pytest.mark.parametrize("arch_key", SPARSEML_NAMES)
def test_names_that_are_none_of_sparseml_s_stay(arch_key: str) -> None:
    assert sparseml_model(arch_key).renamed(["some.weight"]) == {"some.weight": "some.weight"}


@pytest.fixture(scope="module")
def resnet() -> Weights:
    return as_sparseml("resnet18")


def write_pth(path: Path, content: Mapping[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(content), path)
    return path


def pth_of(weights: Weights, **more: Any) -> dict[str, Any]:
    return {
        "state_dict": weights,
        "arch_key": "resnet18",
        "epoch": 9,
        "recipe": "modifiers: []",
        "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]},
        **more,
    }


def test_a_pth_of_sparseml_s_is_read_by_its_arch_key(tmp_path: Path, resnet: Weights) -> None:
    path = write_pth(tmp_path / "model.pth", pth_of(resnet))
    checked = check_image_model(path, trusted=False)
    assert checked.format == "sparseml-pth"
    assert checked.architecture == "torchvision/resnet18"
    assert checked.sparsity < 1e-3
    net = build_classifier(path, ["cat", "dog"], seed=0)
    assert torch.equal(net.get_parameter("conv1.weight"), resnet["input.conv.weight"])
    assert net.get_parameter("fc.weight").shape == (2, 512)


def test_zeros_of_a_pth_are_counted_without_its_head(tmp_path: Path, resnet: Weights) -> None:
    pruned = {
        name: torch.zeros_like(tensor) if tensor.dim() == 4 or ".fc." in name else tensor
        for name, tensor in resnet.items()
    }
    folder = write_pth(tmp_path / "training" / "model.pth", pth_of(pruned)).parent
    assert check_image_model(folder, trusted=False).sparsity == 1.0


def test_wrappers_of_many_gpus_leave_no_trace(tmp_path: Path, resnet: Weights) -> None:
    wrapped = {f"module.{name}": tensor for name, tensor in resnet.items()}
    model = read_image_model(write_pth(tmp_path / "m.pth", pth_of(wrapped)), trusted=False)
    assert "layer1.0.conv1.weight" in model.weights


def in_quantization(weights: Weights) -> Weights:
    """Returns weights as SparseML names them while it quantizes: norms lie in convolutions."""
    saved: Weights = {}
    for name, tensor in weights.items():
        module, _, kind = name.rpartition(".")
        within = re.sub(r"\bbn(\d*)$", r"conv\1.module.bn", module)
        within = within if within != module else f"{module}.module"
        saved[f"{within}.{kind}"] = tensor
        saved[f"{within}.weight_fake_quant.scale"] = torch.ones(1)
        saved[f"{module}.quant.activation_post_process.min_val"] = torch.tensor(float("inf"))
    return saved


def test_a_pth_from_the_middle_of_quantization_aware_training_is_read(
    tmp_path: Path, resnet: Weights
) -> None:
    path = write_pth(tmp_path / "model.pth", pth_of(in_quantization(resnet)))
    plain = write_pth(tmp_path / "plain.pth", pth_of(resnet))
    found, expected = (read_image_model(each, trusted=False).weights for each in (path, plain))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    check_image_model(path, trusted=False)


class Evil:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return (print, ("executed",))


def _unknown_key(weights: Weights) -> dict[str, Any]:
    return pth_of(weights, arch_key="darknet53")


def _foreign(weights: Weights) -> dict[str, Any]:
    return pth_of({**weights, "sections.9.9.conv9.weight": torch.zeros(2, 2)})


def _incomplete(weights: Weights) -> dict[str, Any]:
    return pth_of({name: t for name, t in weights.items() if name != "input.conv.weight"})


def _of_another(weights: Weights) -> dict[str, Any]:
    return pth_of(weights, arch_key="mobilenet")


def _quantized(weights: Weights) -> dict[str, Any]:
    return pth_of({**weights, "input.conv.zero_point": torch.zeros(1)})


def _misshapen(weights: Weights) -> dict[str, Any]:
    return pth_of({**weights, "input.conv.weight": torch.zeros(64, 1, 7, 7)})


def _infinite(weights: Weights) -> dict[str, Any]:
    broken = weights["input.conv.weight"].clone()
    broken[0] = float("nan")
    return pth_of({**weights, "input.conv.weight": broken})


def _nameless(weights: Weights) -> dict[str, Any]:
    return {name: content for name, content in pth_of(weights).items() if name != "arch_key"}


def _executing(weights: Weights) -> dict[str, Any]:
    return pth_of(weights, extra=Evil())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            _unknown_key,
            r"model\.pth: arch_key 'darknet53': unknown architecture; expected resnet18",
        ),
        (_foreign, r"1 are foreign to it, such as layer10\.9\.conv9\.weight; correct the arch"),
        (_incomplete, r"1 weights are missing, such as conv1\.weight"),
        (_of_another, r"not the weights of timm/mobilenetv1_100: .* missing.* foreign to it"),
        (_quantized, r"saved after quantization had begun: give the checkpoint from before"),
        (_misshapen, r"conv1\.weight: has shape \[64, 1, 7, 7\]; torchvision/resnet18 describes"),
        (_infinite, r"conv1\.weight: 147 of 9408 values are NaN or infinite"),
        (_nameless, r"nothing says which architecture .* expected arch_key in the file"),
        (_executing, r"a pickle that asks for __builtin__.print.* nothing was executed"),
    ],
)
def test_a_pth_that_cannot_be_used_is_refused(
    content: Callable[[Weights], dict[str, Any]],
    message: str,
    tmp_path: Path,
    resnet: Weights,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if content is _executing:
        path = tmp_path / "model.pth"
        path.write_bytes(pickle.dumps({"arch_key": "resnet18", "state_dict": Evil()}, protocol=2))
        message = r"a pickle that asks for [\w.]*print.* nothing was executed"
    else:
        path = write_pth(tmp_path / "model.pth", content(resnet))
    with pytest.raises(InputError, match=message):
        check_image_model(path, trusted=False)
    assert "executed" not in capsys.readouterr().out


def test_a_head_of_another_size_is_replaced(tmp_path: Path, resnet: Weights) -> None:
    larger = {**resnet, "classifier.fc.weight": torch.zeros(1000, 512)}
    larger["classifier.fc.bias"] = torch.zeros(1000)
    path = write_pth(tmp_path / "model.pth", pth_of(larger))
    check_image_model(path, trusted=False)
    first, second = (build_classifier(path, ["cat", "dog"], seed=seed) for seed in (0, 0))
    assert torch.equal(first.get_parameter("fc.weight"), second.get_parameter("fc.weight"))
    assert first.get_parameter("fc.weight").abs().sum() > 0


@pytest.mark.parametrize(
    ("without", "message"),
    [
        ((), r"names 2 classes in label_names, but classifier\.weight has shape \[4, 256\] \(exp"),
        (("classifier.weight",), r"2 classes .* but classifier\.weight is missing \(expected \[2"),
    ],
)
def test_a_head_that_is_not_for_the_classes_it_names_is_refused(
    without: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    weights = architecture_named(TINY).build(4).state_dict()
    kept = {name: tensor for name, tensor in weights.items() if name not in without}
    config = {"architecture": "test_efficientnet", "label_names": ["cat", "dog"]}
    folder = named(tmp_path, config, kept)
    with pytest.raises(InputError, match=message):
        check_image_model(folder, trusted=False)


def named(folder: Path, config: Mapping[str, Any], weights: Weights | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    if weights is None:
        weights = architecture_named(TINY).build(4).state_dict()
    save_file(weights, folder / "model.safetensors")
    return folder


def test_a_folder_of_timm_s_hub_is_read(tmp_path: Path) -> None:
    folder = named(tmp_path, {"architecture": "test_efficientnet", "num_classes": 4})
    checked = check_image_model(folder, trusted=False)
    assert (checked.architecture, checked.format) == (TINY, "huggingface-safetensors")


def test_a_folder_names_an_architecture_of_torchvision(tmp_path: Path) -> None:
    weights = Architecture("torchvision", "squeezenet1_1").build(4).state_dict()
    config = {"architecture": "squeezenet1_1", "library": "torchvision"}
    folder = named(tmp_path, config, weights)
    assert check_image_model(folder, trusted=False).architecture == "torchvision/squeezenet1_1"
    net = build_classifier(folder, ["a", "b"], seed=1)
    assert net.head_modules == ("classifier.1",)


def test_what_is_saved_reads_back_with_its_head(tmp_path: Path) -> None:
    source = named(tmp_path / "source", {"architecture": "test_efficientnet"})
    net = build_classifier(source, ["cat", "dog"], seed=3)
    save_classifier(net, tmp_path / "saved")
    again = build_classifier(tmp_path / "saved", ["cat", "dog"], seed=4)
    for name, value in net.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    other = build_classifier(tmp_path / "saved", ["dog", "cat"], seed=4)
    assert not torch.equal(
        net.get_parameter("classifier.weight"), other.get_parameter("classifier.weight")
    )


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"architecture": "resnet5O"}, r"config\.json: 'resnet5O': unknown architecture.*resnet50"),
        ({"architectures": ["ViTModel"]}, r"names a model of transformers \(ViTModel\)"),
        ({}, r"nothing says which architecture"),
        (
            {"architecture": "test_efficientnet", "model_args": {"colour": 1}},
            r"cannot be built with {'colour': 1}",
        ),
        (
            {"architecture": "test_efficientnet", "model_args": {"checkpoint_path": "/x.pth"}},
            r"config.json: .*checkpoint_path leads to other files than its own",
        ),
        (
            {"architecture": "test_efficientnet", "model_args": [1]},
            "model_args: expected an object",
        ),
        ({"architecture": "test_resnet"}, r"not the weights of timm/test_resnet"),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused(
    config: Mapping[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        check_image_model(named(tmp_path, config), trusted=False)


def resolved(folder: Path) -> ResolvedModel:
    """Returns what an experiment on pictures starts from that names a folder."""
    return resolve_model(
        folder.as_uri(),
        family="image",
        band=band_of(0.5),
        use_case="cv-classification",
        catalog=Catalog(models=()),
    )


@pytest.mark.parametrize(
    ("files", "advice"),
    [
        (["model.onnx", "deployment/model.onnx"], "fetch the model with them, or give the PTH"),
        (["model.onnx", "training.tar.gz"], r"unpack training\.tar\.gz in it"),
        (["recipe.md", "training/recipe.md"], "fetch the model with them"),
    ],
)
def test_a_sparsezoo_folder_without_training_files_says_so(
    files: list[str], advice: str, tmp_path: Path
) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = resolved(tmp_path)
    with pytest.raises(InputError, match=rf"training files .*training/model\.pth.*{advice}"):
        check_image_model(found.folder, trusted=False)


def zoo_folder(folder: Path, training: Mapping[str, Mapping[str, Any]]) -> Path:
    """Writes a folder as the SparseZoo lays it out."""
    for name, content in training.items():
        write_pth(folder / "training" / name, content)
    (folder / "deployment").mkdir()
    (folder / "model.onnx").touch()
    return folder


def test_a_sparsezoo_folder_is_trained_from_the_checkpoint_in_it(
    tmp_path: Path, resnet: Weights
) -> None:
    final = {name: torch.zeros_like(tensor) for name, tensor in resnet.items()}
    files = {"model.pth": pth_of(in_quantization(final)), "model.ckpt.pth": pth_of(resnet)}
    folder = zoo_folder(tmp_path / "zoo", files)
    found = resolved(folder)
    training = (f"{folder.as_uri()}/training", folder / "training")
    assert (found.uri, found.folder) == fetched_model(folder.as_uri()) == training
    assert check_image_model(found.folder, trusted=False).sparsity < 1e-3
    (folder / "training" / "model.ckpt.pth").unlink()
    assert check_image_model(found.folder, trusted=False).sparsity == 1.0


@pytest.mark.parametrize("stem", ["model.safetensors", "pytorch_model.bin"])
def test_a_classifier_in_shards_is_read(stem: str, tmp_path: Path) -> None:
    folder = named(tmp_path, {"architecture": "test_efficientnet"})
    whole = read_image_model(folder, trusted=False).weights
    (folder / "model.safetensors").unlink()
    shards = {f"{number}-{stem}": dict(list(whole.items())[number::2]) for number in (0, 1)}
    for file, weights in shards.items():
        write = save_file if stem.endswith("safetensors") else torch.save
        write(weights, folder / file)
    weight_map = {name: file for file, weights in shards.items() for name in weights}
    (folder / f"{stem}.index.json").write_text(json.dumps({"weight_map": weight_map}))
    found = read_image_model(folder, trusted=False)
    assert found.form == f"huggingface-{'pytorch' if 'bin' in stem else 'safetensors'}"
    assert found.weights.keys() == whole.keys()
    assert all(torch.equal(found.weights[name], whole[name]) for name in whole)


def test_two_files_that_could_be_the_weights_are_ambiguous(tmp_path: Path) -> None:
    for name in ("a.pth", "b.pth"):
        write_pth(tmp_path / name, {"x": torch.zeros(1)})
    with pytest.raises(InputError, match=r"2 files could be the weights \(a\.pth, b\.pth\)"):
        check_image_model(tmp_path, trusted=False)


def test_statistics_of_batch_norms_move_fast_enough(tmp_path: Path) -> None:
    net = build_classifier(named(tmp_path, {"architecture": "test_efficientnet"}), ["a", "b"], 0)
    momenta = {m.momentum for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)}
    assert min(momenta) >= 0.1


def test_convolutions_that_compute_their_weights_are_refused() -> None:
    with pytest.raises(InputError, match=r"StdConv2d\).*zeros do not last.*such as resnet50"):
        architecture_named("timm/resnetv2_50x1_bit").skeleton()
