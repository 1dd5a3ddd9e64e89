"""Questions with their contexts as bytes in an array, which may lie on the disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any, overload

import numpy as np
import orjson
from numpy.typing import NDArray

from sparse_transfer_runner.data.squad import Answer, Question

from .text_inputs import offsets_of


@dataclass(frozen=True)
class StoredQuestions(Sequence[Question]):
    """Questions that are read when they are asked for.

    Args:
        stored: uint8 ``[bytes]``, question after question.
        offsets: int64 ``[questions + 1]``, where each begins.
    """

    stored: NDArray[np.uint8]
    offsets: NDArray[np.int64]

    @classmethod
    def of(cls, found: Mapping[str, NDArray[Any]]) -> StoredQuestions:
        """Returns the questions that ``question_arrays`` gave arrays of."""
        return cls(found["questions"], offsets_of(found["question_lengths"]))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, place: int) -> Question: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Question]: ...
    def __getitem__(self, place: int | slice) -> Question | Sequence[Question]:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        if not 0 <= place < len(self):
            raise IndexError(place)
        stored = self.stored[self.offsets[place] : self.offsets[place + 1]]
        question, context, answers = orjson.loads(stored.tobytes())
        return Question(question, context, tuple(Answer(*answer) for answer in answers))


def question_arrays(questions: Sequence[Question]) -> dict[str, NDArray[Any]]:
    """Returns questions as bytes, one after another, and how many each has."""
    stored = [orjson.dumps(astuple(each)) for each in questions]
    return {
        "questions": np.frombuffer(b"".join(stored), dtype=np.uint8),
        "question_lengths": np.fromiter(map(len, stored), dtype=np.int64, count=len(stored)),
    }
