"""Package: files for each engine, every one verified and measured; then the report.

Choices are made on rows that are not reported. Nothing of an earlier attempt is kept: the work is
minutes, and all latencies of an engine must come from one run. An engine that cannot run the model
is left out with what was made for it, and the report says why; the headline's ends the stage.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch.nn.modules.batchnorm import _BatchNorm

from sparse_transfer_api.contract import Stage
from sparse_transfer_api.results import Results
from sparse_transfer_runner.disk import write_atomically
from sparse_transfer_runner.engines import engine
from sparse_transfer_runner.engines.cpu import (
    accumulates_exactly,
    available_cores,
    cpu_flags,
    instruction_set,
)
from sparse_transfer_runner.engines.protocol import Engine, EngineFailed
from sparse_transfer_runner.packaging.benchmark import benchmark, subjects
from sparse_transfer_runner.packaging.deployment import Deployment
from sparse_transfer_runner.packaging.evaluation import Evaluation, LatencyPoint
from sparse_transfer_runner.packaging.files import DEPLOYMENT, REFERENCE, FileMaker, KeptFile
from sparse_transfer_runner.packaging.micro_batches import micro_batch_notes
from sparse_transfer_runner.packaging.points import (
    HeadlinePoint,
    Point,
    headline_point,
    longest_input,
    measured_points,
)
from sparse_transfer_runner.packaging.publication import (
    REPORT,
    artifacts,
    learning_curves,
    provisional_manifest,
    shipped_digest,
    summary,
)
from sparse_transfer_runner.packaging.recovery import score_of
from sparse_transfer_runner.packaging.remeasure import EVALUATION, write_example
from sparse_transfer_runner.packaging.results import EngineFacts, assemble, engine_results
from sparse_transfer_runner.packaging.task import PackageTask, TrainedModel
from sparse_transfer_runner.packaging.verification import VerifiedFile, file_sizes, verify
from sparse_transfer_runner.report import render_report
from sparse_transfer_runner.training.outputs import MODEL
from sparse_transfer_runner.use_cases.protocol import TrainsItself

from .context import StageContext, StageOutcome

_SCRATCH = ".scratch"


def run(context: StageContext) -> StageOutcome:
    """Makes, verifies and measures the files of a trained experiment."""
    with _fresh(context.work.path) as scratch:
        packaging = _Packaging.prepare(context, scratch)
        product, baseline, kept = packaging.make()
        verified = packaging.verify(kept)
        latencies = packaging.measure(verified)
        results, evaluation = packaging.conclude(product, baseline, verified, latencies)
        return packaging.publish(results, evaluation)


@contextmanager
def _fresh(root: Path) -> Iterator[Path]:
    """Clears what an earlier attempt left, and yields a folder for what does not stay."""
    scratch = root / _SCRATCH
    for folder in (scratch, root / DEPLOYMENT, root / REFERENCE):
        shutil.rmtree(folder, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@dataclass(frozen=True)
class _Packaging:
    """One run of the stage.

    Args:
        task: What to work on.
        targets: The headline's first.
        wanted: The headline.
        points: All points to measure.
        threads: Of each engine.
        scratch: For what does not stay.
        failed: Why an engine is left out, by its name.
    """

    task: PackageTask
    targets: Sequence[Engine]
    wanted: HeadlinePoint
    points: Sequence[Point]
    threads: int
    scratch: Path
    failed: dict[str, str] = field(default_factory=dict)

    @classmethod
    def prepare(cls, context: StageContext, scratch: Path) -> _Packaging:
        with context.reporter.activity("data", 0.04):
            task = PackageTask.load(context)
        config = json.loads((context.earlier[Stage.TRAIN].path / MODEL / "config.json").read_text())
        longest = longest_input(config, task.plan.max_sequence_length)
        wanted = headline_point(context.spec, longest)
        targets = sorted(map(str, context.spec.export.targets), key=lambda t: t != wanted.engine)
        return cls(
            task,
            [engine(name) for name in targets],
            wanted,
            measured_points(context.spec, longest),
            context.spec.benchmark.threads or available_cores(),
            scratch,
        )

    @property
    def root(self) -> Path:
        return self.task.context.work.path

    @property
    def engines(self) -> list[Engine]:
        """Those of the targets that have not failed."""
        return [each for each in self.targets if each.name not in self.failed]

    @contextmanager
    def _leaving_out(self, engine: Engine) -> Iterator[None]:
        """Leaves an engine out that fails, with its files.

        Raises:
            EngineFailed: It is the headline's.
        """
        try:
            yield
        except EngineFailed as error:
            if engine.name == self.wanted.engine:
                raise
            self.failed[engine.name] = str(error)
            shutil.rmtree(self.root / REFERENCE / engine.name, ignore_errors=True)
            for file in engine.files(self.root / DEPLOYMENT / engine.model_file):
                file.unlink(missing_ok=True)

    def make(self) -> tuple[TrainedModel, TrainedModel | None, list[KeptFile]]:
        """Exports the models and makes each engine's files."""
        reporter = self.task.context.reporter
        example = self.task.example(self.wanted.point)
        maker = FileMaker(self.task, self.root, self.scratch, self.threads, example)
        with reporter.activity("export", 0.10):
            product, baseline = maker.exported()
            write_example(self.root, example)
        with reporter.activity("INT8 forms", 0.20, len(self.engines)):
            kept: list[KeptFile] = []
            for each in reporter.each(self.engines):
                with self._leaving_out(each):
                    kept += list(maker.files(each, product, baseline))
        return product, baseline, kept

    def verify(self, kept: Sequence[KeptFile]) -> list[VerifiedFile]:
        """Scores every file on the reported rows."""
        context = self.task.context
        with context.reporter.activity("compressed sizes", 0.15):
            sizes = file_sizes(self.root, kept, self.threads)
        with context.reporter.activity("scoring", 0.35, len(kept)):
            found = []
            for file in context.reporter.each(kept):
                if file.engine.name in self.failed:
                    continue
                with self._leaving_out(file.engine):
                    found.append(
                        verify(
                            self.task,
                            self.root,
                            file,
                            sizes[file.path],
                            threads=self.threads,
                            on_batch=context.raise_if_stopped,
                        )
                    )
        return found

    def measure(self, verified: Sequence[VerifiedFile]) -> list[LatencyPoint]:
        """Measures each engine's files against each other."""
        context = self.task.context
        records = [file.record for file in verified]
        found = []
        with context.reporter.activity("benchmark", 0.14, len(self.engines)):
            for each in context.reporter.each(self.engines):
                with self._leaving_out(each):
                    found += benchmark(
                        each,
                        self.root,
                        subjects(records, each),
                        self.points,
                        self.task.example(self.wanted.point),
                        threads=self.threads,
                        check=context.raise_if_stopped,
                    )
        return found

    def conclude(
        self,
        product: TrainedModel,
        baseline: TrainedModel | None,
        verified: Sequence[VerifiedFile],
        latencies: Sequence[LatencyPoint],
    ) -> tuple[Results, Evaluation]:
        """Draws the outcome."""
        shipped = next(
            file
            for file in verified
            if file.record.shipped and file.record.engine == self.wanted.engine
        )
        isa = instruction_set()
        evaluation = Evaluation(
            files=[file.record for file in verified if file.record.engine not in self.failed],
            latencies=list(latencies),
            layers=list(shipped.layers),
            notes=[
                *self.failed.values(),
                *_isa_notes(isa, self.task.plan.quantize),
                *micro_batch_notes(
                    learning_curves(self.task.context),
                    self.task.plan.training.batch_size,
                    batch_norms=any(isinstance(m, _BatchNorm) for m in product.module.modules()),
                ),
            ],
        )
        facts = [EngineFacts(each.name, each.version(), isa) for each in self.engines]
        measured = engine_results(evaluation, facts, product.metric)
        score = score_of(self.task, shipped, product, baseline)
        return assemble(evaluation, measured, self.wanted, score), evaluation

    def publish(self, results: Results, evaluation: Evaluation) -> StageOutcome:
        """Writes what users read and take away."""
        task, context = self.task, self.task.context
        use = task.use_case
        licences = {
            **task.plan.licences,
            **(use.loop_licences if isinstance(use, TrainsItself) else {}),
            **{each.name: each.licence for each in self.engines},
        }
        with context.reporter.activity("report", 0.02):
            Deployment(
                name=context.experiment.metadata.name,
                family=task.use_case.family,
                kind=task.use_case.program,
                plan=task.plan,
                results=results,
                engines=self.engines,
                model=context.earlier[Stage.TRAIN].path / MODEL,
                preprocessor=task.preprocessor,
                licences=licences,
            ).write(self.root / DEPLOYMENT)
            write_atomically(self.root / EVALUATION, evaluation.to_json())
            made_with = self._provenance(evaluation)
            report = render_report(
                plan=task.plan,
                results=results,
                evaluation=evaluation,
                history=learning_curves(context),
                manifest=provisional_manifest(context, results, made_with, licences),
            )
            write_atomically(self.root / REPORT, report.encode())
        return StageOutcome(
            message=summary(results),
            digests={"shipped": shipped_digest(self.root, evaluation)},
            headline={
                "recovery": results.recovery,
                "speedup": results.headline.speedup,
                "sparsity": results.sparsity,
                results.metric.name: results.metric.value,
            },
            results=results,
            artifacts=artifacts(self.root, context.work.uri, evaluation, results),
            provenance=made_with,
            licences=licences,
        )

    def _provenance(self, evaluation: Evaluation) -> dict[str, Any]:
        sparse = {
            file.path: [kernel.name for kernel in file.kernels if kernel.sparse]
            for file in evaluation.files
            if file.kernels
        }
        return {
            "isa": instruction_set(),
            "cpuFlags": sorted(cpu_flags()),
            "engines": {each.name: each.version() for each in self.engines},
            "threads": self.threads,
            **({"sparseLayers": sparse} if sparse else {}),
        }


def _isa_notes(isa: str, quantize: bool) -> list[str]:
    if not quantize or accumulates_exactly(isa):
        return []
    return [
        f"INT8 accuracy holds for {isa} only: without VNNI sums of products may saturate, so "
        "seven-bit weights were tried too; measure again where the model will serve"
    ]
