"""``https://…``: archives, which are unpacked, and single files, from any web server.

What was fetched is kept by the version that the server names (``ETag``, ``Last-Modified``), and
asked for again only when that has changed; where ``#sha256=HEX`` ends the address, by that digest,
without asking at all. A server that names no version is asked for everything by each process.
Credentials in the address go to its own host only, and into no message.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit
from uuid import uuid4

import httpx2

from sparse_transfer_api.errors import AccessError, InputError
from sparse_transfer_runner.digests import sha256_of

from ..addresses import shown
from ..archives import is_archive, unpack
from ..cache import Cache, cache, identity_of
from ..connections import Patience, new_client
from ..settings import settings
from .answers import Version
from .transfer import Transfer

_SHA256 = re.compile("sha256=([0-9a-fA-F]{64})")
_THIS_PROCESS = uuid4().hex


@dataclass(frozen=True)
class WebAddress:
    """What an ``https://`` address says.

    Args:
        url: Without credentials and fragment.
        credentials: User and password.
        sha256: What the file must have.
        title: For messages: without anything that may be secret.
    """

    url: str
    credentials: tuple[str, str] | None
    sha256: str | None
    title: str

    @classmethod
    def of(cls, uri: str) -> WebAddress:
        """Reads an address.

        Raises:
            InputError: It is malformed.
        """
        title = shown(uri)
        try:
            parts = urlsplit(uri)
            host, _ = parts.hostname, parts.port
        except ValueError as error:
            raise InputError(f"{title}: not a web address ({error})") from error
        if not host:
            raise InputError(f"{title}: expected https://HOST/path")
        digest = _SHA256.fullmatch(parts.fragment)
        if parts.fragment and digest is None:
            raise InputError(f"{title}: expected #sha256= and 64 hexadecimal digits at its end")
        user, _, place = parts.netloc.rpartition("@")
        name, _, password = user.partition(":")
        return cls(
            urlunsplit((parts.scheme, place, parts.path, parts.query, "")),
            (unquote(name), unquote(password)) if user else None,
            digest[1].lower() if digest else None,
            title,
        )

    @property
    def memory(self) -> str:
        """The name under which the last version is remembered."""
        return identity_of(["https", self.sha256 or self.url])

    def identity(self, version: Version) -> str:
        """Returns the name of a state of what is there."""
        if self.sha256 is not None:
            return identity_of(["https", self.sha256, version.name])
        named = version.etag or version.modified
        state = [*version.state, version.name] if named else [_THIS_PROCESS]
        return identity_of(["https", self.url, *state])


@dataclass(frozen=True)
class WebSource:
    """Addresses such as ``https://example.org/reviews.zip``.

    Args:
        patience: With servers.
    """

    patience: Patience = field(default_factory=Patience)
    scheme = "https"

    def fetch(self, uri: str) -> Path:
        """Returns the folder that an archive was unpacked into, or the file.

        Raises:
            InputError: The address is malformed, or the archive damaged or hostile.
            AccessError: Nothing is there, it may not be read, or the server is not trusted.
            Transient: The server did not answer in spite of retries, or the disk is full.
        """
        address, chosen = WebAddress.of(uri), settings()
        store = cache(chosen)
        kept = _kept(store, address)
        if kept is not None and address.sha256 is not None:
            return kept.path
        with new_client(self.patience, _require_encryption) as client:
            transfer = Transfer(
                client,
                address.url,
                address.title,
                address.credentials,
                self.patience,
                chosen.raise_if_stopped,
            )
            with transfer.opened(kept.version if kept is not None else None) as answer:
                if kept is not None and answer.status_code == HTTPStatus.NOT_MODIFIED:
                    return kept.path
                version = Version.of(answer)
                folder = store.fetched(
                    address.identity(version),
                    lambda folder: _save(transfer, answer, version, address, folder),
                )
        store.note(address.memory, version.to_json())
        return _inside(folder, version)


@dataclass(frozen=True)
class _Kept:
    """What was fetched before, and is still there."""

    version: Version
    path: Path


def _kept(store: Cache, address: WebAddress) -> _Kept | None:
    noted = store.noted(address.memory)
    version = Version.from_json(noted) if noted is not None else None
    folder = store.known(address.identity(version)) if version is not None else None
    if version is None or folder is None:
        return None
    return _Kept(version, _inside(folder, version))


def _save(
    transfer: Transfer,
    answer: httpx2.Response,
    version: Version,
    address: WebAddress,
    folder: Path,
) -> None:
    file = folder.with_name("fetched")
    transfer.save(answer, version, file)
    if address.sha256 not in (None, found := sha256_of(file)):
        raise InputError(
            f"{address.title}: has SHA-256 {found}, but its address expects {address.sha256}; it "
            "is not the file that was meant, or has changed"
        )
    if is_archive(version.name):
        unpack(
            file,
            version.name,
            folder,
            title=address.title,
            raise_if_stopped=transfer.raise_if_stopped,
        )
    else:
        file.rename(folder / version.name)


def _inside(folder: Path, version: Version) -> Path:
    return folder if is_archive(version.name) else folder / version.name


def _require_encryption(request: httpx2.Request) -> None:
    if request.url.scheme != "https":
        raise AccessError(
            f"{request.url.host}: reached by a redirect that is not encrypted (http://), which is "
            "not followed; give the address that it stands for"
        )
