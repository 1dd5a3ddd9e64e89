"""What goes into an experiment and where its results go: data, model, output, access."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from .types import (
    BUDGET,
    NOTHING,
    PREPARE,
    AbsolutePath,
    Block,
    Count,
    DataUri,
    Distinct,
    DnsSubdomain,
    Flag,
    ModelUri,
    OutputUri,
    Quantity,
    Revision,
    Text,
    Url,
)


class ProblemType(StrEnum):
    """What the labels of a text classification mean."""

    SINGLE_LABEL = "SingleLabelClassification"
    MULTI_LABEL = "MultiLabelClassification"
    REGRESSION = "Regression"

    @property
    def transformers_name(self) -> str:
        """The same type as transformers' configuration and the plan name it."""
        return {
            ProblemType.SINGLE_LABEL: "single_label_classification",
            ProblemType.MULTI_LABEL: "multi_label_classification",
            ProblemType.REGRESSION: "regression",
        }[self]


TextColumns = Annotated[tuple[Text, ...], Field(min_length=1, max_length=2), Distinct(ordered=True)]


class Columns(Block):
    """Which columns play which role."""

    text: TextColumns | None = Field(
        None,
        description="One or two text columns; of tagged words the one with the lists of words. "
        "Default: sentence1 and sentence2 where both exist, else the first one or two columns that "
        "are not the label; of tagged words tokens.",
        json_schema_extra=BUDGET,
    )
    label: Text | None = Field(
        None,
        description="The label column; of tagged words the one with the lists of tags. Default: "
        "the use case's own, such as label or ner_tags.",
        json_schema_extra=BUDGET,
    )


class Data(Block):
    """The user's data, in the format of the use case."""

    uri: DataUri = Field(
        description="The folder that holds the splits: s3://bucket/path/, pvc://claim/path, "
        "hf://dataset or https://…; with the command line also file:// (relative to the YAML) "
        "and package://.",
        json_schema_extra=PREPARE,
    )
    revision: Revision | None = Field(
        None,
        description="Any text; change it to run again on changed data. Of a hub's dataset, its "
        "revision.",
        json_schema_extra=PREPARE,
    )
    columns: Columns = Field(default_factory=Columns, description="For text use cases.")
    problem_type: ProblemType | None = Field(
        None,
        description="Default: from the whole label column of train (integers or strings are "
        "classes, any fraction means regression, lists mean several labels).",
        json_schema_extra=BUDGET,
    )
    max_train_samples: Count | None = Field(
        None,
        description="Train on at most so many samples. Default: all.",
        json_schema_extra=BUDGET,
    )
    max_eval_samples: Count | None = Field(
        None,
        description="Evaluate on at most so many samples. Default: all.",
        json_schema_extra=BUDGET,
    )


class Trust(StrEnum):
    """What a model file may be."""

    SAFE = "Safe"
    PICKLE = "Pickle"


class ModelOverride(Block):
    """A pre-sparsified model to start from, instead of the catalogue's choice."""

    uri: ModelUri | None = Field(
        None,
        description="s3://, pvc://, hf://, zoo:… or catalog:NAME; with the command line also "
        "file:// and package://. Default: what the catalogue has for use case and level.",
        json_schema_extra=PREPARE,
    )
    revision: Revision | None = Field(
        None, description="Of a hub's model, its revision.", json_schema_extra=PREPARE
    )
    trust: Trust = Field(
        Trust.SAFE,
        description="Safe loads safetensors and plain weights only; Pickle also allows a pickle "
        "that needs more, still with a list of allowed globals.",
        json_schema_extra=PREPARE,
    )


class Output(Block):
    """Where the stages put their results."""

    uri: OutputUri | None = Field(
        None,
        description="s3://bucket/path/ or pvc://claim/path; with the command line file://. "
        "Results go to URI/NAMESPACE/NAME/. Default: the operator's setting, or the command "
        "line's. Name the cluster in it when clusters share a bucket.",
        json_schema_extra=PREPARE,
    )


class SecretReference(Block):
    """A Secret in the experiment's namespace."""

    name: DnsSubdomain = Field(description="The Secret's name.", json_schema_extra=NOTHING)


class Credentials(Block):
    """Access to data, model and output; a service account in the template is the alternative."""

    secret_ref: SecretReference | None = Field(
        None,
        description="A Secret whose keys are environment names, such as AWS_ACCESS_KEY_ID or "
        "HF_TOKEN.",
        json_schema_extra=NOTHING,
    )


class CaBundle(Block):
    """Certificate authorities to trust, in PEM."""

    config_map: DnsSubdomain = Field(
        description="A ConfigMap in the experiment's namespace.", json_schema_extra=NOTHING
    )
    key: Text = Field(
        "ca.crt", description="The ConfigMap's key that holds them.", json_schema_extra=NOTHING
    )


class ServerSideEncryption(StrEnum):
    """How a store encrypts what is written to it."""

    AES256 = "AES256"
    KMS = "KMS"
    DUAL_LAYER_KMS = "DualLayerKMS"


class S3Storage(Block):
    """How to reach s3:// addresses."""

    endpoint: Url | None = Field(
        None,
        description="Of an S3-compatible store, such as https://minio.storage:9000. Default: "
        "Amazon's.",
        json_schema_extra=NOTHING,
    )
    region: Text | None = Field(
        None, description="Such as eu-central-1.", json_schema_extra=NOTHING
    )
    path_style: Flag = Field(
        False, description="Put the bucket into the path.", json_schema_extra=NOTHING
    )
    ca_bundle: CaBundle | None = Field(
        None,
        description="Certificate authorities of the endpoint. Default: the image's.",
        json_schema_extra=NOTHING,
    )
    proxy: Url | None = Field(
        None, description="An HTTP proxy's address.", json_schema_extra=NOTHING
    )
    anonymous: Flag = Field(
        False,
        description="Read public buckets without credentials, even where there are some.",
        json_schema_extra=NOTHING,
    )
    server_side_encryption: ServerSideEncryption | None = Field(
        None,
        description="Ask the store to encrypt what is written: AES256 (the store's own keys), KMS, "
        "or DualLayerKMS. Default: the bucket's own setting; KMS where kmsKeyId is given.",
        json_schema_extra=NOTHING,
    )
    kms_key_id: Text | None = Field(
        None, description="Encrypt what is written with this key.", json_schema_extra=NOTHING
    )


class Cache(Block):
    """Where fetched models and data are kept between runs; at most one place."""

    claim: DnsSubdomain | None = Field(
        None, description="A PersistentVolumeClaim.", json_schema_extra=NOTHING
    )
    host_path: AbsolutePath | None = Field(
        None,
        description="A folder of the node, which must be there already, and which the pod's user "
        "(65532 by default) may write to. Pods with it break the restricted Pod Security Standard.",
        json_schema_extra=NOTHING,
    )
    size_limit: Quantity | None = Field(
        None,
        description="Oldest entries are removed above this. Default: no limit.",
        json_schema_extra=NOTHING,
    )


class Storage(Block):
    """How storage is reached; changes no result."""

    s3: S3Storage = Field(default_factory=S3Storage, description="For s3:// addresses.")
    cache: Cache = Field(default_factory=Cache, description="Between runs. Default: none.")
