"""Ultralytics, imported on first use and kept to itself.

Left alone it asks the network whether it is there, reports how it is used, installs packages that
it misses, writes its settings into the home folder, and sets the number of threads of all processes
to come. None of that happens here.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec

from sparse_transfer_api.errors import InputError

LICENCE = "AGPL-3.0"
_ENVIRONMENT = {
    "YOLO_OFFLINE": "true",
    "YOLO_AUTOINSTALL": "false",
    "YOLO_VERBOSE": "false",
}
_REPORTING = ("sync", "clearml", "comet", "dvc", "mlflow", "raytune", "tensorboard", "wandb")


def is_installed() -> bool:
    """Whether Ultralytics is here."""
    return find_spec("ultralytics") is not None


@cache
def require_ultralytics() -> None:
    """Imports Ultralytics the quiet way; what imports parts of it calls this first.

    Raises:
        InputError: It is not installed; says how, and under which licence it is. Or it cannot be
            imported.
    """
    if not is_installed():
        raise InputError(
            "detection and segmentation run on Ultralytics, which is not installed; install the "
            "extra 'yolo' (pip install 'sparse-transfer[yolo]'), in a cluster an image of "
            f"FLAVOUR=yolo (spec.image). Mind its licence: {LICENCE}, "
            "which asks those who offer its functions over a network to publish their source"
        )
    # Removed in the end: nothing in it is worth keeping.
    folder = tempfile.mkdtemp(prefix="ultralytics-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with _environment({**_ENVIRONMENT, "YOLO_CONFIG_DIR": folder}), _unpatched():
        try:
            _import()
        except ImportError as error:
            raise InputError(
                f"Ultralytics is installed, but cannot be imported ({error}); where a library of "
                "the screen is missing, such as libGL.so.1, replace opencv-python by "
                "opencv-python-headless: pip uninstall opencv-python, then pip install "
                "--force-reinstall opencv-python-headless"
            ) from error


def _import() -> None:
    from ultralytics.utils import SETTINGS

    SETTINGS.update(dict.fromkeys(_REPORTING, False))
    # All that is used, so that nothing is patched later.
    import ultralytics.data.dataset
    import ultralytics.models.yolo.segment.train
    import ultralytics.nn.tasks  # noqa: F401


@contextmanager
def _unpatched() -> Iterator[None]:
    """Puts back what Ultralytics puts in the place of other libraries' functions."""
    import numpy as np
    import torch
    from PIL import Image

    printing, loading, saving, opening = (
        np.get_printoptions(),
        torch.load,
        torch.save,
        Image.open,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    np.set_printoptions(**printing)
    torch.set_printoptions(profile="default")
    torch.load, torch.save = loading, saving
    # Its own would install packages for pictures that Pillow does not know.
    Image.open = opening


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Sets variables for a while; what else was set meanwhile is taken back too."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
