"""Solves a model layer after layer, each on what those before it give.

Layers that read the same tensor (query, key, value) form a group; groups are solved in the order of
execution, and every group sees the layers before it as they are now. The wanted outputs are the
reference model's own, on the reference model's own inputs: so a layer also makes up for the errors
of those before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .products import Product
from .solve import LayerProblem
from .walk import Call, Inputs, Route, route_through

_ROWS_AT_ONCE = 1 << 24
"""Elements of unfolded inputs that are in memory at a time; 64 MiB in fp32."""


@dataclass(frozen=True)
class Part:
    """One product of a layer: the layer itself, or one of its groups.

    Args:
        layer: The layer.
        group: Which of its products.
    """

    layer: Product
    group: int

    def of(self, tensor: Tensor) -> Tensor:
        """Returns the part of a tensor of the weight's shape, ``[out, in]``."""
        return self.layer.matrices(tensor)[self.group]


Solve = Callable[[LayerProblem, Part], Tensor]
"""A part's problem, its bias as the last column, and the part -> new ``[out, in (+ 1)]``."""

Tune = Callable[[nn.Module, Sequence[Call], Sequence[Call]], None]
"""A solved block, what it is called with, and what comes next in the reference."""


@torch.no_grad()
def reconstruct(
    model: nn.Module,
    reference: nn.Module,
    batches: Sequence[Inputs],
    solve: Solve,
    on_unit: Callable[[int, int], None] = lambda done, total: None,
    *,
    finished: int = 0,
    look: Callable[[], None] = lambda: None,
    energies: bool = False,
    tune: Tune | None = None,
) -> None:
    """Replaces the weights and biases of every prunable layer, in place.

    A unit, which is a block or a group of layers outside the blocks, is solved from the
    reference's weights and from what the units before it give, never from what it held itself: so
    the work can be broken off anywhere, and taken up at the unit in which that was.

    Args:
        model: The model to change; all but its prunable layers stays.
        reference: The dense model with the same layers whose outputs are wanted.
        batches: Calibration inputs; rows where ``attention_mask`` is 0 do not count.
        solve: Returns new weights for one product.
        on_unit: Called with the number of finished units and of all.
        finished: Leading units of the model that were solved before, and stay as they are.
        look: Called between two pieces of work of a second or so; breaks the work off by raising.
        energies: Problems can tell errors; that costs half as much again as the statistics.
        tune: Called with each block once its layers are solved, gradients switched off.

    Raises:
        InputError: The model has no layers that could be solved.
    """
    model.eval()
    reference.eval()
    route = route_through(reference, batches[0])
    total = len(route.units)
    if finished >= total:
        return
    walk = _Walk(route, model, reference, solve, look, energies)
    whole = [Call.of_model(batch) for batch in batches]
    blocks: _Blocks | None = None
    for index, unit in enumerate(route.units):
        if index < finished and unit.block is None:
            continue
        if unit.block is None:
            for group in unit.groups:
                walk.solve_group(group, (model, reference), (whole, whole))
        else:
            blocks = blocks or _Blocks.at_first(walk, whole)
            blocks.advance(unit.block)
            if index < finished:
                continue
            for group in unit.groups:
                walk.solve_group(group, blocks.current, (blocks.calls, blocks.wanted))
            if tune is not None:
                tune(blocks.current[0], blocks.calls, blocks.next_wanted())
        on_unit(index + 1, total)


@dataclass
class _Blocks:
    """How far both models' stacks have been walked.

    Args:
        walk: The work.
        calls: What the model's block is called with, by batch.
        wanted: The same of the reference.
        index: Of the block.
    """

    walk: _Walk
    calls: list[Call]
    wanted: list[Call]
    index: int = 0
    _following: list[Call] | None = None

    @classmethod
    def at_first(cls, walk: _Walk, whole: Sequence[Call]) -> _Blocks:
        calls, wanted = (
            [call.to_block(model, walk.route.blocks(model)[0]) for call in whole]
            for model in (walk.model, walk.reference)
        )
        return cls(walk, calls, wanted)

    @property
    def current(self) -> tuple[nn.Module, nn.Module]:
        """The block of the model, and of the reference."""
        model, reference = (
            self.walk.route.blocks(each)[self.index]
            for each in (self.walk.model, self.walk.reference)
        )
        return model, reference

    def next_wanted(self) -> list[Call]:
        """Returns what the reference's next block is called with."""
        if self._following is None:
            self._following = self._through(self.wanted, self.current[1])
        return self._following

    def advance(self, index: int) -> None:
        """Goes on to a later block."""
        while self.index < index:
            self.wanted = self.next_wanted()
            self.calls = self._through(self.calls, self.current[0])
            self.index, self._following = self.index + 1, None

    def _through(self, calls: Iterable[Call], block: nn.Module) -> list[Call]:
        outputs = []
        for call in calls:
            self.walk.look()
            outputs.append(call.through(block))
        return outputs


