"""Experiments on a cluster: how the command line reaches them, and how it shows them.

What talks to the cluster imports the package ``kubernetes``, which the extra ``cluster`` brings;
what decides and renders takes values and imports nothing of it.
"""
