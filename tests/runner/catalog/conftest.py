"""The stores of the storage tests."""

from __future__ import annotations

from tests.runner.storage.conftest import faulty_store, store

__all__ = ["faulty_store", "store"]
