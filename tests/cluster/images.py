"""Images built on this machine, by buildah, without a registry and without a container engine.

A base image made of Debian's packages stands for the one on Docker Hub that the Dockerfiles name.
What this machine needs for its way to packages, a bundle of authorities and pip's configuration, is
there while an image is built, read-only, and not in the image. Images and layers are kept outside
of the repository, so that a layer is built once.
"""

from __future__ import annotations

import ast
import configparser
import hashlib
import json
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.servers.go_programs import NoProgram, alone, cache_folder

BASE = "docker.io/library/python:3.11-slim-bookworm"
"""What the Dockerfiles build on."""

PACKAGES = "buildah mmdebstrap"
"""Of Debian, which building needs."""

_SUITE = "bookworm"
_INCLUDED = "python3,python3-pip,python3-venv,ca-certificates"
_LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*")
"""As slim images leave it out."""
_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
_FINISH = """
set -e; root=$1
rm -f "$root"/usr/lib/python3*/EXTERNALLY-MANAGED
for name in python python3 python3.11; do ln -sf /usr/bin/python3 "$root/usr/local/bin/$name"; done
ln -sf /usr/bin/pip3 "$root/usr/local/bin/pip"
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin
"""
_BASE_DOCKERFILE = """
FROM scratch
ADD base.tar /
ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8
CMD ["python3"]
"""
_BUILDAH = ("unshare", "--mount", "buildah", "--storage-driver=overlay")
_OPTIONS = (
    *("--isolation=chroot", "--network=host", "--pull-never"),
    *("--layers", "--force-rm", "--quiet"),
)
_BUILD_SECONDS = 3600
_ROOM_BYTES = 30 * 1000**3
"""The runner's image takes half of that while it is built: its files, and their layer."""


@dataclass(frozen=True)
class Layer:
    """A layer of a stored image.

    Args:
        diff_id: Digest of its content, uncompressed.
        size: Of that content, in bytes.
        folder: That holds its files.
    """

    diff_id: str
    size: int
    folder: Path


@dataclass(frozen=True)
class StoredImage:
    """An image in the store: its configuration as it is, and its layers, the lowest first."""

    name: str
    configuration: bytes
    layers: tuple[Layer, ...]


