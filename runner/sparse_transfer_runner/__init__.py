"""The runner: prepare, train and package, one process each, on a cluster and on one machine."""
