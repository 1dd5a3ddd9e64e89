from __future__ import annotations

import os

import pytest

from sparse_transfer_runner.engines.cpu import (
    accumulates_exactly,
    available_cores,
    instruction_set,
    multiplies_bf16,
)

_EPYC = {"avx2", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16"}
_SAPPHIRE_RAPIDS = {*_EPYC, "avx_vnni", "amx_tile", "amx_int8", "amx_bf16"}


@pytest.mark.parametrize(
    ("flags", "isa", "exact", "bf16"),
    [
        pytest.param(_SAPPHIRE_RAPIDS, "amx_int8", True, True, id="Xeon with AMX"),
        pytest.param(_EPYC, "avx512_vnni", True, True, id="EPYC with VNNI and bf16"),
        pytest.param({"avx2", "avx_vnni"}, "avx_vnni", True, False, id="laptop with AVX-VNNI"),
        pytest.param({"avx2", "avx512bw"}, "avx512", False, False, id="Skylake without VNNI"),
        pytest.param({"avx2"}, "avx2", False, False, id="Haswell"),
        pytest.param({"asimd", "asimddp", "i8mm", "bf16"}, "i8mm", True, True, id="Graviton 3"),
        pytest.param({"asimd"}, "neon", True, False, id="old ARM"),
    ],
)
def test_the_best_int8_instructions_name_the_processor(
    flags: set[str], isa: str, exact: bool, bf16: bool
) -> None:
    assert instruction_set(flags) == isa
    assert accumulates_exactly(isa) is exact
    assert multiplies_bf16(flags) is bf16


def test_a_processor_without_known_flags_is_named_by_its_architecture() -> None:
    assert instruction_set(set()) == os.uname().machine


def test_no_more_cores_are_used_than_the_process_may_use() -> None:
    assert 1 <= available_cores() <= len(os.sched_getaffinity(0))
