"""Finds the INT8 file to keep of one model on one engine.

Forms are written and timed together, then scored from the fastest on until one keeps accuracy.
Where none does, the engine's remedies are tried, then the layers that INT8 disturbs most are left
in fp32, and at last a file is kept that is as accurate as any, and said to lose accuracy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sparse_transfer_runner.engines.forms import Form
from sparse_transfer_runner.engines.protocol import Engine, Quantizable, Session
from sparse_transfer_runner.use_cases.protocol import Batch

from .choice import TOLERANCE, ChoiceScore, Judged, choose, from_fastest
from .latency import inference, measure

_TIMING_SECONDS = 1.0
_LARGEST_KEPT_SHARE = 0.5
"""With more than half of the layers in fp32 a file is no INT8 file any more."""


@dataclass(frozen=True)
class Candidate:
    """One INT8 file.

    Args:
        form: How it computes.
        path: Its main file.
        kept: Modules left in fp32.
    """

    form: Form
    path: Path
    kept: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The form's name as reports show it."""
        if not self.kept:
            return str(self.form)
        return f"{self.form}, {len(self.kept)} layer{'s' if len(self.kept) > 1 else ''} in fp32"


@dataclass(frozen=True)
class Selection:
    """Chooses among the INT8 files of one model on one engine.

    Args:
        engine: The engine.
        model: What to quantize.
        folder: Where candidates are written.
        threads: Of the engine.
        example: Inputs at the headline's point, for timing.
        score_of: Scores a loaded file on the choice rows.
        reference: The trained model's metric on the same rows.
        sensitive: Names the model's modules, that which INT8 disturbs most first.
        check: Called between steps; raises to stop.
    """

    engine: Engine
    model: Quantizable
    folder: Path
    threads: int
    example: Batch
    score_of: Callable[[Session], ChoiceScore]
    reference: float
    sensitive: Callable[[], Sequence[str]]
    check: Callable[[], None]

    def run(self) -> tuple[Judged[Candidate], list[str]]:
        """Returns the chosen file, and what must be said about it."""
        tried: list[Judged[Candidate]] = []
        for candidate in self._candidates(tried):
            score = self._score(candidate)
            tried.append(Judged(candidate, score, score.keeps(self.reference)))
            if tried[-1].keeps:
                break
        best = choose(tried)
        notes = []
        if best.item.kept:
            notes.append(f"left in fp32, as INT8 disturbs them most: {', '.join(best.item.kept)}")
        if not best.keeps:
            notes.append(
                f"no INT8 form keeps accuracy within {TOLERANCE:.0%} on the choice rows: "
                f"{best.score.metric:.4f} against {self.reference:.4f} of the trained model"
            )
        return best, notes

    def _candidates(self, tried: Sequence[Judged[Candidate]]) -> Iterator[Candidate]:
        """Writes files in the order of preference, each when it is asked for.

        Args:
            tried: What came of those before.
        """
        forms = self.engine.forms(self.model)
        yield from self._timed([self._write(form) for form in forms])
        yield from (self._write(form) for form in self.engine.remedies)
        form = choose(tried).item.form
        yield from self._mixed(form if form in forms else forms[0])

    def _mixed(self, form: Form) -> Iterator[Candidate]:
        """Writes files with 1, 2, 4, … of the most sensitive layers in fp32."""
        order = self.sensitive()
        count = 1
        while count <= len(order) * _LARGEST_KEPT_SHARE:
            yield self._write(form, tuple(order[:count]))
            count *= 2

    def _write(self, form: Form, kept: tuple[str, ...] = ()) -> Candidate:
        self.check()
        folder = self.folder / f"{form}-{len(kept)}"
        folder.mkdir(parents=True)
        candidate = Candidate(form, folder / self.engine.model_file, kept)
        self.engine.quantize(self.model.keeping(kept), form, candidate.path)
        return candidate

    def _timed(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Returns the candidates from the fastest to the slowest."""
        if len(candidates) == 1:
            return list(candidates)
        sessions = [self.engine.load(c.path, threads=self.threads) for c in candidates]
        latencies = measure(
            [inference(session, self.example) for session in sessions],
            budget=_TIMING_SECONDS,
            check=self.check,
        )
        return from_fastest(
            [(c, latency.median_ms) for c, latency in zip(candidates, latencies, strict=True)]
        )

    def _score(self, candidate: Candidate) -> ChoiceScore:
        self.check()
        return self.score_of(self.engine.load(candidate.path, threads=self.threads))
