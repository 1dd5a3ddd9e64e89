"""The original command's arguments, turned into the same experiment that a YAML describes.

Nothing is accepted and ignored: what has no counterpart is refused, with the reason and the way
that leads to what the user wanted.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sparse_transfer_api.contract import API_VERSION, KIND
from sparse_transfer_api.errors import AccessError, InputError, Problem, UsageError
from sparse_transfer_api.optim_level import parse_level
from sparse_transfer_api.suggest import did_you_mean
from sparse_transfer_cli.experiment_file import file_uri, local_path
from sparse_transfer_cli.yaml_source import documents

_MAX_NAME = 40

_TRAINING = {
    "epochs": "epochs",
    "num_train_epochs": "epochs",
    "learning_rate": "learningRate",
    "lr": "learningRate",
    "init_lr": "learningRate",
    "batch_size": "batchSize",
    "train_batch_size": "batchSize",
    "per_device_train_batch_size": "batchSize",
    "max_sequence_length": "maxSequenceLength",
    "max_seq_length": "maxSequenceLength",
    "max_length": "maxSequenceLength",
    "image_size": "imageSize",
    "imgsz": "imageSize",
    "seed": "seed",
    "precision": "precision",
}
"""What the training programs behind the original command called a setting, to the spec's field."""

_REFUSED_KEYWORDS = {
    "output_dir": "the output place is --working-dir's",
    "recipe": "use --recipe",
    "recipe_args": "use --recipe-args",
    "distill_teacher": "use --teacher",
    "max_train_samples": "use --train-samples",
    "max_eval_samples": "use --val-samples",
    "max_steps": "training is counted in epochs: give epochs, which may be a fraction",
    "fp16": "give precision: Fp16",
    "bf16": "give precision: Bf16",
}


@dataclass(frozen=True)
class OriginalArguments:
    """The arguments as typed; None where one was not given."""

    use_case: str
    data: str
    optim_level: str | None = None
    model: str | None = None
    working_dir: str = "."
    recipe: str | None = None
    recipe_args: str | None = None
    train_kwargs: str | None = None
    teacher: str | None = None
    eval_metric: str | None = None
    train_samples: int | None = None
    val_samples: int | None = None
    deploy_engine: str | None = None
    deploy_hardware: str | None = None
    deploy_scenario: str | None = None
    name: str | None = None


def experiment_document(arguments: OriginalArguments, folder: Path) -> dict[str, Any]:
    """Returns the experiment that the arguments describe, as a YAML would say it.

    Args:
        arguments: As typed.
        folder: The current folder: relative paths are relative to it.

    Raises:
        UsageError: An argument has no counterpart; the message says what to do instead.
        AccessError: A path does not exist.
        InputError: A value cannot be read.
    """
    _refuse_without_counterpart(arguments)
    working = folder / Path(arguments.working_dir).expanduser()
    spec: dict[str, Any] = {
        "useCase": arguments.use_case,
        "data": _without_none(
            uri=_existing(arguments.data, folder, "--data", "a data set of a hub"),
            maxTrainSamples=arguments.train_samples,
            maxEvalSamples=arguments.val_samples,
        ),
        "output": {"uri": file_uri("runs", working)},
    }
    if arguments.optim_level is not None:
        spec["optimLevel"] = parse_level(arguments.optim_level)
    if arguments.model is not None:
        spec["model"] = {"uri": _existing(arguments.model, folder, "--model", "a model of a hub")}
    if arguments.teacher is not None:
        spec["teacher"] = _teacher(arguments.teacher, folder)
    recipe = _recipe(arguments, folder)
    if recipe:
        spec["recipe"] = recipe
    if arguments.train_kwargs is not None:
        spec["training"] = _training(arguments.train_kwargs)
    if arguments.eval_metric is not None:
        spec["evaluation"] = {"metric": arguments.eval_metric}
    if arguments.deploy_engine is not None:
        spec["export"] = {"targets": [arguments.deploy_engine.lower()]}
    name = arguments.name or name_of(arguments.data)
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name}, "spec": spec}