@dataclass(frozen=True)
class _Walk:
    route: Route
    model: nn.Module
    reference: nn.Module
    solve: Solve
    look: Callable[[], None]
    energies: bool

    def solve_group(
        self,
        group: Sequence[str],
        pieces: tuple[nn.Module, nn.Module],
        calls: tuple[Sequence[Call], Sequence[Call]],
    ) -> None:
        """Solves layers that read the same tensor; one of them speaks for all."""
        speaker = self._layer(group[0])
        statistics = [_Statistics.empty(speaker, self.energies) for _ in range(speaker.groups)]
        readers = [each.get_submodule(group[0]) for each in (self.model, self.reference)]
        for call, wanted in zip(*calls, strict=True):
            self.look()
            read = [
                each.input_of(piece, reader)
                for each, piece, reader in zip((call, wanted), pieces, readers, strict=True)
            ]
            _collect(statistics, speaker, read, call.valid)
        for name in group:
            self._solve_layer(name, statistics)

    def _solve_layer(self, name: str, statistics: Sequence[_Statistics]) -> None:
        layer, dense = self._layer(name), Product.of(name, self.reference.get_submodule(name))
        solved = []
        for index, each in enumerate(statistics):
            self.look()
            solved.append(self.solve(_problem_of(dense, index, each), Part(layer, index)))
        weights = torch.stack(solved)
        module = layer.module
        module.weight.copy_(layer.folded(weights[:, :, : layer.columns]))
        if module.bias is not None:
            module.bias.copy_(weights[:, :, -1].flatten())

    def _layer(self, name: str) -> Product:
        return Product.of(name, self.model.get_submodule(name))


@dataclass
class _Statistics:
    """Sums over calibration rows.

    Args:
        own: ``X X^T`` of the model's inputs.
        cross: ``R X^T`` with the reference's.
        wanted: ``R R^T``; None where no errors are asked for.
        sums: Of ``X`` and of ``R``, ``[2, in]``: their products with the bias's input of 1, which
            is kept apart because sizes that are a power of two and one are slow.
        rows: How many.
    """

    own: Tensor
    cross: Tensor
    wanted: Tensor | None
    sums: Tensor
    rows: int = 0

    @classmethod
    def empty(cls, layer: Product, energies: bool) -> _Statistics:
        size, like = layer.columns, layer.module.weight
        own, cross, wanted = (like.new_zeros(size, size) for _ in range(3))
        return cls(own, cross, wanted if energies else None, like.new_zeros(2, size))

    def add(self, inputs: Tensor, wanted: Tensor) -> None:
        """Adds rows, both ``[rows, in]``."""
        self.own.addmm_(inputs.T, inputs)
        self.cross.addmm_(wanted.T, inputs)
        if self.wanted is not None:
            self.wanted.addmm_(wanted.T, wanted)
        self.sums[0] += inputs.sum(dim=0)
        self.sums[1] += wanted.sum(dim=0)
        self.rows += len(inputs)

    def with_bias(self) -> _Statistics:
        """Returns the same with one more input that is always 1."""
        own, other = self.sums
        return _Statistics(
            _bordered(self.own, own, own, self.rows),
            _bordered(self.cross, other, own, self.rows),
            None if self.wanted is None else _bordered(self.wanted, other, other, self.rows),
            self.sums,
            self.rows,
        )


def _bordered(matrix: Tensor, column: Tensor, row: Tensor, corner: float) -> Tensor:
    """Returns a matrix with one more column, and one more row, on its far sides."""
    last = torch.cat([row, row.new_tensor([corner])])
    return torch.cat([torch.cat([matrix, column[:, None]], dim=1), last[None]])


def _collect(
    statistics: Sequence[_Statistics], layer: Product, read: Sequence[Tensor], valid: Tensor | None
) -> None:
    """Adds what a layer reads in both models, a part of the batch after another."""
    unfolded = read[0].numel() * (layer.columns / layer.module.weight.shape[1])
    rows = len(read[0])
    size = max(1, int(rows / max(1.0, unfolded / _ROWS_AT_ONCE)))
    for begin in range(0, rows, size):
        part = slice(begin, begin + size)
        inputs, wanted = (
            layer.rows(each[part], None if valid is None else valid[part]) for each in read
        )
        for each, own, other in zip(statistics, inputs, wanted, strict=True):
            each.add(own, other)


def _problem_of(dense: Product, group: int, statistics: _Statistics) -> LayerProblem:
    start = dense.matrices(dense.module.weight.detach())[group]
    bias = dense.module.bias
    if bias is not None:
        part = bias.detach().view(dense.groups, -1)[group]
        start = torch.cat([start, part[:, None]], dim=1)
        statistics = statistics.with_bias()
    energy = None
    if statistics.wanted is not None:
        energy = float(((start @ statistics.wanted) * start).sum(dtype=torch.float64))
    free = int(bias is not None)
    return LayerProblem(start, statistics.own, start @ statistics.cross, free, energy)
