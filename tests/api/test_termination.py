"""What of a stage's result reaches the operator, in 4096 bytes."""

from __future__ import annotations

import base64
import json
import random
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparse_transfer_api.contract import MAX_STAGE_RESULT_BYTES, Stage
from sparse_transfer_api.records import StageResult
from sparse_transfer_api.results import (
    Artifact,
    EngineResult,
    Headline,
    Interval,
    MetricResult,
    Recommended,
    Resolved,
    Results,
)

TEXT = st.text(st.characters(codec="utf-8"), max_size=80)
NUMBERS = st.floats(0, 1e6, allow_subnormal=False)
DIGESTS = st.dictionaries(TEXT, st.just("0123456789abcdef" * 4), max_size=4)
POINTS = st.tuples(st.sampled_from([1, 16]), st.sampled_from([None, 128, 384]))
SETTINGS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=20,
)
SIZES = st.integers(0, 1 << 40)


def engine(
    point: tuple[int, int | None], name: str, latency: float, notes: list[str]
) -> EngineResult:
    """Returns an engine's figures at a point."""
    batch, sequence = point
    return EngineResult(
        name=name,
        version="1.26.0",
        isa="avx512_vnni",
        threads=2,
        batch=batch,
        sequence=sequence,
        dense_latency_ms=latency * 3,
        latency_ms=latency,
        speedup=3,
        notes=notes,
    )


ENGINES = st.lists(
    st.builds(engine, POINTS, TEXT, NUMBERS, st.lists(TEXT, max_size=2)), max_size=30
)


@st.composite
def results(draw: st.DrawFn) -> Results:
    """Returns an outcome with up to thirty measurements."""
    batch, sequence = draw(POINTS)
    return Results(
        metric=MetricResult(
            name="accuracy",
            value=draw(NUMBERS),
            samples=draw(SIZES),
            split="test",
            interval=draw(st.none() | st.builds(Interval, low=NUMBERS, high=NUMBERS)),
        ),
        recovery=draw(st.none() | NUMBERS),
        sparsity=0.8,
        zero_share=0.7,
        size_bytes=draw(SIZES),
        compressed_size_bytes=draw(SIZES),
        dense_size_bytes=draw(SIZES),
        headline=Headline(engine="onnxruntime", batch=batch, sequence=sequence, speedup=2),
        recommended=Recommended(file=draw(TEXT), engine="openvino", reason=draw(TEXT)),
        engines=draw(ENGINES),
    )


RESULTS = st.builds(
    StageResult,
    stage=st.sampled_from(Stage),
    key=st.just("a" * 10),
    outcome=st.sampled_from(["Succeeded", "Failed", "Stopped"]),
    reason=st.just("Completed"),
    message=TEXT | st.text(st.characters(), max_size=6000),
    exit_code=st.integers(0, 255),
    manifest_uri=st.none() | st.builds("s3://bucket/{}".format, TEXT),
    digests=DIGESTS,
    headline=st.dictionaries(TEXT, st.none() | NUMBERS, max_size=5),
    results=st.none() | results(),
    artifacts=st.lists(
        st.builds(Artifact, name=TEXT, uri=TEXT, sha256=st.just("f" * 64), size_bytes=SIZES),
        max_size=64,
    ),
    resolved=st.none()
    | st.builds(
        Resolved,
        use_case=TEXT,
        model=TEXT,
        digests=DIGESTS,
        settings=st.dictionaries(TEXT, SETTINGS, max_size=5),
    ),
    recorded=st.booleans(),
)


@settings(max_examples=300, deadline=None)
@given(RESULTS)
def test_every_result_fits_and_arrives_as_it_was_but_for_what_it_says_was_omitted(
    result: StageResult,
) -> None:
    message = result.to_termination_message()
    assert len(message) <= MAX_STAGE_RESULT_BYTES
    read = StageResult.from_termination_message(message)
    omitted = set(read.omitted)
    for name in StageResult.model_fields:
        sent, got = getattr(result, name), getattr(read, name)
        if name == "omitted":
            continue
        if name == "message" and name in omitted:
            assert got == "" or sent.startswith(got.removesuffix("…"))
        elif name == "results" and "results.engines" in omitted and name not in omitted:
            head = sent.headline
            kept = [e for e in sent.engines if (e.batch, e.sequence) == (head.batch, head.sequence)]
            assert got == sent.model_copy(update={"engines": kept})
        elif name in omitted:
            assert not got, "what is omitted is not there in part"
        else:
            assert got == sent
    assert StageResult.from_termination_message(message.decode()) == read


@settings(max_examples=100, deadline=None)
@given(RESULTS)
def test_digests_arrive_while_anything_else_can_be_left_out(result: StageResult) -> None:
    read = StageResult.from_termination_message(result.to_termination_message())
    assert read.digests == result.digests, "the next stage's key follows from them"
    assert (read.stage, read.key, read.outcome) == (result.stage, result.key, result.outcome)


