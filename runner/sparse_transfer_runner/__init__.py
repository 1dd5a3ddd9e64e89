"""The runner: prepare, train and package, one process each, on a cluster and on one machine."""

import os

from .cores import threads_to_ask_for

# Before torch loads its OpenMP: threads that wait by spinning take the cores from those that work,
# as soon as a pod's CPU limit, or a neighbour, leaves fewer cores than threads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "20000")
# Libraries count the node's cores; under a pod's CPU limit so many threads would only be throttled.
if (_threads := threads_to_ask_for()) is not None:
    os.environ.setdefault("OMP_NUM_THREADS", str(_threads))
# Models come from where the experiment says; no library looks anything up behind its back. What the
# experiment itself names with hf:// is fetched, unless the user sets HF_HUB_OFFLINE.
os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
