"""Stands in for the runner where a test is about the executor: same contract, no work.

It is run as a process. ``STAND_IN`` holds JSON: what each stage does on each of its runs, by stage,
as a list of words: ``done`` (the default), ``wait`` (until SIGTERM, leaving a checkpoint, after
which the next run is done), ``crash``, ``silent`` (exit code 0 without a result), ``kill``
(itself), ``talk`` (a long list of mistakes) or an exit code of the contract. In a search, a level's
stage is named such as ``train@0.6``; its results follow from the level, and levels from 0.75 on
come to one model.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from sparse_transfer_api.contract import (
    ENV_EXPERIMENT,
    ENV_TERMINATION_LOG,
    MANIFEST,
    ExitCode,
    Stage,
)
from sparse_transfer_api.records import Manifest, Progress, StageResult
from sparse_transfer_api.results import (
    EngineResult,
    Headline,
    Interval,
    MetricResult,
    Recommended,
    Results,
)


def main() -> None:
    stage = Stage(sys.argv[1])
    experiment = json.loads(os.environ[ENV_EXPERIMENT])
    metadata = experiment["metadata"]
    root = Path(experiment["spec"]["output"]["uri"].removeprefix("file://"))
    level = level_of(experiment["spec"])
    key = "standin" if level is None else f"standin{level:g}"
    folder = root / metadata.get("namespace", "default") / metadata["name"] / f"{stage}-{key}"
    earlier = [
        folder.with_name(f"{name}-{key}") for name in list(Stage)[: list(Stage).index(stage)]
    ]
    digests = {} if level is None else {"model": f"{min(level, 0.75):g}"}
    say("progress", Progress(stage=stage, activity="working", step=1, total_steps=2, percentage=50))
    sys.stderr.write(f"{stage} was here\n")
    if (folder / MANIFEST).exists():
        finish(StageResult(stage=stage, key=key, outcome="Succeeded", reason="Completed",
                           digests=digests, manifest_uri=(folder / MANIFEST).as_uri(),
                           recorded=True))  # fmt: skip
    for place in earlier:
        if not (place / MANIFEST).exists():
            fail(stage, ExitCode.VANISHED, f"{place}: no result here")
    folder.mkdir(parents=True, exist_ok=True)
    name = stage.value if level is None else f"{stage}@{level:g}"
    act(stage, folder, behaviour(name, folder))
    manifest = Manifest(
        stage=stage,
        key=key,
        created=datetime.now(UTC),
        files=[],
        results=results(level) if stage == Stage.PACKAGE else None,
    )
    (folder / MANIFEST).write_bytes(manifest.to_json())
    finish(
        StageResult(
            stage=stage,
            key=key,
            outcome="Succeeded",
            reason="Completed",
            message=f"{stage} is done",
            digests=digests,
            manifest_uri=(folder / MANIFEST).as_uri(),
        )
    )


def level_of(spec: dict[str, Any]) -> float | None:
    """Returns the level of a search that the stage is of, by the only one that it may name."""
    levels = spec.get("search", {}).get("levels", [])
    if not levels:
        return None
    (level,) = levels
    return float(level)


def behaviour(stage: str, folder: Path) -> str:
    runs = folder / "runs"
    number = int(runs.read_text()) if runs.exists() else 0
    runs.write_text(str(number + 1))
    words = json.loads(os.environ.get("STAND_IN", "{}")).get(stage, [])
    return str(words[number]) if number < len(words) else "done"


def act(stage: Stage, folder: Path, word: str) -> None:
    if word == "wait":
        stop = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: stop.set())
        say("progress", Progress(stage=stage, activity="waiting"))
        # In turns: a signal right before a wait is acted on only when that ends.
        while not stop.wait(0.2):
            pass
        (folder / "checkpoint").touch()
        fail(stage, ExitCode.STOPPED, "checkpoint written", outcome="Stopped")
    if word == "deaf":
        signal.signal(signal.SIGTERM, lambda *_: None)
        say("progress", Progress(stage=stage, activity="waiting"))
        threading.Event().wait()
    if word == "crash":
        raise RuntimeError("something broke")
    if word == "silent":
        sys.exit(0)
    if word == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if word.isdigit():
        fail(stage, int(word), "the input is wrong")
    if word == "talk":
        fail(stage, ExitCode.INPUT, "the input is wrong; " * 500)


def fail(stage: Stage, code: int, message: str, outcome: str = "Failed") -> NoReturn:
    finish(StageResult.model_validate(
        {"stage": stage, "key": "standin", "outcome": outcome, "reason": "Test",
         "message": message, "exitCode": code}
    ))  # fmt: skip


def finish(result: StageResult) -> NoReturn:
    Path(os.environ[ENV_TERMINATION_LOG]).write_bytes(result.to_termination_message())
    say("result", result)
    sys.exit(result.exit_code)


def say(kind: str, record: Progress | StageResult) -> None:
    sys.stdout.write(json.dumps({"type": kind, **json.loads(record.to_json())}) + "\n")
    sys.stdout.flush()


def results(level: float | None = None) -> Results:
    """Returns figures; of a search's levels the higher is faster, smaller and less accurate."""
    if level is not None:
        found = results()
        (point,) = found.engines
        engines = [point.model_copy(update={"latency_ms": 10 - 8 * level})]
        size = round(91_000_000 - 80_000_000 * level)
        figures = {"recovery": 1 - level / 10, "size_bytes": size, "engines": engines}
        return found.model_copy(update=figures)
    return Results(
        metric=MetricResult(
            name="accuracy",
            baseline=0.84,
            value=0.82,
            samples=3000,
            split="test",
            interval=Interval(low=0.965, high=0.99),
        ),
        recovery=0.9762,
        sparsity=0.8,
        zero_share=0.5,
        size_bytes=23_000_000,
        compressed_size_bytes=12_000_000,
        dense_size_bytes=91_000_000,
        dense_compressed_size_bytes=83_000_000,
        headline=Headline(
            engine="onnxruntime", batch=1, sequence=128, speedup=2.0, speedup_vs_fp32=2.0,
            speedup_vs_dense_int8=1.01,
        ),
        recommended=Recommended(
            file="deployment/model.onnx", engine="onnxruntime", reason="smallest of the fastest"
        ),
        engines=[
            EngineResult(
                name="onnxruntime",
                version="1.26",
                isa="AVX2",
                threads=2,
                batch=1,
                sequence=128,
                dense_latency_ms=11.7,
                latency_ms=5.85,
                speedup=2.0,
                speedup_vs_fp32=2.0,
                speedup_vs_dense_int8=1.01,
                notes=["sparsity brings no time here"],
            )
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
