"""Checks and encodes a folder of texts in a process that may hold only so much.

``python -m tests.runner.data.limited_reading BYTES DATA MODEL``: beyond what is held once all is
imported and the tokenizer loaded, the process gets so many bytes of data. Prints, as JSON, what was
read.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

from tests.runner.limited_runner import held_bytes

from sparse_transfer_api.records import ModelSource, Plan, TrainingSettings
from sparse_transfer_api.spec import parse_experiment
from sparse_transfer_runner.use_cases.text_classification import TextClassification

_BATCH = 64


def main() -> int:
    """Reads everything, some of it twice; returns the exit code."""
    allowance, data, model = int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
    use = TextClassification("nlp-sentiment_analysis")
    preprocessor = use.preprocessor(model)
    preprocessor.encode((["a film"] * 512,), 64)
    spec = parse_experiment(
        {
            "apiVersion": "sparsetransfer.dev/v1alpha1",
            "kind": "SparseTransferExperiment",
            "metadata": {"name": "long"},
            "spec": {
                "useCase": use.name,
                "optimLevel": 0,
                "data": {"uri": data.as_uri()},
                "output": {"uri": data.as_uri()},
            },
        },
        "test",
    ).spec
    limit = held_bytes() + allowance
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    summary = use.inspect(data, spec)
    source = ModelSource(
        uri=model.as_uri(), digest="0", format="", architecture="bert", sparsity=0, parameters=0
    )
    settings = TrainingSettings(epochs=1, learning_rate=1, batch_size=_BATCH, seed=0, recipe="")
    plan = Plan(
        use_case=use.name,
        level=0,
        band="",
        problem_type=summary.problem_type,
        columns={role: list(names) for role, names in summary.columns.items()},
        labels=list(summary.labels),
        splits=list(summary.splits),
        evaluation_split="val",
        choice_split="train",
        data_digest=summary.digest,
        inputs=use.input_names(summary, preprocessor),
        max_sequence_length=64,
        model=source,
        quantize=False,
        training=settings,
        total_steps=1,
        expected_memory_bytes=0,
    )
    rows = use.load(data, plan, "train", preprocessor)
    tokens = 0
    for start in range(0, len(rows), _BATCH):
        batch = rows.collate(range(start, min(start + _BATCH, len(rows))))
        tokens += int(batch["attention_mask"].sum())
    again = use.load(data, plan, "train", preprocessor)
    read = {
        "rows": len(rows),
        "tokens": tokens,
        "featureBytes": rows.tokens.nbytes + rows.offsets.nbytes + rows.targets.nbytes,
        "sameAgain": bool((again.tokens[-100:] == rows.tokens[-100:]).all()),
    }
    sys.stdout.write(json.dumps(read) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
