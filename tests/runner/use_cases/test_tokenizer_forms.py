"""Every form in which a Hugging Face folder may hold its tokenizer."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.runner.tiny_models import WORDS, write_tiny_encoder
from transformers import AlbertConfig, BertConfig, PretrainedConfig, RobertaConfig, XLMRobertaConfig
from transformers.convert_slow_tokenizer import import_protobuf

from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.catalog import hugging_face
from sparse_transfer_runner.catalog.hugging_face import require_tokenizer
from sparse_transfer_runner.use_cases.text_inputs import INPUT_IDS, TextPreprocessor

TEXT = "the film is good"
NORMAL, UNKNOWN, CONTROL, UNIGRAM = 1, 2, 3, 1


def write_tokenizer_json(folder: Path) -> PretrainedConfig:
    """As current libraries save it: one file has all."""
    write_tiny_encoder(folder)
    for path in folder.glob("*"):
        if path.name != "tokenizer.json":
            path.unlink()
    return BertConfig(vocab_size=len(WORDS))


def write_vocab_txt(folder: Path) -> PretrainedConfig:
    """As many a sparse BERT was published."""
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    return BertConfig(vocab_size=len(WORDS))


def write_merges(folder: Path) -> PretrainedConfig:
    """As a RoBERTa was published before there was ``tokenizer.json``."""
    folder.mkdir()
    letters = sorted(set(TEXT.replace(" ", "Ġ")))
    merges = [("t", "h"), ("th", "e"), ("i", "s"), ("Ġ", "is"), ("g", "o")]
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *letters, *map("".join, merges)]
    (folder / "vocab.json").write_text(
        json.dumps({piece: number for number, piece in enumerate(pieces)})
    )
    lines = ["#version: 0.2", *map(" ".join, merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n")
    return RobertaConfig(vocab_size=len(pieces))


def write_sentencepiece(path: Path, special: list[tuple[str, int]]) -> int:
    """Writes a model of whole words; returns how many pieces it has."""
    model = import_protobuf().ModelProto()
    model.trainer_spec.model_type = UNIGRAM
    words = [(f"\u2581{word}", NORMAL) for word in TEXT.split()]
    for rank, (piece, kind) in enumerate([*special, *words, ("\u2581", NORMAL)]):
        model.pieces.add(piece=piece, score=-float(rank), type=kind)
    model.trainer_spec.unk_id = next(i for i, (_, kind) in enumerate(special) if kind == UNKNOWN)
    path.write_bytes(model.SerializeToString())
    return len(model.pieces)


def write_spiece(folder: Path) -> PretrainedConfig:
    """As an ALBERT is published."""
    folder.mkdir()
    special = [("<pad>", CONTROL), ("<unk>", UNKNOWN), ("[CLS]", CONTROL), ("[SEP]", CONTROL)]
    count = write_sentencepiece(folder / "spiece.model", special)
    return AlbertConfig(vocab_size=count)


def write_sentencepiece_bpe(folder: Path) -> PretrainedConfig:
    """As an XLM-RoBERTa is published."""
    folder.mkdir()
    special = [("<unk>", UNKNOWN), ("<s>", CONTROL), ("</s>", CONTROL)]
    count = write_sentencepiece(folder / "sentencepiece.bpe.model", special)
    return XLMRobertaConfig(vocab_size=count + 2)


SENTENCEPIECE = [write_spiece, write_sentencepiece_bpe]
FORMS = [write_tokenizer_json, write_vocab_txt, write_merges]
if find_spec("sentencepiece") is not None:
    FORMS += SENTENCEPIECE


@pytest.mark.parametrize("write", FORMS)
def test_every_form_is_read_and_saved_as_what_is_deployed(
    write: Callable[[Path], PretrainedConfig], tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    write(folder).save_pretrained(folder)
    require_tokenizer(folder)
    preprocessor = TextPreprocessor.load(folder)
    tokens = preprocessor.encode(([TEXT],), None)[INPUT_IDS][0]
    assert len(tokens) > len(TEXT.split())
    assert preprocessor.tokenizer.unk_token_id not in tokens
    assert TEXT in preprocessor.tokenizer.decode(tokens)
    preprocessor.save(tmp_path / "saved")
    write_config = (folder / "config.json").read_text()
    (tmp_path / "saved" / "config.json").write_text(write_config)
    # Deployed programs read this file alone.
    assert (tmp_path / "saved" / "tokenizer.json").is_file()
    again = TextPreprocessor.load(tmp_path / "saved")
    assert again.same_as(preprocessor)
    assert again.identity == preprocessor.identity


@pytest.mark.parametrize("write", SENTENCEPIECE)
def test_a_sentencepiece_model_without_its_package_is_refused_with_what_to_do(
    write: Callable[[Path], PretrainedConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    write(folder).save_pretrained(folder)
    monkeypatch.setattr(hugging_face, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"SentencePiece model \(.*\.model\).*tokenizer\.json"):
        TextPreprocessor.load(folder)


def test_a_tokenizers_identity_tells_other_words_apart_and_not_what_was_asked_of_it(
    tmp_path: Path,
) -> None:
    first, second = (tmp_path / name for name in ("first", "second"))
    for folder in (first, second):
        write_vocab_txt(folder).save_pretrained(folder)
    one = TextPreprocessor.load(first)
    one.encode((["a film"],), 2)
    assert one.identity == TextPreprocessor.load(second).identity
    (second / "vocab.txt").write_text("\n".join([*WORDS[:-1], "!"]))
    assert one.identity != TextPreprocessor.load(second).identity
