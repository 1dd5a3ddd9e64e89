"""Compares what is known with what there is: finds what watches never told.

A watch that had to begin anew says nothing of what was deleted meanwhile. So after each beginning,
and now and then, all objects are listed by their metadata only; what is known and not there is
buried, what is there and not known, or known in an older version, is asked for.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Sequence

from ..bodies import Body, mapping, mappings, text
from ..names import LABEL_EXPERIMENT
from ..object_key import ObjectKey
from ..observer import Kind, News, Observer
from ..packing import version_of
from .connection import Connection
from .failures import NotFound
from .paths import collection, item

PAGE = 200
"""Objects in one answer."""
LIST_SECONDS = 30.0
_METADATA = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"

_log = logging.getLogger(__name__)


class Audit:
    """Brings an observer up to date.

    Args:
        connection: To the API server.
        observer: What is known.
        namespaces: Where to look; empty for everywhere.
        notice: Called with what is new.
        out_of_reach: Whether a namespace may not be seen; what is known of it is forgotten.
    """

    def __init__(
        self,
        connection: Connection,
        observer: Observer,
        namespaces: Sequence[str],
        notice: Callable[[News | None], None],
        out_of_reach: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._connection = connection
        self._observer = observer
        self._namespaces: Sequence[str | None] = tuple(namespaces) or (None,)
        self._notice = notice
        self._out_of_reach = out_of_reach

    async def run(self, kinds: Sequence[Kind] = tuple(Kind)) -> None:
        """Compares all objects of some kinds.

        Raises:
            RequestFailed: Not all could be listed; what was found until then counts.
        """
        for namespace in self._namespaces:
            if namespace is not None and self._out_of_reach(namespace):
                self._observer.lose(namespace)
                continue
            for kind in kinds:
                await self._compare(kind, namespace)

    async def _compare(self, kind: Kind, namespace: str | None) -> None:
        before = self._known(kind, namespace)
        listed: dict[str, Body] = {}
        as_of = 0
        async for metas, version_of_all in self._pages(kind, namespace):
            as_of = version_of_all
            listed.update((text(meta, "uid"), meta) for meta in metas)
        for uid, (key, version) in before.items():
            if uid not in listed and version <= as_of:
                self._notice(self._observer.bury(kind, key, uid))
        # Watches have gone on meanwhile: only what they have not told either is asked for.
        now = self._known(kind, namespace)
        missed = [
            meta for uid, meta in listed.items() if uid not in now or now[uid][1] < version_of(meta)
        ]
        for meta in missed:
            await self._fetch(kind, text(meta, "namespace"), text(meta, "name"))
        if missed:
            _log.info("%d objects of kind %s had to be asked for", len(missed), kind)

    def _known(self, kind: Kind, namespace: str | None) -> dict[str, tuple[ObjectKey, int]]:
        return {
            uid: (key, version)
            for key, uid, version in self._observer.known(kind)
            if namespace is None or key.namespace == namespace
        }

    async def _pages(
        self, kind: Kind, namespace: str | None
    ) -> AsyncIterator[tuple[list[Body], int]]:
        """Yields the metadata of some objects with the listing's resource version."""
        query = {"limit": str(PAGE)}
        if kind is not Kind.EXPERIMENT:
            query["labelSelector"] = LABEL_EXPERIMENT
        path = collection(kind, namespace)
        while True:
            page = await self._connection.request(
                "GET", path, query=query, accept=_METADATA, seconds=LIST_SECONDS
            )
            about = mapping(page, "metadata")
            yield [_identity(each) for each in mappings(page, "items")], version_of(about)
            if not text(about, "continue"):
                return
            query["continue"] = text(about, "continue")

    async def _fetch(self, kind: Kind, namespace: str, name: str) -> None:
        try:
            body = await self._connection.request("GET", item(kind, namespace, name))
        except NotFound:
            return  # a watch tells that
        self._notice(self._observer.see(kind, body))


def _identity(item: Body) -> Body:
    """Returns of an object's metadata what is needed here: all objects are held at once."""
    meta = mapping(item, "metadata")
    return {name: meta.get(name) for name in ("namespace", "name", "uid", "resourceVersion")}
