"""How a pod reaches the endpoint for progress."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ProgressAccess:
    """What a pod has to know about the endpoint.

    Args:
        url: The endpoint's address, which is its tokens' audience as well.
        ca_pem: The certificate authority that its certificate is checked with, as PEM.
    """

    url: str
    ca_pem: str
