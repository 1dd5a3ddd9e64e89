"""Reading an experiment for this machine: addresses, the default output, mistakes in the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sparse_transfer_api.errors import AccessError, InputError
from sparse_transfer_cli.experiment_file import (
    experiment_folder,
    file_uri,
    local_path,
    read_experiment,
)

Write = Callable[..., Path]


@pytest.mark.parametrize(
    ("typed", "address"),
    [
        ("data", "file:///srv/data"),
        ("./data/", "file:///srv/data"),
        ("../shared data", "file:///shared%20data"),
        ("/data", "file:///data"),
        ("file://./data", "file:///srv/data"),
        ("file://data", "file:///srv/data"),
        ("file:///data/a%20b", "file:///data/a%20b"),
        ("s3://bucket/data", "s3://bucket/data"),
        ("zoo:nlp/some-stub", "zoo:nlp/some-stub"),
        ("package://a_model/model", "package://a_model/model"),
    ],
)
def test_what_a_user_types_becomes_an_address(typed: str, address: str) -> None:
    assert file_uri(typed, Path("/srv")) == address


def test_an_address_leads_back_to_its_path() -> None:
    assert local_path(file_uri("a b/#1", Path("/srv"))) == Path("/srv/a b/#1")
    assert local_path("s3://bucket/data") is None


def test_relative_addresses_are_relative_to_the_file(
    write_experiment: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    path = write_experiment(
        "  model: {uri: 'file://../foundation'}\n"
        "  teacher: {mode: Given, uri: 'file://teacher'}\n"
        "  recipe: {uri: 'package://recipes/one.yaml'}\n"
    )
    spec = read_experiment(path).spec
    assert spec.data.uri == (tmp_path / "data").as_uri()
    assert spec.model.uri == (tmp_path.parent / "foundation").as_uri()
    assert spec.teacher.uri == (tmp_path / "teacher").as_uri()
    assert spec.recipe.uri == "package://recipes/one.yaml"


@pytest.mark.parametrize(
    ("more", "output"),
    [
        ("", "runs"),
        ("  output: {}\n", "runs"),
        ("  output: {uri: 'file://./elsewhere'}\n", "elsewhere"),
    ],
)
def test_results_go_beside_the_file_unless_it_says_otherwise(
    write_experiment: Write, tmp_path: Path, more: str, output: str
) -> None:
    experiment = read_experiment(write_experiment(more))
    assert experiment_folder(experiment) == tmp_path / output / "default" / "film-reviews"


def test_an_output_that_is_not_local_has_no_local_folder(write_experiment: Write) -> None:
    experiment = read_experiment(write_experiment("  output: {uri: 's3://bucket/runs/'}\n"))
    assert experiment_folder(experiment) is None


def test_an_exponent_is_a_number_as_in_kubernetes(write_experiment: Write) -> None:
    experiment = read_experiment(write_experiment("  training: {learningRate: 4e-4}\n"))
    assert experiment.spec.training.learning_rate == pytest.approx(4e-4)


def test_every_mistake_is_listed_as_the_user_wrote_it(write_experiment: Write) -> None:
    path = write_experiment("  optimLevel: 50\n  model: {uri: 'file://m', trust: Saef}\n")
    with pytest.raises(InputError) as caught:
        read_experiment(path)
    message = str(caught.value)
    assert str(path) in message
    assert "optimLevel" in message
    assert "Saef" in message
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        (b"spec: [\n", InputError, "not valid YAML"),
        (b"spec: 1\nspec: 2\n", InputError, "the key 'spec' occurs twice"),
        (b"a: \xff\n", InputError, "not UTF-8"),
        (b"", InputError, "holds 0 YAML documents"),
        (b"a: 1\n---\nb: 2\n", InputError, "holds 2 YAML documents"),
        (b"- a\n", InputError, "expected a mapping"),
        (b"!!python/object/apply:os.system ['true']\n", InputError, "not valid YAML"),
        (None, AccessError, "there is no such file"),
    ],
)
def test_a_file_that_is_no_experiment_is_refused_in_words(
    tmp_path: Path, content: bytes | None, error: type[Exception], words: str
) -> None:
    path = tmp_path / "experiment.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(error, match=words) as caught:
        read_experiment(path)
    assert str(path) in str(caught.value)


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_text("a: 1\nb: 'open\n")
    with pytest.raises(InputError) as caught:
        read_experiment(path)
    assert caught.value.problems[0].line is not None
