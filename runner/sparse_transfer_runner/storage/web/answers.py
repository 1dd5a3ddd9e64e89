"""What a web server's answers say: which version of what, or why not."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx2

from sparse_transfer_api.errors import AccessError

from ..archives import is_archive
from ..connections import Passing
from ..inner_paths import inner_path
from ..protocol import Missing

_PASSING = (408, 425, 429, 500, 502, 503, 504)
_GONE = {
    404: "there is nothing at this address; check it (some servers say so of what may not be read)",
    410: "was taken away for good; look for another address",
}
_REFUSED = {
    401: "asks for credentials; give an address that holds them (https://USER:PASSWORD@HOST/…) or "
    "a signed one, or correct them",
    403: "may not be read with these credentials, or without any; where the address is a signed "
    "one, it may have expired",
    407: "the proxy asks for credentials; give them in HTTPS_PROXY",
    451: "may not be given for legal reasons",
}
_UNNAMED = "download"
_DISPOSITION = re.compile(r"""filename\*?=(?:UTF-8'[^']*')?"?([^";]+)"?""", re.IGNORECASE)


@dataclass(frozen=True)
class Version:
    """A version of what is at an address.

    Args:
        etag: The server's name for it.
        modified: When it was changed, as the server writes it.
        size_bytes: Where the server says it.
        name: The file's.
    """

    etag: str | None
    modified: str | None
    size_bytes: int | None
    name: str

    @classmethod
    def of(cls, answer: httpx2.Response) -> Version:
        """Returns what an answer brings."""
        size = answer.headers.get("Content-Length", "")
        return cls(
            answer.headers.get("ETag"),
            answer.headers.get("Last-Modified"),
            int(size) if size.isdecimal() else None,
            _name(answer),
        )

    @property
    def state(self) -> tuple[str | None, str | None, int | None]:
        """What differs between versions."""
        return self.etag, self.modified, self.size_bytes

    @property
    def strong(self) -> str | None:
        """What a part of it can be asked for by (RFC 9110, section 13.1.5); None if nothing."""
        if self.etag is not None and not self.etag.startswith("W/"):
            return self.etag
        return self.modified

    def conditions(self) -> dict[str, str]:
        """Returns the headers that ask for anything but this version."""
        if self.etag is not None:
            return {"If-None-Match": self.etag}
        return {"If-Modified-Since": self.modified} if self.modified is not None else {}

    def to_json(self) -> str:
        """Returns what ``from_json`` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Version | None:
        """Returns the version that was written; None where it was not."""
        try:
            content: Any = json.loads(text)
            return cls(**content)
        except (ValueError, TypeError):
            return None


def require_success(title: str, answer: httpx2.Response, *, part: bool = False) -> None:
    """Checks that an answer brings what was asked for.

    Args:
        title: The address, without credentials.
        answer: Its body need not have been read.
        part: A part was asked for.

    Raises:
        Missing: Nothing is there.
        AccessError: It may not be read, or the server cannot be understood.
        Passing: Another try may succeed.
    """
    status = answer.status_code
    said = f"{title}: {status} {answer.reason_phrase}".rstrip()
    if status in _PASSING:
        raise Passing(f"{said}, in spite of retries", _wish(answer))
    if status in _GONE:
        raise Missing(f"{said}: {_GONE[status]}")
    if status != 200 and not (part and status == 206):
        raise AccessError(f"{said}: {_REFUSED.get(status, 'not an answer that can be used')}")
    coding = answer.headers.get("Content-Encoding", "identity")
    if coding.lower() not in ("", "identity"):
        raise AccessError(
            f"{title}: comes compressed on the way ({coding}) though that was not asked for; "
            "have the server send the file as it is"
        )


def _wish(answer: httpx2.Response) -> float:
    asked = answer.headers.get("Retry-After", "")
    return float(asked) if asked.isdecimal() else 0


def _name(answer: httpx2.Response) -> str:
    """Returns the file's name: as asked for, as the server calls it, or where redirects led."""
    asked = answer.history[0].request.url if answer.history else answer.request.url
    called = _DISPOSITION.findall(answer.headers.get("Content-Disposition", ""))
    names = [
        name
        for text in (urlsplit(str(asked)).path, *called[-1:], urlsplit(str(answer.url)).path)
        if (name := _last(text))
    ]
    best = [name for name in names if is_archive(name)] or [n for n in names if "." in n] or names
    return best[0] if best else _UNNAMED


def _last(path: str) -> str | None:
    try:
        return PurePosixPath(inner_path(unquote(path).replace("\\", "/").strip("/"))).name
    except ValueError:
        return None
