"""What a finished package stage measured, read from its manifest, wherever its folder is."""

from __future__ import annotations

from sparse_transfer_api.contract import MANIFEST
from sparse_transfer_api.errors import OutputVanished
from sparse_transfer_api.records import Manifest, StageResult
from sparse_transfer_api.results import Results
from sparse_transfer_runner.storage import place_for
from sparse_transfer_runner.storage.protocol import Missing


def measured(result: StageResult) -> tuple[str, Results]:
    """Returns the path or address of the package stage's folder, and what it measured.

    Raises:
        OutputVanished: The manifest is gone, or holds no results.
    """
    place = place_for((result.manifest_uri or "").removesuffix(f"/{MANIFEST}"))
    try:
        manifest = Manifest.model_validate_json(place.read(MANIFEST))
    except Missing as error:
        raise OutputVanished(f"package succeeded, but its manifest is not there: {error}") from (
            error
        )
    if manifest.results is None:
        raise OutputVanished(f"{place.uri}: holds no results; move it away and run again")
    return str(place.folder or place.uri), manifest.results
