"""EfficientNet-lite as the package efficientnet-lite-pytorch names it, in timm's words.

Its files hold weights alone, converted from TensorFlow's; timm's ``tf_efficientnet_lite0`` to ``4``
are the same networks.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from sparse_transfer_api.errors import InputError

from .image_architectures import TIMM, Architecture

if TYPE_CHECKING:
    from torch import Tensor

_LITES = tuple(f"tf_efficientnet_lite{number}" for number in range(5))
_OUTER = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
_WITH_EXPANSION = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_WITHOUT = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}


def is_efficientnet_lite(names: Collection[str]) -> bool:
    """Whether a checkpoint has that package's names."""
    return "_conv_stem.weight" in names and "_blocks.0._depthwise_conv.weight" in names


def lite_architecture(weights: Mapping[str, Tensor], place: Path) -> Architecture:
    """Returns which of the five a checkpoint is, by its shapes.

    Raises:
        InputError: None; EfficientNets that are not lite have the same names.
    """
    for name in _LITES:
        architecture = Architecture(TIMM, name)
        expected = architecture.skeleton().state_dict()
        names = lite_names(weights, architecture)
        if all(
            new in expected and (new.startswith("classifier") or expected[new].shape == t.shape)
            for t, new in ((tensor, names[old]) for old, tensor in weights.items())
        ):
            return architecture
    raise InputError(
        f"{place}: has the names of EfficientNet-lite, but the shapes of none of lite0 to lite4; "
        "convert it to safetensors beside a config.json that names an architecture of timm"
    )


def lite_names(names: Collection[str], architecture: Architecture) -> dict[str, str]:
    """Returns timm's name for each of the checkpoint's."""
    blocks = list(
        dict.fromkeys(
            ".".join(name.split(".")[:3])
            for name in architecture.skeleton().state_dict()
            if name.startswith("blocks.")
        )
    )
    return {name: _renamed(name, names, blocks) for name in names}


def _renamed(name: str, names: Collection[str], blocks: list[str]) -> str:
    place = re.match(r"_blocks\.(\d+)\.(\w+)\.(.+)", name)
    if place is None:
        module, _, rest = name.partition(".")
        return f"{_OUTER.get(module, 'classifier' if module == '_fc' else module)}.{rest}"
    number, module, rest = int(place[1]), place[2], place[3]
    if number >= len(blocks):
        return name
    expands = f"_blocks.{number}._expand_conv.weight" in names
    inner = (_WITH_EXPANSION if expands else _WITHOUT).get(module, module)
    return f"{blocks[number]}.{inner}.{rest}"
