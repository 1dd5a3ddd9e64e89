"""An image classifier with a head for the user's classes: built from files, saved, sized."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.catalog.image_architectures import (
    draw_head,
    is_in,
    prepare_for_training,
)
from sparse_transfer_runner.catalog.image_models import (
    CONFIG,
    ImageModel,
    read_image_model,
    require_fitting,
)
from sparse_transfer_runner.disk import write_atomically
from sparse_transfer_runner.pictures.preprocessing import INPUT

if TYPE_CHECKING:
    from torch import nn


def build_classifier(
    folder: Path, labels: Sequence[str], seed: int, *, keep_head: bool = False
) -> nn.Module:
    """Returns the files' model in fp32 with a head for the classes.

    The files' head is kept where it is for these classes; else the head is new, drawn from ``seed``
    alone.

    Args:
        folder: The model's folder, or its file.
        labels: In the order of the outputs.
        seed: Of a new head.
        keep_head: Keep the head whatever its classes are called.

    Raises:
        InputError: Weights are missing, foreign, or of another shape.
    """
    import torch

    # Whether the origin is trusted was decided when the files were checked.
    model = read_image_model(folder, trusted=True)
    heads = model.architecture.heads()
    with torch.random.fork_rng(devices=[]):
        net = model.architecture.build(len(labels))
    require_fitting(model, {name: value.shape for name, value in net.state_dict().items()})
    keeps = keep_head or model.labels == tuple(labels)
    wanted = {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in model.weights.items()
        if keeps or not is_in(name, heads)
    }
    net.load_state_dict(wanted, strict=False)
    if not keeps:
        draw_head(net, heads, seed)
    prepare_for_training(net)
    net.head_modules = heads  # type: ignore[assignment]
    net.config = _config_of(model, labels)  # type: ignore[assignment]
    return net.eval()


def save_classifier(net: Any, folder: Path) -> None:
    """Writes weights and configuration, so that ``build_classifier`` reads them back."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        name: tensor.detach().cpu().contiguous() for name, tensor in net.state_dict().items()
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    write_atomically(folder / CONFIG, f"{json.dumps(net.config, indent=2)}\n".encode())


def has_head(folder: Path, labels: Sequence[str]) -> bool:
    """Whether the files' model already answers with these classes."""
    return read_image_model(folder, trusted=True).labels == tuple(labels)


def require_size(
    model: ImageModel, side: int, place: Path, asked_by: str = "spec.training.imageSize"
) -> None:
    """Makes sure that an architecture can take square pictures of a size.

    Args:
        model: The architecture's.
        side: Of the pictures, in pixels.
        place: For messages.
        asked_by: The setting that says it.

    Raises:
        InputError: It cannot.
    """
    try:
        _forward(model, side, lambda *_: None)
    except (RuntimeError, AssertionError, ValueError, ZeroDivisionError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{asked_by}: {model.architecture} ({place}) cannot take pictures of "
            f"{side} x {side} pixels ({reason}); expected its own size, or one that is nearer to it"
        ) from error


def has_depthwise(net: nn.Module) -> bool:
    """Whether convolutions of a network have a filter of its own for each channel."""
    from torch import nn

    convolutions = (layer for layer in net.modules() if isinstance(layer, nn.Conv2d))
    return any(1 < layer.groups == layer.in_channels for layer in convolutions)


def activation_bytes(model: ImageModel, side: int, rows: int) -> int:
    """Returns the memory of what a training step in fp32 keeps for its backward pass, in bytes.

    That is the output of every layer; nothing is computed to find it.
    """
    sizes: list[int] = []

    def note(_: nn.Module, __: object, output: Any) -> None:
        sizes.append(output.numel() if hasattr(output, "numel") else 0)

    _forward(model, side, note)
    return 4 * rows * sum(sizes)


def _forward(model: ImageModel, side: int, note: Any) -> None:
    import torch

    net = model.architecture.skeleton().eval()
    layers = [module for module in net.modules() if not any(True for _ in module.children())]
    for layer in layers:
        layer.register_forward_hook(note)
    with torch.no_grad():
        net(**{INPUT: torch.empty(1, 3, side, side, device="meta")})


def _config_of(model: ImageModel, labels: Sequence[str]) -> dict[str, Any]:
    return {
        "architecture": model.architecture.name,
        "library": model.architecture.library,
        "model_args": dict(model.architecture.settings),
        "num_classes": len(labels),
        "label_names": list(labels),
    }
