"""A process that uses a cache as it is told, line by line: ``python -m … ROOT LIMIT URL``.

``fetch NAME`` fetches URL/NAME into the cache and prints the object's folder; the object stays in
use until the process ends, which is when its input does.
"""

from __future__ import annotations

import sys
import urllib.request
from pathlib import Path

from sparse_transfer_runner.storage.cache import Cache, identity_of


def main(root: str, limit: str, url: str) -> None:
    """Does what the lines of the standard input say."""
    cache = Cache(Path(root), int(limit) or None)
    for line in sys.stdin:
        name = line.split()[1]

        def download(folder: Path, name: str = name) -> None:
            with urllib.request.urlopen(f"{url}/{name}") as answer:
                (folder / "content").write_bytes(answer.read())

        print(f"wants {name}", flush=True)  # noqa: T201
        print(cache.fetched(identity_of([name]), download), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
