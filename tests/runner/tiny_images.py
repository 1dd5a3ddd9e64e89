"""A small convolution network, built like the mobile ones: stem, blocks, last convolution, head."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Block(nn.Module):
    """An inverted residual: widen, depthwise, narrow."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(width, 2 * width, 1, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(inplace=True),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1, groups=2 * width, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(inplace=True),
            nn.Conv2d(2 * width, width, 1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: Tensor, drop: float = 0.0) -> Tensor:
        return x + self.layers(x)


class TinyNetwork(nn.Module):
    """Reads ``[batch, 3, 12, 12]``; ``forward`` takes the pictures as ``x``."""

    def __init__(self, blocks: int = 2, width: int = 8) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.blocks = nn.ModuleList([Block(width) for _ in range(blocks)])
        self.last = nn.Conv2d(width, 16, 3)
        self.classifier = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for index, block in enumerate(self.blocks):
            x = block(x, 0.1 * index)
        return self.classifier(self.last(x).relu().mean((2, 3)))


def tiny_network(seed: int = 0) -> TinyNetwork:
    """Returns a network whose normalizations have seen pictures, in evaluation mode."""
    torch.manual_seed(seed)
    model = TinyNetwork()
    for batch in pictures(4, seed):
        model(**batch)
    return model.eval()


def pictures(batches: int = 4, seed: int = 0, rows: int = 16) -> Sequence[dict[str, Tensor]]:
    """Returns batches of smooth random pictures."""
    chance = torch.Generator().manual_seed(seed)
    smooth = nn.AvgPool2d(3, stride=1)
    return [{"x": smooth(torch.randn(rows, 3, 14, 14, generator=chance))} for _ in range(batches)]