def package_result(points: int, **changes: Any) -> StageResult:
    """Returns what package says of two engines at so many points."""
    measured = random.Random(points)
    engines = [
        engine((number + 1, 128), name, measured.uniform(1, 9), ["slower than dense INT8"])
        for number in range(points)
        for name in ("onnxruntime", "openvino")
    ]
    found = Results(
        metric=MetricResult(name="accuracy", baseline=0.9, value=0.89, samples=800, split="test"),
        recovery=0.9889,
        sparsity=0.8,
        zero_share=0.7,
        size_bytes=10**7,
        compressed_size_bytes=10**6,
        dense_size_bytes=10**8,
        headline=Headline(engine="onnxruntime", batch=1, sequence=128, speedup=2.5),
        recommended=Recommended(file="deployment/model.onnx", engine="onnxruntime", reason="fast"),
        engines=engines,
    )
    root = "s3://a-bucket-of-the-team/runs/language/film-reviews/package-abcdefghij"
    artifacts = [
        Artifact(name=name, uri=f"{root}/{name}", sha256=f"{number:064x}", size_bytes=10**6)
        for number, name in enumerate(("deployment", "report.html", "evaluation.json", "model"))
    ]
    fields: dict[str, Any] = {
        "stage": Stage.PACKAGE,
        "key": "abcdefghij",
        "outcome": "Succeeded",
        "reason": "Completed",
        "message": "recovery 0.9889, 2.50 times as fast as the dense model on onnxruntime",
        "manifest_uri": f"{root}/manifest.json",
        "results": found,
        "artifacts": artifacts,
    }
    return StageResult(**{**fields, **changes})


# How many points two engines are measured at, whether the message is packed, and what it omits.
@pytest.mark.parametrize(
    ("points", "packed", "omitted"),
    [(1, False, []), (8, True, []), (64, False, ["results.engines"])],
)
def test_an_outcome_arrives_whole_then_packed_then_at_the_headline_alone(
    points: int, packed: bool, omitted: list[str]
) -> None:
    result = package_result(points)
    message = result.to_termination_message()
    assert ("packed" in json.loads(message)) is packed
    read = StageResult.from_termination_message(message)
    assert read.omitted == omitted
    assert read.results is not None
    assert read.artifacts == result.artifacts
    assert len(read.results.engines) == (2 if omitted else 2 * points)


def test_a_result_of_an_earlier_version_is_read() -> None:
    plain = package_result(1).model_dump_json(by_alias=True, exclude_none=True)
    assert StageResult.from_termination_message(plain) == package_result(1)


def _succeeded(more: str) -> str:
    known = '"stage": "package", "key": "k", "outcome": "Succeeded", "reason": "Completed"'
    return f"{{{known}, {more}}}"


def packed(text: bytes) -> str:
    return json.dumps({"packed": base64.b64encode(zlib.compress(text)).decode()})


# Last words that are no stage result: whoever runs in a pod may write anything.
NONSENSE: dict[str, bytes | str] = {
    "nothing": "",
    "a sentence": "Killed",
    "a list": "[]",
    "a deep list": "[" * 4000,
    "no number": '{"stage": NaN}',
    "infinity as a number": _succeeded('"headline": {"speedup": 1e999}'),
    "infinity as a text": _succeeded('"headline": {"speedup": "inf"}'),
    "infinity in a setting": _succeeded('"resolved": {"settings": {"lr": [1e999]}}'),
    "80 bits": _succeeded(f'"artifacts": [{{"name": "a", "uri": "b", "sizeBytes": {1 << 80}}}]'),
    "another document": '{"kind": "Pod"}',
    "cut off": package_result(8).to_termination_message()[:-9].decode(),
    "packed is no text": '{"packed": 3}',
    "packed is no base64": '{"packed": "%%%"}',
    "packed is not compressed": '{"packed": "AAAA"}',
    "packed is cut off": packed(b"{}").replace('=="', '"').replace('="', '"'),
    "packed is no JSON": packed(b"words"),
    "packed is no object": packed(b"[]"),
    "packed is a bomb": packed(b" " * (1 << 22)),
    "packed is not UTF-8": packed(b"\xff"),
    "no UTF-8": b"\xff\xfe",
}


@pytest.mark.parametrize("name", NONSENSE)
def test_other_last_words_are_a_value_error(name: str) -> None:
    with pytest.raises(ValueError):
        StageResult.from_termination_message(NONSENSE[name])


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_any_other_last_words_are_a_value_error(message: bytes | str) -> None:
    with pytest.raises(ValueError):
        StageResult.from_termination_message(message)
