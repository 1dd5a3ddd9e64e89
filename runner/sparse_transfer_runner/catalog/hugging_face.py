"""A Hugging Face folder as a foundation: its configuration, its tokenizer, and its weights' state.

Nothing is built in memory for the check: a skeleton without storage says which weights there must
be and which of them are prunable, and the checkpoint's tensors are looked at one by one. PyTorch is
imported where it is used: data is checked without it.
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparse_transfer_api.errors import InputError, Problem
from sparse_transfer_runner.digests import digest_of_tree

from .checked import CheckedModel, problem_of
from .checkpoint import Checkpoint, find_checkpoint

if TYPE_CHECKING:
    import torch

_SENTENCEPIECE_FILES = ("spiece.model", "sentencepiece.bpe.model", "tokenizer.model")
TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", *_SENTENCEPIECE_FILES)
"""One of them is enough for transformers; without any it builds an empty tokenizer."""

_MAX_PROBLEMS = 20


def check_text_model(folder: Path, *, trusted: bool) -> CheckedModel:
    """Checks that a folder holds a whole, healthy text encoder, and measures its sparsity.

    Args:
        folder: A Hugging Face folder; only read.
        trusted: ``spec.model.trust`` is Pickle.

    Raises:
        InputError: Something is missing, damaged, not finite, or would execute code.
    """
    import torch

    from sparse_transfer_runner.sparsity.prunable import prunable_weights

    # A head of its own would make two models of one architecture differ.
    config = read_config(folder, num_labels=2)
    require_tokenizer(folder)
    checkpoint = find_checkpoint(folder, trusted=trusted)
    with torch.device("meta"):
        skeleton = classifier_class(config, folder)(config)
    expected = {name: weight.shape for name, weight in prunable_weights(skeleton).items()}
    if not expected:
        raise InputError(
            f"{folder}: a {config.model_type} has no Linear layers that could be pruned; expected "
            "an encoder such as bert, roberta or distilbert"
        )
    zeros = _count_zeros(checkpoint, expected, f"{skeleton.base_model_prefix}.", folder)
    return CheckedModel(
        digest=digest_of_tree(folder),
        format=checkpoint.format,
        architecture=type(skeleton.base_model).__name__,
        sparsity=zeros / sum(shape.numel() for shape in expected.values()),
        parameters=sum(parameter.numel() for parameter in skeleton.parameters()),
    )


def read_config(folder: Path, **settings: Any) -> Any:
    """Returns transformers' configuration of a model folder.

    Args:
        folder: A Hugging Face folder.
        **settings: Put in the place of the folder's own.

    Raises:
        InputError: There is none, or it is not understood.
    """
    path = folder / "config.json"
    if not path.is_file():
        found = ", ".join(sorted(entry.name for entry in folder.glob("*"))[:12]) or "nothing"
        raise InputError(
            f"{folder}: no config.json; expected a Hugging Face folder (config.json, tokenizer, "
            f"weights), found {found}"
        )
    try:
        json.loads(path.read_bytes())
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}); fetch the model again") from error
    quiet_transformers()
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, **settings
        )
    except (ValueError, OSError, KeyError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: no usable configuration ({reason})") from error


def classifier_class(config: Any, folder: Path) -> Any:
    """Returns transformers' class of a sequence classifier with this configuration.

    Raises:
        InputError: There is none for this type of model.
    """
    from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING

    try:
        return MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[type(config)]
    except KeyError as error:
        raise InputError(
            f"{folder}: a {config.model_type} cannot classify text; expected an encoder such as "
            "bert, roberta or distilbert"
        ) from error


def load_encoder(folder: Path, *, trusted: bool = False, **settings: Any) -> tuple[Any, Any]:
    """Returns a folder's encoder in fp32 without any head, and its tokenizer.

    A pooler that the folder lacks is drawn, always the same.

    Args:
        folder: A Hugging Face folder; its weights may be a pickle, of which nothing is executed.
        trusted: The user trusts the files' origin.
        **settings: Put in the place of the configuration's own.

    Raises:
        InputError: It is no such folder, or weights of the encoder are missing.
    """
    import torch
    from transformers import MODEL_MAPPING, AutoTokenizer

    config = read_config(folder, **settings)
    require_tokenizer(folder)
    weights = dict(find_checkpoint(folder, trusted=trusted).tensors())
    try:
        # What is missing is drawn; nobody else's draws change.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model, report = MODEL_MAPPING[type(config)].from_pretrained(
                None,
                config=config,
                state_dict=weights,
                dtype=torch.float32,
                output_loading_info=True,
            )
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, LookupError, RuntimeError) as error:
        raise InputError(f"{folder}: cannot be loaded ({str(error).splitlines()[0]})") from error
    missing = sorted(name for name in report["missing_keys"] if "pooler" not in name)
    if missing:
        raise InputError(
            f"{folder}: {len(missing)} weights that config.json describes are missing, such as "
            f"{missing[0]}; fetch the model again"
        )
    return model, tokenizer


def require_tokenizer(folder: Path) -> None:
    """Checks that a model folder has a tokenizer's files.

    Raises:
        InputError: It has none, or one that cannot be read here.
    """
    found = [name for name in TOKENIZER_FILES if (folder / name).is_file()]
    if not found:
        raise InputError(
            f"{folder}: no tokenizer; expected {', '.join(TOKENIZER_FILES[:-1])} or "
            f"{TOKENIZER_FILES[-1]} beside the weights"
        )
    if found[0] in _SENTENCEPIECE_FILES and find_spec("sentencepiece") is None:
        raise InputError(
            f"{folder}: its tokenizer is a SentencePiece model ({found[0]}), which the package "
            "sentencepiece has to be installed for; or save it as tokenizer.json where it is: "
            "AutoTokenizer.from_pretrained(folder).save_pretrained(folder)"
        )


def quiet_transformers() -> None:
    """Keeps transformers' bars and load reports out of the process's output.

    What they would report is checked here, and becomes an error where it is one.
    """
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def _count_zeros(
    checkpoint: Checkpoint, expected: dict[str, torch.Size], prefix: str, folder: Path
) -> int:
    import torch

    missing = dict(expected)
    problems: list[Problem] = []
    zeros = 0
    for name, tensor in checkpoint.tensors():
        known = name if name in expected else prefix + name
        problem = problem_of(tensor, missing.pop(known, None), "config.json")
        if problem:
            problems.append(Problem(name, problem))
        if known in expected:
            zeros += tensor.numel() - int(torch.count_nonzero(tensor))
    if problems:
        raise InputError(
            f"{folder}: {len(problems)} weights cannot be used", problems[:_MAX_PROBLEMS]
        )
    if missing:
        raise InputError(
            f"{folder}: {len(missing)} of {len(expected)} weights of the encoder that config.json "
            f"describes are not in {checkpoint.files[0].name}, such as {next(iter(missing))}; "
            "fetch the model again, or give one that was saved before quantization"
        )
    return zeros
