"""The neuralmagic flavour: SparseML runs recipes, DeepSparse runs files. Nothing else imports them.

Both are at their last release (1.8.0; the 1.9.0 of the index are empty) and need libraries of their
time and Python 3.11, so that they live in an environment of their own, with the same code.
"""
