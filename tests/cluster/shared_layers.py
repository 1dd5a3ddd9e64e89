"""Images for a node without copying: its containerd takes the files of the store's layers as links.

A container never writes to the files of its image, so that both may have the same ones. An image of
gigabytes is there within seconds; writing it to an archive and reading that takes minutes and three
times the space.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import subprocess
import tarfile
from pathlib import Path

from tests.cluster.containerd import Containerd
from tests.cluster.images import Layer, StoredImage

_COPY_SECONDS = 600
_CONFIGURATION = "application/vnd.oci.image.config.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"


def bring(image: StoredImage, containerd: Containerd) -> None:
    """Brings an image to a node; layers that are there already stay as they are."""
    known = {line.split()[0] for line in containerd.ctr("snapshots", "list").splitlines()[1:]}
    below = ""
    for layer in image.layers:
        chain = chain_id(below, layer.diff_id)
        if chain not in known:
            _add_layer(containerd, layer, chain, below)
        below = chain
    archive = containerd.folder / "image.tar"
    archive.write_bytes(_archive(image))
    # Finds the layers, and reads nothing more than what the archive has.
    containerd.ctr("images", "import", str(archive))


def chain_id(below: str, diff_id: str) -> str:
    """Returns the name of a layer on top of others, as the OCI image specification has it.

    Args:
        below: Name of those under it; empty for the lowest.
        diff_id: Digest of the layer's own content.
    """
    if not below:
        return diff_id
    return f"sha256:{hashlib.sha256(f'{below} {diff_id}'.encode()).hexdigest()}"


def _add_layer(containerd: Containerd, layer: Layer, chain: str, below: str) -> None:
    key = f"layer {chain}"
    parents = [below] if below else []
    mounts = json.loads(containerd.ctr("snapshots", "prepare", "--mounts", key, *parents))
    (mount,) = mounts
    upper = [re.fullmatch("upperdir=(.*)", option) for option in mount["Options"]]
    (target,) = [found[1] for found in upper if found] or [mount["Source"]]
    _link(layer.folder, Path(target))
    containerd.ctr("snapshots", "commit", chain, key)


def _link(source: Path, target: Path) -> None:
    """Copies a folder as links; as files, where it is another file system."""
    same = source.stat().st_dev == target.stat().st_dev
    way = "--link" if same else "--reflink=auto"
    command = ["cp", "--archive", way, "--no-target-directory", str(source), str(target)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=_COPY_SECONDS
    )
    assert done.returncode == 0, f"{source}: {done.stderr[-2000:]}"


def _archive(image: StoredImage) -> bytes:
    """Returns an OCI archive of the image that has everything but its layers."""
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": _described(image.configuration, _CONFIGURATION),
            "layers": [
                {"mediaType": _LAYER, "digest": layer.diff_id, "size": layer.size}
                for layer in image.layers
            ],
        }
    ).encode()
    entry = _described(manifest, _MANIFEST)
    entry["annotations"] = {"io.containerd.image.name": image.name}
    index = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as members:
        for name, content in (
            ("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'),
            ("index.json", index),
            (_place(manifest), manifest),
            (_place(image.configuration), image.configuration),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            members.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def _described(content: bytes, kind: str) -> dict[str, object]:
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return {"mediaType": kind, "digest": digest, "size": len(content)}


def _place(content: bytes) -> str:
    return f"blobs/sha256/{hashlib.sha256(content).hexdigest()}"
