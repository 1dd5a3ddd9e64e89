"""Storage by scheme: one module a scheme, one line each in the table below."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from sparse_transfer_api.contract import ENV_CATALOG
from sparse_transfer_api.errors import InputError
from sparse_transfer_runner.storage.protocol import Storage

_SCHEMES = {
    "file": ("sparse_transfer_runner.storage.file", "FileStorage"),
    "package": ("sparse_transfer_runner.storage.package", "PackageStorage"),
}

WAYS_OUT = (
    "copy it to a folder and give that folder's file:// address; for a model of the catalogue, "
    f"point a catalogue of your own to the copy ({ENV_CATALOG}), "
    "or give a model of your own as spec.model.uri"
)
"""What a user can do about a source that cannot be reached from here."""


def supported_schemes() -> list[str]:
    """Returns the schemes that can be read, sorted."""
    return sorted(_SCHEMES)


def storage_for(uri: str) -> Storage:
    """Returns the storage that reads this address.

    Raises:
        InputError: There is no scheme, or none that can be read here.
    """
    scheme, separator, _ = uri.partition("://")
    if not separator:
        raise InputError(
            f"{uri!r}: an address needs a scheme, such as file:///data/reviews "
            f"(supported: {_listed()})"
        )
    entry = _SCHEMES.get(scheme.lower())
    if entry is None:
        raise InputError(
            f"{uri}: {scheme}:// cannot be reached from here (supported: {_listed()}); {WAYS_OUT}"
        )
    module, name = entry
    storage: Storage = getattr(import_module(module), name)()
    return storage


def fetch(uri: str) -> Path:
    """Returns a local path for the address; it is to be read and never written.

    Raises:
        InputError: The address is malformed or its scheme is not supported.
        AccessError: Nothing is there, or it may not be read.
    """
    return storage_for(uri).fetch(uri)


def _listed() -> str:
    return ", ".join(f"{scheme}://" for scheme in supported_schemes())
