"""The folder that users take away: model files, what turns raw inputs into tensors, a program."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from sparse_transfer_api.errors import InputError
from sparse_transfer_api.records import Plan
from sparse_transfer_api.results import Results
from sparse_transfer_runner.data.tags import entity_tags, tagging_of
from sparse_transfer_runner.detection import detections, masks
from sparse_transfer_runner.detection.nms_graph import write_masks_with_nms, write_with_nms
from sparse_transfer_runner.engines.kernels import KERNELS
from sparse_transfer_runner.engines.protocol import Engine
from sparse_transfer_runner.pictures import preprocessing
from sparse_transfer_runner.use_cases import tagging
from sparse_transfer_runner.use_cases.protocol import Preprocessor

LABELS = "labels.json"
_CONFIG = "config.json"
_README = "README.md"
_ONNX = "model.onnx"
_ONNX_NMS = "model-with-nms.onnx"
_REQUIREMENTS = "requirements.txt"
_LIBRARIES = {
    "detection": ("numpy", "pillow"),
    "image": ("numpy", "pillow"),
    "segmentation": ("numpy", "pillow"),
    "text": ("numpy", "tokenizers"),
}
"""What the program needs beside its engine, by family of use cases."""
_MODULES = {
    "classify_images": (Path(preprocessing.__file__),),
    "detect_objects": (Path(preprocessing.__file__), Path(detections.__file__)),
    "segment_objects": (
        Path(preprocessing.__file__),
        Path(detections.__file__),
        Path(masks.__file__),
    ),
    "tag_words": (Path(tagging.__file__),),
}
"""What is shipped beside a program, as it stands here, so that both do the same."""

_BOXING = ("detection", "segmentation")
"""Families whose models put out a box at every place of their grids."""


@dataclass(frozen=True)
class Deployment:
    """What the folder is written from.

    Args:
        name: The experiment's.
        family: Of the use case.
        kind: Which program it gets; the use case's ``program``.
        plan: What prepare decided.
        results: The outcome.
        engines: Whose model files lie in the folder; the headline's first.
        model: The trained model's folder.
        preprocessor: Its preprocessor.
        licences: Licence by part.
    """

    name: str
    family: str
    kind: str
    plan: Plan
    results: Results
    engines: Sequence[Engine]
    model: Path
    preprocessor: Preprocessor
    licences: dict[str, str]

    def write(self, folder: Path) -> None:
        """Writes everything but the model files into the folder.

        Raises:
            InputError: There is no program for this family yet.
        """
        if self.family not in _LIBRARIES:
            raise InputError(
                f"no deployment for use cases of family {self.family!r}; "
                f"there is one for {', '.join(_LIBRARIES)}"
            )
        self.preprocessor.save(folder)
        shutil.copyfile(self.model / _CONFIG, folder / _CONFIG)
        _write(folder / LABELS, json.dumps(self.plan.labels, ensure_ascii=False) + "\n")
        _write(folder / _REQUIREMENTS, "".join(f"{line}\n" for line in self.requirements()))
        for module in _MODULES.get(self.kind, ()):
            shutil.copyfile(module, folder / module.name)
        environment = _environment()
        program = environment.get_template(f"{self.kind}.py.j2")
        for engine in self.engines:
            name = self.program(engine)
            _write(folder / name, program.render(engine=engine, plan=self.plan, program=name))
        if self.with_nms is not None:
            self._write_with_nms(folder / _ONNX, folder / self.with_nms)
        _write(folder / _README, environment.get_template("README.md.j2").render(it=self))

    @property
    def with_nms(self) -> str | None:
        """The file that leaves the best box of each object by itself, where there is one."""
        has = self.family in _BOXING and any(e.model_file == _ONNX for e in self.engines)
        return _ONNX_NMS if has else None

    def _write_with_nms(self, source: Path, target: Path) -> None:
        if self.family == "segmentation":
            assert self.plan.preprocessing is not None, "prepare records it for pictures"
            own = masks.Masks.of(self.plan.preprocessing)
            write_masks_with_nms(source, target, own, classes=len(self.plan.labels))
        else:
            write_with_nms(source, target)

    def program(self, engine: Engine) -> str:
        """Returns the name of an engine's program; the headline engine's is ``predict.py``."""
        return "predict.py" if engine is self.engines[0] else f"predict_{engine.name}.py"

    @property
    def needs_kernels(self) -> bool:
        """Whether a program needs this project's own wheel."""
        return any(KERNELS in engine.requirements for engine in self.engines)

    def requirements(self) -> list[str]:
        """Returns pinned requirements, the versions that the results were measured with."""
        names = {*_LIBRARIES[self.family]}
        names |= {name for engine in self.engines for name in engine.requirements}
        return [f"{name}=={version(name)}" for name in sorted(names)]


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("sparse_transfer_runner.packaging"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"entity_tags": entity_tags, "tagging": tagging_of}
    return environment


def _write(path: Path, text: str) -> None:
    """Writes text as UTF-8, which is what reads it, whatever the locale."""
    path.write_text(text, encoding="utf-8")
