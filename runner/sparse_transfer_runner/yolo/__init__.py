"""YOLO detectors: their files, and training by Ultralytics, imported nowhere else.

Ultralytics is under the AGPL-3.0, unlike this project: the extra ``yolo`` brings it, where it is
wanted.
"""
