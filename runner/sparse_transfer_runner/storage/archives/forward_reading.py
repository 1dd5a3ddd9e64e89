"""A stream that is read forwards only, in bounded steps, every byte of it counted.

Python's tarfile trusts the sizes in headers: it reads a header of any size into memory, and goes
back where a size is negative. Behind this it can do neither.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from typing import Any

MAX_STEP_BYTES = 4 << 20
"""Names and other attributes of an entry, which tarfile reads at once, have some kilobytes."""
_CHUNK = 1 << 20


class ForwardReading:
    """A readable stream for tarfile.

    Args:
        stream: Read from its beginning.
        count: Told the bytes of each step; may refuse by raising.
    """

    def __init__(self, stream: Any, count: Callable[[int], None]) -> None:
        self._stream = stream
        self._count = count
        self._position = 0
        self.last_read = b""
        """What the last step gave: of an archive that ends in good order, zeros or nothing."""

    def read(self, size: int) -> bytes:
        """Returns up to so many bytes.

        Raises:
            tarfile.ReadError: More are asked for than anything but a file's content has.
        """
        if not 0 <= size <= MAX_STEP_BYTES:
            raise tarfile.ReadError(f"a header of {size} bytes")
        data: bytes = self._stream.read(size)
        self._position += len(data)
        self._count(len(data))
        self.last_read = data
        return data

    def seek(self, position: int) -> int:
        """Goes on to a position.

        Raises:
            tarfile.ReadError: It lies behind.
        """
        if position < self._position:
            raise tarfile.ReadError("an entry of negative size")
        while self._position < position:
            if not self.read(min(_CHUNK, position - self._position)):
                break
        return self._position

    def tell(self) -> int:
        """Returns how many bytes were read."""
        return self._position
