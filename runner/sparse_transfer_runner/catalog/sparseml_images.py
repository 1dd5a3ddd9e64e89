"""What SparseML calls its image classifiers and their parameters, in the libraries' own words.

The architectures are timm's and torchvision's; ``docs/catalogue.md`` has the table. A checkpoint
(PTH) of SparseML says by ``arch_key`` which one it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from sparse_transfer_api.errors import InputError

from .image_architectures import TIMM, TORCHVISION, Architecture

Rename = Callable[[str, Collection[str]], str]
"""A parameter's name and all names of the checkpoint -> the name in the library."""

_FUSED = re.compile(r"\bconv(\d*)\.bn\.")


@dataclass(frozen=True)
class SparseMLModel:
    """An architecture of SparseML's.

    Args:
        architecture: The same in timm or torchvision.
        rename: Turns its parameter names into the library's.
        size: Of its pictures, in pixels.
    """

    architecture: Architecture
    rename: Rename
    size: int = 224

    def renamed(self, names: Collection[str]) -> dict[str, str]:
        """Returns the library's name for each of the checkpoint's.

        Quantization-aware training moves a norm into its convolution: ``conv1.bn`` is ``bn1``.
        """
        plain = {name: _FUSED.sub(r"bn\1.", name) for name in names}
        return {name: self.rename(unfused, plain.values()) for name, unfused in plain.items()}


def sparseml_model(arch_key: str) -> SparseMLModel:
    """Returns what an ``arch_key`` stands for.

    Raises:
        InputError: It is none that is known here.
    """
    key = arch_key.lower().replace("-", "_")
    for pattern, model in _MODELS.items():
        found = re.fullmatch(pattern, key)
        if found:
            return model(found)
    raise InputError(
        f"arch_key {arch_key!r}: unknown architecture; expected resnet18 to resnet152, resnext50, "
        "resnext101, mobilenet, mobilenet_v2, vgg11 to vgg19 (also bn), efficientnet_b0 to b7 or "
        "efficientnet_v2_s, m or l; convert others to safetensors beside a config.json that names "
        "an architecture of timm or torchvision"
    )


def _split(name: str) -> tuple[int, int, str] | None:
    """Returns section, block and the rest of a name such as ``sections.0.1.conv1.weight``."""
    found = re.match(r"sections\.(\d+)\.(\d+)\.(.+)", name)
    return (int(found[1]), int(found[2]), found[3]) if found else None


def _replaced(name: str, beginnings: Mapping[str, str]) -> str:
    for old, new in beginnings.items():
        if name.startswith(f"{old}."):
            return new + name[len(old) :]
    return name


def _resnet(name: str, _: Collection[str]) -> str:
    place = _split(name)
    if place is None:
        return _replaced(name, {"input.conv": "conv1", "input.bn": "bn1", "classifier.fc": "fc"})
    section, block, rest = place
    rest = _replaced(rest, {"identity.conv": "downsample.0", "identity.bn": "downsample.1"})
    return f"layer{section + 1}.{block}.{rest}"


def _mobilenet(name: str, _: Collection[str]) -> str:
    place = _split(name)
    if place is None:
        return _replaced(
            name,
            {
                "input.conv": "conv_stem",
                "input.bn": "bn1",
                "classifier.fc.1": "classifier",
                "classifier.fc": "classifier",
            },
        )
    section, block, rest = place
    rest = _replaced(
        rest,
        {
            "depth.conv": "conv_dw",
            "depth.bn": "bn1",
            "point.conv": "conv_pw",
            "point.bn": "bn2",
        },
    )
    return f"blocks.{section}.{block}.{rest}"


def _blocks(names: Collection[str]) -> list[tuple[int, int]]:
    """Returns section and block of every block, in order."""
    return sorted({place[:2] for place in map(_split, names) if place})


