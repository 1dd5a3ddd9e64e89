"""The models beside the student, given teacher and dense counterpart: do they fit it?"""

from __future__ import annotations

from sparse_transfer_api.errors import InputError
from sparse_transfer_api.spec import SparseTransferSpec, TeacherMode, Trust
from sparse_transfer_runner.catalog.reading import load_catalog
from sparse_transfer_runner.catalog.resolution import fetched_model, resolve_address
from sparse_transfer_runner.storage.addresses import shown
from sparse_transfer_runner.use_cases.protocol import DataSummary, Preprocessor, UseCase

from .foundation import CheckedFoundation

_SHOWN_LABELS = 10


def given_teacher(
    spec: SparseTransferSpec, use: UseCase, data: DataSummary, student: Preprocessor
) -> str | None:
    """Returns the pinned address of a given teacher, after checking that it can teach this student.

    Args:
        spec: The user's spec.
        use: The use case.
        data: Whose labels the teacher must know.
        student: The student's preprocessor.

    Raises:
        InputError: It is damaged, sees other inputs than the student, or was trained for
            another task.
        AccessError: It is not where it should be.
    """
    if spec.teacher.mode != TeacherMode.GIVEN or spec.teacher.uri is None:
        return None
    uri, folder = fetched_model(resolve_address(spec.teacher.uri, load_catalog()))
    use.check(folder, trusted=spec.model.trust == Trust.PICKLE)
    if not use.same_inputs(student, use.preprocessor(folder)):
        raise InputError(
            f"{shown(uri)}: has another {_inputs_by(use)} than the student, so that it would see "
            "other inputs; give a teacher with the student's, or set spec.teacher.mode: Auto"
        )
    if not use.has_head(folder, data.labels, data.problem_type):
        raise InputError(
            f"{shown(uri)}: was not trained for this task: its head is not for the data's labels "
            f"({', '.join(data.labels[:_SHOWN_LABELS])}, in this order); give a model that was "
            "trained on them, or set spec.teacher.mode: Auto"
        )
    return uri


def _inputs_by(use: UseCase) -> str:
    return "tokenizer" if use.family == "text" else "normalization of pictures"


def require_same_inputs(use: UseCase, student: Preprocessor, model: CheckedFoundation) -> None:
    """Checks that the dense counterpart sees the inputs that the foundation sees.

    Raises:
        InputError: It does not.
    """
    if model.dense is None or model.dense_folder in (None, model.folder):
        return
    if not use.same_inputs(student, use.preprocessor(model.dense_folder)):
        raise InputError(
            f"{shown(model.dense.uri)}: the dense counterpart has another {_inputs_by(use)} than "
            "the foundation, so that they cannot be compared; correct it, or set "
            "spec.baseline.mode: None"
        )
