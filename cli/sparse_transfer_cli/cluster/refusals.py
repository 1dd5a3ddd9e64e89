"""What an API server's refusals mean: who may not do what, what is not there, what is not valid.

The one place that reads the ``Status`` objects of the Kubernetes API.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from kubernetes.client import ApiException
from urllib3.exceptions import HTTPError, MaxRetryError

from sparse_transfer_api.contract import GROUP, KIND, PLURAL, VERSION
from sparse_transfer_api.errors import (
    AccessError,
    InputError,
    Problem,
    SparseTransferError,
    Transient,
)

from .connection import Connection


class NotThere(AccessError):
    """The object that was asked for does not exist."""


class Expired(Transient):
    """What a watch was to begin with is forgotten: list again."""


class TakenOver(InputError):
    """Somebody else manages fields that were to be changed."""


@dataclass(frozen=True)
class Call:
    """What is asked of the API server, in the words of its access rules.

    Args:
        verb: Such as get, list, watch or patch.
        resource: In the plural, such as pods/log.
        group: The resource's API group; empty for the core one.
        namespace: None for all.
        name: Of the object, where there is one.
    """

    verb: str
    resource: str = PLURAL
    group: str = GROUP
    namespace: str | None = None
    name: str | None = None

    @property
    def qualified(self) -> str:
        """The resource with its group, as kubectl takes it."""
        return f"{self.resource}.{self.group}" if self.group else self.resource

    @property
    def where(self) -> str:
        """The namespace, in words."""
        return "all namespaces" if self.namespace is None else f"namespace {self.namespace}"


@contextmanager
def explained(connection: Connection, call: Call) -> Iterator[None]:
    """Turns what goes wrong with a call into an error that says what to do.

    Raises:
        NotThere: The object does not exist.
        AccessError: No rights, no credentials, no such resource or namespace.
        InputError: The object is not valid, or another manager's.
        Transient: The API server cannot be reached, or is busy.
    """
    try:
        yield
    except ApiException as error:
        raise _refusal(error, connection, call) from error
    except HTTPError as error:
        raise _unreached(error, connection) from error


def _unreached(error: HTTPError, connection: Connection) -> SparseTransferError:
    cause = error.reason if isinstance(error, MaxRetryError) and error.reason else error
    said = re.sub(r"<[^>]*>[:,]? ?", "", str(cause)).strip() or type(cause).__name__
    return Transient(
        f"{connection.server}: cannot be reached ({said}); check the network, and whether "
        f"the kubeconfig{_context(connection)} still leads to a running cluster"
    )


def _untrusted(said: str, connection: Connection) -> SparseTransferError:
    return AccessError(
        f"{connection.server}: its certificate is not trusted ({said}); check the cluster's "
        f"certificate-authority in the kubeconfig{_context(connection)}"
    )


def _context(connection: Connection) -> str:
    return f" (context {connection.context})" if connection.context is not None else ""


def _refusal(error: ApiException, connection: Connection, call: Call) -> SparseTransferError:
    status = _status(error)
    match error.status:
        case 0:  # the library's word for what went wrong with TLS
            return _untrusted(_message(status, error), connection)
        case HTTPStatus.UNAUTHORIZED:
            return AccessError(
                f"{connection.server}: does not accept these credentials (401); log in again, or "
                f"choose another context than {connection.context} with --context"
            )
        case HTTPStatus.FORBIDDEN:
            return _forbidden(status, connection, call)
        case HTTPStatus.NOT_FOUND:
            return _not_found(status, connection, call)
        case HTTPStatus.CONFLICT:
            return _conflict(status, call)
        case HTTPStatus.GONE:
            return Expired(_message(status, error))
        case HTTPStatus.UNPROCESSABLE_ENTITY | HTTPStatus.BAD_REQUEST:
            return _invalid(_message(status, error), status, call)
    if "field not declared in schema" in _message(status, error):
        return _invalid(_message(status, error), {}, call)
    return Transient(
        f"{connection.server}: cannot {call.verb} {call.qualified} just now "
        f"({error.status}: {_message(status, error)}); try again"
    )


def _status(error: ApiException) -> Mapping[str, Any]:
    """Returns the Status object of a refusal; an empty one where something else was said."""
    try:
        found = json.loads(error.body or "")
    except ValueError:
        return {}
    return found if isinstance(found, Mapping) and found.get("kind") == "Status" else {}


def _message(status: Mapping[str, Any], error: ApiException) -> str:
    said = status.get("message") or error.body or error.reason or "no reason given"
    return " ".join(str(said).split())


def _details(status: Mapping[str, Any]) -> Mapping[str, Any]:
    details = status.get("details")
    return details if isinstance(details, Mapping) else {}


def _causes(status: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    causes = _details(status).get("causes")
    return causes if isinstance(causes, list) else []


def _forbidden(
    status: Mapping[str, Any], connection: Connection, call: Call
) -> SparseTransferError:
    message = str(status.get("message", ""))
    missing = re.search(r'User "(?P<user>[^"]*)" cannot (?P<verb>[a-z]+) resource', message)
    if missing is None:
        # An admission rule: a quota, a policy, a namespace that is being deleted.
        return AccessError(f"{connection.server}: refused: {message or 'no reason given (403)'}")
    user, verb = missing["user"], missing["verb"]
    if user == "system:anonymous":
        return AccessError(
            f"{connection.server}: got no credentials (they would be in the kubeconfig"
            f"{_context(connection)}, or come from its exec plugin); log in again"
        )
    scope = "clusterrole" if call.namespace is None else "role"
    option = "" if call.namespace is None else f" --namespace {call.namespace}"
    return AccessError(
        f"{user} may not {verb} {call.qualified} in {call.where}; ask for a role with that right: "
        f"kubectl create {scope} NAME --verb={verb} --resource={call.qualified}{option}, "
        f"and a {scope}binding to it"
    )


def _not_found(
    status: Mapping[str, Any], connection: Connection, call: Call
) -> SparseTransferError:
    details = _details(status)
    if not details.get("name"):
        # Nothing is served under the path: without the definition there is no such resource.
        return AccessError(
            f"{connection.server}: knows no {KIND} ({GROUP}/{VERSION}); install the operator's "
            "Helm chart, or on a checkout the definition alone: kubectl apply --server-side -k crds"
        )
    if details.get("kind") == "namespaces":
        return AccessError(
            f"namespace {details['name']} does not exist; choose another with --namespace, or "
            f"make it: kubectl create namespace {details['name']}"
        )
    return NotThere(f"{details['name']}: there is no such {_singular(call)} in {call.where}")


def _singular(call: Call) -> str:
    return "experiment" if call.resource == PLURAL else call.resource.partition("/")[0].rstrip("s")


def _conflict(status: Mapping[str, Any], call: Call) -> SparseTransferError:
    managed = [
        Problem(
            str(cause.get("field", "document")).removeprefix("."),
            re.sub(r"^conflicts? with ", "is managed by ", str(cause.get("message", ""))),
        )
        for cause in _causes(status)
        if cause.get("reason") == "FieldManagerConflict"
    ]
    if not managed:
        return Transient(f"{call.name}: {status.get('message', 'changed meanwhile')}; try again")
    return TakenOver(
        f"{call.name}: others manage fields that this would change; leave them out of the YAML, "
        "change them where they are managed, or take them over with --force-conflicts",
        managed,
    )


def _invalid(message: str, status: Mapping[str, Any], call: Call) -> SparseTransferError:
    problems = [
        Problem(str(cause.get("field", "document")), str(cause.get("message", "")))
        for cause in _causes(status)
    ]
    if problems:
        return InputError(f"{call.name}: the cluster refuses it as not valid", problems)
    unknown = re.findall(r'unknown field "([^"]+)"|\.(\S+): field not declared', message)
    if unknown:
        fields = [first or second for first, second in unknown]
        return InputError(
            f"{call.name}: the cluster's definition of {KIND} is older than this command line; "
            "bring the operator up to date, or leave these fields out",
            [Problem(field, "is not known there") for field in fields],
        )
    return InputError(f"{call.name or call.qualified}: refused: {message}")
