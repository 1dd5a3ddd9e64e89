"""Where the endpoint's certificates are kept: a Secret in the operator's namespace.

All replicas read the same one. Whoever finds none creates it, whoever finds one that is due renews
it; the API server lets one of them win, and the others take what the winner wrote.
"""

from __future__ import annotations

import base64
import binascii
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ..cluster.connection import Connection
from ..cluster.failures import Conflict, NotFound, RequestFailed
from ..names import MANAGED_BY, PROGRESS_FIELD_MANAGER
from .certificates import Certificates, read_certificates, renewed

_LOG = logging.getLogger(__name__)
_TRIES = 5
"""Another replica can win once for each thing that is due; more often something else is wrong."""


@dataclass(frozen=True)
class SecretName:
    """Where the Secret is.

    Args:
        namespace: The operator's.
        name: The Secret's.
    """

    namespace: str
    name: str

    @property
    def collection(self) -> str:
        """The path of the namespace's Secrets."""
        return f"/api/v1/namespaces/{self.namespace}/secrets"

    @property
    def item(self) -> str:
        """The path of the Secret."""
        return f"{self.collection}/{self.name}"


class CertificateStore:
    """Reads the certificates, and makes or renews them where that is due.

    Args:
        connection: To the API server.
        secret: That keeps them.
        host: The name or IP address that pods reach the endpoint by.
        now: The time, with its zone.
    """

    def __init__(
        self,
        connection: Connection,
        secret: SecretName,
        host: str,
        now: Callable[[], datetime],
    ) -> None:
        self._connection = connection
        self._secret = secret
        self._host = host
        self._now = now
        self._known: Certificates | None = None

    async def certificates(self) -> Certificates:
        """Returns what every replica uses from now on.

        Raises:
            RequestFailed: The Secret can neither be read nor written just now.
        """
        for _ in range(_TRIES):
            try:
                found = await self._read()
                self._known = await self._kept(found)
            except Conflict:
                continue  # another replica was faster; what it wrote is as good
            return self._known
        raise RequestFailed("Conflict", f"{self._secret.item}: others keep changing it")

    async def _read(self) -> Mapping[str, Any] | None:
        try:
            document: Mapping[str, Any] = await self._connection.request("GET", self._secret.item)
        except NotFound:
            return None
        return document

    async def _kept(self, found: Mapping[str, Any] | None) -> Certificates:
        """Returns the certificates of the Secret as it was found, which is made good before.

        Raises:
            Conflict: The Secret is not as it was found any more.
        """
        stored = None if found is None else read_certificates(_decoded(found.get("data")))
        # A Secret that was deleted or damaged is mended: running Jobs trust this authority.
        wanted = renewed(stored or self._known, self._host, self._now())
        if found is None:
            await self._create(wanted)
        elif wanted is not stored:
            if stored is None:
                _LOG.warning("%s holds no usable certificates; replacing them", self._secret.item)
            await self._replace(found, wanted)
        return wanted

    async def _create(self, certificates: Certificates) -> None:
        document = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": self._secret.name,
                "namespace": self._secret.namespace,
                "labels": {
                    "app.kubernetes.io/managed-by": MANAGED_BY,
                    "app.kubernetes.io/part-of": "sparse-transfer",
                },
            },
            "type": "kubernetes.io/tls",
            "data": _encoded(certificates),
        }
        await self._connection.request(
            "POST", self._secret.collection, query=_MANAGER, body=document
        )
        _LOG.info("made certificates of the progress endpoint: %s", self._secret.item)

    async def _replace(self, found: Mapping[str, Any], certificates: Certificates) -> None:
        document = {**found, "data": _encoded(certificates)}
        await self._connection.request("PUT", self._secret.item, query=_MANAGER, body=document)
        _LOG.info(
            "renewed the progress endpoint's certificate until %s: %s",
            certificates.leaf.certificate.not_valid_after_utc.date(),
            self._secret.item,
        )


_MANAGER = {"fieldManager": PROGRESS_FIELD_MANAGER}


def _encoded(certificates: Certificates) -> dict[str, str]:
    return {
        name: base64.b64encode(value).decode()
        for name, value in certificates.to_secret_data().items()
    }


def _decoded(data: object) -> dict[str, bytes]:
    if not isinstance(data, Mapping):
        return {}
    try:
        return {name: base64.b64decode(value, validate=True) for name, value in data.items()}
    except (binascii.Error, TypeError, ValueError):
        return {}
