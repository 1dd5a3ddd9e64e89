"""``upstream``: a real, tiny model made sparse, recorded, and added to a catalogue."""

from __future__ import annotations

import inspect
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sparse_transfer_cli.__main__ import invoke
from sparse_transfer_cli.models_app import upstream

torch = pytest.importorskip("torch", reason="pip install 'sparse-transfer[runner]'")

_WORDS = ("a", "good", "bad", "film", "with", "story", "and", "actors", "dull", "bright")


@pytest.fixture
def dense(tmp_path: Path) -> Path:
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path / "dense"
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *_WORDS]))
    BertTokenizerFast.from_pretrained(folder).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=4 + len(_WORDS), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=16,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts.txt"
    count = len(_WORDS)
    lines = (
        " ".join(_WORDS[(index * step + index // 7) % count] for step in range(1, 8))
        for index in range(400)
    )
    path.write_text("\n".join(f"{line} {_WORDS[i % count]}" for i, line in enumerate(lines)))
    return path


def test_a_dense_model_becomes_a_sparse_one_in_the_catalogue(
    dense: Path, texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, catalog = tmp_path / "foundation", tmp_path / "catalog.yaml"
    arguments = [
        "--model", str(dense), "--data", str(texts), "--output", str(output),
        "--sparsity", "0.75", "--calibration-rows", "16", "--recovery-steps", "2",
        "--batch-size", "4", "--max-length", "8", "--catalog", str(catalog),
    ]  # fmt: skip
    assert invoke(["upstream", *arguments]) == 0
    shown = capsys.readouterr()
    lines = [json.loads(line) for line in shown.out.splitlines()]
    made = lines[-1]
    assert made["type"] == "foundation"
    assert made["sparsity"] == pytest.approx(0.75, abs=0.01)
    assert {"pruning (admm)", "recovery"} <= {line.get("activity") for line in lines}
    assert "75.0 % sparse" in shown.err
    assert "foundation is now the first choice" in shown.err
    assert catalog.exists()

    assert invoke(["upstream", *arguments]) == 10
    assert "nothing is overwritten" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value", "code", "words"),
    [
        ("--model", "nowhere", 13, "no such file or folder"),
        ("--model", "catalog:minilm", 10, "name one of minilm-l6"),
        ("--sparsity", "0.1", 10, "outside 0.3 to 0.99"),
        ("--method", "oracle", 2, "'sparsegpt', 'wanda', 'magnitude', 'gradual'"),
        ("--pattern", "block", 2, "'unstructured', 'block4'"),
        ("--budgets", "fair", 2, "'layer-error'"),
        ("--gradual-steps", "20", 10, "belong to the method gradual"),
        ("--recovery-steps", "-1", 10, "recovery steps -1 is too few"),
        ("--data", "nowhere.txt", 13, "nowhere.txt"),
    ],
)
def test_mistakes_are_explained(
    dense: Path,
    texts: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    option: str,
    value: str,
    code: int,
    words: str,
) -> None:
    given = {"--model": str(dense), "--data": str(texts), "--output": str(tmp_path / "out")}
    arguments = [word for pair in (given | {option: value}).items() for word in pair]
    assert invoke(["upstream", *arguments]) == code
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_signal_leaves_what_is_done_for_the_same_command(
    dense: Path, texts: Path, tmp_path: Path
) -> None:
    output = tmp_path / "foundation"
    arguments = [
        "--model", str(dense), "--data", str(texts), "--output", str(output),
        "--calibration-rows", "16", "--recovery-steps", "100000", "--batch-size", "4",
    ]  # fmt: skip
    command = [sys.executable, "-m", "sparse_transfer_cli", "upstream", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        for line in process.stdout:
            if json.loads(line).get("activity") == "recovery":
                process.send_signal(signal.SIGINT)
                break
        process.stdout.read()
        assert process.wait(timeout=120) == 143
        assert "the same command goes on from there" in process.stderr.read()
    assert not output.exists()
    assert list((tmp_path / ".foundation.partial").glob("step-*.pt"))


def test_the_command_s_defaults_are_the_runner_s() -> None:
    from sparse_transfer_runner.upstream import UpstreamOptions

    own = inspect.signature(upstream).parameters
    for name, parameter in inspect.signature(UpstreamOptions).parameters.items():
        if parameter.default is not parameter.empty:
            assert own[name].default == parameter.default, name
