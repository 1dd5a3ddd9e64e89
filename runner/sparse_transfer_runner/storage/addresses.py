"""Addresses as users write them, in the form in which the runner follows them.

Of a hub's: ``hf://OWNER/NAME[@REVISION][/path]`` is a model, ``hf://datasets/OWNER/NAME…`` a data
set; as data, ``hf://NAME`` means a data set too. Old names have one part; one that a path follows
needs its revision, as in ``hf://datasets/imdb@main/plain_text``. A slash in a revision is written
``%2F``, except in the hub's own ``refs/pr/N`` and ``refs/convert/NAME``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal
from urllib.parse import quote, unquote, urlsplit

from sparse_transfer_api.errors import InputError
from sparse_transfer_api.spec import Data, ModelOverride

from .inner_paths import inner_path

Kind = Literal["model", "dataset"]

_HUB = "hf://"
_KINDS: dict[str, Kind] = {"models": "model", "datasets": "dataset"}
_ELSEWHERE = ("spaces", "kernels", "buckets")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,95}")
_COMMIT = re.compile("[0-9a-f]{40}")
_OWN_REFS = ("pr", "convert")


@dataclass(frozen=True)
class HubAddress:
    """A model or a data set of a hub, or something in it.

    Args:
        kind: What it is.
        repository: ``OWNER/NAME``, or an old name of one part.
        revision: Branch, tag or commit; None for the default branch.
        path: A file or folder in it; empty for all of it.
    """

    kind: Kind
    repository: str
    revision: str | None = None
    path: str = ""

    def __str__(self) -> str:
        prefix = "datasets/" if self.kind == "dataset" else ""
        revision = f"@{quote(self.revision, safe='')}" if self.revision is not None else ""
        path = f"/{self.path}" if self.path else ""
        return f"{_HUB}{prefix}{self.repository}{revision}{path}"

    @property
    def commit(self) -> str | None:
        """The revision where it is a commit, which never changes."""
        pinned = self.revision is not None and _COMMIT.fullmatch(self.revision)
        return self.revision if pinned else None

    def at(self, revision: str) -> HubAddress:
        """Returns the same of another revision."""
        return replace(self, revision=revision)


def is_hub(uri: str) -> bool:
    """Returns whether an address is one of a hub."""
    return uri.lower().startswith(_HUB)


def hub_address(uri: str, meant: Kind = "model") -> HubAddress:
    """Returns what a hub's address says.

    Args:
        uri: Beginning with ``hf://``.
        meant: What it is when it does not say so.

    Raises:
        InputError: It is malformed, or names something that is no model and no data set.
    """
    kind, parts = _kind_and_parts(uri, meant)
    marked = next((place for place, part in enumerate(parts[:2]) if "@" in part), None)
    if marked is None:
        names, revision, rest = parts[:2], None, parts[2:]
    else:
        last, _, revision = parts[marked].partition("@")
        names, rest = [*parts[:marked], last], parts[marked + 1 :]
        if revision == "refs" and len(rest) > 1 and rest[0] in _OWN_REFS:
            revision, rest = "/".join([revision, *rest[:2]]), rest[2:]
        revision = unquote(revision)
    if not all(_NAME.fullmatch(name) for name in names) or revision == "":
        raise InputError(f"{uri}: {_expected(meant)}")
    try:
        path = inner_path("/".join(rest)) if rest else ""
    except ValueError as error:
        raise InputError(f"{uri}: its path {error}") from error
    return HubAddress(kind, "/".join(names), revision, path)


def data_address(data: Data) -> str:
    """Returns the address of an experiment's data, with its revision.

    Raises:
        InputError: A hub's address is malformed, names a model, or another revision than
            ``spec.data.revision``.
    """
    if not is_hub(data.uri):
        return data.uri
    return str(_revised(hub_address(data.uri, "dataset"), "dataset", "data", data.revision))


def model_address(model: ModelOverride) -> str | None:
    """Returns what an experiment says about its model, an address with its revision; None if not.

    Raises:
        InputError: A hub's address is malformed, names a data set, or another revision than
            ``spec.model.revision``.
    """
    if model.uri is None or not is_hub(model.uri):
        return model.uri
    return str(_revised(hub_address(model.uri), "model", "model", model.revision))


def shown(uri: str) -> str:
    """Returns a web address without the credentials that it may hold, for messages."""
    if not uri.lower().startswith(("https://", "http://")):
        return uri
    try:
        parts = urlsplit(uri)
    except ValueError:
        return f"{uri.partition('://')[0]}://…"
    secret = "?…" if parts.query else ""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}{secret}"


def _kind_and_parts(uri: str, meant: Kind) -> tuple[Kind, list[str]]:
    parts = uri[len(_HUB) :].rstrip("/").split("/")
    if parts[0] in _ELSEWHERE:
        raise InputError(f"{uri}: one of the hub's {parts[0]}; {_expected(meant)}")
    if parts[0] in _KINDS and len(parts) > 1:
        return _KINDS[parts[0]], parts[1:]
    return meant, parts


def _expected(meant: Kind) -> str:
    prefix = "datasets/" if meant == "dataset" else ""
    return f"expected hf://{prefix}OWNER/NAME, then @REVISION and /path where they are needed"


def _revised(address: HubAddress, kind: Kind, block: str, revision: str | None) -> HubAddress:
    if address.kind != kind:
        raise InputError(f"spec.{block}.uri: {address} is a {address.kind}; {_expected(kind)}")
    if revision is None or revision == address.revision:
        return address
    if address.revision is not None:
        raise InputError(
            f"spec.{block}.revision: {revision}, but spec.{block}.uri names {address.revision}; "
            "keep one of them"
        )
    return address.at(revision)
