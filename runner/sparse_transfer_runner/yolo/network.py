"""A detector in PyTorch: Ultralytics' network behind the names that every model here has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.detection.detections import INPUT
from sparse_transfer_runner.sparsity.prunable import prunable_weights

from .architecture import SEGMENT, head_place, name_of, task_of
from .files import PREFIX, YoloModel, read_yolo, save_yolo
from .library import require_ultralytics

_CLASS_BRANCH = "cv3."
_PROBE = 64
"""Side of the picture on which memory is estimated; YOLO's strides divide it."""


@dataclass
class Detected:
    """What a detector puts out: ``[batch, places, 4 + classes]``, boxes in pixels, scores 0..1.

    Of a segmenter it is flat; see there.
    """

    logits: Tensor


class Detector(nn.Module):
    """A network that says for every place of its grids which box is there, and of which class.

    Args:
        network: Ultralytics' ``DetectionModel``.
        labels: Names of its classes.
    """

    def __init__(self, network: Any, labels: Sequence[str]) -> None:
        super().__init__()
        self.network = network
        self.labels = tuple(labels)
        place = head_place(network.yaml)
        self.head_modules = (f"network.model.{place}",)

    def forward(self, **inputs: Tensor) -> Detected:
        """Returns decoded boxes and scores for pictures, float32 ``[batch, 3, side, side]``."""
        decoded = self.network(inputs[INPUT])
        places = decoded[0] if isinstance(decoded, tuple) else decoded
        return Detected(places.transpose(1, 2))

    def answers(self, pictures: Tensor) -> dict[str, Tensor]:
        """Returns what its head says of every place before it is decoded, in evaluation mode."""
        found: dict[str, Tensor] = self.network(pictures)[1]
        return found

    def forget_grid(self) -> None:
        """Has the head lay out its grid anew: one from inference mode cannot be trained through."""
        self.network.model[-1].shape = None


class Segmenter(Detector):
    """A detector that says of each box too which pixels in it are the object's.

    Its output is flat, since both its parts have shapes of their own: the places ``[places, 4 +
    classes + prototypes]``, row by row, whose last columns are coefficients, then the prototypes
    ``[prototypes, side, side]`` that a mask is the weighted sum of. ``detection.masks`` takes it
    apart.
    """

    def forward(self, **inputs: Tensor) -> Detected:
        """Returns decoded places and prototypes of pictures, ``[batch, values]``."""
        places, prototypes = self.network(inputs[INPUT])[0]
        parts = (places.transpose(1, 2).flatten(1), prototypes.flatten(1))
        return Detected(torch.cat(parts, dim=1))


def build_network(
    architecture: Mapping[str, Any], *, head: str | None = None, classes: int | None = None
) -> Any:
    """Builds Ultralytics' network with weights of chance.

    Args:
        architecture: Checked.
        head: The class that its head must have; None leaves it open.
        classes: Of the head; None for the description's.

    Raises:
        InputError: Its head is for another task, or layers do not fit each other.
    """
    require_ultralytics()
    from ultralytics.nn.tasks import DetectionModel, SegmentationModel

    told = task_of(architecture)
    if head is not None and told != head:
        wanted = "cv-segmentation" if told == SEGMENT else "cv-detection"
        raise InputError(
            f"{name_of(architecture)}: its head is {told}, but this use case needs {head}; give "
            f"another model, or choose {wanted}"
        )
    kind = SegmentationModel if told == SEGMENT else DetectionModel
    try:
        network = kind(
            {**architecture, "head": [list(row) for row in architecture["head"]]},
            ch=3,
            nc=classes,
            verbose=False,
        )
    except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise InputError(
            f"{name_of(architecture)}: its description builds no network ({reason}); fetch the "
            "model again"
        ) from error
    # Ultralytics keeps what it was given among the description.
    network.yaml = {**architecture, "nc": network.yaml["nc"]}
    return network


def build_detector(folder: Path, labels: Sequence[str], seed: int, *, head: str) -> Detector:
    """Returns the files' model in fp32 with a head for the classes.

    The files' head is kept where it is for these classes; else its class branch is new, drawn from
    ``seed`` alone, and its boxes' branch is kept where the shapes allow. Where the files are of a
    detector and ``head`` is a segmenter's, what draws masks is new as well.

    Args:
        folder: The model's folder, or its file.
        labels: In the order of the outputs.
        seed: Of a new head.
        head: ``Detect`` or ``Segment``.

    Raises:
        InputError: The files are not whole.
    """
    # Whether the origin is trusted was decided when the files were checked.
    model = read_yolo(folder, trusted=True, head=head)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_network(model.architecture, head=head, classes=len(labels))
    network.load_state_dict(_fitting(model, network, labels), strict=False)
    for name, parameter in network.named_parameters():
        # Fixed weights, by which a distribution over distances becomes a distance.
        if ".dfl." in name:
            parameter.requires_grad_(False)
    return detector_of(network, labels).eval()


def detector_of(network: Any, labels: Sequence[str]) -> Detector:
    """Returns a network behind the names that every model here has.

    Args:
        network: Ultralytics'.
        labels: Names of its classes.
    """
    kind = Segmenter if task_of(network.yaml) == SEGMENT else Detector
    return kind(network, labels)


def save_detector(detector: Detector, folder: Path) -> None:
    """Writes weights and description, so that ``build_detector`` reads them back."""
    save_yolo(folder, detector.network.yaml, detector.state_dict(), list(detector.labels))


def prunable_names(network: Any) -> list[str]:
    """Returns the names of a network's prunable weights, as its files have them."""
    names = prunable_weights(Detector(network, ()))
    return [name.removeprefix(PREFIX) for name in names]


def activation_bytes(model: YoloModel, side: int, rows: int) -> int:
    """Returns the memory of what a training step in fp32 keeps for its backward pass, in bytes."""
    network = build_network(model.architecture).eval()
    sizes: list[int] = []

    def note(_: nn.Module, __: object, output: Any) -> None:
        sizes.append(output.numel() if isinstance(output, Tensor) else 0)

    for module in network.modules():
        if not any(True for _ in module.children()):
            module.register_forward_hook(note)
    with torch.inference_mode():
        network(torch.zeros(1, 3, _PROBE, _PROBE))
    return int(4 * rows * sum(sizes) * (side / _PROBE) ** 2)


def largest_stride(model: YoloModel) -> int:
    """Returns what the sides of a model's pictures must be multiples of, in pixels."""
    return int(build_network(model.architecture).stride.max())


def mask_grid(model: YoloModel, side: int) -> tuple[int, int]:
    """Returns the number of a segmenter's prototypes, and their side in cells.

    Args:
        model: Its head is ``Segment``.
        side: Of the pictures, in pixels.
    """
    network = build_network(model.architecture, head=SEGMENT)
    # The prototypes are drawn from the finest of the head's inputs, twice as fine.
    return int(network.model[-1].nm), 2 * side // int(network.stride.min())


def _fitting(model: YoloModel, network: Any, labels: Sequence[str]) -> dict[str, Tensor]:
    keeps = model.labels == tuple(labels)
    expected = network.state_dict()
    branch = f"{model.head}{_CLASS_BRANCH}"
    return {
        name: value
        for name, value in model.weights.items()
        if name in expected
        and expected[name].shape == value.shape
        and (keeps or not name.startswith(branch))
    }
