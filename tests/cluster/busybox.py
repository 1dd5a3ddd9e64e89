"""Small images, as archives, made of one program without any build: busybox, which Debian has."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

BUSYBOX = "localhost/busybox:1"
"""A shell and the usual programs, statically linked."""

_PROGRAM = Path("/bin/busybox")
_FOLDERS = ("bin", "dev", "etc", "proc", "sys", "tmp", "var")


def write_busybox_image(archive: Path, name: str, command: Sequence[str]) -> None:
    """Writes an image that holds busybox and runs a command by default.

    Args:
        archive: Where to, as ``docker save`` would.
        name: Of the image, with its tag.
        command: Its own program and arguments.
    """
    layer = _layer()
    digest = hashlib.sha256(layer).hexdigest()
    configuration = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Env": ["PATH=/bin"], "Cmd": list(command)},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        }
    ).encode()
    called = f"{hashlib.sha256(configuration).hexdigest()}.json"
    manifest = [{"Config": called, "RepoTags": [name], "Layers": [f"{digest}/layer.tar"]}]
    with tarfile.open(archive, "w") as members:
        _add(members, called, configuration)
        _add(members, "manifest.json", json.dumps(manifest).encode())
        _add(members, f"{digest}/layer.tar", layer)


def _layer() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as members:
        for name in _FOLDERS:
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            members.addfile(folder)
        _add(members, "etc/passwd", b"root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n")
        _add(members, "bin/busybox", _PROGRAM.read_bytes(), 0o755)
        listed = subprocess.run([_PROGRAM, "--list"], capture_output=True, text=True, check=True)
        for name in sorted({*listed.stdout.split()} - {"busybox"}):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            members.addfile(link)
    return packed.getvalue()


def _add(members: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    members.addfile(entry, io.BytesIO(content))
