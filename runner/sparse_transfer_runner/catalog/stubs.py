"""SparseZoo identifiers, in both grammars: what they say, and which of them mean the same.

``zoo:DOMAIN/SUB_DOMAIN/ARCHITECTURE[-SUB]/FRAMEWORK/REPO/DATASET[-SCHEME]/TAG`` came first;
``zoo:ARCHITECTURE[-SUB]-DATASET[-MORE_DATA]-TAG`` came later, for the same models. A query asks for
one of the model's recipes. The zoo itself is gone: nothing here asks it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from sparse_transfer_api.errors import InputError

ZOO = "zoo:"

_WORD = re.compile(r"[A-Za-z0-9_.]+")
_PARTS = 7
"""Of the first grammar: from the domain to the tag."""
_UPSTREAM = "_wikipedia_bookcorpus"
"""What the second grammar puts after the data of a task; the first one leaves it out."""
_NO_CATEGORY = "none"
_BLOCKS_TARGET = "vnni"
"""The first grammar's word for zeros in blocks of four, ``.4block`` in the second one."""
_PRUNED = re.compile(r"(pruned)(\d{2})(?!\d)")
_AGGRESSIVE = re.compile(r"(aggressive_)(\d{2})(?!\d)")
_QUANTIZED = re.compile("_quant(ized)?(?=_|$)")
"""Says nothing about a start: INT8 is the transfer's work."""
_RECIPE_PARAMETERS = ("recipe_type", "recipe")
"""The first of them decides, as it did for the zoo's own library."""


@dataclass(frozen=True)
class ZooStub:
    """What an identifier says.

    Args:
        text: As written.
        architecture: Such as ``resnet_v1``.
        sub_architecture: Such as ``50``.
        dataset: What the model was trained on last, such as ``imagenet``.
        tag: How it was made sparse, such as ``pruned95_quant-none``.
        domain: ``cv`` or ``nlp``; None in the second grammar.
        sub_domain: Such as ``classification``; None in the second grammar.
        framework: Such as ``pytorch``; None in the second grammar.
        parameters: Of the query.
    """

    text: str
    architecture: str
    sub_architecture: str | None
    dataset: str
    tag: str
    domain: str | None = None
    sub_domain: str | None = None
    framework: str | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """Architecture and sub-architecture, such as ``resnet_v1-50``."""
        return "-".join(part for part in (self.architecture, self.sub_architecture) if part)

    @property
    def recipe_type(self) -> str | None:
        """Which of the model's recipes is asked for."""
        return next(
            (self.parameters[name] for name in _RECIPE_PARAMETERS if name in self.parameters), None
        )

    @cached_property
    def dense(self) -> bool:
        """Whether it names a model without zeros."""
        return self._plain_tag.startswith("base")

    @cached_property
    def sparsity(self) -> float | None:
        """Share of zeros as far as the tag states it: 0 for a dense model."""
        if self.dense:
            return 0.0
        found = _PRUNED.search(self._plain_tag) or _AGGRESSIVE.search(self._plain_tag)
        return int(found[2]) / 100 if found else None

    @property
    def in_blocks(self) -> bool:
        """Whether zeros come four at a time."""
        return "4block" in self._plain_tag

    @property
    def identity(self) -> tuple[str, str, str]:
        """What two identifiers of the same model have in common, in either grammar.

        Architecture, data and tag; ``pruned95-none``, ``pruned95_quant-none`` and
        ``pruned95_quantized`` are one tag.
        """
        return (self.kind.removesuffix("-none"), self._task_data, self._plain_tag)

    @property
    def _task_data(self) -> str:
        return self.dataset.removesuffix(_UPSTREAM) if self.domain is None else self.dataset

    @cached_property
    def _plain_tag(self) -> str:
        name, *rest = self.tag.split("-")
        if _BLOCKS_TARGET in rest:
            rest.remove(_BLOCKS_TARGET)
            name = _PRUNED.sub(r"\1\2_4block", name)
        kept = [name, *(part for part in rest if part != _NO_CATEGORY)]
        return _QUANTIZED.sub("", "_".join(kept).replace(".", "_"))


def parse_stub(text: str) -> ZooStub:
    """Reads an identifier.

    Args:
        text: With ``zoo:`` before it, in either grammar, with or without a query. The first
            grammar's older way to ask for a recipe, a last part such as ``/original``, counts as
            ``?recipe_type=original``.

    Raises:
        InputError: It is none.
    """
    plain, mark, query = text.removeprefix(ZOO).partition("?")
    if not text.startswith(ZOO) or (mark and not query) or "?" in query:
        raise InputError(_malformed(text))
    parameters = _parameters(text, query)
    parts = plain.rstrip("/").split("/")
    if len(parts) == 1:
        return _second(text, plain, parameters)
    if len(parts) == _PARTS + 1:
        parameters = {"recipe_type": parts.pop(), **parameters}
    if len(parts) != _PARTS:
        raise InputError(_malformed(text))
    return _first(text, parts, parameters)


def _first(text: str, parts: list[str], parameters: Mapping[str, str]) -> ZooStub:
    domain, sub_domain, kind, framework, repository, data, tag = parts
    architecture, _, sub = kind.partition("-")
    dataset, _, scheme = data.partition("-")
    words = [domain, sub_domain, architecture, framework, repository, dataset]
    _require_words(text, [*words, *(part for part in (sub, scheme) if part), *tag.split("-")])
    return ZooStub(
        text=text,
        architecture=architecture,
        sub_architecture=sub or None,
        dataset=dataset,
        tag=tag,
        domain=domain,
        sub_domain=sub_domain,
        framework=framework,
        parameters=parameters,
    )


def _second(text: str, plain: str, parameters: Mapping[str, str]) -> ZooStub:
    """Reads the second grammar; of four parts the second one is the sub-architecture."""
    parts = plain.split("-")
    if not 3 <= len(parts) <= 5:
        raise InputError(_malformed(text))
    _require_words(text, parts)
    dataset = "_".join(parts[2:-1]) if len(parts) > 3 else parts[1]
    return ZooStub(
        text=text,
        architecture=parts[0],
        sub_architecture=parts[1] if len(parts) > 3 else None,
        dataset=dataset,
        tag=parts[-1],
        parameters=parameters,
    )


def _parameters(text: str, query: str) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in query.split("&")] if query else []
    if not all(name and separator and value for name, separator, value in pairs):
        raise InputError(f"{text}: expected ?NAME=VALUE after the identifier, such as {_EXAMPLE}")
    return {name: value for name, _, value in pairs}


def _require_words(text: str, words: list[str]) -> None:
    if not all(_WORD.fullmatch(word) for word in words):
        raise InputError(_malformed(text))


_EXAMPLE = "?recipe_type=transfer"


def _malformed(text: str) -> str:
    return (
        f"{text}: not a SparseZoo identifier; expected "
        "zoo:DOMAIN/SUB_DOMAIN/ARCHITECTURE/FRAMEWORK/REPO/DATASET/TAG or "
        f"zoo:ARCHITECTURE-DATASET-TAG, then {_EXAMPLE} where a recipe is meant"
    )
