"""Reading pictures: whatever Pillow opens becomes the same RGB; what is no picture says why."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sparse_transfer_runner.pictures import preprocessing
from sparse_transfer_runner.pictures.preprocessing import (
    PictureError,
    Preprocessing,
    picture_size,
    read_picture,
)

CONFIG = {
    "size": {"shortest_edge": 12},
    "crop_size": {"height": 8, "width": 8},
    "resample": 2,
    "rescale_factor": 1 / 255,
    "image_mean": [0.5, 0.25, 0.0],
    "image_std": [0.5, 0.5, 1.0],
}


def sixteen_bits() -> Image.Image:
    return Image.fromarray(np.full((6, 6), 0x8080, np.uint16))


def palette() -> Image.Image:
    return Image.new("RGB", (6, 6), (200, 0, 0)).quantize(4)


KINDS = {
    "grey": (Image.new("L", (6, 6), 128), "png", (128, 128, 128)),
    "one bit": (Image.new("1", (6, 6), 1), "png", (255, 255, 255)),
    "palette": (palette(), "gif", (200, 0, 0)),
    "alpha": (Image.new("RGBA", (6, 6), (200, 0, 0, 255)), "png", (200, 0, 0)),
    "transparent": (Image.new("RGBA", (6, 6), (200, 0, 0, 0)), "png", (255, 255, 255)),
    "grey with alpha": (Image.new("LA", (6, 6), (128, 255)), "png", (128, 128, 128)),
    "sixteen bits": (sixteen_bits(), "png", (128, 128, 128)),
    "sixteen bits of tiff": (sixteen_bits(), "tiff", (128, 128, 128)),
    "cmyk": (Image.new("CMYK", (6, 6), (0, 0, 0, 0)), "tiff", (255, 255, 255)),
    "cmyk of jpeg": (Image.new("CMYK", (8, 8), (0, 0, 0, 0)), "jpeg", (255, 255, 255)),
    "webp": (Image.new("RGB", (6, 6), (255, 255, 255)), "webp", (255, 255, 255)),
    "bmp": (Image.new("RGB", (6, 6), (1, 2, 3)), "bmp", (1, 2, 3)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_picture_becomes_rgb(kind: str, tmp_path: Path) -> None:
    picture, suffix, colour = KINDS[kind]
    path = tmp_path / f"picture.{suffix}"
    picture.save(path)
    read = read_picture(path)
    assert read.mode == "RGB"
    assert np.abs(np.asarray(read, int)[2, 2] - colour).max() <= 1


@pytest.mark.parametrize("suffix", ["jpg", "png", "tiff", "webp"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_camera_s_orientation_is_applied(suffix: str, orientation: int, tmp_path: Path) -> None:
    path = tmp_path / f"turned.{suffix}"
    picture = Image.new("RGB", (20, 10))
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture.save(path, exif=exif)
    size = (10, 20) if orientation > 4 else (20, 10)
    assert read_picture(path).size == size
    assert picture_size(path) == size


def test_the_size_of_a_png_is_known_without_its_pixels(tmp_path: Path) -> None:
    assert picture_size(damaged(tmp_path, "png")) == (64, 64)


def test_a_damaged_header_has_no_size(tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    path.write_bytes(damaged(tmp_path, "png").read_bytes()[:20])
    with pytest.raises(PictureError, match="damaged or cut short"):
        picture_size(path)


def test_a_png_is_turned_by_what_stands_before_its_pixels(tmp_path: Path) -> None:
    path = tmp_path / "turned.png"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (20, 10)).save(path, exif=exif)
    chunk = path.read_bytes()
    start = chunk.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(chunk[start : start + 4])
    trailer = len(chunk) - 12
    path.write_bytes(chunk[:start] + chunk[end:trailer] + chunk[start:end] + chunk[trailer:])
    assert read_picture(path).size == picture_size(path) == (20, 10)


def test_of_several_frames_the_first_counts(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (6, 6), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert np.asarray(read_picture(tmp_path / "moving.gif"))[0, 0].tolist() == [255, 0, 0]


def damaged(folder: Path, suffix: str) -> Path:
    path = folder / f"cut.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tiff", "bmp"])
def test_a_truncated_picture_says_so(suffix: str, tmp_path: Path) -> None:
    with pytest.raises(PictureError, match=r"damaged or cut short|no picture"):
        read_picture(damaged(tmp_path, suffix))


def test_a_decompression_bomb_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("L", (64, 64)).save(tmp_path / "large.png")
    for limit in (64 * 64 - 1, 64):  # a warning of Pillow's, and its error
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(PictureError, match="decompression bomb"):
            read_picture(tmp_path / "large.png")


def test_pixels_without_an_agreed_range_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "float.tiff")
    with pytest.raises(PictureError, match="floating-point"):
        read_picture(tmp_path / "float.tiff")
    Image.fromarray(np.full((4, 4), 1 << 20, np.int32)).save(tmp_path / "long.tiff")
    with pytest.raises(PictureError, match="more than 16 bits"):
        read_picture(tmp_path / "long.tiff")


def test_a_picture_that_another_program_would_have_to_run_is_refused(tmp_path: Path) -> None:
    Image.new("RGB", (6, 6)).save(tmp_path / "drawing.eps")
    with pytest.raises(PictureError, match="no picture"):
        read_picture(tmp_path / "drawing.eps")


def test_text_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("not pixels")
    with pytest.raises(PictureError, match="no picture"):
        read_picture(tmp_path / "notes.jpg")


@given(width=st.integers(1, 70), height=st.integers(1, 70))
def test_any_size_becomes_the_model_s(width: int, height: int) -> None:
    values = Preprocessing(CONFIG)(Image.new("RGB", (width, height), (255, 0, 255)))
    assert values.shape == (3, 8, 8)
    assert values.dtype == np.float32


def test_pictures_are_normalized_by_channel() -> None:
    values = Preprocessing(CONFIG)(Image.new("RGB", (12, 12), (255, 0, 255)))
    assert np.allclose(values[:, 4, 4], [1.0, -0.5, 1.0], atol=1e-6)


def test_a_crop_is_the_middle_of_the_scaled_picture() -> None:
    picture = Image.new("RGB", (24, 12))
    picture.paste((255, 255, 255), (8, 2, 16, 10))
    assert np.allclose(Preprocessing(CONFIG)(picture)[2], 1.0)


@pytest.mark.parametrize("turned", [False, True])
def test_of_a_long_strip_only_the_middle_is_scaled(turned: bool) -> None:
    """Two pixels by forty million would else be scaled to gigabytes."""
    values = np.random.default_rng(0).integers(0, 256, (6, 300, 3), dtype=np.uint8)
    strip = Image.fromarray(values.transpose(1, 0, 2) if turned else values)
    prepare = Preprocessing({**CONFIG, "size": {"shortest_edge": 8}})
    scaled = strip.resize((8, 400) if turned else (400, 8), Image.Resampling.BILINEAR)
    whole = prepare.normalized(scaled.crop((0, 196, 8, 204) if turned else (196, 0, 204, 8)))
    assert np.abs(prepare(strip) - whole).max() < 0.02
    assert prepare(strip.resize((200_000, 2))).shape == (3, 8, 8)


def test_the_module_stands_alone() -> None:
    """It is shipped beside models, where nothing of this project is installed."""
    source = Path(preprocessing.__file__).read_text()
    assert "sparse_transfer" not in source.replace("sparse-transfer", "")
    done = subprocess.run(
        [sys.executable, "-S", "-I", "-c", "import ast, sys; ast.parse(sys.stdin.read())"],
        input=source,
        text=True,
        check=False,
    )
    assert done.returncode == 0
