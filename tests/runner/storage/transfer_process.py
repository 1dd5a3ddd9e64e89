"""A process that publishes a folder's files to a store and fetches them; prints its peak memory.

Its input is one JSON document: endpoint, source, entries and target.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from sparse_transfer_api.records import FileEntry
from sparse_transfer_api.spec import S3Storage
from sparse_transfer_runner.storage import fetch, place_for
from sparse_transfer_runner.storage.settings import StorageSettings, using


def main() -> None:
    work = json.load(sys.stdin)
    entries = [FileEntry.model_validate(entry) for entry in work["entries"]]
    with using(StorageSettings(S3Storage(endpoint=work["endpoint"], path_style=True))):
        assert place_for(work["target"]).publish(Path(work["source"]), entries) == []
        fetch(work["target"])
    status = Path("/proc/self/status").read_text().splitlines()
    print(next(line.split()[1] for line in status if line.startswith("VmHWM:")))  # noqa: T201


if __name__ == "__main__":
    main()
