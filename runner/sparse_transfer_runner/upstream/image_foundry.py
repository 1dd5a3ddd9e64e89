"""Upstream for image classifiers: small weights go, the others learn the parent's features.

Depthwise convolutions, and the one that reads colours, stay whole: they are few weights, the most
sensitive ones. Zeros come in the course of the steps (Zhu and Gupta, "To prune, or not to prune",
2017), so that the network can follow.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.catalog.foundation import Foundation, Parent
from sparse_transfer_runner.digests import digest_of_tree
from sparse_transfer_runner.progress import Reporter
from sparse_transfer_runner.sparsity.masks import Masks
from sparse_transfer_runner.sparsity.prunable import prunable_weights, sparsity_of
from sparse_transfer_runner.sparsity.solve import magnitude_mask

from .pictures import PictureMaterial, open_pictures

if TYPE_CHECKING:
    from .foundry import UpstreamOptions

_FEWEST_CHANNELS = 4
_GROWING = 0.6
"""Share of the steps in which zeros are added."""
_EVERY = 10
_LEARNING_RATE = 1e-3
_MAX_GRADIENT_NORM = 1.0


def make_image_foundation(
    options: UpstreamOptions, origin: str, source: Path, reporter: Reporter
) -> tuple[Foundation, nn.Module, Callable[[Any, Path], None]]:
    """Prunes a dense image classifier.

    Args:
        options: What to make; its data is a folder of pictures.
        origin: The parent's address.
        source: Its files.
        reporter: Receives progress.

    Returns:
        The record, the model, and what writes it into a folder.

    Raises:
        InputError: Options, model or pictures cannot be used.
    """
    if options.method != "magnitude":
        raise InputError(
            f"method {options.method!r}: pictures are pruned by magnitude; give --method magnitude"
        )
    started = time.monotonic()
    opened = open_pictures(source, options)
    parent, material = opened.parent, opened.material
    found = sparsity_of(prunable_weights(parent))
    if found >= 0.3:
        raise InputError(f"{source}: already sparse ({found:.1%} zeros); upstream starts dense")
    model = copy.deepcopy(parent)
    share = _share_of_pruned(prunable_weights(model), options.sparsity)
    with reporter.activity("pruning and recovery", 0.9, options.recovery_steps or None):
        masks = _trained(model, parent, material, share, options.recovery_steps, reporter)
    masks.check()
    quality = {
        "hiddenErrorAfterRecovery": _held_out_error(model, parent, material),
        "recoverySteps": float(options.recovery_steps),
        "seconds": round(time.monotonic() - started, 1),
        **material.facts(),
    }
    foundation = Foundation(
        name=options.name or options.output.resolve().name,
        family="image",
        architecture=str(type(model).__name__),
        parent=Parent(uri=origin, digest=digest_of_tree(source)),
        sparsity=sparsity_of(prunable_weights(model)),
        pattern=options.pattern,
        method=options.method,
        prunable=list(masks.weights),
        licence=options.licence,
        quality=quality,
    )
    return foundation, model, opened.save


def _share_of_pruned(weights: Mapping[str, nn.Parameter], sparsity: float) -> float:
    """Returns the share of zeros in the pruned layers that makes this one of all prunable ones."""
    total = sum(weight.numel() for weight in weights.values())
    pruned = sum(weight.numel() for weight in weights.values() if _is_pruned(weight))
    share = sparsity * total / max(pruned, 1)
    if share > 0.99:
        raise InputError(
            f"sparsity {sparsity}: {pruned / total:.0%} of this model's weights can be pruned; "
            "choose a lower one"
        )
    return share


def _is_pruned(weight: Tensor) -> bool:
    return weight.dim() == 2 or weight.shape[1] >= _FEWEST_CHANNELS


def _trained(
    model: nn.Module,
    parent: nn.Module,
    material: PictureMaterial,
    share: float,
    steps: int,
    reporter: Reporter,
) -> Masks:
    """Prunes and trains in place; batch norms learn the statistics of the sparse features."""
    weights = prunable_weights(model)
    parameters = list(model.parameters())
    optimizer = AdamW(parameters, lr=_LEARNING_RATE, weight_decay=0.0, fused=True)
    masks = _pruned(weights, share if steps == 0 else 0.0)
    growing = max(1, round(_GROWING * steps))
    model.train()
    for step in range(steps):
        if step <= growing and (step % _EVERY == 0 or step == growing):
            masks = _pruned(weights, share * (1 - (1 - step / growing) ** 3))
        for group in optimizer.param_groups:
            group["lr"] = _LEARNING_RATE * (steps - step) / steps
        loss = material.error(model, parent, material.step(step))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, _MAX_GRADIENT_NORM)
        optimizer.step()
        masks.apply()
        reporter.step(step + 1)
    model.eval()
    return masks


@torch.no_grad()
def _pruned(weights: Mapping[str, nn.Parameter], share: float) -> Masks:
    """Sets the smallest weights of each layer to zero, and returns the mask of all zeros."""
    for weight in weights.values():
        if _is_pruned(weight):
            weight.mul_(magnitude_mask(weight.detach(), share))
    return Masks.take(weights)


def _held_out_error(model: nn.Module, parent: nn.Module, material: PictureMaterial) -> float:
    with torch.no_grad():
        errors = [float(material.error(model, parent, batch)) for batch in material.held_out()]
    return round(sum(errors) / len(errors), 4)
