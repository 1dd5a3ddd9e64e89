"""Who may speak for whom in a cluster of the tests: certificates, and tokens of its servers."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

USERS = {
    "admin": ("admin", "system:masters"),
    "controller-manager": ("system:kube-controller-manager", ""),
    "scheduler": ("system:kube-scheduler", ""),
    "node": ("system:node:node", "system:nodes"),
    "proxy": ("system:kube-proxy", ""),
    "dns": ("system:coredns", ""),
}
"""Names of the cluster's own users, and their groups, by whom they stand for."""

API_SERVER_NAMES = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)
FRONT_PROXY = "front-proxy"
KUBELET_CLIENT = "kubelet-client"


@dataclass(frozen=True)
class Authority:
    """The files of a cluster's authority.

    Args:
        folder: That holds ``ca.crt`` and ``ca.key``, ``NAME.crt`` and ``NAME.key`` for
            ``api-server``, ``front-proxy``, ``kubelet-client``, ``kubelet`` and
            ``service-accounts``, and ``tokens.csv``.
        tokens: By user, as in ``USERS``.
    """

    folder: Path
    tokens: dict[str, str]

    def __getitem__(self, name: str) -> str:
        """Returns the path of a file."""
        return str(self.folder / name)


def new_authority(folder: Path, addresses: tuple[str, ...]) -> Authority:
    """Makes keys, certificates and tokens.

    Args:
        folder: A folder of their own, which is made.
        addresses: IP addresses at which the API server and the kubelet are met.
    """
    import trustme  # not where only the API's tests run

    folder.mkdir(mode=0o700)
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(folder / "ca.crt"))
    ca.private_key_pem.write_to_path(str(folder / "ca.key"))
    for name, common_name, identities in (
        ("api-server", "kube-apiserver", (*API_SERVER_NAMES, *addresses)),
        ("kubelet", "node", ("node", *addresses)),
        (FRONT_PROXY, FRONT_PROXY, (FRONT_PROXY,)),
        (KUBELET_CLIENT, KUBELET_CLIENT, (KUBELET_CLIENT,)),
        ("service-accounts", "service-accounts", ("service-accounts",)),
    ):
        leaf = ca.issue_cert(*dict.fromkeys(identities), common_name=common_name)
        (folder / f"{name}.crt").write_bytes(b"".join(b.bytes() for b in leaf.cert_chain_pems))
        leaf.private_key_pem.write_to_path(str(folder / f"{name}.key"))
    tokens = {user: secrets.token_hex(20) for user in USERS}
    lines = [
        f'{tokens[user]},{name},{number},"{group}"\n'
        for number, (user, (name, group)) in enumerate(USERS.items())
    ]
    (folder / "tokens.csv").write_text("".join(lines))
    return Authority(folder, tokens)
