"""The programs that find and outline objects, on models that always see the same one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from sparse_transfer_runner.engines.onnxruntime import OnnxRuntime
from sparse_transfer_runner.packaging.deployment import _MODULES, _environment

SIDE, CELLS = 64, 16
LABELS = ["a: 'b' \"c\"", "東京 <script>"]
LEFT_HALF = [SIDE / 4, SIDE / 2, SIDE / 2, SIDE]
"""Of the square: centre and size."""


def write_model(path: Path, output: NDArray[np.float32]) -> None:
    """Writes a model that puts out the same for every picture."""
    graph = helper.make_graph(
        [helper.make_node("Constant", [], ["logits"], value=numpy_helper.from_array(output))],
        "objects",
        [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, output.shape)],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)


@pytest.fixture(params=["detect_objects", "segment_objects"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """What is deployed with a model that sees an object of the second class in the left half."""
    folder = tmp_path / "deployment"
    folder.mkdir()
    place = np.array([*LEFT_HALF, 0, 0.9], np.float32)
    if request.param == "segment_objects":
        output = np.concatenate([place, [1], np.ones(CELLS**2)]).astype(np.float32)[None]
    else:
        output = place[None, None]
    write_model(folder / "model.onnx", output)
    config = {"side": SIDE, "padding": 114, "prototypes": 1, "mask_side": CELLS}
    (folder / "preprocessor_config.json").write_text(json.dumps(config))
    (folder / "labels.json").write_text(json.dumps(LABELS, ensure_ascii=False), encoding="utf-8")
    for module in _MODULES[request.param]:
        shutil.copy(module, folder)
    plan = SimpleNamespace(inputs=["pixel_values"])
    template = _environment().get_template(f"{request.param}.py.j2")
    program = template.render(engine=OnnxRuntime(), plan=plan, program="predict.py")
    (folder / "predict.py").write_text(program, encoding="utf-8")
    return folder


def ran(folder: Path, *pictures: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "predict.py", *map(str, pictures)],
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=120,
    )


def write_pictures(folder: Path) -> dict[Path, tuple[int, int]]:
    """Writes pictures of many kinds; returns the size that each has when it stands upright."""
    wide = Image.new("RGB", (40, 20), (200, 10, 10))
    turned = Image.Exif()
    turned[0x0112] = 6
    kinds: dict[str, tuple[Image.Image, dict[str, Any]]] = {
        "grey.png": (wide.convert("L"), {}),
        "alpha.png": (Image.new("RGBA", (40, 20), (1, 2, 3, 40)), {}),
        "palette.gif": (wide.quantize(4), {}),
        "one bit.png": (wide.convert("1"), {}),
        "sixteen bits.png": (Image.fromarray(np.full((20, 40), 0x8080, np.uint16)), {}),
        "cmyk.jpg": (wide.convert("CMYK"), {}),
        os.fsdecode(b"no utf-8 \xff.png"): (wide, {}),
        "turned.jpg": (wide, {"exif": turned}),
        "turned.png": (wide, {"exif": turned}),
        "turned.tiff": (wide, {"exif": turned}),
    }
    folder.mkdir()
    for name, (picture, more) in kinds.items():
        picture.save(folder / name, **more)
    return {folder / name: (20, 40) if name.startswith("turned") else (40, 20) for name in kinds}


def test_pictures_of_every_kind_get_places_in_them_as_they_stand_upright(
    folder: Path, tmp_path: Path
) -> None:
    sizes = write_pictures(tmp_path / "pictures")
    done = ran(folder, *sizes)
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["picture"] for answer in answers] == [str(path) for path in sizes]
    for answer, (width, height) in zip(answers, sizes.values(), strict=True):
        (found,) = answer["objects"]
        assert found["label"] == LABELS[1]
        assert found["box"] == [0, 0, width / 2, height]
        if "mask" in found:
            counts = found["mask"]["counts"]
            assert found["mask"]["size"] == [height, width]
            assert counts == [0, width * height // 2, width * height // 2]


def test_a_picture_that_is_not_there_and_one_that_is_none_are_named(
    folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "notes.jpg").write_text("not pixels")
    for name, message in (("none.png", "is not there"), ("notes.jpg", "no picture that Pillow")):
        done = ran(folder, tmp_path / name)
        assert done.returncode == 1
        assert done.stderr.startswith(f"{tmp_path / name}: {message}")
