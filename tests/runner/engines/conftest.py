from __future__ import annotations

import pytest
from tests.runner.exported_model import ExportedModel, write_exported


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> ExportedModel:
    return write_exported(tmp_path_factory.mktemp("exported"))
