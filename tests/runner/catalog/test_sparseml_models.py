"""Models that SparseML and the SparseZoo left are read as the plain models that they hold."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.runner.tiny_models import write_tiny_encoder

from sparse_transfer_api.errors import InputError
from sparse_transfer_api.optim_level import band_of
from sparse_transfer_runner.catalog.checkpoint import find_checkpoint
from sparse_transfer_runner.catalog.hugging_face import check_text_model
from sparse_transfer_runner.catalog.models import Catalog
from sparse_transfer_runner.catalog.resolution import ResolvedModel, resolve_model
from sparse_transfer_runner.catalog.sparseml import plain_names
from sparse_transfer_runner.use_cases.text_model import build_classifier

NAMES = {
    "a wrapped weight": (
        "bert.encoder.layer.0.attention.self.query.module.weight",
        "bert.encoder.layer.0.attention.self.query.weight",
    ),
    "a wrapped bias": ("classifier.module.bias", "classifier.bias"),
    "a plain weight": ("embeddings.word_embeddings.weight", "embeddings.word_embeddings.weight"),
    "a module of that name": ("module.bert.weight", "module.bert.weight"),
    "an input's observer": ("a.query.quant.activation_post_process.scale", None),
    "a weight's observer": ("a.query.module.weight_fake_quant.zero_point", None),
    "an output's observer": ("a.output.activation_post_process.min_val", None),
}


@pytest.mark.parametrize(("saved", "plain"), NAMES.values(), ids=NAMES)
def test_a_weight_has_its_plain_name_again(saved: str, plain: str | None) -> None:
    assert [name for name, _ in plain_names(iter([(saved, 0)]))] == ([plain] if plain else [])


def quantized_in_training(folder: Path) -> Path:
    """Writes a sparse encoder as SparseML saves one that is being quantized."""
    write_tiny_encoder(folder)
    weights = load_file(folder / "model.safetensors")
    renamed: dict[str, torch.Tensor] = {}
    for name, weight in weights.items():
        if name.startswith("encoder") and "LayerNorm" not in name:
            module, _, kind = name.rpartition(".")
            if kind == "weight":
                weight.view(-1)[: weight.numel() // 2] = 0
            renamed[f"{module}.module.{kind}"] = weight
            renamed[f"{module}.quant.activation_post_process.min_val"] = torch.tensor(float("inf"))
            renamed[f"{module}.module.weight_fake_quant.scale"] = torch.ones(1)
        else:
            renamed[name] = weight
    (folder / "model.safetensors").unlink()
    torch.save(renamed, folder / "pytorch_model.bin")
    (folder / "recipe.yaml").write_text("modifiers:\n  - !QuantizationModifier {}\n")
    return folder


def test_a_checkpoint_from_quantization_aware_training_is_a_foundation(tmp_path: Path) -> None:
    folder = quantized_in_training(tmp_path / "checkpoint")

    assert check_text_model(folder, trusted=False).sparsity == pytest.approx(0.5)
    model = build_classifier(folder, ["bad", "good"], "single_label_classification", seed=0)
    saved = torch.load(folder / "pytorch_model.bin", weights_only=True)
    query = "encoder.layer.1.attention.self.query"
    assert torch.equal(model.get_parameter(f"bert.{query}.weight"), saved[f"{query}.module.weight"])
    assert torch.equal(model.get_parameter(f"bert.{query}.bias"), saved[f"{query}.module.bias"])


def test_plain_checkpoints_are_read_as_before(tmp_path: Path) -> None:
    folder = write_tiny_encoder(tmp_path / "plain")
    read = dict(find_checkpoint(folder).tensors())
    assert read.keys() == load_file(folder / "model.safetensors").keys()


def resolved(folder: Path) -> ResolvedModel:
    return resolve_model(
        folder.as_uri(),
        family="text",
        band=band_of(0.5),
        use_case="nlp-text_classification",
        catalog=Catalog(models=()),
    )


def test_a_sparsezoo_folder_is_trained_from_its_training_files(tmp_path: Path) -> None:
    quantized_in_training(tmp_path / "training")
    (tmp_path / "deployment").mkdir()
    (tmp_path / "model.onnx").touch()
    found = resolved(tmp_path)
    assert found.folder == tmp_path / "training"
    assert found.uri == (tmp_path / "training").as_uri()


MISSING = {
    "only what was deployed": (["model.onnx", "deployment/model.onnx"], "fetch the model with"),
    "training files still packed": (["training.tar.gz", "recipe.md"], "unpack training.tar.gz"),
    "an empty folder of that name": (["training/recipe.md"], "fetch the model with"),
}


@pytest.mark.parametrize(("files", "advice"), MISSING.values(), ids=MISSING)
def test_a_sparsezoo_folder_without_training_files_is_refused(
    files: list[str], advice: str, tmp_path: Path
) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(InputError) as refused:
        resolved(tmp_path)
    said = str(refused.value)
    assert f"{tmp_path.as_uri()}: a SparseZoo folder without training files" in said
    assert "expected training/config.json, a tokenizer and weights; found " in said
    assert advice in said


def test_a_folder_that_is_no_model_at_all_is_no_sparsezoo_folder(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    assert resolved(tmp_path).folder == tmp_path
    with pytest.raises(InputError, match=r"no config\.json"):
        check_text_model(tmp_path, trusted=False)
