"""Requests to the hub: ours pass, those that libraries would make behind the user's back do not.

The package sets ``TRANSFORMERS_OFFLINE`` (see its ``__init__``), which huggingface_hub takes for
``HF_HUB_OFFLINE`` where that is not set: whatever a library wants to look up is then refused.
``HF_HUB_OFFLINE`` itself is left to the user, and means that ``hf://`` asks nobody either.
huggingface_hub is given a client that tells the two apart by who is asking.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import cache
from typing import TypeVar

import httpx2
from huggingface_hub import HfApi, is_offline_mode, set_client_factory
from huggingface_hub.errors import OfflineModeIsEnabled

from ..connections import Patience, new_client

_TRUE = ("1", "ON", "YES", "TRUE")
"""As huggingface_hub reads its variables."""
_ASKING: ContextVar[Patience | None] = ContextVar("_ASKING", default=None)

Item = TypeVar("Item")
Result = TypeVar("Result")


def user_is_offline() -> bool:
    """Returns whether the user has forbidden to ask the hub."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in _TRUE


def hub() -> HfApi:
    """Returns the hub, or its mirror that ``HF_ENDPOINT`` names."""
    return HfApi(endpoint=endpoint(), library_name="sparse-transfer")


def endpoint() -> str | None:
    """Returns the mirror's address; None for the hub itself."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or None


@contextmanager
def asking(patience: Patience) -> Iterator[None]:
    """Lets requests pass that are made in this block.

    Args:
        patience: Its time limits hold where the library sets none.
    """
    _install_client()
    before = _ASKING.set(patience)
    try:
        yield
    finally:
        _ASKING.reset(before)


def also_in_threads(work: Callable[[Item], Result]) -> Callable[[Item], Result]:
    """Returns the same function, to be called by other threads as if in this block."""
    here = copy_context()
    return lambda item: here.copy().run(work, item)


@cache
def _install_client() -> None:
    set_client_factory(lambda: new_client(Patience(), _admit))


def _admit(request: httpx2.Request) -> None:
    patience = _ASKING.get()
    if patience is None:
        if is_offline_mode():
            raise OfflineModeIsEnabled(f"{request.url}: looked up by a library, which is refused")
        return
    limits = request.extensions.get("timeout", {})
    if all(limit is None for limit in limits.values()):
        request.extensions["timeout"] = patience.timeout.as_dict()
