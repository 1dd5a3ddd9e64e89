from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoTokenizer

from sparse_transfer_api.contract import Stage
from sparse_transfer_api.errors import AccessError, InputError
from sparse_transfer_api.records import Progress
from sparse_transfer_runner.catalog.foundation import read_foundation
from sparse_transfer_runner.digests import digest_of_tree
from sparse_transfer_runner.progress import Reporter
from sparse_transfer_runner.sparsity.patterns import Pattern, Quota
from sparse_transfer_runner.sparsity.prunable import prunable_weights, sparsity_of
from sparse_transfer_runner.upstream import UpstreamOptions, make_foundation
from sparse_transfer_runner.upstream.text import open_text

QUIET = Reporter(Stage.PREPARE, lambda _: None)


def test_a_foundation_is_sparse_loads_and_names_its_parent(options: UpstreamOptions) -> None:
    made = make_foundation(options, QUIET)
    model = AutoModel.from_pretrained(options.output)
    assert sparsity_of(prunable_weights(model)) == pytest.approx(0.5, abs=0.01)
    assert made == read_foundation(options.output)
    assert made.parent is not None
    assert made.parent.digest == digest_of_tree(options.output.parent / "dense")
    assert made.name == "foundation"
    assert len(made.prunable) == 12
    assert AutoTokenizer.from_pretrained(options.output)("a good film")["input_ids"]


def test_better_methods_leave_less_error_and_recovery_less_still(
    options: UpstreamOptions,
) -> None:
    runs: dict[str, dict[str, object]] = {
        "magnitude": {"method": "magnitude"},
        "admm": {},
        "tuned": {"block_steps": 40},
        "recovered": {"recovery_steps": 60},
    }
    errors = {}
    for name, change in runs.items():
        output = options.output.with_name(name)
        each = dataclasses.replace(options, output=output, **change)  # type: ignore[arg-type]
        quality = make_foundation(each, QUIET).quality
        errors[name] = quality.get("hiddenErrorAfterRecovery", quality["hiddenErrorAfterPruning"])
    assert errors["recovered"] < errors["admm"] < errors["magnitude"]
    assert errors["tuned"] < errors["admm"]


@pytest.mark.parametrize("pattern", Pattern)
@pytest.mark.parametrize("budgets", ["uniform", "layer-error"])
@pytest.mark.parametrize("method", ["sparsegpt", "gradual"])
def test_every_method_has_the_asked_zeros_in_the_asked_pattern(
    options: UpstreamOptions, method: str, budgets: str, pattern: Pattern
) -> None:
    made = make_foundation(
        dataclasses.replace(
            options,
            method=method,
            budgets=budgets,
            pattern=pattern,
            sparsity=0.6,
            gradual_steps=20 if method == "gradual" else None,
            recovery_steps=4,
        ),
        QUIET,
    )
    weights = prunable_weights(AutoModel.from_pretrained(options.output))
    total = sum(weight.numel() for weight in weights.values())
    asked = Quota.of(0.6, total, pattern).zeros
    assert sum(int((weight == 0).sum()) for weight in weights.values()) == asked
    zeros = {
        name: weight.detach().unflatten(1, (-1, pattern.width)) == 0
        for name, weight in weights.items()
    }
    assert all(torch.equal(each.all(-1), each.any(-1)) for each in zeros.values())
    shares = {f"{each.name}.weight": each.sparsity for each in made.layers}
    assert shares == {
        name: pytest.approx(float(each.float().mean()), abs=1e-4) for name, each in zeros.items()
    }
    spread = max(shares.values()) - min(shares.values())
    assert (spread > 0.02) == (budgets == "layer-error")
    assert (made.pattern, made.method, made.budgets) == (pattern, method, budgets)


def test_the_record_tells_what_became_of_every_layer(options: UpstreamOptions) -> None:
    made = make_foundation(
        dataclasses.replace(options, method="wanda", refine_rounds=2, recovery_steps=30), QUIET
    )
    assert [f"{each.name}.weight" for each in made.layers] == made.prunable
    assert sum(each.weights for each in made.layers) > 0
    for layer in made.layers:
        assert layer.sparsity == 0.5
        assert layer.error_before is not None and layer.error_after is not None
        assert 0 < layer.error_after < layer.error_before
        assert layer.error_recovered is not None and layer.seconds is not None
    quality = made.quality
    assert quality["layerErrorAfter"] < quality["layerErrorBefore"]
    assert quality["hiddenErrorAfterRecovery"] < quality["hiddenErrorAfterPruning"]
    assert quality["seconds"] > 0


def test_a_gradual_pruning_knows_only_the_errors_that_are_left(options: UpstreamOptions) -> None:
    made = make_foundation(
        dataclasses.replace(options, method="gradual", gradual_steps=20, recovery_steps=0), QUIET
    )
    assert made.quality["layerErrorRecovered"] > 0
    assert all(each.error_after is None for each in made.layers)
    assert "hiddenErrorAfterPruning" not in made.quality