def _mobilenet_v2(name: str, names: Collection[str]) -> str:
    places = _blocks(names)
    place = _split(name)
    if place is None:
        last = len(places) + 1
        return _replaced(
            name,
            {
                "feat_extraction.conv": f"features.{last}.0",
                "feat_extraction.bn": f"features.{last}.1",
                "classifier.fc": "classifier.1",
            },
        )
    section, block, rest = place
    number = places.index((section, block)) + 1
    if number == 1:
        # The first block's expansion is the stem.
        rest = _replaced(
            rest,
            {
                "spatial.conv": "conv.0.0",
                "spatial.bn": "conv.0.1",
                "compress.conv": "conv.1",
                "compress.bn": "conv.2",
            },
        )
        stem = _replaced(rest, {"expand.conv": "features.0.0", "expand.bn": "features.0.1"})
        return stem if stem != rest else f"features.1.{rest}"
    rest = _replaced(
        rest,
        {
            "expand.conv": "conv.0.0",
            "expand.bn": "conv.0.1",
            "spatial.conv": "conv.1.0",
            "spatial.bn": "conv.1.1",
            "compress.conv": "conv.2",
            "compress.bn": "conv.3",
        },
    )
    return f"features.{number}.{rest}"


def _efficientnet(name: str, names: Collection[str]) -> str:
    place = _split(name)
    if place is None:
        last = max((section for section, _ in _blocks(names)), default=0) + 2
        return _replaced(
            name,
            {
                "input.conv": "features.0.0",
                "input.bn": "features.0.1",
                "classifier.conv": f"features.{last}.0",
                "classifier.bn": f"features.{last}.1",
                "classifier.fc": "classifier.1",
            },
        )
    section, block, rest = place
    here = f"sections.{section}.{block}."
    parts = [
        part
        for part in ("expand", "spatial", "se", "project")
        if any(each.startswith(f"{here}{part}.") for each in names)
    ]
    part, _, inner = rest.partition(".")
    if part not in parts:
        return name
    if part == "se":
        inner = _replaced(inner, {"reduce.conv": "fc1", "expand.conv": "fc2"})
    else:
        inner = _replaced(inner, {"conv": "0", "bn": "1"})
    return f"features.{section + 1}.{block}.block.{parts.index(part)}.{inner}"


def _vgg(name: str, names: Collection[str]) -> str:
    place = _split(name)
    if place is None:
        return _replaced(name, {"classifier.mlp": "classifier"})
    section, block, rest = place
    layers = 3 if any(".bn." in each for each in names) else 2
    before = _blocks(names).index((section, block))
    # A block is convolution, batch norm and activation; pooling follows each section.
    first = before * layers + section
    rest = _replaced(rest, {"conv": str(first), "bn": str(first + 1)})
    return f"features.{rest}"


_SIZES = {
    **{"b1": 240, "b2": 260, "b3": 300, "b4": 380, "b5": 456, "b6": 528, "b7": 600},
    **{"v2_s": 384, "v2_m": 480, "v2_l": 480},
}
"""Pixels that SparseML registers these architectures with; 224 else."""

_MODELS: Mapping[str, Callable[[re.Match[str]], SparseMLModel]] = {
    r"resnet(?:v1)?_?(18|34|50|101|152)": lambda found: SparseMLModel(
        Architecture(TORCHVISION, f"resnet{found[1]}"), _resnet
    ),
    r"resnext_?(50|101)": lambda found: SparseMLModel(
        Architecture(TIMM, f"resnext{found[1]}_32x4d"), _resnet
    ),
    r"mobilenet(?:_?v1)?(?:_100|_1\.0)?|han_mobilenet|mobilenet_han": lambda _: SparseMLModel(
        Architecture(TIMM, "mobilenetv1_100", {"act_layer": "relu"}), _mobilenet
    ),
    r"mobilenet_?v2(?:_100|_1\.0)?": lambda _: SparseMLModel(
        Architecture(TORCHVISION, "mobilenet_v2"), _mobilenet_v2
    ),
    r"vgg_?(11|13|16|19)(bn)?": lambda found: SparseMLModel(
        Architecture(TORCHVISION, f"vgg{found[1]}{'_bn' if found[2] else ''}"), _vgg
    ),
    r"efficientnet_?(b[0-7]|v2_[sml])": lambda found: SparseMLModel(
        Architecture(TORCHVISION, f"efficientnet_{found[1]}"),
        _efficientnet,
        _SIZES.get(found[1], 224),
    ),
}
