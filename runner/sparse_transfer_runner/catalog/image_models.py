"""Image classifiers as files: what they are, whose names their weights have, and if they are whole.

Understood are, in a folder or as the weights' file alone:

- ``config.json`` with ``architecture`` (as on timm's hub; ``library: torchvision`` for that one's)
  beside one file of weights: ``model.safetensors``, ``pytorch_model.bin``, or any other name;
- SparseML's PTH: a dict with ``state_dict`` and ``arch_key``; also in a SparseZoo folder, and from
  the middle of quantization-aware training;
- EfficientNet-lite as the package ``efficientnet-lite-pytorch`` names its parameters.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparse_transfer_api.errors import InputError, Problem
from sparse_transfer_runner.digests import digest_of_tree

from .checked import CheckedModel, problem_of
from .checkpoint import (
    PICKLE,
    SAFETENSORS,
    find_checkpoint,
    named_weights,
    safetensors_in,
    unpickled,
)
from .efficientnet_lite import is_efficientnet_lite, lite_architecture, lite_names
from .image_architectures import Architecture, architecture_named, is_in
from .sparseml import is_zoo_folder, plain_names, training_advice
from .sparseml_images import sparseml_model

if TYPE_CHECKING:
    from torch import Tensor

CONFIG = "config.json"
SPARSEML = "sparseml-pth"
PREFERRED = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "model.ckpt.pth",
    "model.pth",
    "model.pt",
)
"""As transformers looks for them; of the SparseZoo's two, SparseML transfers from the first."""
_INDEX = ".index.json"
_SUFFIXES = (".safetensors", ".bin", ".pth", ".pt", ".tar")
_MAX_PROBLEMS = 20
_COUNTER = "num_batches_tracked"
_EXTRA_HEADS = ("aux1.", "aux2.", "AuxLogits.")
"""Outputs that only the training of GoogLeNet and Inception has a use for."""
_QUANTIZED = (".module.weight", "activation_post_process", "weight_fake_quant", ".zero_point")


@dataclass(frozen=True)
class ImageModel:
    """A model's files, read.

    Args:
        architecture: What they are weights of.
        weights: By the parameter names of the architecture's library.
        form: Such as ``sparseml-pth``.
        labels: What the head answers with, in order; None where nothing says it.
        config: ``config.json``, where there is one.
        size: Of pictures in pixels, where the format states one.
        place: For messages.
    """

    architecture: Architecture
    weights: Mapping[str, Tensor] = field(repr=False)
    form: str
    labels: tuple[str, ...] | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    size: int | None = None
    place: str = ""


def read_image_model(path: Path, *, trusted: bool) -> ImageModel:
    """Reads the files of an image classifier; executes nothing that they hold.

    Args:
        path: A folder, or the weights' file alone.
        trusted: ``spec.model.trust`` is Pickle.

    Raises:
        InputError: Something is missing, damaged, ambiguous, of an unknown architecture, or would
            execute code.
    """
    config = _config_in(path)
    file, content = _content(path, trusted)
    form = SAFETENSORS if ".safetensors" in file.suffixes else PICKLE
    if isinstance(content, dict) and "state_dict" in content:
        weights = _without_prefix(named_weights(file, content["state_dict"]))
        if isinstance(content.get("arch_key"), str):
            return _sparseml(path, file, weights, content["arch_key"])
    else:
        weights = _without_prefix(named_weights(file, content))
    if config:
        return _configured(path, config, weights, form)
    if is_efficientnet_lite(weights):
        architecture = lite_architecture(weights, file)
        names = lite_names(weights, architecture)
        renamed = {names[name]: tensor for name, tensor in weights.items()}
        return ImageModel(architecture, renamed, "efficientnet-lite-pytorch", place=str(path))
    raise InputError(
        f"{file}: nothing says which architecture these weights belong to; expected arch_key in "
        'the file (as SparseML saves it), or a config.json beside it such as {"architecture": '
        '"resnet50", "library": "torchvision"}'
    )


def check_image_model(path: Path, *, trusted: bool) -> CheckedModel:
    """Checks that files hold a whole, healthy image classifier, and measures its sparsity.

    A head for other classes is no mistake: it is replaced.

    Args:
        path: A folder, or the weights' file alone; only read.
        trusted: ``spec.model.trust`` is Pickle.

    Raises:
        InputError: Something is missing, damaged, not finite, foreign, or would execute code.
    """
    from sparse_transfer_runner.sparsity.prunable import prunable_weights, zeros_in

    model = read_image_model(path, trusted=trusted)
    skeleton = model.architecture.skeleton()
    prunable = [name for name in prunable_weights(skeleton) if name in model.weights]
    require_fitting(model, {name: value.shape for name, value in skeleton.state_dict().items()})
    if not prunable:
        raise InputError(f"{path}: {model.architecture} has no layers that could be pruned")
    total = sum(model.weights[name].numel() for name in prunable)
    return CheckedModel(
        digest=digest_of_tree(path),
        format=model.form,
        architecture=str(model.architecture),
        sparsity=zeros_in(model.weights[name] for name in prunable) / total,
        parameters=sum(parameter.numel() for parameter in skeleton.parameters()),
    )


