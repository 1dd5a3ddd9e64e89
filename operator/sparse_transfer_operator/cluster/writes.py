"""What the operator changes in the cluster; each answer says how the object is now."""

from __future__ import annotations

from typing import Any, Protocol

from sparse_transfer_api.contract import API_VERSION, KIND

from ..bodies import Body, mapping, mappings, text
from ..names import FIELD_MANAGER
from ..object_key import ObjectKey
from ..observer import Kind
from .connection import APPLY_PATCH, JSON, MERGE_PATCH, Connection
from .failures import Conflict, NotFound, Refused
from .paths import collection, item


class NameTaken(Conflict):
    """A Job of that name belongs to somebody else, or to an earlier experiment of this name."""


class Writes(Protocol):
    """What reconciling does to the cluster."""

    async def create_job(self, namespace: str, manifest: dict[str, Any], owner_uid: str) -> Body:
        """Makes a Job; where the owner has one of that name already, that is the one."""

    async def delete_job(self, namespace: str, name: str, uid: str) -> Body | None:
        """Deletes a Job in the foreground; returns it as it is now, or None where it is gone."""

    async def suspend_job(self, namespace: str, name: str, uid: str, suspend: bool) -> Body | None:
        """Suspends or resumes a Job; returns it, or None where it is gone."""

    async def apply_status(self, key: ObjectKey, version: int, status: dict[str, Any]) -> Body:
        """Makes the status of an experiment that is still in a version, but for progress, be this.

        Raises:
            NotFound: The experiment is gone.
            Conflict: It is in another version, or is another one of that name.
        """

    async def read_experiment(self, key: ObjectKey) -> Body:
        """Returns an experiment as it is now.

        Raises:
            NotFound: It is gone.
        """

    async def delete_experiment(self, key: ObjectKey, uid: str) -> None:
        """Deletes an experiment with its children."""


class ClusterWrites:
    """Writes by requests to the API server."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def create_job(self, namespace: str, manifest: dict[str, Any], owner_uid: str) -> Body:
        """Makes a Job; where the owner has one of that name already, that is the one.

        Raises:
            NameTaken: Somebody else's Job has the name.
            Refused: The API server does not want such a Job.
            RequestFailed: Passing trouble.
        """
        path = collection(Kind.JOB, namespace)
        query = {"fieldManager": FIELD_MANAGER}
        try:
            made: Body = await self._connection.request("POST", path, query=query, body=manifest)
            return made
        except Conflict as error:
            name = manifest["metadata"]["name"]
            found: Body = await self._connection.request("GET", item(Kind.JOB, namespace, name))
            owners = mappings(mapping(found, "metadata"), "ownerReferences")
            if any(text(each, "uid") == owner_uid for each in owners):
                return found
            raise NameTaken("JobNameTaken", f"there is a Job {name} of somebody else's") from error

    async def delete_job(self, namespace: str, name: str, uid: str) -> Body | None:
        """Deletes a Job in the foreground; returns it as it is now, or None where it is gone.

        Raises:
            RequestFailed: For whatever goes wrong.
        """
        options = {"preconditions": {"uid": uid}, "propagationPolicy": "Foreground"}
        return await self._unless_gone("DELETE", item(Kind.JOB, namespace, name), options)

    async def suspend_job(self, namespace: str, name: str, uid: str, suspend: bool) -> Body | None:
        """Suspends or resumes a Job; returns it, or None where it is gone.

        Raises:
            RequestFailed: For whatever goes wrong.
        """
        patch = {"metadata": {"uid": uid}, "spec": {"suspend": suspend}}
        return await self._unless_gone("PATCH", item(Kind.JOB, namespace, name), patch)

    async def apply_status(self, key: ObjectKey, version: int, status: dict[str, Any]) -> Body:
        """Makes the status of an experiment that is still in a version, but for progress, be this.

        The version stands for the UID, which the API server does not look at in a status.

        Raises:
            NotFound: The experiment is gone.
            Conflict: It is in another version, or is another one of that name.
            RequestFailed: For whatever else goes wrong.
        """
        document = {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {
                "name": key.name,
                "namespace": key.namespace,
                "resourceVersion": str(version),
            },
            "status": status,
        }
        answer: Body = await self._connection.request(
            "PATCH",
            f"{item(Kind.EXPERIMENT, key.namespace, key.name)}/status",
            query={"fieldManager": FIELD_MANAGER, "force": "true"},
            body=document,
            content=APPLY_PATCH,
        )
        return answer

    async def read_experiment(self, key: ObjectKey) -> Body:
        """Returns an experiment as it is now.

        Raises:
            NotFound: It is gone.
            RequestFailed: For whatever else goes wrong.
        """
        path = item(Kind.EXPERIMENT, key.namespace, key.name)
        found: Body = await self._connection.request("GET", path)
        return found

    async def delete_experiment(self, key: ObjectKey, uid: str) -> None:
        """Deletes an experiment with its children.

        Raises:
            RequestFailed: For whatever goes wrong.
        """
        options = {"preconditions": {"uid": uid}, "propagationPolicy": "Background"}
        path = item(Kind.EXPERIMENT, key.namespace, key.name)
        await self._unless_gone("DELETE", path, options)

    async def _unless_gone(self, method: str, path: str, body: dict[str, Any]) -> Body | None:
        patch = method == "PATCH"
        query = {"fieldManager": FIELD_MANAGER} if patch else None
        content = MERGE_PATCH if patch else JSON
        meant = text(mapping(body, "metadata") or mapping(body, "preconditions"), "uid")
        try:
            answer: Body = await self._connection.request(
                method, path, query=query, body=body, content=content
            )
        except NotFound:
            return None
        except (Conflict, Refused):
            if await self._uid(path) == meant:
                raise
            return None  # another one has the name now
        return answer if text(answer, "kind") != "Status" else None

    async def _uid(self, path: str) -> str | None:
        try:
            found: Body = await self._connection.request("GET", path)
        except NotFound:
            return None
        return text(mapping(found, "metadata"), "uid")
