"""Who runs a recipe, and a file, in a runner that has neither SparseML nor DeepSparse."""

from __future__ import annotations

import pytest

from sparse_transfer_api.errors import InputError
from sparse_transfer_api.spec import Recipe as RecipeSpec
from sparse_transfer_api.spec import RecipeBackend
from sparse_transfer_runner.engines import engine
from sparse_transfer_runner.recipes import NATIVE, default_recipe
from sparse_transfer_runner.stages.backends import backend_notes, resolved_recipe

DEFAULT = default_recipe("text", sparse=True, quantize=True)
GRADUAL = """
modifiers:
  - !EpochRangeModifier {end_epoch: 2}
  - !SetLearningRateModifier {learning_rate: 0.001}
  - !GMPruningModifier {params: __ALL_PRUNABLE__, init_sparsity: 0.5, final_sparsity: 0.8}
"""
UNKNOWN = GRADUAL.replace("GMPruning", "GradualPruning")


@pytest.mark.parametrize("backend", [RecipeBackend.AUTO, RecipeBackend.NATIVE])
def test_a_recipe_that_the_native_backend_honours_runs_there(backend: RecipeBackend) -> None:
    recipe = resolved_recipe(DEFAULT, RecipeSpec(backend=backend), {}, "recipe")
    assert recipe.backend == NATIVE
    assert not backend_notes(recipe)


REFUSED = {
    "SparseML is asked for and is not here": (
        RecipeBackend.SPARSEML,
        DEFAULT,
        [
            "spec.recipe.backend: SparseML: SparseML is not in this runner",
            "FLAVOUR=neuralmagic (spec.image)",
            "pip install 'sparse-transfer[neuralmagic]'",
            "or leave the field out",
        ],
    ),
    "a recipe that needs it, with Auto": (
        RecipeBackend.AUTO,
        GRADUAL,
        ["mine.yaml:5: GMPruningModifier is not supported by the native backend", "neuralmagic"],
    ),
    "a recipe that needs it, with Native": (
        RecipeBackend.NATIVE,
        GRADUAL,
        ["mine.yaml:5: GMPruningModifier is not supported by the native backend", "neuralmagic"],
    ),
    **{
        f"a modifier that nobody knows, with {backend}": (
            backend,
            UNKNOWN,
            [
                "mine.yaml:5: GradualPruningModifier is not a modifier of SparseML 1.8",
                "did you mean",
                "supported: EpochRangeModifier",
            ],
        )
        for backend in (RecipeBackend.AUTO, RecipeBackend.NATIVE)
    },
}


@pytest.mark.parametrize(("backend", "text", "said"), list(REFUSED.values()), ids=list(REFUSED))
def test_what_cannot_run_here_is_refused_with_what_to_do(
    backend: RecipeBackend, text: str, said: list[str]
) -> None:
    with pytest.raises(InputError) as refused:
        resolved_recipe(text, RecipeSpec(backend=backend), {}, "mine.yaml")
    for words in said:
        assert words in str(refused.value)


@pytest.mark.parametrize("target", ["deepsparse", "onnxruntime-sparse"])
def test_an_engine_that_is_not_here_is_refused_with_where_to_get_it(
    target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sparse_transfer_runner.engines.is_installed", lambda library: False)
    with pytest.raises(InputError) as refused:
        engine(target)
    for words in WHERE_TO_GET[target]:
        assert words in str(refused.value)


WHERE_TO_GET = {
    "deepsparse": (
        "spec.export.targets: deepsparse is not in this runner; it has onnxruntime, openvino;",
        "FLAVOUR=neuralmagic and DEEPSPARSE=true (spec.image)",
        "pip install 'sparse-transfer[deepsparse]'",
        "for evaluation only, not for production and not to be passed on",
    ),
    "onnxruntime-sparse": (
        "spec.export.targets: onnxruntime-sparse is not in this runner; it has onnxruntime,",
        "the wheel sparse-transfer-kernels: `make kernels` builds and installs it",
        "make image-runner KERNELS=true",
        "(spec.image)",
    ),
}
