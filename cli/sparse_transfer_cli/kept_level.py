"""Which of several results of an experiment is meant: of a search, that of the level it kept."""

from __future__ import annotations

from datetime import datetime

from pydantic import ValidationError

from sparse_transfer_api.status import SearchRecord


def kept_package(newest: str, created: datetime, record: bytes | None) -> str:
    """Returns the name of the package folder that is meant where nobody names one.

    Args:
        newest: The name of the newest one of an experiment.
        created: When that was made.
        record: What its last search came to; None where there was none.

    Returns:
        The folder of the level that the search kept, where the newest one is of that search, or of
        a level that it does not try any more.
    """
    if record is None:
        return newest
    try:
        found = SearchRecord.model_validate_json(record)
    except ValidationError:
        return newest
    packages = found.packages()
    selected = found.search.selected
    later = newest not in packages.values() and created > found.created
    if selected is None or later:
        return newest
    return packages.get(selected, newest)
