"""A text encoder with two logits a token: whether the answer starts there, and whether it ends."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.catalog.hugging_face import read_config

from .protocol import PADDING_LOGIT
from .text_inputs import ATTENTION_MASK
from .text_model import assembled, checkpoint_weights

if TYPE_CHECKING:
    from torch import nn

LABELS = ("start", "end")

_HEAD = "qa_outputs"


def is_head(parameter: str) -> bool:
    """Whether a parameter belongs to the head."""
    return parameter.partition(".")[0] == _HEAD


def require_answerer(folder: Path) -> None:
    """Checks that a folder's kind of model can answer questions.

    Raises:
        InputError: It cannot.
    """
    _answerer_class(read_config(folder, num_labels=len(LABELS)), folder)


def build_answerer(folder: Path, seed: int) -> nn.Module:
    """Returns the folder's model in fp32, whose outputs have ``logits`` ``[batch, tokens, 2]``.

    The folder's head for question answering is kept; else it is new, drawn from ``seed`` alone.
    In training, logits of padding are so low that it does not weigh in a loss; else they are left
    alone, so that an exported file gives what the model gives.

    Args:
        folder: A Hugging Face folder that was checked; also one without any head.
        seed: Of new weights.

    Raises:
        InputError: Weights of the encoder are missing or have other shapes.
    """
    names = dict(enumerate(LABELS))
    config = read_config(
        folder,
        num_labels=len(LABELS),
        id2label=names,
        label2id={name: index for index, name in names.items()},
    )
    weights = checkpoint_weights(folder)
    model = assembled(_answerer_class(config, folder), config, weights, is_head, seed, folder)
    model.register_forward_hook(_add_logits, with_kwargs=True)
    return model


def has_head(folder: Path) -> bool:
    """Whether a folder's model already answers questions."""
    return any(is_head(name) for name in checkpoint_weights(folder))


def _answerer_class(config: Any, folder: Path) -> Any:
    """Returns transformers' class of a question answerer with this configuration.

    Raises:
        InputError: There is none for this type of model, or its head is no pair of logits a token.
    """
    import torch
    from transformers import MODEL_FOR_QUESTION_ANSWERING_MAPPING

    expected = "expected an encoder such as bert, roberta or distilbert"
    try:
        kind = MODEL_FOR_QUESTION_ANSWERING_MAPPING[type(config)]
    except KeyError as error:
        raise InputError(
            f"{folder}: a {config.model_type} cannot answer questions; {expected}"
        ) from error
    with torch.device("meta"):
        skeleton = kind(config)
    if not hasattr(skeleton, _HEAD):
        raise InputError(
            f"{folder}: a {config.model_type} answers questions by a head of its own kind, which "
            f"cannot be trained here; {expected}"
        )
    return kind


def _add_logits(
    model: nn.Module, _: tuple[Any, ...], named: Mapping[str, Any], outputs: Any
) -> None:
    """Gives a model's outputs their two logits as one tensor, where everybody looks for them."""
    import torch

    logits = torch.stack([outputs.start_logits, outputs.end_logits], dim=-1)
    mask = named.get(ATTENTION_MASK)
    if model.training and mask is not None:
        logits = logits.masked_fill(mask.unsqueeze(-1) == 0, PADDING_LOGIT)
    outputs.logits = logits
