"""Which cluster is meant and who asks: kubeconfigs, their contexts, and the pod's own account."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from kubernetes.client import ApiClient, Configuration
from kubernetes.config import (
    ConfigException,
    list_kube_config_contexts,
    load_incluster_config,
    load_kube_config,
)

from sparse_transfer_api.errors import AccessError, InputError, UsageError
from sparse_transfer_api.suggest import did_you_mean, listed

ENV_KUBECONFIG = "KUBECONFIG"
DEFAULT_KUBECONFIG = "~/.kube/config"
DEFAULT_NAMESPACE = "default"

_ENV_IN_CLUSTER = "KUBERNETES_SERVICE_HOST"
_OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_USER_AGENT = "sparse-transfer"


@dataclass(frozen=True)
class Target:
    """What the user says about where experiments are; None for what the kubeconfig says.

    Args:
        namespace: Of the experiments.
        context: Of the kubeconfig.
        kubeconfig: Instead of those that ``KUBECONFIG`` names.
    """

    namespace: str | None = None
    context: str | None = None
    kubeconfig: Path | None = None


@dataclass(frozen=True)
class Connection:
    """A cluster, and who asks it.

    Args:
        client: Speaks to its API server.
        server: The API server's address, for messages.
        context: The kubeconfig's context; None for the account of the pod that this runs in.
        namespace: Where experiments are looked for.
    """

    client: ApiClient
    server: str
    context: str | None
    namespace: str


def connect(target: Target) -> Connection:
    """Reads who is to be asked and how; asks nobody yet.

    Args:
        target: What the user says.

    Raises:
        AccessError: There is no kubeconfig.
        InputError: It cannot be read, or something in it is wrong.
        UsageError: The context does not exist, or none is chosen.
    """
    paths = _paths(target)
    present = [path for path in paths if path.exists()]
    if target.kubeconfig is not None and not present:
        raise AccessError(f"{target.kubeconfig}: there is no such file; give a kubeconfig")
    if not present:
        if _ENV_IN_CLUSTER in os.environ:
            return _in_pod(target)
        raise AccessError(
            f"no kubeconfig: {listed(paths)} {'does' if len(paths) == 1 else 'do'} not exist; "
            f"give one with --kubeconfig, or name it in {ENV_KUBECONFIG}"
        )
    return _by_kubeconfig(os.pathsep.join(map(str, present)), target)


def _paths(target: Target) -> list[Path]:
    if target.kubeconfig is not None:
        return [target.kubeconfig.expanduser()]
    # Not the library's own default, which it reads once, when it is imported.
    named = os.environ.get(ENV_KUBECONFIG) or DEFAULT_KUBECONFIG
    return [Path(name).expanduser() for name in named.split(os.pathsep) if name]


def _by_kubeconfig(files: str, target: Target) -> Connection:
    configuration = _configuration()
    try:
        context = _context(files, _contexts(files), target.context)
        load_kube_config(  # type: ignore[no-untyped-call]
            files, context["name"], configuration, persist_config=False
        )
    except (ConfigException, yaml.YAMLError, UnicodeDecodeError) as error:
        cause = " ".join(str(error).split())
        raise InputError(f"{files}: not a usable kubeconfig ({cause})") from error
    except OSError as error:
        raise AccessError(f"{error.filename or files}: {error.strerror}") from error
    namespace = target.namespace or context["context"].get("namespace") or DEFAULT_NAMESPACE
    return Connection(_client(configuration), configuration.host, context["name"], namespace)


def _context(files: str, contexts: Sequence[dict[str, Any]], wanted: str | None) -> dict[str, Any]:
    """Returns the context with its name.

    Raises:
        UsageError: It does not exist, or none is chosen.
    """
    if wanted is None:
        try:
            _, current = list_kube_config_contexts(files)  # type: ignore[no-untyped-call]
        except ConfigException as error:
            # No context is current, or the current one does not exist.
            raise UsageError(
                f"{files}: no context is chosen; give one with --context: {_names(contexts)}"
            ) from error
        found: dict[str, Any] = current
        return found
    for context in contexts:
        if context["name"] == wanted:
            return dict(context)
    hint = did_you_mean(wanted, [context["name"] for context in contexts])
    raise UsageError(f"{files}: has no context {wanted!r}{hint or f'; {_names(contexts)}'}")


def _contexts(files: str) -> list[dict[str, Any]]:
    """Returns all contexts.

    Raises:
        ConfigException: A file holds something else than a kubeconfig, on which the library chokes.
    """
    found: list[dict[str, Any]] = []
    for file in files.split(os.pathsep):
        document = yaml.safe_load(Path(file).read_text("utf-8"))
        if not isinstance(document, dict):
            raise ConfigException(f"{file} holds no mapping")
        found += document.get("contexts") or []
    return found


def _names(contexts: Sequence[dict[str, Any]]) -> str:
    if not contexts:
        return "there is none in it"
    return f"there is {listed(context['name'] for context in contexts)}"


def _in_pod(target: Target) -> Connection:
    if target.context is not None:
        raise UsageError(f"there is no kubeconfig, so no context {target.context!r} in it")
    configuration = _configuration()
    try:
        load_incluster_config(configuration)  # type: ignore[no-untyped-call]
    except ConfigException as error:
        raise AccessError(
            f"no kubeconfig, and this pod's service account cannot be used ({error}); give a "
            "kubeconfig with --kubeconfig, or let the pod mount its token"
        ) from error
    own = _OWN_NAMESPACE.read_text("utf-8").strip() if _OWN_NAMESPACE.exists() else ""
    namespace = target.namespace or own or DEFAULT_NAMESPACE
    return Connection(_client(configuration), configuration.host, None, namespace)


def _configuration() -> Configuration:
    # Whoever calls knows what may be tried again; the library's own tries write to the log.
    return Configuration(retries=False)


def _client(configuration: Configuration) -> ApiClient:
    client = ApiClient(configuration)
    client.user_agent = _USER_AGENT
    return client
