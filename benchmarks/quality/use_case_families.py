"""Models, data and settings of each use case, for ``use_cases.py``.

Texts start from MiniLM, pruned on sentences; digits from EfficientNet-lite0; trees and nuclei from
a small YOLOv8 that was trained on something else altogether.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from families import FAMILIES, REDUCED_TEXTS, Budget, Family

_SENTENCES = FAMILIES["minilm"]
_DETECTOR = ("--model", "package://ABD_model/ABD.pt", "--trust-pickle")


@dataclass(frozen=True)
class UseCase:
    """What is run for a use case.

    Args:
        family: Its model, data and settings.
        prepare: Makes its data out of what was extracted, in the work folder.
    """

    family: Family
    prepare: Callable[[Path], None] | None = None


def _of_texts(name: str, extracts: Mapping[str, str], **spec: Any) -> Family:
    """Returns a family that starts from MiniLM and differs in its data alone."""
    reduced = {"maxSequenceLength": spec.pop("length", 32), "epochs": spec.pop("few_epochs", 1)}
    rows = {"maxTrainSamples": 320, "maxEvalSamples": 160}
    return Family(
        name=name,
        extracts={**extracts, "film-sentences": "sentences"},
        upstream=_SENTENCES.upstream,
        spec={"optimLevel": 0.5, **spec},
        budgets={"reduced": Budget(REDUCED_TEXTS, {"data": rows, "training": reduced})},
    )


def _of_objects(
    name: str, use_case: str, *, side: int, epochs: int, calibration: int, batch: int
) -> Family:
    """Returns a family of few pictures that starts from a small YOLOv8.

    Args:
        name: Of the packaged example.
        use_case: Of the experiment.
        side: Of the pictures, in pixels.
        epochs: Of training.
        calibration: Pictures that pruning looks at.
        batch: Pictures of a step of upstream work.
    """
    return Family(
        name=name,
        extracts={name: name},
        upstream=(
            *(*_DETECTOR, "--data", f"{{work}}/{name}/images/train", "--image-size", str(side)),
            *("--calibration-rows", str(calibration), "--batch-size", str(batch)),
            *("--recovery-steps", "60"),
        ),
        spec={
            "useCase": use_case,
            "data": {"uri": f"file://{{work}}/{name}"},
            "model": {"trust": "Pickle"},
            "optimLevel": 0.5,
            "training": {"imageSize": side, "epochs": epochs, "batchSize": 4},
        },
        budgets={
            "reduced": Budget(
                ("--calibration-rows", "2", "--image-size", "64", "--recovery-steps", "1"),
                {"training": {"imageSize": 64, "epochs": 1}},
            )
        },
    )


def write_naming_tweets(work: Path) -> None:
    """Writes tweets to classify: whether they name a person, a place, or anything else.

    Args:
        work: Holds the tagged tweets in ``tweets``; ``naming-tweets`` is written.
    """
    target = work / "naming-tweets"
    target.mkdir(exist_ok=True)
    for path in sorted((work / "tweets").glob("*.jsonl")):
        lines = path.read_text(encoding="utf-8").split("\n")
        tweets = [json.loads(line) for line in lines if line]
        rows = (
            {
                "text": " ".join(tweet["tokens"]),
                "label": "names" if set(tweet["ner_tags"]) != {"O"} else "nothing",
            }
            for tweet in tweets
        )
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (target / path.name).write_text(text, encoding="utf-8")


USE_CASES = {
    "sentiment-analysis": UseCase(FAMILIES["minilm"]),
    "text-classification": UseCase(
        _of_texts(
            "naming-tweets",
            {"tweets-entities": "tweets"},
            useCase="text-classification",
            data={"uri": "file://{work}/naming-tweets"},
            training={"epochs": 6},
        ),
        write_naming_tweets,
    ),
    "named-entity-recognition": UseCase(FAMILIES["minilm-tweets"]),
    "question-answering": UseCase(
        _of_texts(
            "county-questions",
            {"county-questions": "questions"},
            useCase="question-answering",
            data={"uri": "file://{work}/questions"},
            # As examples/questions.
            training={"epochs": 6, "maxSequenceLength": 256},
            length=96,
        )
    ),
    "cv-classification": UseCase(FAMILIES["efficientnet-lite0"]),
    # As examples/trees and examples/nuclei.
    "cv-detection": UseCase(
        _of_objects("trees", "object-detection", side=256, epochs=20, calibration=16, batch=4)
    ),
    "cv-segmentation": UseCase(
        _of_objects("nuclei", "instance-segmentation", side=128, epochs=60, calibration=5, batch=2)
    ),
}
"""The rows of the table."""
