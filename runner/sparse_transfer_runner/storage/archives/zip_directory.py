"""How large a zip file's list of entries is: zipfile reads all of it into memory.

The layout is that of PKWARE's APPNOTE, sections 4.3.14 to 4.3.16.
"""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

_END = struct.Struct("<4s4H2LH")
_END_MARK = b"PK\x05\x06"
_LOCATOR = struct.Struct("<4sLQL")
_LOCATOR_MARK = b"PK\x06\x07"
_END64 = struct.Struct("<4sQ2H2L4Q")
_END64_MARK = b"PK\x06\x06"
_MAX_COMMENT = 0xFFFF


def directory_bytes(path: Path) -> int:
    """Returns the size of the list of entries.

    Raises:
        zipfile.BadZipFile: It is not a zip file.
    """
    tail_bytes = _LOCATOR.size + _END.size + _MAX_COMMENT
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - tail_bytes))
        tail = file.read()
        end = tail.rfind(_END_MARK)
        if end < 0 or len(tail) - end < _END.size:
            raise zipfile.BadZipFile("no list of entries at its end")
        found: int = _END.unpack_from(tail, end)[5]
        locator = tail[max(0, end - _LOCATOR.size) : end]
        if not locator.startswith(_LOCATOR_MARK):
            return found
        file.seek(min(size, _LOCATOR.unpack(locator)[2]))
        large = file.read(_END64.size)
        if len(large) < _END64.size or not large.startswith(_END64_MARK):
            raise zipfile.BadZipFile("no list of entries at its end")
        return max(found if found != 0xFFFFFFFF else 0, _END64.unpack(large)[8])
