"""The catalogue's format: which foundation models there are, where, and how the others are made."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, model_validator

from sparse_transfer_api.base import ApiModel
from sparse_transfer_api.errors import InputError
from sparse_transfer_api.optim_level import Size

from .families import Family
from .stubs import parse_stub

_HUB = "hf://"
_NAME = r"^[a-z0-9][a-z0-9._-]*$"


def _is_stub(text: str) -> str:
    try:
        stub = parse_stub(text)
    except InputError as error:
        raise ValueError(str(error)) from error
    if stub.parameters:
        raise ValueError(f"{text}: an identifier without its query was expected")
    return text


Method = Literal["admm", "sparsegpt", "wanda", "magnitude", "gradual"]
Pattern = Literal["unstructured", "block4"]
Budgets = Literal["uniform", "layer-error"]
Arithmetic = Literal["auto", "fp32", "bf16"]
RecipeType = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
ZooStub = Annotated[str, AfterValidator(_is_stub)]


class Source(ApiModel):
    """Where one model is.

    A digest is SHA-256 over names and contents of the folder's files, as ``sparse-transfer catalog
    show`` prints it; it is checked where it is known.
    """

    uri: str = Field(description="file://, package://, or what a storage scheme reads.")
    revision: str | None = Field(
        None, description="Of a hub's address: branch, tag or commit. Default: the newest."
    )
    sparsity: float | None = Field(None, ge=0, le=1, description="Zeros / prunable weights.")
    pattern: str | None = Field(
        None, description="Of the zeros, such as block4; absent where they are single weights."
    )
    licence: str | None = Field(
        None, description="As the source states it; absent where it does not."
    )
    digest: str | None = Field(
        None, pattern="^[0-9a-f]{64}$", description="Absent where nobody has recorded it."
    )
    zoo: tuple[ZooStub, ...] = Field((), description="SparseZoo identifiers that it stands for.")

    @model_validator(mode="after")
    def _only_a_hub_has_revisions(self) -> Source:
        if self.revision is not None and not self.uri.startswith(_HUB):
            raise ValueError(f"{self.uri}: only an address of a hub (hf://) has a revision")
        return self

    @property
    def address(self) -> str:
        """The address with its revision."""
        if self.revision is None:
            return self.uri
        kinds = ("models/", "datasets/")
        inner = self.uri.removeprefix(_HUB)
        prefix = next((kind for kind in kinds if inner.startswith(kind)), "")
        owner, _, rest = inner.removeprefix(prefix).partition("/")
        name, slash, path = rest.partition("/")
        return f"{_HUB}{prefix}{owner}/{name}@{self.revision}{slash}{path}"


_NO_OPTIONS = frozenset({"model", "layers", "data", "data_kind", "zoo"})
"""Fields of a job that ``sparse-transfer upstream`` does not take, or not as they are."""


class UpstreamJob(ApiModel):
    """How ``sparse-transfer upstream`` makes a sparse model that is published nowhere.

    What is absent is upstream's own default.
    """

    model: str = Field(description="Address of the dense model to start from.")
    layers: int | None = Field(
        None, ge=1, description="Keep so many of its lowest layers; this is the dense counterpart."
    )
    data: str | None = Field(
        None,
        description="Address of data without labels, or example:NAME for a packaged set. Absent "
        "where whoever makes the model has to bring it.",
    )
    data_kind: str = Field(description="What the data has to be.")
    sparsity: float = Field(ge=0.3, le=0.99, description="Share of the weights to set to zero.")
    method: Method = Field(
        "admm",
        description="How the weights to keep are chosen: admm, sparsegpt, wanda, magnitude, or "
        "gradual.",
    )
    pattern: Pattern = Field(
        "unstructured", description="Of the zeros: unstructured, or block4 for four at a time."
    )
    budgets: Budgets | None = Field(
        None, description="How zeros are divided among layers: uniform, or layer-error."
    )
    calibration_rows: int | None = Field(
        None, ge=1, description="Texts or pictures that pruning looks at."
    )
    refine_rounds: int | None = Field(
        None, ge=0, description="Of exchanging kept weights for better ones, layer by layer."
    )
    block_steps: int | None = Field(
        None, ge=0, description="Of tuning each pruned block as a whole."
    )
    gradual_steps: int | None = Field(
        None, ge=1, description="In which a gradual pruning reaches its sparsity."
    )
    prune_every: int | None = Field(None, ge=1, description="Steps, of a gradual pruning.")
    initial_sparsity: float | None = Field(None, ge=0, lt=0.99, description="Of a gradual pruning.")
    recovery_steps: int | None = Field(None, ge=0, description="Of distillation after pruning.")
    batch_size: int | None = Field(None, ge=1, description="Texts or pictures of a step.")
    precision: Arithmetic | None = Field(
        None, description="Arithmetic of training steps: fp32, bf16, or auto, what is faster."
    )
    max_length: int | None = Field(None, ge=1, description="Tokens of a text.")
    image_size: int | None = Field(None, ge=8, description="Pixels of a picture's side.")
    seed: int | None = Field(None, ge=0, description="Of the choice and order of the data.")
    licence: str | None = Field(None, description="The dense model's.")
    zoo: tuple[ZooStub, ...] = Field(
        (), description="SparseZoo identifiers that what it makes stands for."
    )

    def arguments(self, *, model: str, data: str, output: str, name: str) -> list[str]:
        """Returns the command's arguments.

        Args:
            model: Address of the dense model; the job's own where no layers are taken off.
            data: Path of the data.
            output: Folder of the new model.
            name: The new model's.
        """
        options = {"model": model, "data": data, "output": output, "name": name}
        for field in type(self).model_fields:
            value = getattr(self, field)
            if field not in _NO_OPTIONS and value is not None:
                options[field] = str(value)
        return [
            word
            for option, value in options.items()
            for word in (f"--{option.replace('_', '-')}", value)
        ]


class CatalogEntry(ApiModel):
    """One foundation model: sparse, dense, or both; or how it is made."""

    name: str = Field(pattern=_NAME, description="For catalog:NAME.")
    family: Family = Field(description="The use cases that start from it.")
    size: Size = Field(description="Which of its ladder's models it is.")
    ladder: str | None = Field(
        None,
        pattern=_NAME,
        description="Models of one kind in up to three sizes; catalog:LADDER is the level's one.",
    )
    architecture: str | None = Field(None, description="As the SparseZoo spelled it.")
    task: str | None = Field(
        None, description="What it is trained for already; such a model is never chosen by size."
    )
    provenance: str | None = Field(None, description="Who made it from what, and what is unknown.")
    sparse: Source | None = Field(None, description="The sparse model.")
    dense: Source | None = Field(
        None, description="Its dense counterpart, which the baseline starts from."
    )
    upstream: UpstreamJob | None = Field(None, description="What makes the sparse model.")
    shares_parent: bool = Field(
        False, description="The dense model is the one that the sparse one was pruned from."
    )
    recipe: str | None = Field(None, description="Address of the recipe for its transfer.")
    recipes: dict[RecipeType, str] = Field(
        default_factory=dict,
        description="Addresses of recipes by the type that a SparseZoo identifier may ask for.",
    )
    teacher: str | None = Field(
        None,
        description="Address of a model to give as spec.teacher.uri. Absent where nobody but the "
        "dense counterpart teaches, trained as the baseline.",
    )

    @model_validator(mode="after")
    def _has_a_source(self) -> CatalogEntry:
        if self.sparse is None and self.dense is None and self.upstream is None:
            raise ValueError(f"{self.name}: expected sparse, dense or both, or upstream")
        return self

    @property
    def must_be_made(self) -> bool:
        """Whether its sparse model is nowhere yet, but can be made."""
        return self.sparse is None and self.upstream is not None


class Catalog(ApiModel):
    """A catalogue: entries in the order of preference."""

    model_config = ConfigDict(protected_namespaces=())

    schema_version: Literal[1] = 1
    extends: Literal["packaged"] | None = Field(
        None, description="Put these entries before those that come with the runner."
    )
    models: tuple[CatalogEntry, ...] = ()

    @model_validator(mode="after")
    def _names_are_unique(self) -> Catalog:
        names = [entry.name for entry in self.models]
        doubled = {name for name in names if names.count(name) > 1}
        if doubled:
            raise ValueError(f"two entries are called {', '.join(sorted(doubled))}")
        return self
