"""A shallower dense model: the lowest layers of a text encoder.

The lowest layers carry over to new tasks best (Sajjad et al., 2023, "On the effect of dropping
layers of pre-trained transformer models"). Nothing is trained here: a foundation's recovery and the
baseline do that.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.catalog.hugging_face import load_encoder, read_config
from sparse_transfer_runner.disk import explained


def keep_lowest_layers(source: Path, output: Path, layers: int) -> None:
    """Writes a model with fewer layers, whole or not at all.

    Args:
        source: A Hugging Face folder; only read.
        output: The new model's folder; it must not exist.
        layers: How many to keep, fewer than there are.

    Raises:
        InputError: The folder holds no such model, or one that is not deeper.
    """
    depth = getattr(read_config(source), "num_hidden_layers", 0)
    if not 1 <= layers < depth:
        raise InputError(
            f"{source}: has {depth} layers; fewer, from 1 on, can be kept: not {layers}"
        )
    model, tokenizer = load_encoder(source, num_hidden_layers=layers)
    partial = output.with_name(f".{output.name}.partial")
    with explained(output):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        partial.replace(output)
