"""Whether the flavour is here, what to do where it is not, and its libraries kept quiet."""

from __future__ import annotations

import os
from importlib.util import find_spec

from sparse_transfer_api.errors import InputError

SPARSEML_ADVICE = (
    "use an image that was built with FLAVOUR=neuralmagic (spec.image), or an environment of "
    "Python 3.11 with the extra neuralmagic: pip install 'sparse-transfer[neuralmagic]'"
)
DEEPSPARSE_LICENCE = (
    "DeepSparse Community licence: for evaluation only, not for production and not to be passed on"
)
DEEPSPARSE_ADVICE = (
    "use an image of your own that was built with FLAVOUR=neuralmagic and DEEPSPARSE=true "
    "(spec.image), or an environment of Python 3.11 with the extra deepsparse: "
    f"pip install 'sparse-transfer[deepsparse]' ({DEEPSPARSE_LICENCE})"
)


def is_installed(library: str) -> bool:
    """Whether a library can be imported; it is not imported for that."""
    return find_spec(library) is not None


def require_sparseml(where: str) -> None:
    """Makes sure that SparseML is here.

    Args:
        where: The field that asks for it, with its value.

    Raises:
        InputError: It is not; says which image or extra has it.
    """
    if not is_installed("sparseml"):
        raise InputError(
            f"{where}: SparseML is not in this runner; {SPARSEML_ADVICE}; or leave the field out "
            "where the native backend honours the recipe"
        )


def keep_quiet() -> None:
    """Forbids both libraries to report; call it before they are imported.

    Without it they ask a service on the internet for the country that they run in while they are
    imported, and post each use to their makers' analytics, with the machine's id.
    """
    os.environ["NM_DISABLE_ANALYTICS"] = "1"
