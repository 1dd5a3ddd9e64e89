"""The data that the documents show is valid."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sparse_transfer_api.spec import Data
from sparse_transfer_runner.data.squad_check import check_questions
from sparse_transfer_runner.data.tagged_check import check_tagged
from sparse_transfer_runner.data.text_check import check_text

PAGE = (Path(__file__).parents[3] / "docs" / "data.md").read_text("utf-8")
BLOCKS = re.findall(r"```(csv|json)\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize(("form", "content"), BLOCKS)
def test_data_in_the_documents_is_valid(tmp_path: Path, form: str, content: str) -> None:
    for split in ("train", "val"):
        (tmp_path / f"{split}.{form}").write_text(content, encoding="utf-8")

    asked = Data(uri=tmp_path.as_uri())
    check = check_text
    if '"question"' in content:
        check = check_questions
    elif '"tokens"' in content:
        check = check_tagged

    assert check(tmp_path, asked).splits["train"].rows == 2