@dataclass(frozen=True)
class ImageStore:
    """Where images are built and kept.

    Args:
        folder: For all of it.
    """

    folder: Path

    def build(
        self,
        dockerfile: Path,
        tag: str,
        context: Path,
        build_args: Mapping[str, str] | None = None,
    ) -> None:
        """Builds an image; a step whose input is what it was is not done again.

        Args:
            dockerfile: Its description.
            tag: Its name.
            context: The folder that it copies from.
            build_args: Values of the description's arguments.

        Raises:
            AssertionError: A step failed.
        """
        arguments = [f"--build-arg={name}={value}" for name, value in (build_args or {}).items()]
        with alone(self.folder / "build.lock"):
            if shutil.disk_usage(self.folder).free < _ROOM_BYTES:
                # What earlier builds left that no image with a name is made of.
                self._buildah("rmi", "--prune")
            self._provide_base()
            with _of_this_machine() as mounts:
                volumes = [f"--volume={source}:{target}:ro" for source, target in mounts.items()]
                self._bud(dockerfile, tag, context, [*arguments, *volumes])

    def export(self, tag: str, archive: Path) -> None:
        """Writes an image to a file, as ``docker save`` would."""
        archive.unlink(missing_ok=True)
        self._buildah("push", "--quiet", tag, f"docker-archive:{archive}:{tag}")

    def image(self, tag: str) -> StoredImage:
        """Returns an image as it is stored."""
        found = json.loads(self._buildah("inspect", "--type=image", tag))
        configuration = found["Config"].encode()
        wanted = json.loads(configuration)["rootfs"]["diff_ids"]
        layers = self._layers_of(found["FromImageID"])
        assert [layer.diff_id for layer in layers] == wanted, f"{tag}: layers of another image"
        return StoredImage(tag, configuration, layers)

    def has(self, tag: str) -> bool:
        """Returns whether an image is there."""
        return bool(self._buildah("images", "--quiet", "--filter", f"reference={tag}"))

    def _layers_of(self, image: str) -> tuple[Layer, ...]:
        store = self.folder / "store"
        images = json.loads((store / "overlay-images" / "images.json").read_text())
        (top,) = [each["layer"] for each in images if each["id"] == image]
        entries: list[dict[str, Any]]
        entries = json.loads((store / "overlay-layers" / "layers.json").read_text())
        known = {entry["id"]: entry for entry in entries}
        layers: list[Layer] = []
        while top:
            entry = known[top]
            folder = store / "overlay" / top / "diff"
            layers.insert(0, Layer(entry["diff-digest"], entry.get("diff-size", 0), folder))
            top = entry.get("parent", "")
        return tuple(layers)

    def _provide_base(self) -> None:
        made_of = f"{_SUITE}{_INCLUDED}{_LEFT_OUT}{_FINISH}{_BASE_DOCKERFILE}"
        version = hashlib.sha256(made_of.encode()).hexdigest()[:12]
        own = f"localhost/base:{version}"
        if not self.has(own):
            with tempfile.TemporaryDirectory(dir=self.folder) as name:
                folder = Path(name)
                _debian(folder / "base.tar")
                (folder / "Dockerfile").write_text(_BASE_DOCKERFILE)
                self._bud(folder / "Dockerfile", own, folder, [])
        self._buildah("tag", own, BASE)

    def _bud(self, dockerfile: Path, tag: str, context: Path, further: Sequence[str]) -> None:
        named = (f"--file={dockerfile}", f"--tag={tag}")
        self._buildah("bud", *_OPTIONS, *named, *further, str(context))

    def _buildah(self, command: str, *arguments: str) -> str:
        store = (f"--root={self.folder / 'store'}", f"--runroot={self.folder / 'run'}")
        # With mounts of its own, which go with it and hold nobody else up.
        done = subprocess.run(
            [*_BUILDAH, *store, command, *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=_BUILD_SECONDS,
        )
        said = f"buildah {command} {' '.join(arguments)}: {done.stderr[-4000:]}"
        assert done.returncode == 0, said
        return done.stdout.strip()


def image_store() -> ImageStore:
    """Returns the store of this user's tests.

    Raises:
        NoProgram: This machine cannot build images.
    """
    missing = [name for name in PACKAGES.split() if shutil.which(name) is None]
    if missing or os.geteuid() != 0:
        raise NoProgram(f"no images here; apt-get install {PACKAGES}, and be root")
    folder = cache_folder() / "images"
    folder.mkdir(parents=True, exist_ok=True)
    return ImageStore(folder)


def _debian(archive: Path) -> None:
    """Makes a minimal Debian with Python, of the packages' sources that this machine uses."""
    named = (Path("/etc/apt/sources.list"), Path("/etc/apt/sources.list.d/debian.sources"))
    sources = [str(path) for path in named if path.exists() and _SUITE in path.read_text()]
    command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={_INCLUDED}"]
    command += [f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT]
    hook = f"--customize-hook={_FINISH}"
    done = subprocess.run(
        [*command, hook, _SUITE, str(archive), *sources],
        capture_output=True,
        text=True,
        check=False,
        timeout=_BUILD_SECONDS,
    )
    assert done.returncode == 0, f"mmdebstrap: {done.stderr[-4000:]}"


@contextmanager
def _of_this_machine() -> Iterator[dict[str, str]]:
    """Provides what a build needs of this machine, as places there by places here."""
    bundle = os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().openssl_cafile
    mounts = {path: path for path in _folders_of_wheels()}
    if Path(bundle).exists():
        mounts[str(Path(bundle).resolve())] = _BUNDLE
    with tempfile.TemporaryDirectory() as name:  # its owner's only: addresses may hold passwords
        settings = Path(name) / "pip.conf"
        with settings.open("w") as file:
            _pip_settings().write(file)
        mounts[str(settings)] = "/etc/pip.conf"
        yield mounts


def _pip_settings() -> configparser.RawConfigParser:
    """Returns pip's configuration here, that of the environment included."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    )
    settings = configparser.RawConfigParser()
    for line in listed.stdout.splitlines():
        name, _, value = line.partition("=")
        section, _, key = name.rpartition(".")
        section = "global" if section == ":env:" else section
        if not settings.has_section(section):
            settings.add_section(section)
        settings.set(section, key, str(ast.literal_eval(value)))
    if not settings.has_section("global"):
        settings.add_section("global")
    settings.set("global", "cert", _BUNDLE)
    return settings


def _folders_of_wheels() -> list[str]:
    named = _pip_settings().get("global", "find-links", fallback="").split()
    return [path for path in named if Path(path).is_dir()]
