"""A text encoder with a classification head: built from a folder, saved so that it reads back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.catalog.checkpoint import find_checkpoint
from sparse_transfer_runner.catalog.hugging_face import (
    classifier_class,
    quiet_transformers,
    read_config,
)

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

REGRESSION = "regression"
HEADS = frozenset({"classifier", "pre_classifier", "score", "sequence_summary"})
"""Names of the modules on top of an encoder, whatever its architecture."""


def is_head(parameter: str) -> bool:
    """Whether a parameter belongs to the classification head."""
    return parameter.partition(".")[0] in HEADS


def build_classifier(
    folder: Path, labels: Sequence[str], problem_type: str, seed: int
) -> nn.Module:
    """Returns the folder's model in fp32 with a head for the labels.

    The folder's head is kept where its labels and problem type are these; else the head is new,
    drawn from ``seed`` alone. A pooler that the folder lacks is new as well.

    Args:
        folder: A Hugging Face folder that was checked; also one without any head.
        labels: In the order of the outputs.
        problem_type: As transformers names it.
        seed: Of new weights.

    Raises:
        InputError: Weights of the encoder are missing or have other shapes.
    """
    old = read_config(folder)
    config = read_config(
        folder,
        num_labels=len(labels),
        id2label=dict(enumerate(labels)),
        label2id={label: index for index, label in enumerate(labels)},
        problem_type=problem_type,
    )
    kind = classifier_class(config, folder)
    weights = checkpoint_weights(folder)
    if not _same_task(old, labels, problem_type):
        weights = {name: tensor for name, tensor in weights.items() if not is_head(name)}
    return assembled(kind, config, weights, is_head, seed, folder)


def checkpoint_weights(folder: Path) -> dict[str, Tensor]:
    """Returns the weights of a model folder that was checked."""
    # Whether the origin is trusted was decided when the folder was checked; none of the globals
    # that trust allows can do harm.
    return dict(find_checkpoint(folder, trusted=True).tensors())


def assembled(
    kind: Any,
    config: Any,
    weights: dict[str, Tensor],
    may_be_new: Callable[[str], bool],
    seed: int,
    folder: Path,
) -> nn.Module:
    """Returns a model in fp32 of the given weights, a head and a pooler that they lack being new.

    Args:
        kind: transformers' class.
        config: Its configuration.
        weights: By name.
        may_be_new: Whether a parameter belongs to the head, which the weights need not have.
        seed: Of new weights, which depend on nothing else.
        folder: Where the weights are from.

    Raises:
        InputError: Weights of the encoder are missing or have other shapes.
    """
    import torch

    quiet_transformers()
    # transformers draws new weights as well; ours replace them, and nobody else's draws change.
    with torch.random.fork_rng(devices=[]):
        model, report = kind.from_pretrained(
            None,
            config=config,
            state_dict=weights,
            attn_implementation="sdpa" if kind._supports_sdpa else "eager",
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    new = {*report["missing_keys"], *(found[0] for found in report["mismatched_keys"])}
    foreign = sorted(name for name in new if not may_be_new(name) and "pooler" not in name)
    if foreign:
        raise InputError(
            f"{folder}: {len(foreign)} weights that config.json describes are missing or have "
            f"another shape, such as {foreign[0]}; fetch the model again"
        )
    _initialize(model, new, seed)
    whole: nn.Module = model.eval()
    return whole


def save_classifier(model: Any, folder: Path) -> None:
    """Writes weights and configuration of a model into a folder, as safetensors."""
    quiet_transformers()
    model.save_pretrained(folder)


def has_head(folder: Path, labels: Sequence[str], problem_type: str) -> bool:
    """Whether a folder's model already answers with these labels."""
    if not _same_task(read_config(folder), labels, problem_type):
        return False
    return any(is_head(name) for name, _ in find_checkpoint(folder, trusted=True).tensors())


def _same_task(config: Any, labels: Sequence[str], problem_type: str) -> bool:
    names = [config.id2label.get(index) for index in range(len(config.id2label))]
    if config.problem_type not in (None, problem_type):
        return False
    if problem_type == REGRESSION:
        return len(names) == 1
    # What transformers calls the classes 0, 1, … of a model that was given no names.
    return names in (list(labels), [f"LABEL_{label}" for label in labels])


def activation_bytes(folder: Path, rows: int, length: int) -> int:
    """Returns the memory of what a training step in fp32 keeps for its backward pass, in bytes.

    Of each layer and token: 17 vectors of the hidden size (queries, keys and values, their
    rearranged copies, projections, dropouts, sums and norms), two of the intermediate size, and
    three times the attention scores of every head, which dropout on them makes it keep. Within
    15 % of what a MiniLM took at 32 x 64 and 64 x 128 tokens.

    Args:
        folder: A Hugging Face folder.
        rows: Of a batch.
        length: Tokens of a row.
    """
    config = read_config(folder)
    hidden = config.hidden_size
    inner = getattr(config, "intermediate_size", getattr(config, "hidden_dim", 4 * hidden))
    values = 17 * hidden + 2 * inner + 3 * config.num_attention_heads * length
    return 4 * rows * length * int(config.num_hidden_layers) * values


def _initialize(model: nn.Module, names: set[str], seed: int) -> None:
    """Draws new weights as BERT does: normal with the configuration's spread, biases zero."""
    import torch

    random = torch.Generator().manual_seed(seed)
    spread = float(getattr(model.config, "initializer_range", 0.02))
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name in sorted(names & parameters.keys()):
            _draw(parameters[name], spread, random)


def _draw(parameter: Tensor, spread: float, random: torch.Generator) -> None:
    if parameter.dim() > 1:
        parameter.normal_(0.0, spread, generator=random)
    else:
        parameter.zero_()