def name_of(data: str) -> str:
    """Returns an experiment's name made from the data's address, such as ``film-reviews``."""
    last = data.rstrip("/").rsplit("/", 1)[-1].rsplit(":", 1)[-1]
    slug = re.sub(r"[^a-z0-9]+", "-", last.lower()).strip("-")[:_MAX_NAME].strip("-")
    return slug or "experiment"


def _refuse_without_counterpart(arguments: OriginalArguments) -> None:
    if arguments.deploy_hardware is not None:
        raise UsageError(
            "--deploy-hardware has no effect here: speed is measured on the machine that runs the "
            "command; to measure on another one, run 'sparse-transfer benchmark' there"
        )
    if arguments.deploy_scenario is not None:
        raise UsageError(
            "--deploy-scenario has no effect here: write an experiment YAML and give the batch "
            "sizes in spec.benchmark.batchSizes (1 for latency, more for throughput)"
        )


def _existing(text: str, folder: Path, option: str, of_a_hub: str) -> str:
    uri = file_uri(text, folder)
    path = local_path(uri)
    if path is not None and not path.exists():
        raise AccessError(
            f"{option} {text}: there is no {path}; give an existing folder, or an address with "
            f"its scheme (hf://{text.strip('./')} for {of_a_hub})"
        )
    return uri


def _teacher(text: str, folder: Path) -> dict[str, str]:
    mode = {"off": "None", "none": "None", "auto": "Auto"}.get(text.lower())
    if mode is not None:
        return {"mode": mode}
    return {"mode": "Given", "uri": _existing(text, folder, "--teacher", "a model of a hub")}


def _recipe(arguments: OriginalArguments, folder: Path) -> dict[str, Any]:
    recipe: dict[str, Any] = {}
    if arguments.recipe is not None:
        recipe["uri"] = _existing(arguments.recipe, folder, "--recipe", "a recipe of a hub")
    if arguments.recipe_args is not None:
        recipe["args"] = dict(_mapping(arguments.recipe_args, "--recipe-args"))
    return recipe


def _training(text: str) -> dict[str, Any]:
    training: dict[str, Any] = {}
    problems = []
    for keyword, value in _mapping(text, "--train-kwargs").items():
        plain = str(keyword)
        field = _TRAINING.get(plain) or (plain if plain in _TRAINING.values() else None)
        if field is None:
            problems.append(Problem("--train-kwargs", _unknown_keyword(plain)))
        elif field in training:
            problems.append(Problem("--train-kwargs", f"{plain!r} sets {field} a second time"))
        else:
            training[field] = value
    if problems:
        raise InputError("not every training setting can be applied", problems)
    return training


def _unknown_keyword(keyword: str) -> str:
    if keyword in _REFUSED_KEYWORDS:
        return f"{keyword!r} is not taken here; {_REFUSED_KEYWORDS[keyword]}"
    known = sorted(set(_TRAINING) | set(_TRAINING.values()))
    return (
        f"{keyword[:64]!r} is not known (known are {', '.join(sorted(set(_TRAINING.values())))} "
        f"and their usual other names){did_you_mean(keyword, known)}"
    )


def _mapping(text: str, option: str) -> Mapping[Any, Any]:
    """Reads a mapping as JSON, as YAML, or as Python writes one."""
    for read in (ast.literal_eval, _yaml):
        with suppress(ValueError, SyntaxError, yaml.YAMLError):
            value = read(text)
            if isinstance(value, Mapping):
                return value
    raise InputError(
        f"{option} cannot be read",
        [Problem(option, f"{text[:64]!r}; expected a mapping such as '{{\"epochs\": 3}}'")],
    )


def _yaml(text: str) -> Any:
    # JSON is a part of YAML.
    found = documents(text)
    return found[0] if len(found) == 1 else None


def _without_none(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
