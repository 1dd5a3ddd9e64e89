"""A text encoder that gives every token a tag: built from a folder, saved so that it reads back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.catalog.hugging_face import read_config

from .text_model import assembled, checkpoint_weights, is_head

if TYPE_CHECKING:
    from torch import nn

_ARCHITECTURE = "ForTokenClassification"
"""What the names of transformers' classes of taggers end in."""


def build_tagger(folder: Path, tags: Sequence[str], seed: int) -> nn.Module:
    """Returns the folder's model in fp32, its outputs' ``logits`` being ``[batch, tokens, tags]``.

    The folder's head is kept where its model is a tagger with these tags; else the head is new,
    drawn from ``seed`` alone.

    Args:
        folder: A Hugging Face folder that was checked; also one without any head.
        tags: In the order of the outputs.
        seed: Of new weights.

    Raises:
        InputError: Weights of the encoder are missing or have other shapes.
    """
    old = read_config(folder)
    config = read_config(
        folder,
        num_labels=len(tags),
        id2label=dict(enumerate(tags)),
        label2id={tag: index for index, tag in enumerate(tags)},
        # What sequence classifiers call their problems; a tagger has no name for its own.
        problem_type=None,
    )
    kind = _tagger_class(config, folder)
    weights = checkpoint_weights(folder)
    if not _has_tags(old, tags):
        weights = {name: tensor for name, tensor in weights.items() if not is_head(name)}
    return assembled(kind, config, weights, is_head, seed, folder)


def has_head(folder: Path, tags: Sequence[str]) -> bool:
    """Whether a folder's model already gives these tags."""
    return _has_tags(read_config(folder), tags) and any(map(is_head, checkpoint_weights(folder)))


def _has_tags(config: Any, tags: Sequence[str]) -> bool:
    if not any(name.endswith(_ARCHITECTURE) for name in config.architectures or ()):
        return False
    names = [config.id2label.get(index) for index in range(len(config.id2label))]
    # What transformers calls the tags 0, 1, … of a model that was given no names.
    return names in (list(tags), [f"LABEL_{tag}" for tag in tags])


def _tagger_class(config: Any, folder: Path) -> Any:
    """Returns transformers' class of a tagger with this configuration.

    Raises:
        InputError: There is none for this type of model.
    """
    from transformers import MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING

    try:
        return MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING[type(config)]
    except KeyError as error:
        raise InputError(
            f"{folder}: a {config.model_type} cannot tag tokens; expected an encoder such as bert, "
            "roberta or distilbert"
        ) from error
