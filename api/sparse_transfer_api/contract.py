"""Names that operator, runner and command line must agree on; no other module spells them."""

from __future__ import annotations

from enum import IntEnum, StrEnum

GROUP = "sparsetransfer.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "SparseTransferExperiment"
PLURAL = "sparsetransferexperiments"
MANAGER = f"{GROUP}/operator"
"""This project's operator in ``spec.runPolicy.managedBy``, where it may be left out."""

ENV_EXPERIMENT = "STE_EXPERIMENT"
"""The experiment as JSON: identity and keyed fields, at most ``MAX_EXPERIMENT_BYTES``."""
ENV_STAGE_KEY = "STE_STAGE_KEY"
ENV_PROGRESS_URL = "STE_PROGRESS_URL"
ENV_PROGRESS_CA = "STE_PROGRESS_CA"
ENV_PROGRESS_TOKEN = "STE_PROGRESS_TOKEN"
"""File that holds the token to post progress with, instead of ``PROGRESS_TOKEN``."""
ENV_TERMINATION_LOG = "STE_TERMINATION_LOG"
"""Where the stage result goes instead of ``TERMINATION_LOG``; set by the local executor."""
ENV_CATALOG = "STE_CATALOG"
"""Path or address of a catalogue that takes the packaged one's place."""
ENV_CACHE = "STE_CACHE"
"""Folder of the shared cache; where it is not set, the stages keep nothing between them."""
ENV_PVC_MOUNT = "STE_PVC_MOUNT"
"""Folder that holds the claims by name, instead of ``PVC_MOUNT``."""
ENV_IMAGE = "STE_IMAGE"
"""The image that a stage runs in, for provenance."""
ENV_PREFIX = "STE_"
"""What all variables of the contract begin with; nobody else may set such a one in a pod."""
ENV_REVISION = "STE_REVISION"
"""The git revision that an image was built of, for provenance."""

LABEL_EXPERIMENT = f"{GROUP}/experiment"
"""On Jobs and pods: the experiment's name."""
LABEL_STAGE = f"{GROUP}/stage"
LABEL_KEY = f"{GROUP}/key"
LABEL_LEVEL = f"{GROUP}/level"
"""On Jobs and pods of a search: the level that they are of, such as ``0.3``; for people."""
LABEL_RECORDED_ONLY = f"{GROUP}/recorded-only"
"""On Jobs and pods that only return a recorded result: ``"true"``."""
ANNOTATION_RETRY = f"{GROUP}/retry"
"""On an experiment: a new value runs a failed stage again, once."""

TERMINATION_LOG = "/dev/termination-log"
RUNNER_CONTAINER = "runner"
RUNNER_UID = 65532
"""User and group of the runner's image, which needs no entry in its passwd."""
PVC_MOUNT = "/mnt/pvc"
SCRATCH_MOUNT = "/scratch"
TRUST_MOUNT = "/etc/sparse-transfer/trust"
"""Folder with the certificate authorities of ``spec.storage.s3.caBundle``."""
PROGRESS_TOKEN = "/var/run/secrets/sparsetransfer.dev/progress/token"
"""File that holds the token to post progress with; rotated, so read before each use."""

MAX_EXPERIMENT_BYTES = 64 * 1024
MAX_STAGE_RESULT_BYTES = 4096
"""The kubelet cuts termination messages here."""
MAX_BATCH_HALVINGS = 5
"""How often train halves what it works on at once before it ends with ``ExitCode.MEMORY``."""

MANIFEST = "manifest.json"
PLAN = "plan.json"


class Stage(StrEnum):
    """The stages of an experiment, in order."""

    PREPARE = "prepare"
    TRAIN = "train"
    PACKAGE = "package"


TEACHER_FOLDER = "teacher"
"""The baseline's folder name; it is an output of the train stage with a key of its own."""

CHECKS_FOLDER = "checks"
"""Folder beside the stages' with a record of each check of the data: levels share them."""
SEARCH_FOLDER = "search"
"""Folder beside the stages' that a search on one machine writes what it came to."""
SEARCH = "search.json"
"""In that folder: how the search ended, as the status on a cluster says it."""


def progress_path(namespace: str, experiment: str) -> str:
    """Returns where below ``ENV_PROGRESS_URL`` an experiment's ``Progress`` is posted."""
    return f"/v1/namespaces/{namespace}/experiments/{experiment}/progress"


class ExitCode(IntEnum):
    """Exit codes of the runner and of the command line."""

    DONE = 0
    USAGE = 2
    INPUT = 10
    ACCEPTANCE = 11
    MEMORY = 12
    ACCESS = 13
    VANISHED = 14
    TRANSIENT = 75
    STOPPED = 143
