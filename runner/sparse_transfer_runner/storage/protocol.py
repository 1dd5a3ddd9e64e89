"""What a storage scheme must be able to do; each scheme is one module that implements this."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Storage(Protocol):
    """Access to the addresses of one scheme, such as ``file``."""

    scheme: str
    """What stands before ``://``."""

    def fetch(self, uri: str) -> Path:
        """Returns a local path to a file or folder, to be read and never written.

        Args:
            uri: The address, with its scheme.

        Raises:
            InputError: The address is malformed.
            AccessError: Nothing is there, or it may not be read.
        """
