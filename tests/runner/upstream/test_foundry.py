from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path

import pytest
from tests.runner.tiny_models import WORDS, write_tiny_encoder
from transformers import AutoModel, AutoTokenizer

from sparse_transfer_api.contract import Stage
from sparse_transfer_api.errors import AccessError, InputError
from sparse_transfer_api.records import Progress
from sparse_transfer_runner.catalog.foundation import read_foundation
from sparse_transfer_runner.digests import digest_of_tree
from sparse_transfer_runner.progress import Reporter
from sparse_transfer_runner.sparsity.prunable import prunable_weights, sparsity_of
from sparse_transfer_runner.upstream import UpstreamOptions, make_foundation

QUIET = Reporter(Stage.PREPARE, lambda _: None)


@pytest.fixture
def options(tmp_path: Path) -> UpstreamOptions:
    words = random.Random(0)
    lines = [" ".join(words.choices(WORDS[5:], k=words.randint(3, 12))) for _ in range(400)]
    sentences = tmp_path / "sentences.txt"
    sentences.write_text("\n".join(lines))
    return UpstreamOptions(
        model=write_tiny_encoder(tmp_path / "dense").as_uri(),
        data=sentences,
        output=tmp_path / "foundation",
        sparsity=0.5,
        calibration_rows=96,
        recovery_steps=0,
        batch_size=16,
    )


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


def test_admm_keeps_more_than_magnitude_and_recovery_more_still(options: UpstreamOptions) -> None:
    runs = {
        "magnitude": dataclasses.replace(options, method="magnitude"),
        "admm": options,
        "recovered": dataclasses.replace(options, recovery_steps=60),
    }
    errors = {}
    for name, each in runs.items():
        output = options.output.with_name(name)
        quality = make_foundation(dataclasses.replace(each, output=output), QUIET).quality
        errors[name] = quality.get("hiddenErrorAfterRecovery", quality["hiddenErrorAfterPruning"])
    assert errors["recovered"] < errors["admm"] < errors["magnitude"]


def test_progress_reaches_the_end(options: UpstreamOptions) -> None:
    seen: list[Progress] = []
    make_foundation(
        dataclasses.replace(options, recovery_steps=3), Reporter(Stage.PREPARE, seen.append)
    )
    assert seen[-1].percentage == 100
    assert {each.activity for each in seen} == {"pruning (admm)", "recovery", "writing"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sparsity": 0.1}, "outside 0.3 to 0.99"),
        ({"method": "oracle"}, "known: admm, magnitude"),
        ({"pattern": "block4"}, "known: unstructured"),
        ({"calibration_rows": 0}, "at least 1"),
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


def test_nothing_is_overwritten(options: UpstreamOptions) -> None:
    options.output.mkdir()
    (options.output / "precious").write_text("mine")
    with pytest.raises(InputError, match="nothing is overwritten"):
        make_foundation(options, QUIET)
    assert (options.output / "precious").read_text() == "mine"


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
