"""Checking detection data: what is accepted, and every mistake with its place and a remedy."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from PIL import Image
from tests.runner.object_folders import CLASSES, write_objects

from sparse_transfer_api.errors import InputError, Problem
from sparse_transfer_runner.detection.check import check_objects, digest_of_objects


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_objects(tmp_path / "data", {"train": 3, "val": 2})


def problems(root: Path, *, polygons: bool = False) -> list[Problem]:
    with pytest.raises(InputError) as caught:
        check_objects(root, polygons=polygons)
    return list(caught.value.problems)


def test_a_good_folder_gives_classes_rows_and_digests(folder: Path) -> None:
    checked = check_objects(folder)
    assert checked.layout.labels == CLASSES
    assert {name: len(split.items) for name, split in checked.layout.splits.items()} == {
        "train": 3,
        "val": 2,
    }
    assert checked.digests["train"] == digest_of_objects(folder, "train")
    assert not checked.warnings


def test_nothing_is_written_into_the_data(folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    check_objects(folder)
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("changed", ["images/train/0.png", "labels/train/0.txt", "classes.txt"])
def test_the_digest_of_a_split_tells_when_any_of_its_files_changed(
    folder: Path, changed: str
) -> None:
    before = digest_of_objects(folder, "train")
    (folder / changed).write_bytes((folder / changed).read_bytes() + b"\n")
    assert digest_of_objects(folder, "train") != before


@pytest.mark.parametrize("removed", ["images/train", "classes.txt"])
def test_a_split_whose_files_are_gone_has_no_digest(folder: Path, removed: str) -> None:
    path = folder / removed
    path.rename(folder.parent / path.name)
    assert digest_of_objects(folder, "train") is None


def test_a_folder_for_each_split_is_as_good(tmp_path: Path) -> None:
    write_objects(tmp_path / "made", {"train": 2, "valid": 1, "test": 1})
    data = tmp_path / "data"
    for split in ("train", "valid", "test"):
        for kind in ("images", "labels"):
            shutil.copytree(tmp_path / "made" / kind / split, data / split / kind)
    shutil.copy(tmp_path / "made" / "classes.txt", data)
    assert set(check_objects(data).layout.splits) == {"train", "val", "test"}


def with_dataset_file(root: Path, **changed: object) -> Path:
    (root / "classes.txt").unlink(missing_ok=True)
    content = {"path": ".", "train": "images/train", "val": "images/val", "names": list(CLASSES)}
    text = yaml.safe_dump({**content, **changed})
    (root / "data.yaml").write_text(text)
    return root


def test_a_dataset_file_says_where_splits_lie(folder: Path) -> None:
    checked = check_objects(with_dataset_file(folder, nc=2))
    assert checked.layout.labels == CLASSES
    assert len(checked.layout.splits["train"].items) == 3
    assert checked.digests["train"] == digest_of_objects(folder, "train")


def test_a_dataset_file_may_number_its_names_and_list_pictures(folder: Path) -> None:
    (folder / "train.txt").write_text("./images/train/0.png\nimages/train/2.png\n")
    with_dataset_file(folder, train=["train.txt"], names={0: "blue", 1: "red"})
    checked = check_objects(folder)
    assert [item.label for item in checked.layout.splits["train"].items] == [
        "labels/train/0.txt",
        "labels/train/2.txt",
    ]


@pytest.mark.parametrize(
    ("changed", "warning"),
    [
        ({"train": "../images/train"}, "train: '../images/train' is taken for 'images/train'"),
        ({"val": "../../images/val"}, "val: '../../images/val' is taken for 'images/val'"),
        ({"path": "coco8"}, "path: 'coco8' is not there; its own folder is taken"),
        ({"path": "../datasets/coco8"}, "path: '../datasets/coco8' is not there"),
    ],
)
def test_paths_as_roboflow_and_ultralytics_write_them_are_taken_for_what_they_mean(
    folder: Path, changed: dict[str, object], warning: str
) -> None:
    checked = check_objects(with_dataset_file(folder, **changed))
    assert len(checked.layout.splits["train"].items) == 3
    (told,) = checked.warnings
    assert warning in told


def test_a_path_may_lead_up_within_the_data(folder: Path) -> None:
    (folder / "lists" / "images" / "train").mkdir(parents=True)
    with_dataset_file(folder, path="lists", train="../images/train", val="../images/val")
    checked = check_objects(folder)
    assert len(checked.layout.splits["train"].items) == 3
    assert not checked.warnings


def test_other_yaml_beside_the_data_is_passed_over(folder: Path) -> None:
    (folder / "recipe.yaml").write_text("modifiers:\n  - !EpochRangeModifier {start_epoch: 0.0}\n")
    assert not check_objects(folder).warnings


def test_labelimg_s_classes_among_the_labels_are_no_label(folder: Path) -> None:
    (folder / "labels" / "train" / "classes.txt").write_text("blue\nred\n")
    assert not check_objects(folder).warnings


def test_a_download_is_never_run(folder: Path, tmp_path: Path) -> None:
    trace = tmp_path / "ran"
    with_dataset_file(folder, download=f"open({str(trace)!r}, 'w')")
    (warning,) = check_objects(folder).warnings
    assert "never run" in warning
    assert not trace.exists()


def test_splits_may_have_pictures_of_different_kinds(folder: Path) -> None:
    for path in (folder / "images" / "val").iterdir():
        Image.open(path).save(path.with_suffix(".jpg"))
        path.unlink()
    assert len(check_objects(folder).layout.splits["val"].items) == 2


@pytest.mark.parametrize("count", [1, 10_000])
def test_any_number_of_classes_is_fine(folder: Path, count: int) -> None:
    (folder / "classes.txt").write_text("".join(f"class {n}\n" for n in range(count)))
    for path in folder.glob("labels/*/*.txt"):
        path.write_text(f"{count - 1} 0.5 0.5 0.25 0.25\n")
    assert len(check_objects(folder).layout.labels) == count


def test_pictures_without_a_label_are_backgrounds_and_counted(folder: Path) -> None:
    (folder / "labels" / "train" / "0.txt").unlink()
    (folder / "labels" / "train" / "1.txt").write_text("\n")
    told = check_objects(folder).warnings
    assert "train: 2 of 3 pictures have no object (backgrounds)" in told


def test_what_can_be_put_right_is_put_right_and_told(folder: Path) -> None:
    lines = ["0 0.1 0.5 0.4 0.2", "0 0.1 0.5 0.4 0.2", "1 0.2 0.2 0.4 0.2 0.4 0.4"]
    (folder / "labels" / "train" / "0.txt").write_text("\n".join(lines))
    told = "\n".join(check_objects(folder).warnings)
    assert "1 lines repeat" in told
    assert "1 boxes reach out" in told
    assert "1 polygons" in told


def label(text: str) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        (root / "labels" / "train" / "1.txt").write_text(text)

    return write


def a_label_without_a_picture(root: Path) -> None:
    (root / "labels" / "train" / "9.txt").write_text("0 0.5 0.5 0.1 0.1\n")


def labels_that_lie_deeper_than_their_pictures(root: Path) -> None:
    (root / "labels" / "train" / "a").mkdir()
    path = root / "labels" / "train" / "1.txt"
    path.rename(path.parent / "a" / path.name)


def no_objects_at_all(root: Path) -> None:
    for path in root.glob("labels/train/*.txt"):
        path.write_text("")


def labels_in_a_foreign_folder(root: Path) -> None:
    (root / "labels").rename(root / "annotations")


def a_picture_of_no_bytes(root: Path) -> None:
    (root / "images" / "train" / "1.png").write_bytes(b"")


def a_damaged_header(root: Path) -> None:
    (root / "images" / "train" / "1.png").write_bytes(b"\x89PNG nothing more")


def two_pictures_of_one_stem(root: Path) -> None:
    picture = root / "images" / "train" / "1.png"
    Image.open(picture).save(picture.with_suffix(".jpg"))


def a_name_that_is_no_utf8(root: Path) -> None:
    picture = root / "images" / "train" / "1.png"
    picture.rename(picture.with_name(os.fsdecode(b"1\xff.png")))


def no_classes(root: Path) -> None:
    (root / "classes.txt").unlink()


def two_classes_of_one_name(root: Path) -> None:
    (root / "classes.txt").write_text("red\nred\n")


def a_class_without_a_name(root: Path) -> None:
    (root / "classes.txt").write_text("blue\n\nred\n")


def no_val(root: Path) -> None:
    shutil.rmtree(root / "images" / "val")


def two_vals(root: Path) -> None:
    shutil.copytree(root / "images" / "val", root / "images" / "validation")


def a_link_out(root: Path) -> None:
    outside = root.parent / "outside.txt"
    outside.write_text("0 0.5 0.5 0.1 0.1\n")
    path = root / "labels" / "train" / "1.txt"
    path.unlink()
    path.symlink_to(outside)


def dataset_file(**changed: object) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        with_dataset_file(root, **changed)

    return write


def a_damaged_dataset_file(root: Path) -> None:
    (root / "data.yaml").write_text("train: images/train\nval: [\n")


LAUGHS = "".join(
    f"l{number}: &l{number} [{', '.join([f'*l{number - 1}'] * 9)}]\n"
    if number
    else "l0: &l0 [ha]\n"
    for number in range(12)
)
MERGES = "".join(
    f"m{number}: &m{number} {{<<: [*m{number - 1}, *m{number - 1}]}}\n"
    if number
    else "m0: &m0 {a: 1}\n"
    for number in range(40)
)


def aliases(text: str, **changed: str) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        content = {"train": "images/train", "val": "images/val", "names": "[blue, red]", **changed}
        lines = "".join(f"{key}: {value}\n" for key, value in content.items())
        (root / "data.yaml").write_text(text + lines)

    return write


def two_dataset_files(root: Path) -> None:
    with_dataset_file(root)
    shutil.copy(root / "data.yaml", root / "other.yaml")


def names_that_contradict(root: Path) -> None:
    with_dataset_file(root)
    (root / "classes.txt").write_text("red\nblue\n")


MISTAKES = [
    (label("0 0.5 0.5 0.1 0.1\n1 1.2 0.5 0.1 0.1\n"), "labels/train/1.txt:2", "1.2; expected"),
    (label("0 120 40 30 30\n"), "labels/train/1.txt:1", "pixels are divided"),
    (label("0 -0.1 0.5 0.1 0.1\n"), "labels/train/1.txt:1", "-0.1; expected"),
    (label("0 nan 0.5 0.1 0.1\n"), "labels/train/1.txt:1", "nan; expected"),
    (label("0 0.5 0.5 0 0.1\n"), "labels/train/1.txt:1", "width 0"),
    (label("0 0.1 0.5 0.2 0.5 0.3 0.5\n"), "labels/train/1.txt:1", "on one line"),
    (label("\n2 0.5 0.5 0.1 0.1\n"), "labels/train/1.txt:2", "class 2, but there are 2"),
    (label("-1 0.5 0.5 0.1 0.1\n"), "labels/train/1.txt:1", "whole number from 0"),
    (label("0.5 0.5 0.5 0.1 0.1\n"), "labels/train/1.txt:1", "whole number from 0"),
    (label("red 0.5 0.5 0.1 0.1\n"), "labels/train/1.txt:1", "'red' is no number"),
    (label("0 0.5 0.5 0.1\n"), "labels/train/1.txt:1", "4 numbers; expected 'class x_center"),
    (label("0 0.5 0.5 0.1 0.1 0.9\n"), "labels/train/1.txt:1", "6 numbers"),
    (a_label_without_a_picture, "labels/train/9.txt", "no picture of this name"),
    (labels_that_lie_deeper_than_their_pictures, "labels/train/a/1.txt", "no picture of this name"),
    (no_objects_at_all, "images/train", "none of the 3 pictures"),
    (labels_in_a_foreign_folder, "images/train", "labels are expected as in labels/train/0.txt"),
    (a_picture_of_no_bytes, "images/train/1.png", "holds no bytes"),
    (a_damaged_header, "images/train/1.png", "replace or remove it"),
    (two_pictures_of_one_stem, "images/train/1.png", "would share labels/train/1.txt"),
    (a_name_that_is_no_utf8, "images/train", "no UTF-8 name"),
    (no_classes, "classes.txt", "expected classes.txt"),
    (two_classes_of_one_name, "classes.txt:2", "names class 1 and class 0"),
    (a_class_without_a_name, "classes.txt:2", "class 1 has no name"),
    (no_val, "", "no val split"),
    (two_vals, "", "2 folders look like the val split"),
    (a_link_out, "labels/train/1.txt", "leads out of the data"),
    (a_damaged_dataset_file, "data.yaml:3", "not YAML"),
    (two_dataset_files, "", "2 files describe the data"),
    (names_that_contradict, "classes.txt", "data.yaml says"),
    (dataset_file(path="/"), "data.yaml", "leads out of the data"),
    (dataset_file(train="../elsewhere/train"), "data.yaml", "leads out of the data"),
    (dataset_file(train="../classes"), "data.yaml", "leads out of the data"),
    (dataset_file(path="coco8", train="images/none"), "data.yaml", "is not there"),
    (dataset_file(path="../data/../.."), "data.yaml", "leads out of the data"),
    (dataset_file(path="a\0b"), "data.yaml", "no usable path"),
    (dataset_file(path="a" * 5000), "data.yaml", "no usable path"),
    (dataset_file(val="images/none"), "data.yaml", "is not there"),
    (dataset_file(val=None), "", "names no val split"),
    (dataset_file(train=[]), "", "names no train split"),
    (dataset_file(val=[]), "", "names no val split"),
    (dataset_file(nc=3), "data.yaml", "nc: 3, but names has 2"),
    (dataset_file(names={0: "a", 2: "b"}), "data.yaml", "expected 0 to 1"),
    (aliases(LAUGHS, names="[blue, *l11]"), "data.yaml", "class 1 is a list; expected a name"),
    (aliases(LAUGHS, names="{*l0 : 1}"), "data.yaml", "not YAML"),
    (aliases(LAUGHS, nc="*l11"), "data.yaml", "nc: a list, but names has 2"),
    (aliases(LAUGHS, train="[*l11]"), "data.yaml", "train: a list; expected a path"),
    (aliases(LAUGHS, path="*l11"), "data.yaml", "path: a list; expected a path"),
    (aliases(MERGES), "data.yaml:2", "'<<' merges another mapping"),
    (dataset_file(train=7), "data.yaml", "train: 7"),
]


@pytest.mark.parametrize(("damage", "place", "message"), MISTAKES)
def test_a_mistake_is_told_with_its_place_and_what_was_expected(
    folder: Path, damage: Callable[[Path], None], place: str, message: str
) -> None:
    damage(folder)
    found = [str(problem) for problem in problems(folder)]
    assert any(text.startswith(str(folder / place)) and message in text for text in found), (
        "\n".join(found)
    )


@pytest.mark.parametrize(
    ("place", "split_first"),
    [
        ("images", False),
        ("images/train", False),
        ("labels", False),
        ("labels/train", False),
        ("classes.txt", False),
        ("data.yaml", False),
        ("train", True),
        ("train/images", True),
        ("train/labels", True),
    ],
)
def test_a_link_out_of_the_data_is_told_once_whatever_it_stands_for(
    folder: Path, place: str, split_first: bool
) -> None:
    if split_first:
        for split in ("train", "val"):
            (folder / split).mkdir()
            for kind in ("images", "labels"):
                (folder / kind / split).rename(folder / split / kind)
        for kind in ("images", "labels"):
            (folder / kind).rmdir()
    if place == "data.yaml":
        with_dataset_file(folder)
    (folder / place).rename(folder.parent / "elsewhere")
    (folder / place).symlink_to(folder.parent / "elsewhere")
    found = [str(problem) for problem in problems(folder)]
    told = [text for text in found if "leads out of the data" in text]
    assert [text.partition(": ")[0] for text in told] == [str(folder / place)]


def test_links_within_the_data_are_followed(folder: Path) -> None:
    for place in ("images", "labels"):
        (folder / place).rename(folder / f"{place}-1")
        (folder / place).symlink_to(f"{place}-1")
    assert len(check_objects(folder).layout.splits["train"].items) == 3


@pytest.mark.parametrize("test", [0, 1])
def test_one_picture_suffices_where_none_of_train_has_to_be_held_out(
    tmp_path: Path, test: int
) -> None:
    data = write_objects(tmp_path, {"train": 1, "val": 1, **({"test": test} if test else {})})
    if test:
        assert len(check_objects(data).layout.splits["train"].items) == 1
    else:
        (problem,) = problems(data)
        assert str(problem).startswith(f"{data}/images/train: train holds 1 picture")


def test_all_mistakes_are_told_at_once(folder: Path) -> None:
    for damage in (a_picture_of_no_bytes, a_label_without_a_picture, label("7 1 1 1 1\nx\n")):
        damage(folder)
    assert len(problems(folder)) == 4


@pytest.mark.parametrize("place", ["labels", "annotations"])
def test_polygons_are_found_in_either_folder(tmp_path: Path, place: str) -> None:
    data = write_objects(tmp_path, {"train": 2, "val": 1}, labels=place, polygons=True)
    checked = check_objects(data, polygons=True)
    assert not checked.warnings
    assert checked.layout.splits["train"].items[0].label == f"{place}/train/0.txt"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.1 0.1", "a polygon of 1 points"),
        ("0 0.1 0.1 0.4 0.4", "a polygon of 2 points, or a box; expected 'class x1 y1"),
        ("0 0.1 0.1 0.4 0.4 0.1", "6 numbers"),
        ("0 0.1 0.1 0.4 0.4 0.1 1.2", "1.2; expected"),
        ("0 0.1 0.1 0.4 0.4 0.1 -0.2", "-0.2; expected"),
        ("0 10 10 40 40 10 40", "pixels are divided"),
        ("0 0.1 0.1 0.4 0.1 0.3 0.1", "on one line"),
        ("0 0.1 0.1 0.2 0.2 0.3 0.3", "on one line"),
        ("0 0.123456 0.1 0.456789 0.7 0.123456 0.1 0.456789 0.7", "on one line"),
        ("0 0.5 0.5 0.5 0.5 0.5 0.5", "on one line"),
        ("2 0.1 0.1 0.4 0.4 0.1 0.4", "class 2, but there are 2"),
        ("red 0.1 0.1 0.4 0.4 0.1 0.4", "'red' is no number"),
    ],
)
def test_a_wrong_polygon_is_refused_with_its_line(tmp_path: Path, line: str, message: str) -> None:
    data = write_objects(tmp_path, {"train": 2, "val": 1}, polygons=True)
    label(f"0 0.1 0.1 0.4 0.4 0.1 0.4\n{line}\n")(data)
    (problem,) = problems(data, polygons=True)
    assert message in str(problem)
    assert problem.line == 2


def test_labels_of_boxes_are_refused_where_polygons_are_expected(tmp_path: Path) -> None:
    data = write_objects(tmp_path, {"train": 2, "val": 1})
    found = problems(data, polygons=True)
    assert len(found) == 4
    assert all("or a box" in str(problem) for problem in found)


def test_polygons_in_both_folders_are_refused(tmp_path: Path) -> None:
    data = write_objects(tmp_path, {"train": 2, "val": 1}, polygons=True)
    shutil.copytree(data / "labels", data / "annotations")
    assert any("there is labels/" in str(problem) for problem in problems(data, polygons=True))


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("polygons", [False, True])
def test_labels_that_are_empty_for_every_picture_are_refused(
    tmp_path: Path, split: str, polygons: bool
) -> None:
    data = write_objects(tmp_path, {"train": 2, "val": 1}, polygons=polygons)
    for path in data.glob(f"labels/{split}/*.txt"):
        path.write_text("")
    (problem,) = problems(data, polygons=polygons)
    assert str(problem).startswith(f"{data}/images/{split}: none of the")


def test_classes_may_have_any_name(tmp_path: Path) -> None:
    names = ["naïve 東京", "a: 'b' \"c\"", "<script>", "no", "1", "🙂"]
    data = write_objects(tmp_path, {"train": 2, "val": 1}, polygons=True)
    (data / "classes.txt").write_text("\n".join(names), encoding="utf-8")
    assert list(check_objects(data, polygons=True).layout.labels) == names


@pytest.mark.parametrize(
    ("damage", "place", "message"),
    [
        (a_label_without_a_picture, "labels/train/9.txt", "no picture of this name"),
        (a_picture_of_no_bytes, "images/train/1.png", "holds no bytes"),
        (two_vals, "", "2 folders look like the val split"),
        (two_pictures_of_one_stem, "images/train/1.png", "would share labels/train/1.txt"),
        (dataset_file(train="../elsewhere/train"), "data.yaml", "leads out of the data"),
    ],
)
def test_mistakes_around_polygons_are_those_around_boxes(
    tmp_path: Path, damage: Callable[[Path], None], place: str, message: str
) -> None:
    data = write_objects(tmp_path, {"train": 2, "val": 1}, polygons=True)
    damage(data)
    found = [str(problem) for problem in problems(data, polygons=True)]
    assert any(text.startswith(str(data / place)) and message in text for text in found), found


def test_a_segmenter_s_pictures_may_be_backgrounds_and_of_different_kinds(tmp_path: Path) -> None:
    data = write_objects(tmp_path, {"train": 2, "val": 1}, polygons=True)
    (data / "labels" / "train" / "0.txt").unlink()
    picture = data / "images" / "val" / "0.png"
    Image.open(picture).save(picture.with_suffix(".jpg"))
    picture.unlink()
    checked = check_objects(data, polygons=True)
    assert checked.warnings == ("train: 1 of 2 pictures have no object (backgrounds)",)
    assert len(checked.layout.splits["val"].items) == 1
