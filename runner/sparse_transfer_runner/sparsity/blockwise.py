"""Solves layer after layer through a stack of encoder blocks, each on what the blocks before give.

Inside a block, layers that read the same tensor (query, key, value) form a group; groups are solved
in the order of execution, and every group sees the layers before it as they are now. The wanted
outputs are the reference model's own, on the reference model's own inputs: so a layer also makes up
for the errors of those before it.

Limits: one stack of blocks, each called with the hidden states first (BERT, RoBERTa, DistilBERT,
ELECTRA and the like).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sparse_transfer_api.errors import InputError

from .prunable import prunable_weights
from .solve import LayerProblem

Inputs = Mapping[str, Tensor]
Solve = Callable[[LayerProblem, nn.Linear], Tensor]
"""A layer's problem, its bias as the last column, and the layer -> new ``[out, in (+ 1)]``."""


@dataclass(frozen=True)
class _Call:
    """One batch on its way through the blocks."""

    hidden: Tensor
    rest: tuple[Any, ...]
    named: Mapping[str, Any]
    valid: Tensor

    def through(self, block: nn.Module) -> _Call:
        output = block(self.hidden, *self.rest, **self.named)
        hidden = output[0] if isinstance(output, tuple) else output
        return _Call(hidden, self.rest, self.named, self.valid)

    def run(self, block: nn.Module) -> None:
        block(self.hidden, *self.rest, **self.named)

    def input_of(self, block: nn.Module, layer: str) -> Tensor:
        """Returns what a layer of the block reads; the block is run no further than that."""
        reached: list[Tensor] = []

        def note(_: str, values: Tensor) -> None:
            reached.append(values)
            raise _ReachedError

        with _inputs_of({layer: block.get_submodule(layer)}, note), suppress(_ReachedError):
            self.run(block)
        return reached[0]


def encoder_blocks(model: nn.Module) -> nn.ModuleList:
    """Returns the model's stack of blocks: the module list with the most prunable weights.

    Raises:
        InputError: The model has no such stack.
    """
    stacks = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    best = max(stacks, key=lambda stack: len(prunable_weights(stack)), default=None)
    if best is None or not prunable_weights(best):
        raise InputError(
            f"{type(model).__name__} has no stack of encoder blocks; layer-wise pruning and the "
            "least-squares start need one (BERT, RoBERTa, DistilBERT, ELECTRA and the like)"
        )
    return best


@torch.no_grad()
def reconstruct(
    model: nn.Module,
    reference: nn.Module,
    batches: Sequence[Inputs],
    solve: Solve,
    on_block: Callable[[int, int], None] = lambda done, total: None,
    *,
    finished: int = 0,
    look: Callable[[], None] = lambda: None,
) -> None:
    """Replaces the weights and biases of every prunable Linear in the blocks, in place.

    A block is solved from the reference's weights and from what the blocks before it give, never
    from what it held itself: so the work can be broken off anywhere, and taken up at the block in
    which that was.

    Args:
        model: The model to change; its embeddings stay.
        reference: The dense model with the same blocks whose outputs are wanted.
        batches: Calibration inputs; rows where ``attention_mask`` is 0 do not count.
        solve: Returns new weights for one layer.
        on_block: Called with the number of finished blocks and of all.
        finished: Leading blocks of the model that were solved before, and stay as they are.
        look: Called between two pieces of work of a second or so; breaks the work off by raising.
    """
    model.eval()
    reference.eval()
    blocks, wanted_blocks = encoder_blocks(model), encoder_blocks(reference)
    if finished >= len(blocks):
        return
    calls = [_call_of(model, blocks[0], batch) for batch in batches]
    wanted = [_call_of(reference, wanted_blocks[0], batch) for batch in batches]
    for index, (block, wanted_block) in enumerate(zip(blocks, wanted_blocks, strict=True)):
        if index >= finished:
            for group in _groups(block, calls[0]):
                _solve_group(group, (block, wanted_block), (calls, wanted), solve, look)
        calls = _through(block, calls, look)
        wanted = _through(wanted_block, wanted, look)
        if index >= finished:
            on_block(index + 1, len(blocks))


