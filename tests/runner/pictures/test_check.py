"""Checking image folders: what is accepted, and every mistake with its place and a remedy."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from tests.runner.image_folders import picture, write_folder

from sparse_transfer_api.contract import ExitCode
from sparse_transfer_api.errors import AccessError, InputError, Problem
from sparse_transfer_runner.pictures.check import check_pictures, decoded_step
from sparse_transfer_runner.pictures.folders import digest_of_split, pictures_below, read_split


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "data", {"train": 3, "val": 2})


def problems(root: Path) -> list[Problem]:
    with pytest.raises(InputError) as caught:
        check_pictures(root)
    assert caught.value.exit_code == ExitCode.INPUT
    return list(caught.value.problems)


def test_a_good_folder_gives_classes_rows_and_digests(folder: Path) -> None:
    checked = check_pictures(folder)
    assert checked.labels == ("blue", "red")
    assert {name: len(split.files()) for name, split in checked.splits.items()} == {
        "train": 6,
        "val": 4,
    }
    assert checked.digests["train"] == digest_of_split(folder / "train")
    assert not checked.warnings


def test_a_test_split_is_used_where_there_is_one(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, {"train": 2, "valid": 1, "test": 1})
    assert set(check_pictures(folder).splits) == {"train", "val", "test"}


def test_ten_thousand_classes_are_as_good_as_two(tmp_path: Path) -> None:
    pictures = {split: tmp_path / f"{split}.bmp" for split in ("train", "val")}
    for split, path in pictures.items():
        Image.new("L", (4, 4), len(split)).save(path)
        for number in range(10_000):
            place = tmp_path / "data" / split / f"n{number:05}"
            place.mkdir(parents=True)
            (place / path.name).hardlink_to(path)
    checked = check_pictures(tmp_path / "data")
    assert len(checked.labels) == 10_000


def test_splits_may_have_pictures_of_different_kinds(folder: Path) -> None:
    before = check_pictures(folder)
    for path in (folder / "val").glob("*/*.png"):
        Image.open(path).save(path.with_suffix(".webp"))
        path.unlink()
    found = check_pictures(folder)
    assert found.labels == before.labels
    assert len(found.splits["val"].files()) == len(before.splits["val"].files())


def test_classes_that_are_numbers_are_sorted_as_numbers(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for label in ("10", "9", "100"):
            place = tmp_path / split / label
            place.mkdir(parents=True)
            picture("red", len(label) + len(split)).save(place / "a.png")
    assert check_pictures(tmp_path).labels == ("9", "10", "100")


def test_a_class_is_called_as_its_folder_even_where_a_number_would_lose_that(
    tmp_path: Path,
) -> None:
    names = ("-0", "007", "7", "8 ", "\u0663")
    for split in ("train", "val"):
        for number, label in enumerate(names):
            place = tmp_path / split / label
            place.mkdir(parents=True)
            picture("red", number + 10 * len(split)).save(place / "a.png")
    assert check_pictures(tmp_path).labels == names


def test_what_file_managers_leave_is_passed_over(folder: Path) -> None:
    for name in (".DS_Store", "Thumbs.db", "desktop.ini"):
        (folder / "train" / "red" / name).write_bytes(b"x")
        (folder / name).write_bytes(b"x")
    before = digest_of_split(folder / "train")
    assert check_pictures(folder).digests["train"] == before
    assert len(read_split(folder / "train").classes["red"]) == 3


def a_missing_split(root: Path) -> None:
    shutil.rmtree(root / "val")


def an_empty_folder(root: Path) -> None:
    shutil.rmtree(root)
    root.mkdir()


def an_empty_split(root: Path) -> None:
    shutil.rmtree(root / "val")
    (root / "val").mkdir()


def an_empty_class(root: Path) -> None:
    (root / "train" / "green").mkdir()


def a_class_only_in_val(root: Path) -> None:
    (root / "val" / "green").mkdir()
    picture("green", 1).save(root / "val" / "green" / "1.png")


def one_class(root: Path) -> None:
    for split in ("train", "val"):
        shutil.rmtree(root / split / "red")


def a_truncated_picture(root: Path) -> None:
    path = root / "train" / "red" / "0.png"
    path.write_bytes(path.read_bytes()[:200])


def a_picture_of_no_bytes(root: Path) -> None:
    (root / "train" / "red" / "0.png").write_bytes(b"")


def a_picture_of_one_pixel(root: Path) -> None:
    Image.new("RGB", (1, 1)).save(root / "val" / "blue" / "0.png")


def a_text_among_the_pictures(root: Path) -> None:
    (root / "val" / "blue" / "notes.txt").write_text("labels by Ann")


def a_link_that_leads_out(root: Path) -> None:
    outside = root.parent / "outside.png"
    picture("red", 7).save(outside)
    (root / "train" / "red" / "9.png").symlink_to(outside)


def a_class_that_is_a_link_out(root: Path) -> None:
    outside = root.parent / "green"
    outside.mkdir()
    picture("green", 7).save(outside / "1.png")
    (root / "train" / "green").symlink_to(outside)


def a_split_that_is_a_link_out(root: Path) -> None:
    shutil.move(root / "val", root.parent / "elsewhere")
    (root / "val").symlink_to(root.parent / "elsewhere")


def a_broken_link(root: Path) -> None:
    (root / "train" / "red" / "9.png").symlink_to("nowhere.png")


def pictures_beside_the_classes(root: Path) -> None:
    picture("red", 7).save(root / "train" / "7.png")


def folders_inside_a_class(root: Path) -> None:
    (root / "train" / "red" / "more").mkdir()


def two_folders_of_one_split(root: Path) -> None:
    shutil.copytree(root / "val", root / "validation")


def a_folder_above_the_splits(root: Path) -> None:
    (root / "flowers").mkdir()
    for split in ("train", "val"):
        shutil.move(root / split, root / "flowers" / split)


MISTAKES: dict[Callable[[Path], None], tuple[str, str]] = {
    a_missing_split: ("", "no val split; expected a folder val/"),
    an_empty_folder: ("", "the folder is empty"),
    an_empty_split: ("val", "an empty folder; expected val/CLASS/picture"),
    an_empty_class: ("train/green", "a class without pictures; add some, or remove"),
    a_class_only_in_val: ("val/green", "train has no class 'green'; it has blue, red"),
    one_class: ("train", "one class only, 'blue'; expected at least two"),
    a_truncated_picture: ("train/red/0.png", "damaged or cut short"),
    a_picture_of_no_bytes: ("train/red/0.png", "holds no bytes; expected a picture"),
    a_picture_of_one_pixel: ("val/blue/0.png", "1 x 1 pixels; expected at least 2"),
    a_text_among_the_pictures: ("val/blue/notes.txt", "no picture that Pillow can read"),
    a_link_that_leads_out: ("train/red/9.png", "a link that leads out of the data"),
    a_class_that_is_a_link_out: ("train/green", "a link that leads out of the data"),
    a_split_that_is_a_link_out: ("val", "a link that leads out of the data"),
    a_broken_link: ("train/red/9.png", "a link to 'nowhere.png', which is not there"),
    pictures_beside_the_classes: ("train/7.png", "a file beside the classes"),
    folders_inside_a_class: ("train/red/more", "a folder inside a class"),
    two_folders_of_one_split: ("", "2 folders look like the val split (val, validation)"),
    a_folder_above_the_splits: ("", "name flowers in spec.data.uri"),
}


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.__name__)
def test_a_mistake_is_named_with_its_place(mistake: Callable[[Path], None], folder: Path) -> None:
    mistake(folder)
    where, message = MISTAKES[mistake]
    found = {(problem.where, problem.message) for problem in problems(folder)}
    assert any(place == str(folder / where) and message in text for place, text in found), found


@pytest.mark.parametrize(
    ("pictures", "step"),
    [(0, 1), (1, 1), (1999, 1), (2000, 2), (50_000, 50), (100_000, 100), (10_000_000, 100)],
)
def test_small_sets_are_decoded_and_of_large_ones_one_in_a_hundred(
    pictures: int, step: int
) -> None:
    assert decoded_step(pictures) == step


@pytest.fixture
def large_folder(tmp_path: Path) -> Path:
    """A folder of 2000 pictures of red, of which every second one is decoded."""
    root = write_folder(tmp_path / "large", {"train": 1, "val": 1})
    for number in range(1, 2000):
        name = root / "train" / "red" / f"{number}.png"
        name.hardlink_to(root / "train" / "red" / "0.png")
    return root


def test_of_a_large_folder_every_header_is_read_and_some_pictures_are_decoded(
    large_folder: Path,
) -> None:
    files = [f"{label}/{name}" for label, name in read_split(large_folder / "train").files()]
    decoded, passed_over = files[1000], files[1001]
    whole = (large_folder / "train" / decoded).read_bytes()
    for name, content in ((decoded, whole[:200]), (passed_over, whole[:200]), (files[7], b"GIF")):
        path = large_folder / "train" / name
        path.unlink()
        path.write_bytes(content)
    found = {problem.where for problem in problems(large_folder)}
    assert found == {str(large_folder / "train" / name) for name in (decoded, files[7])}


def test_a_picture_of_many_megabytes_is_read_in_pieces(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = check_pictures(folder)
    monkeypatch.setattr("sparse_transfer_runner.pictures.looking._AT_ONCE_BYTES", 100)
    assert check_pictures(folder) == before


def test_a_decompression_bomb_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (400, 400)).save(folder / "train" / "red" / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    (problem,) = problems(folder)
    assert problem.where.endswith("bomb.png")
    assert "decompression bomb; scale it down; replace or remove it" in problem.message


def test_all_mistakes_are_told_at_once(folder: Path) -> None:
    for mistake in (a_truncated_picture, a_class_only_in_val, a_picture_of_one_pixel):
        mistake(folder)
    assert len(problems(folder)) == 3


def test_many_of_a_kind_are_counted_and_a_part_is_shown(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, {"train": 2, "val": 1})
    for number in range(40):
        (folder / "train" / "red" / f"empty{number}.png").write_bytes(b"")
    with pytest.raises(InputError, match="40 problems found"):
        check_pictures(folder)


def test_links_within_the_data_are_followed(folder: Path) -> None:
    (folder / "train" / "red" / "again.png").symlink_to("0.png")
    assert len(check_pictures(folder).splits["train"].files()) == 7


def test_a_file_instead_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.tar").write_bytes(b"")
    with pytest.raises(InputError, match=r"a file; spec\.data\.uri names the folder"):
        check_pictures(tmp_path / "data.tar")


def test_a_class_that_val_lacks_and_pictures_of_train_are_warned_of(folder: Path) -> None:
    shutil.rmtree(folder / "val" / "red")
    shutil.copy(folder / "train" / "blue" / "0.png", folder / "val" / "blue" / "same.png")
    warnings = " ".join(check_pictures(folder).warnings)
    assert "val has no pictures of 1 of 2 classes (red)" in warnings
    assert "every picture is of one class" in warnings
    assert "1 pictures of val are in train as well" in warnings


def test_a_picture_that_may_not_be_read_is_an_access_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: str) -> bytes:
        raise PermissionError(13, "Permission denied", path)

    # Root, whom nothing is refused, runs the tests as well.
    monkeypatch.setattr("sparse_transfer_runner.pictures.looking._content", refused)
    with pytest.raises(AccessError, match=r"blue/0\.png: may not be read by this user"):
        check_pictures(folder)


@pytest.mark.parametrize(
    "mistake",
    [a_link_that_leads_out, a_class_that_is_a_link_out, a_split_that_is_a_link_out, a_broken_link],
    ids=lambda mistake: mistake.__name__,
)
def test_pictures_without_labels_are_all_of_the_folder_s_own(
    mistake: Callable[[Path], None], folder: Path
) -> None:
    (folder / "again.png").symlink_to("train/red/0.png")
    assert len(pictures_below(folder)) == 11
    mistake(folder)
    where, message = MISTAKES[mistake]
    with pytest.raises(InputError, match="1 problem found") as caught:
        pictures_below(folder)
    (problem,) = caught.value.problems
    assert problem.where == str(folder / where)
    assert message in problem.message


def test_pictures_without_labels_may_lie_anywhere(folder: Path, tmp_path: Path) -> None:
    (folder / ".trash").mkdir()
    for name in (".trash/0.png", "train/._0.png", "about.pdf"):
        (folder / name).write_bytes(b"no picture")
    assert len(pictures_below(folder)) == 10
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="no pictures below"):
        pictures_below(tmp_path / "none")