def test_progress_reaches_the_end(options: UpstreamOptions) -> None:
    seen: list[Progress] = []
    make_foundation(
        dataclasses.replace(options, recovery_steps=3), Reporter(Stage.PREPARE, seen.append)
    )
    assert seen[-1].percentage == 100
    activities = list(dict.fromkeys(each.activity for each in seen))
    assert activities == ["pruning (admm)", "recovery", "measuring layers", "writing"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sparsity": 0.1}, "outside 0.3 to 0.99"),
        ({"method": "oracle"}, "known: admm, sparsegpt, wanda, magnitude, gradual"),
        ({"pattern": "2:4"}, "known: unstructured, block4"),
        ({"budgets": "fair"}, "known: uniform, layer-error"),
        ({"calibration_rows": 0}, "calibration rows 0 is too few; at least 1"),
        ({"recovery_steps": -1}, "recovery steps -1 is too few; at least 0"),
        ({"precision": "fp8"}, "precision 'fp8' is unknown; known: auto, fp32, bf16"),
        ({"gradual_steps": 20}, "belong to the method gradual; admm prunes at once"),
        ({"initial_sparsity": 0.2}, "belong to the method gradual"),
        ({"method": "gradual", "refine_rounds": 2}, "methods that prune at once"),
        ({"method": "gradual", "block_steps": 2}, "methods that prune at once"),
        ({"method": "gradual", "gradual_steps": 5}, "fewer than the 10 between two prunings"),
        ({"method": "gradual", "initial_sparsity": 0.5}, "not between 0 and the sparsity 0.5"),
        ({"calibration_rows": 5000}, "give more text"),
        ({"model": "file:///nowhere"}, "nowhere"),
    ],
)
def test_wrong_options_are_explained(
    options: UpstreamOptions, change: dict[str, object], message: str
) -> None:
    with pytest.raises((InputError, AccessError), match=message):
        make_foundation(dataclasses.replace(options, **change), QUIET)  # type: ignore[arg-type]
    assert not options.output.exists()
    assert not options.output.with_name(".foundation.partial").exists()


def test_nothing_is_overwritten(options: UpstreamOptions) -> None:
    options.output.mkdir()
    (options.output / "precious").write_text("mine")
    with pytest.raises(InputError, match="nothing is overwritten"):
        make_foundation(options, QUIET)
    assert (options.output / "precious").read_text() == "mine"


def test_the_output_may_be_named_from_where_one_is(
    options: UpstreamOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(options.output.parent)
    made = make_foundation(dataclasses.replace(options, output=Path("here")), QUIET)
    assert made == read_foundation(options.output.with_name("here"))


def test_a_sparse_parent_is_refused(options: UpstreamOptions) -> None:
    make_foundation(options, QUIET)
    again = dataclasses.replace(
        options, model=options.output.as_uri(), output=options.output.with_name("again")
    )
    with pytest.raises(InputError, match="already sparse"):
        make_foundation(again, QUIET)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("text.csv", b"a,b", "unlabelled text is"),
        ("text.jsonl", b'{"text": "a"}\n{broken', "text.jsonl:2"),
        ("text.jsonl", b'{"text": 3}', "expected a string"),
        ("text.txt", b"\xff\xfe", "not UTF-8"),
        ("missing.txt", None, "cannot be read"),
    ],
)
def test_broken_text_is_named_with_its_place(
    options: UpstreamOptions, name: str, content: bytes | None, message: str
) -> None:
    path = options.data.with_name(name)
    if content is not None:
        path.write_bytes(content)
    with pytest.raises((InputError, AccessError), match=message):
        make_foundation(dataclasses.replace(options, data=path), QUIET)


def test_json_lines_serve_as_text(options: UpstreamOptions) -> None:
    path = options.data.with_suffix(".jsonl")
    path.write_text(
        "\n".join(json.dumps({"text": line}) for line in options.data.read_text().splitlines())
    )
    assert make_foundation(dataclasses.replace(options, data=path), QUIET).sparsity > 0.49


def test_a_pickle_that_needs_trust_is_opened_with_it(
    options: UpstreamOptions, tmp_path: Path
) -> None:
    dense = tmp_path / "dense"
    weights = load_file(dense / "model.safetensors")
    (dense / "model.safetensors").unlink()
    torch.save({**weights, "args": argparse.Namespace(lr=0.1)}, dense / "pytorch_model.bin")
    options = dataclasses.replace(options, calibration_rows=16)
    with pytest.raises(InputError, match=r"argparse\.Namespace.*--trust-pickle is enough"):
        open_text(dense, options, torch.device("cpu"))
    trusting = dataclasses.replace(options, trust_pickle=True)
    assert open_text(dense, trusting, torch.device("cpu")).family == "text"
