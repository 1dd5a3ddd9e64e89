"""Who the operator is to the API server: a kubeconfig's user, or the pod's service account."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config

from sparse_transfer_api.errors import AccessError

from .. import names

POOL = 32
"""Connections at most; more requests at once wait for one."""


async def log_in(kubeconfig: Path | None, pool: int = POOL) -> ApiClient:
    """Returns a client; its token is read again as it expires.

    Args:
        kubeconfig: A file, or None for the service account of the pod that this runs in.
        pool: Connections at most.

    Raises:
        AccessError: There is neither, or the file does not say how to log in.
    """
    configuration = Configuration()
    configuration.connection_pool_maxsize = pool
    try:
        if kubeconfig is None:
            load_incluster_config(  # type: ignore[no-untyped-call]
                client_configuration=configuration
            )
        else:
            await load_kube_config(  # type: ignore[no-untyped-call]
                config_file=str(kubeconfig),
                client_configuration=configuration,
                persist_config=False,
            )
    except (ConfigException, OSError) as error:
        where = kubeconfig or "the pod's service account"
        raise AccessError(
            f"{where}: cannot log in to Kubernetes ({error}); outside a pod, name a --kubeconfig"
        ) from error
    configuration.proxy = configuration.proxy or _proxy(configuration.host)
    # Else aiohttp asks a thread for the environment's proxies and passwords at each request.
    configuration.client_session_kwargs = {"trust_env": False}
    client = ApiClient(configuration)
    client.user_agent = names.FIELD_MANAGER
    return client


def _proxy(server: str) -> str | None:
    """Returns the proxy that the environment names for a server."""
    address = urlsplit(server)
    if proxy_bypass(address.hostname or ""):
        return None
    return getproxies().get(address.scheme)
