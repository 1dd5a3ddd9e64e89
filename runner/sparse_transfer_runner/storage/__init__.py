"""Storage by scheme: one module a scheme, one line each in the tables below."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from pathlib import Path

from sparse_transfer_api.contract import ENV_CATALOG
from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.storage.protocol import PinningSource, Place, Source

_SOURCES = {
    "file": ("file", "FileSource"),
    "package": ("package", "PackageSource"),
    "pvc": ("pvc", "PvcSource"),
    "s3": ("s3", "S3Source"),
    "hf": ("hub", "HubSource"),
    "https": ("web", "WebSource"),
}
_PLACES = {"file": "file", "pvc": "pvc", "s3": "s3"}

WAYS_OUT = (
    "copy it to a folder and give that folder's file:// address; for a model of the catalogue, "
    "mirror it (sparse-transfer catalog mirror) or "
    f"point a catalogue of your own to the copy ({ENV_CATALOG}), "
    "or give a model of your own as spec.model.uri"
)
"""What a user can do about a source that cannot be reached from here."""


def supported_schemes() -> list[str]:
    """Returns the schemes that can be read, sorted."""
    return sorted(_SOURCES)


def source_for(uri: str) -> Source:
    """Returns what reads this address.

    Raises:
        InputError: There is no scheme, or none that can be read here.
    """
    scheme = _scheme(uri, "file:///data/reviews", _SOURCES)
    entry = _SOURCES.get(scheme)
    if entry is None:
        raise InputError(
            f"{uri}: {scheme}:// cannot be reached from here (supported: {_listed(_SOURCES)}); "
            f"{WAYS_OUT}"
        )
    module, name = entry
    source: Source = getattr(import_module(f"{__name__}.{module}"), name)()
    return source


def fetch(uri: str) -> Path:
    """Returns a local path for the address; it is to be read and never written.

    Raises:
        InputError: The address is malformed or its scheme is not supported.
        AccessError: Nothing is there, or it may not be read.
        Transient: It could not be reached just now, in spite of retries.
    """
    return source_for(uri).fetch(uri)


def pinned(uri: str) -> str:
    """Returns an address that leads to the same forever, where its source knows such; else itself.

    Raises:
        InputError: The address is malformed or its scheme is not supported.
        AccessError: Nothing is there, or it may not be read.
        Transient: It could not be reached just now, in spite of retries.
    """
    source = source_for(uri)
    return source.pinned(uri) if isinstance(source, PinningSource) else uri


def place_for(uri: str) -> Place:
    """Returns the folder of an address, to be written.

    Raises:
        InputError: The address is malformed, or of a scheme that cannot be written.
    """
    scheme = _scheme(uri, "s3://bucket/runs/", _PLACES)
    if scheme not in _PLACES:
        raise InputError(
            f"{uri}: nothing can be written to {scheme}:// (supported: {_listed(_PLACES)})"
        )
    place: Place = import_module(f"{__name__}.{_PLACES[scheme]}").place(uri)
    return place


def _scheme(uri: str, example: str, known: Iterable[str]) -> str:
    scheme, separator, _ = uri.partition("://")
    if not separator:
        raise InputError(
            f"{uri!r}: an address needs a scheme, such as {example} (supported: {_listed(known)})"
        )
    return scheme.lower()


def _listed(schemes: Iterable[str]) -> str:
    return ", ".join(f"{scheme}://" for scheme in sorted(schemes))
