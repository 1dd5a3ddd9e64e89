"""Where things are below the API server's address."""

from __future__ import annotations

from sparse_transfer_api.contract import GROUP, PLURAL, VERSION

from ..observer import Kind

GROUP_PATH = f"/apis/{GROUP}/{VERSION}"

_ROOTS = {
    Kind.EXPERIMENT: (GROUP_PATH, PLURAL),
    Kind.JOB: ("/apis/batch/v1", "jobs"),
    Kind.POD: ("/api/v1", "pods"),
}


def collection(kind: Kind, namespace: str | None) -> str:
    """Returns the path of all objects of a kind in a namespace, or in all of them."""
    root, plural = _ROOTS[kind]
    return f"{root}/{plural}" if namespace is None else f"{root}/namespaces/{namespace}/{plural}"


def item(kind: Kind, namespace: str, name: str) -> str:
    """Returns the path of one object."""
    return f"{collection(kind, namespace)}/{name}"


def watched(path: str) -> tuple[Kind, str | None] | None:
    """Returns what a collection's path is of: kind and namespace; None for any other path."""
    for kind, (root, plural) in _ROOTS.items():
        if not path.startswith(f"{root}/") or not path.endswith(f"/{plural}"):
            continue
        between = path[len(root) : -len(plural)].strip("/").split("/")
        if between == [""]:
            return kind, None
        if len(between) == 2 and between[0] == "namespaces":
            return kind, between[1]
    return None
