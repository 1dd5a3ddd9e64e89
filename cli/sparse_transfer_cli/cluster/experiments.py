"""Experiments in a cluster: got, listed, applied and watched, as plain documents."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kubernetes.client import CustomObjectsApi

from sparse_transfer_api.contract import GROUP, PLURAL, VERSION
from sparse_transfer_api.errors import SparseTransferError
from sparse_transfer_api.suggest import did_you_mean

from .answers import CONNECT_SECONDS, TIMEOUT, Document, document_of, events_of
from .connection import Connection
from .refusals import Call, NotThere, explained

FIELD_MANAGER = "sparse-transfer-cli"

_SLACK_SECONDS = 15
"""That a watch may last longer than it was asked to, before the connection counts as lost."""
_APPLY = "application/apply-patch+yaml"
_AT_ONCE: dict[str, Any] = {"_preload_content": False, "_request_timeout": TIMEOUT}


@dataclass(frozen=True)
class Applied:
    """What became of an experiment that was applied.

    Args:
        document: As the cluster has it now.
        change: created, changed or unchanged.
    """

    document: Document
    change: str


class Experiments:
    """The experiments of a cluster.

    Args:
        connection: The cluster, and the namespace that is meant.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._api = CustomObjectsApi(connection.client)

    @property
    def namespace(self) -> str:
        """Where experiments are looked for."""
        return self.connection.namespace

    def get(self, name: str) -> Document:
        """Returns an experiment.

        Raises:
            NotThere: It does not exist; the message says what is like it.
            SparseTransferError: The cluster cannot be asked, or refuses.
        """
        try:
            return self._get(name)
        except NotThere as error:
            raise NotThere(f"{error}{self._elsewhere(name)}") from error

    def _get(self, name: str) -> Document:
        with self._explained("get", self.namespace, name):
            return document_of(
                self._api.get_namespaced_custom_object(
                    GROUP, VERSION, self.namespace, PLURAL, name, **_AT_ONCE
                )
            )

    def _elsewhere(self, name: str) -> str:
        """Returns a hint at what was meant, as far as this user may see it."""
        try:
            near = [_name(each) for each in self.list(everywhere=False)["items"]]
            if hint := did_you_mean(name, near):
                return hint
            spaces = [
                each["metadata"]["namespace"]
                for each in self.list(everywhere=True)["items"]
                if _name(each) == name
            ]
        except SparseTransferError:
            return ""
        if spaces:
            return f"; there is one in namespace {spaces[0]}: --namespace {spaces[0]}"
        return "" if near else "; there are none at all"

    def list(self, *, everywhere: bool) -> Document:
        """Returns all experiments of the namespace, or of all namespaces, as a list object."""
        namespace = None if everywhere else self.namespace
        with self._explained("list", namespace):
            return document_of(self._listed(namespace, **_AT_ONCE))

    def _listed(self, namespace: str | None, **options: Any) -> object:
        if namespace is None:
            return self._api.list_cluster_custom_object(GROUP, VERSION, PLURAL, **options)
        return self._api.list_namespaced_custom_object(GROUP, VERSION, namespace, PLURAL, **options)

    def apply(self, document: Document, *, dry_run: bool, force: bool) -> Applied:
        """Makes or changes an experiment by server-side apply, as the field manager of our own.

        Args:
            document: With a name; all that this manager wants to be so, and nothing else.
            dry_run: Let the cluster check it, and change nothing.
            force: Take over fields that others manage.

        Raises:
            InputError: The cluster finds it not valid, or others manage some of its fields.
            SparseTransferError: The cluster cannot be asked, or refuses.
        """
        name = _name(document)
        before = self._before(name)
        with self._explained("patch", self.namespace, name):
            after = document_of(
                self._api.patch_namespaced_custom_object(
                    GROUP,
                    VERSION,
                    self.namespace,
                    PLURAL,
                    name,
                    dict(document),
                    dry_run="All" if dry_run else None,
                    field_manager=FIELD_MANAGER,
                    field_validation="Strict",
                    force=force,
                    _content_type=_APPLY,
                    **_AT_ONCE,
                )
            )
        if before is None:
            return Applied(after, "created")
        same = before["metadata"]["generation"] == after["metadata"]["generation"]
        labelled = all(
            before["metadata"].get(part) == after["metadata"].get(part)
            for part in ("labels", "annotations")
        )
        return Applied(after, "unchanged" if same and labelled else "changed")

    def _before(self, name: str) -> Document | None:
        try:
            return self._get(name)
        except NotThere:
            return None

    def watch(
        self, *, since: str, seconds: int, name: str | None = None, everywhere: bool = False
    ) -> Iterator[tuple[str, Document]]:
        """Yields what happens to experiments, until the API server ends it.

        Args:
            since: The resource version that was seen last.
            seconds: That it lasts at most.
            name: Of the only one that matters; None for all.
            everywhere: In all namespaces.

        Yields:
            ADDED, MODIFIED or DELETED, and the experiment.

        Raises:
            Expired: What was seen last is too long ago.
            SparseTransferError: The cluster cannot be asked, or refuses.
        """
        namespace = None if everywhere else self.namespace
        options: dict[str, Any] = {
            "watch": True,
            "resource_version": since,
            "timeout_seconds": max(1, seconds),
            "_preload_content": False,
            "_request_timeout": (CONNECT_SECONDS, max(1, seconds) + _SLACK_SECONDS),
        }
        if name is not None:
            options["field_selector"] = f"metadata.name={name}"
        with self._explained("watch", namespace, name):
            yield from events_of(self._listed(namespace, **options))

    def _explained(self, verb: str, namespace: str | None, name: str | None = None) -> Any:
        return explained(self.connection, Call(verb, namespace=namespace, name=name))


def _name(document: Document) -> str:
    return str(document["metadata"]["name"])
