"""A place in a JSON file that moves on through it: the file may be larger than memory."""

from __future__ import annotations

import codecs
import re
import sys
from json import JSONDecodeError, JSONDecoder
from typing import Any

from sparse_transfer_runner.data.findings import shown
from sparse_transfer_runner.data.source import BLOCK_BYTES, MAX_RECORD_BYTES, SourceFile

_SPACE = re.compile(r"[ \t\r\n]*")
_REST_UNCHECKED = "(the rest of the file was not checked)"
_BEHIND_A_NUMBER = 3
"""Characters that show whether a number is whole: of ``1e+5`` three may follow a whole ``1``."""


class JsonCursor:
    """Reads values one by one; where the text is broken, findings receive that and reading ends.

    Args:
        source: The file.
        expected: What it should hold, such as ``an array of objects``.
    """

    def __init__(self, source: SourceFile, expected: str) -> None:
        self._source = source
        self._expected = expected
        self._blocks = source.blocks()
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        self._scan = JSONDecoder().raw_decode
        self._text = ""
        self._at = 0
        self._bytes = 0
        self._ended = False
        self.line = 1
        """1-based, of the current place."""
        self.failed = False
        """Whether the text is broken."""

    def value(self) -> tuple[Any] | None:
        """Parses the value at the current place, reading on while it may be incomplete.

        Returns:
            The value, as the only item; None where the text is broken.
        """
        self.next_character()
        wanted = BLOCK_BYTES
        while True:
            try:
                found, end = self._scan(self._text, self._at)
            except RecursionError:
                self.fail("nested too deeply")
                return None
            except JSONDecodeError as error:
                available = len(self._text) - self._at
                if not self._ended and available <= MAX_RECORD_BYTES:
                    # Doubling: a long element is scanned a bounded number of times.
                    wanted = max(wanted, 2 * available)
                    self._fill(wanted)
                    continue
                self.fail(f"not JSON: {error.msg}", error.pos)
                return None
            except ValueError:
                digits = sys.get_int_max_str_digits()
                self.fail(f"a whole number of more than {digits} digits")
                return None
            if self._may_go_on(found, end):
                wanted = max(wanted, 2 * (len(self._text) - self._at))
                self._fill(wanted)
                continue
            self._advance(end)
            return (found,)

    def next_character(self) -> str:
        """Moves over white space; returns the character there, or nothing at the end."""
        while True:
            found = _SPACE.match(self._text, self._at)
            self._advance(found.end() if found else self._at)
            if self._at < len(self._text) or self._ended:
                return self._text[self._at : self._at + 1]
            self._fill(BLOCK_BYTES)

    def skip(self, character: str) -> bool:
        """Moves over a character and the white space before it; returns whether it was there."""
        there = self.next_character() == character
        if there:
            self._advance(self._at + 1)
        return there

    def end(self, what: str) -> None:
        """Reads the rest, in which there should be nothing: the digest is that of the whole file.

        Args:
            what: What has ended, such as ``the array``.
        """
        if not self.failed and self.next_character():
            self.fail(f"{shown(self._text[self._at : self._at + 40])} follows {what}'s end")
        for _ in self._blocks:
            pass

    def fail(self, message: str, at: int | None = None) -> None:
        """Notes that the text is broken, once.

        Args:
            message: What is wrong.
            at: Where, in the text that was read last; by default at the current place.
        """
        if self.failed:
            return
        self.failed = self._source.cut_short = True
        line = self.line + self._text.count("\n", self._at, at if at is not None else self._at)
        self._source.findings.add(
            "broken JSON",
            self._source.path,
            f"{message}; expected {self._expected} {_REST_UNCHECKED}",
            line,
        )

    def _may_go_on(self, found: Any, end: int) -> bool:
        """Whether a value that was parsed may be the beginning of a longer number."""
        return (
            type(found) in (int, float)
            and not self._ended
            and len(self._text) - end < _BEHIND_A_NUMBER
        )

    def _advance(self, to: int) -> None:
        self.line += self._text.count("\n", self._at, to)
        self._at = to

    def _fill(self, wanted: int) -> None:
        """Reads until ``wanted`` characters lie ahead, or the file ends."""
        parts = [self._text[self._at :]]
        ahead = len(parts[0])
        while ahead < wanted and not self._ended:
            block = next(self._blocks, b"")
            self._ended = not block
            try:
                parts.append(self._decode(block, self._ended))
            except UnicodeDecodeError as error:
                self._undecodable(error, "".join(parts))
                break
            self._bytes += len(block)
            ahead += len(parts[-1])
        self._text, self._at = "".join(parts), 0

    def _undecodable(self, error: UnicodeDecodeError, before: str) -> None:
        self._ended = self.failed = self._source.cut_short = True
        valid = error.object[: error.start]
        self._source.findings.add(
            "wrong encoding",
            self._source.path,
            f"byte 0x{error.object[error.start]:02X} at byte {self._bytes + error.start + 1} of "
            f"the file is not UTF-8; save the file as UTF-8 {_REST_UNCHECKED}",
            self.line + before.count("\n") + valid.count(b"\n"),
        )
