"""The runner: prepare, train and package, one process each, on a cluster and on one machine."""

import os

# Before torch loads its OpenMP: threads that wait by spinning take the cores from those that work,
# as soon as a pod's CPU limit, or a neighbour, leaves fewer cores than threads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "20000")
# Models come from where the experiment says; no library looks anything up behind its back. What the
# experiment itself names with hf:// is fetched, unless the user sets HF_HUB_OFFLINE.
os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
