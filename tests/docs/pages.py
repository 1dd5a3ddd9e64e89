"""The documents as data: their commands, experiments, links, and what they name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparse_transfer_api.contract import KIND
from sparse_transfer_cli.yaml_source import documents

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
WRITTEN = (
    *sorted(DOCS.glob("*.md")),
    *sorted(DOCS.glob("how-to/*.md")),
)
"""Pages for users that are written by hand."""
LINKED = (
    *sorted(DOCS.rglob("*.md")),
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "examples/quickstart/README.md",
    ROOT / "examples/digits/README.md",
    ROOT / "examples/tweets/README.md",
    ROOT / "examples/questions/README.md",
    ROOT / "examples/trees/README.md",
    ROOT / "examples/nuclei/README.md",
)
"""Pages whose links must lead somewhere."""

ON_CLUSTER = (
    DOCS / "how-to" / "install.md",
    DOCS / "how-to" / "gitops.md",
)
"""Pages whose commands are for a cluster, in the order in which they are followed."""
WITH_OPERATOR = (DOCS / "how-to" / "run-on-a-cluster.md",)
"""Pages whose commands are for a cluster on which an operator runs experiments."""

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_FILE_COMMENT = re.compile(r"# (\S+\.yaml)\n")
_LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
_CODE = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True)
class Command:
    """A command of a page, and the lines that it is said to print.

    Args:
        line: The page's line that it stands on, for messages.
        text: As typed.
        expected: In order; ``…`` stands for anything, other lines may come between.
    """

    line: int
    text: str
    expected: tuple[str, ...]


def name_of(page: Path) -> str:
    """Returns a page's path below the repository, without the extension."""
    return page.relative_to(ROOT).with_suffix("").as_posix()


def blocks(page: Path, language: str) -> list[tuple[int, str]]:
    """Returns the fenced blocks of a language, each with the line of its first line."""
    text = page.read_text("utf-8")
    return [
        (text.count("\n", 0, found.start(2)) + 1, found[2])
        for found in _BLOCK.finditer(text)
        if found[1] == language
    ]


def commands(page: Path) -> list[list[Command]]:
    """Returns the commands of a page, block by block."""
    return [list(_commands(start, text)) for start, text in blocks(page, "console")]


def _commands(start: int, block: str) -> Iterator[Command]:
    lines = block.splitlines()
    begins = [number for number, line in enumerate(lines) if line.startswith("$ ")]
    assert begins[:1] == [0], f"a console block begins with a command, not with {lines[0]!r}"
    for begin, end in zip(begins, [*begins[1:], len(lines)], strict=True):
        parts = [lines[begin].removeprefix("$ ")]
        rest = begin + 1
        while parts[-1].endswith("\\"):
            parts[-1] = parts[-1].removesuffix("\\")
            parts.append(lines[rest].strip())
            rest += 1
        expected = tuple(line.strip() for line in lines[rest:end] if line.strip() not in ("", "…"))
        yield Command(start + begin, " ".join(map(str.strip, parts)), expected)


@dataclass(frozen=True)
class Experiment:
    """A whole experiment that a page shows; ``file`` is what its first line calls it."""

    line: int
    file: str | None
    text: str

    @property
    def document(self) -> dict[str, Any]:
        """The parsed YAML."""
        (document,) = documents(self.text)
        assert isinstance(document, dict)
        return document


def experiments(page: Path) -> list[Experiment]:
    """Returns the YAML blocks of a page that are whole experiments."""
    found = []
    for line, text in blocks(page, "yaml"):
        comment = _FILE_COMMENT.match(text)
        own = text[comment.end() :] if comment else text
        if own.startswith("apiVersion:") and f"\nkind: {KIND}\n" in own:
            found.append(Experiment(line, comment[1] if comment else None, text))
    return found


def files(page: Path) -> dict[str, str]:
    """Returns the YAML blocks of a page that are files, by the name in their first line."""
    named = [(_FILE_COMMENT.match(text), text) for _, text in blocks(page, "yaml")]
    return {comment[1]: text for comment, text in named if comment}


def links(page: Path) -> list[str]:
    """Returns the targets of a page's links that lead into the repository."""
    targets = _LINK.findall(_BLOCK.sub("", page.read_text("utf-8")))
    return [target for target in targets if "://" not in target]


def anchors(page: Path) -> set[str]:
    """Returns the anchors that a page's headings get on GitHub."""
    text = _BLOCK.sub("", page.read_text("utf-8"))
    return {_slug(heading) for heading in _HEADING.findall(text)}


def _slug(heading: str) -> str:
    plain = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return plain.replace(" ", "-")


def code(page: Path) -> list[str]:
    """Returns what a page writes as code: in its text, and the commands of its blocks."""
    text = page.read_text("utf-8")
    typed = [command.text for block in commands(page) for command in block]
    return [*_CODE.findall(_BLOCK.sub("", text)), *typed]