def require_fitting(model: ImageModel, expected: Mapping[str, Any]) -> None:
    """Checks a model's weights against its architecture's; a nameless head may be of any size.

    Raises:
        InputError: Weights are missing, foreign, of another shape, or not finite; or the head is
            not for the classes that the files name.
    """
    heads = model.architecture.heads()
    told_by = str(model.architecture)
    missing = [
        name
        for name in expected
        if name not in model.weights and not is_in(name, heads) and not name.endswith(_COUNTER)
    ]
    foreign = [
        name for name in model.weights if name not in expected and not name.startswith(_EXTRA_HEADS)
    ]
    if missing or foreign:
        raise InputError(_not_its_weights(model, missing, foreign))
    problems = []
    for name, tensor in model.weights.items():
        shape = None if is_in(name, heads) else expected.get(name)
        problem = problem_of(tensor, shape, told_by)
        if problem:
            problems.append(Problem(name, problem))
    if problems:
        raise InputError(
            f"{model.place}: {len(problems)} weights cannot be used", problems[:_MAX_PROBLEMS]
        )
    if model.labels is not None:
        _require_head(model, model.labels)


def _require_head(model: ImageModel, labels: tuple[str, ...]) -> None:
    for name, value in model.architecture.skeleton(len(labels)).state_dict().items():
        if not is_in(name, model.architecture.heads()):
            continue
        tensor = model.weights.get(name)
        if tensor is None or tensor.shape != value.shape:
            found = "is missing" if tensor is None else f"has shape {list(tensor.shape)}"
            raise InputError(
                f"{model.place}: {CONFIG} names {len(labels)} classes in label_names, but {name} "
                f"{found} (expected {list(value.shape)}); correct label_names, or leave it out to "
                "have the head replaced"
            )


def _not_its_weights(model: ImageModel, missing: list[str], foreign: list[str]) -> str:
    parts = []
    if missing:
        parts.append(f"{len(missing)} weights are missing, such as {missing[0]}")
    if foreign:
        parts.append(f"{len(foreign)} are foreign to it, such as {foreign[0]}")
    if any(mark in name for name in foreign for mark in _QUANTIZED):
        advice = "it was saved after quantization had begun: give the checkpoint from before"
    else:
        advice = "correct the architecture, or fetch the model again"
    return (
        f"{model.place}: not the weights of {model.architecture}: {', and '.join(parts)}; {advice}"
    )


def _sparseml(path: Path, file: Path, weights: Mapping[str, Tensor], arch_key: str) -> ImageModel:
    try:
        known = sparseml_model(arch_key)
    except InputError as error:
        raise InputError(f"{file}: {error}") from error
    plain = dict(plain_names(iter(weights.items())))
    names = known.renamed(list(plain))
    renamed = {names[name]: tensor for name, tensor in plain.items()}
    return ImageModel(known.architecture, renamed, SPARSEML, size=known.size, place=str(path))


def _configured(
    path: Path, config: Mapping[str, Any], weights: Mapping[str, Tensor], form: str
) -> ImageModel:
    place = path / CONFIG
    name = config.get("architecture")
    if not isinstance(name, str):
        kinds = config.get("architectures")
        found = f"a model of transformers ({kinds[0]})" if kinds else "no architecture"
        raise InputError(
            f"{place}: names {found}; expected the key architecture with a name of timm or "
            'torchvision, such as "resnet50"'
        )
    settings = config.get("model_args") or {}
    if not isinstance(settings, dict):
        raise InputError(f"{place}: model_args: expected an object, found {settings!r}")
    library = config.get("library")
    try:
        architecture = architecture_named(f"{library}/{name}" if library else name, settings)
    except InputError as error:
        raise InputError(f"{place}: {error}") from error
    labels = config.get("label_names")
    return ImageModel(
        architecture,
        weights,
        form,
        tuple(map(str, labels)) if isinstance(labels, list) and labels else None,
        config,
        place=str(path),
    )


def _config_in(path: Path) -> dict[str, Any]:
    place = path / CONFIG
    if not place.is_file():
        return {}
    try:
        config = json.loads(place.read_bytes())
    except ValueError as error:
        raise InputError(f"{place}: not JSON ({error}); fetch the model again") from error
    if not isinstance(config, dict):
        raise InputError(f"{place}: expected an object with the key architecture")
    return config


def _content(path: Path, trusted: bool) -> tuple[Path, object]:
    """Returns the file that holds the weights (or the index of several), and its content."""
    file = path if path.is_file() else _weights_file(path)
    if file.name.endswith(_INDEX):
        return file, dict(find_checkpoint(file.parent, trusted=trusted).tensors())
    if file.suffix == ".safetensors":
        return file, dict(safetensors_in(file))
    return file, unpickled(file, trusted=trusted)


def _weights_file(path: Path) -> Path:
    named = [path / name for name in PREFERRED if (path / name).is_file()]
    if named:
        return named[0]
    found = sorted(
        entry for entry in path.iterdir() if entry.is_file() and entry.suffix in _SUFFIXES
    )
    if not found:
        raise InputError(f"{path}: no weights here; {_expected(path)}")
    if len(found) > 1:
        names = ", ".join(entry.name for entry in found[:8])
        raise InputError(
            f"{path}: {len(found)} files could be the weights ({names}); name one of them in "
            "spec.model.uri"
        )
    return found[0]


def _expected(path: Path) -> str:
    names = ", ".join(sorted(entry.name for entry in path.iterdir())[:12]) or "nothing"
    if is_zoo_folder(path):
        return (
            "a SparseZoo folder without training files (expected training/model.pth; found "
            f"{names}); {training_advice(path, 'the PTH that SparseML saved')}"
        )
    return f"expected model.safetensors beside config.json, or SparseML's model.pth; found {names}"


def _without_prefix(weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Takes off what wrappers for many GPUs put before every name."""
    prefix = "module."
    if not all(name.startswith(prefix) for name in weights):
        return weights
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items()}