def _through(block: nn.Module, calls: Sequence[_Call], look: Callable[[], None]) -> list[_Call]:
    outputs = []
    for call in calls:
        look()
        outputs.append(call.through(block))
    return outputs


class _ReachedError(Exception):
    """Stops a forward pass where enough has been seen; never leaves this module."""


def _call_of(model: nn.Module, first_block: nn.Module, batch: Inputs) -> _Call:
    captured: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def stop(_: nn.Module, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
        captured.append((positional, named))
        raise _ReachedError

    handle = first_block.register_forward_pre_hook(stop, with_kwargs=True)
    try:
        with suppress(_ReachedError):
            model(**batch)
    finally:
        handle.remove()
    (positional, named) = captured[0]
    named = dict(named)
    hidden = positional[0] if positional else named.pop("hidden_states")
    return _Call(hidden, tuple(positional[1:]), named, batch["attention_mask"].bool())


def _groups(block: nn.Module, call: _Call) -> list[list[str]]:
    """Returns the names of the block's Linears, grouped by the tensor they read, in order."""
    seen: list[tuple[Tensor, list[str]]] = []

    def note(name: str, values: Tensor) -> None:
        for tensor, names in seen:
            if tensor is values:
                names.append(name)
                return
        seen.append((values, [name]))

    linears = {
        name.removesuffix(".weight"): block.get_submodule(name.removesuffix(".weight"))
        for name in prunable_weights(block)
    }
    with _inputs_of(linears, note):
        call.run(block)
    return [names for _, names in seen]


@contextmanager
def _inputs_of(
    modules: Mapping[str, nn.Module], note: Callable[[str, Tensor], None]
) -> Iterator[None]:
    handles = [
        module.register_forward_pre_hook(lambda _, inputs, name=name: note(name, inputs[0]))
        for name, module in modules.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@dataclass
class _Statistics:
    """Sums over calibration rows: ``X X^T`` of the model, ``T X^T`` with the reference's inputs."""

    own: Tensor
    cross: Tensor

    def add(self, inputs: Tensor, wanted: Tensor) -> None:
        inputs, wanted = _with_one(inputs), _with_one(wanted)
        self.own.addmm_(inputs.T, inputs)
        self.cross.addmm_(wanted.T, inputs)


def _with_one(rows: Tensor) -> Tensor:
    """Appends the input of the bias, which is always 1, to ``[rows, in]``."""
    return torch.cat([rows, rows.new_ones(len(rows), 1)], dim=1)


def _solve_group(
    group: Sequence[str],
    blocks: tuple[nn.Module, nn.Module],
    calls: tuple[Sequence[_Call], Sequence[_Call]],
    solve: Solve,
    look: Callable[[], None],
) -> None:
    first = _linear(blocks[0], group[0])
    size = first.in_features + 1
    statistics = _Statistics(*(first.weight.new_zeros(size, size) for _ in range(2)))
    # One layer speaks for its group: all of them read the same tensor.
    for call, wanted in zip(*calls, strict=True):
        look()
        rows = (
            each.input_of(block, group[0])
            for each, block in ((call, blocks[0]), (wanted, blocks[1]))
        )
        statistics.add(*(tensor[call.valid] for tensor in rows))
    for name in group:
        look()
        layer, dense = (_linear(block, name) for block in blocks)
        solved = solve(_problem_of(dense, statistics), layer)
        layer.weight.copy_(solved[:, : layer.in_features])
        if layer.bias is not None:
            layer.bias.copy_(solved[:, -1])


def _linear(block: nn.Module, name: str) -> nn.Linear:
    layer = block.get_submodule(name)
    assert isinstance(layer, nn.Linear), "groups are made of Linears"
    return layer


def _problem_of(dense: nn.Linear, statistics: _Statistics) -> LayerProblem:
    own, cross = statistics.own, statistics.cross
    if dense.bias is None:
        own, cross, start = own[:-1, :-1], cross[:-1, :-1], dense.weight
    else:
        start = torch.cat([dense.weight, dense.bias[:, None]], dim=1)
    return LayerProblem(start, own, start @ cross, free_columns=int(dense.bias is not None))
