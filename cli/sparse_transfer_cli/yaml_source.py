"""YAML as Kubernetes reads it, where PyYAML differs: ``1e-4`` is a number, a key occurs once."""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml

_EXPONENT_FLOAT = re.compile(r"^[-+]?(?:\d+\.?\d*|\.\d+)[eE][-+]?\d+$")


class KubernetesLoader(yaml.SafeLoader):
    """Reads plain values only, such as ``yaml.safe_load`` does."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Builds a mapping, and refuses a key that occurs twice instead of taking the last."""
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value!r} occurs twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


KubernetesLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", _EXPONENT_FLOAT, list("-+.0123456789")
)


def documents(text: str) -> list[Any]:
    """Returns the documents of a YAML text that are not empty.

    Raises:
        yaml.YAMLError: The text is not YAML, or repeats a key.
    """
    found = yaml.load_all(text, Loader=KubernetesLoader)
    return [document for document in found if document is not None]
