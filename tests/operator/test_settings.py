"""The operator's settings, as a file holds them."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparse_transfer_api.contract import Stage
from sparse_transfer_api.errors import InputError
from sparse_transfer_operator.settings import OperatorSettings, load_settings


def written(folder: Path, text: str) -> Path:
    path = folder / "settings.yaml"
    path.write_text(text)
    return path


def test_an_empty_file_means_the_defaults(tmp_path: Path) -> None:
    assert load_settings(written(tmp_path, "")) == OperatorSettings()


def test_a_stage_keeps_the_defaults_that_a_file_does_not_mention(tmp_path: Path) -> None:
    text = "stages: {train: {resources: {limits: {nvidia.com/gpu: '1'}}}}"
    found, usual = load_settings(written(tmp_path, text)).stages, OperatorSettings().stages
    assert found.train.resources.requests == usual.train.resources.requests
    assert found.train.resources.limits == {**usual.train.resources.limits, "nvidia.com/gpu": "1"}
    for stage in (Stage.PREPARE, Stage.PACKAGE):
        assert getattr(found, stage.value) == getattr(usual, stage.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("imagge: a", "imagge"),
        ("httpPort: 99999999", "httpPort"),
        ("lease: {durationSeconds: -1}", "lease.durationSeconds"),
        ("lease: {durationSeconds: 5}", "renewDeadlineSeconds"),
        ("lease: {retrySeconds: 10}", "retrySeconds"),
        ("image: [", "not readable as YAML"),
        ("- image", "document"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(InputError) as caught:
        load_settings(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"missing\.yaml"):
        load_settings(tmp_path / "missing.yaml")
