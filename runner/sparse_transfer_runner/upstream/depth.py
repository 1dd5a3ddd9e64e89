"""A shallower dense model: the lowest layers of a text encoder.

The lowest layers carry over to new tasks best (Sajjad et al., 2023, "On the effect of dropping
layers of pre-trained transformer models"). Nothing is trained here: a foundation's recovery and the
baseline do that.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.catalog.hugging_face import (
    quiet_transformers,
    read_config,
    require_tokenizer,
)
from sparse_transfer_runner.disk import explained


def keep_lowest_layers(source: Path, output: Path, layers: int) -> None:
    """Writes a model with fewer layers, whole or not at all.

    Args:
        source: A Hugging Face folder with safetensors; only read.
        output: The new model's folder; it must not exist.
        layers: How many to keep, fewer than there are.

    Raises:
        InputError: The folder holds no such model, or one that is not deeper.
    """
    from transformers import AutoModel, AutoTokenizer

    quiet_transformers()
    require_tokenizer(source)
    depth = getattr(read_config(source), "num_hidden_layers", 0)
    if not 1 <= layers < depth:
        raise InputError(
            f"{source}: has {depth} layers; fewer, from 1 on, can be kept: not {layers}"
        )
    config = read_config(source, num_hidden_layers=layers)
    try:
        model = AutoModel.from_pretrained(
            source, config=config, local_files_only=True, use_safetensors=True
        )
        tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=True)
    except (OSError, ValueError) as error:
        raise InputError(f"{source}: cannot be loaded ({str(error).splitlines()[0]})") from error
    partial = output.with_name(f".{output.name}.partial")
    with explained(output):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        partial.replace(output)
