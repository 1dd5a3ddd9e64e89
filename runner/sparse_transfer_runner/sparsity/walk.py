"""The order in which a model's prunable layers work, and how to get at what each of them reads.

Most models are a stack of blocks, each of which reads what the one before it gives. What stands
between two blocks is kept, so that a block costs its own time and not the model's. Layers outside
the stack, and all layers of a model that has none, are reached by running the model up to them.

Limits: blocks take their main input first, and the other arguments are the same for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sparse_transfer_api.errors import InputError

from .products import Product
from .prunable import prunable_weights

Inputs = Mapping[str, Tensor]
_WEIGHT = ".weight"
_ROWS = 2


class _ReachedError(Exception):
    """Stops a forward pass where enough has been seen; never leaves this module."""


@dataclass(frozen=True)
class Call:
    """One batch on its way through a model: what the next piece is called with.

    Args:
        hidden: The main input; None where the piece is the whole model.
        rest: Its other positional arguments.
        named: Its named arguments.
        valid: Boolean ``[batch, tokens]``: tokens that count; None where all do.
    """

    hidden: Tensor | None
    rest: tuple[Any, ...]
    named: Mapping[str, Any]
    valid: Tensor | None

    @classmethod
    def of_model(cls, inputs: Inputs) -> Call:
        """Returns the call of a whole model."""
        mask = inputs.get("attention_mask")
        return cls(None, (), inputs, None if mask is None else mask.bool())

    def run(self, piece: nn.Module) -> Any:
        """Returns what the piece gives."""
        first = () if self.hidden is None else (self.hidden,)
        return piece(*first, *self.rest, **self.named)

    def through(self, block: nn.Module) -> Call:
        """Returns the call of the block after this one."""
        return Call(_first(self.run(block)), self.rest, self.named, self.valid)

    def to_block(self, piece: nn.Module, block: nn.Module) -> Call:
        """Runs a piece up to a block in it, and returns the block's call."""
        captured: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

        def stop(_: nn.Module, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
            captured.append((positional, named))
            raise _ReachedError

        handle = block.register_forward_pre_hook(stop, with_kwargs=True)
        try:
            with suppress(_ReachedError):
                self.run(piece)
        finally:
            handle.remove()
        positional, named = captured[0]
        named = dict(named)
        hidden = positional[0] if positional else named.pop("hidden_states")
        return Call(hidden, tuple(positional[1:]), named, self.valid)

    def input_of(self, piece: nn.Module, layer: nn.Module) -> Tensor:
        """Returns what a layer of a piece reads; the piece is run no further than that."""
        reached: list[Tensor] = []

        def note(_: str, values: Tensor) -> None:
            reached.append(values)
            raise _ReachedError

        with _inputs_of({"": layer}, note), suppress(_ReachedError):
            self.run(piece)
        return reached[0]


@dataclass(frozen=True)
class Unit:
    """Layers that are solved together, before anything after them is looked at.

    Args:
        block: Index in the stack; None for layers outside it.
        groups: Names of layers in the model that read the same, in the order of execution.
    """

    block: int | None
    groups: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Route:
    """The way through a model.

    Args:
        stack: Name of the module whose children are the blocks; None where there is no stack.
        units: In the order of execution.
    """

    stack: str | None
    units: Sequence[Unit]

    def blocks(self, model: nn.Module) -> list[nn.Module]:
        """Returns the model's blocks, those without prunable layers included."""
        return [] if self.stack is None else list(model.get_submodule(self.stack).children())

    @property
    def layers(self) -> list[str]:
        """Names of all layers, in the order of execution."""
        return [name for unit in self.units for group in unit.groups for name in group]


@torch.no_grad()
def route_through(model: nn.Module, inputs: Inputs) -> Route:
    """Finds the way through a model by running it on the first rows of a batch.

    Raises:
        InputError: It has no prunable layers, or some that take no part.
    """
    # All that layers read is in memory at once, so as to tell what reads alike.
    inputs = {name: values[:_ROWS] for name, values in inputs.items()}
    weights = prunable_weights(model)
    if not weights:
        raise InputError(f"{type(model).__name__} has no prunable Linear or convolution layers")
    names = [name.removesuffix(_WEIGHT) for name in weights]
    groups = _groups(model, inputs, names)
    unused = set(names).difference(*groups)
    if unused:
        raise InputError(
            f"{type(model).__name__}: {sorted(unused)[0]} and {len(unused) - 1} other prunable "
            "layers take no part in a forward pass, so no data says what they are worth"
        )
    stack = _stack(model, inputs)
    if stack is None:
        return Route(None, [Unit(None, [group]) for group in groups])
    return Route(stack, list(_units(model, stack, groups)))


def _units(model: nn.Module, stack: str, groups: Sequence[Sequence[str]]) -> Iterator[Unit]:
    prefixes = [
        f"{stack}.{name}." if stack else f"{name}."
        for name, _ in model.get_submodule(stack).named_children()
    ]

    def block_of(layer: str) -> int | None:
        found = (i for i, prefix in enumerate(prefixes) if f"{layer}.".startswith(prefix))
        return next(found, None)

    inside: dict[int, list[Sequence[str]]] = {}
    before: list[Unit] = []
    after: list[Unit] = []
    for group in groups:
        block = block_of(group[0])
        if block is not None:
            inside.setdefault(block, []).append(group)
        else:
            (after if inside else before).append(Unit(None, [group]))
    yield from before
    yield from (Unit(block, inside[block]) for block in sorted(inside))
    yield from after


def _groups(model: nn.Module, inputs: Inputs, names: Sequence[str]) -> list[list[str]]:
    """Returns the layers by the tensor that they read alike, in the order of execution."""
    layers = {name: Product.of(name, model.get_submodule(name)) for name in names}
    seen: list[tuple[Tensor, int, list[str]]] = []
    met: set[str] = set()

    def note(name: str, values: Tensor) -> None:
        if name in met:
            return
        met.add(name)
        for tensor, version, group in seen:
            # A tensor that was changed in place since is another one.
            same = tensor is values and version == values._version
            if same and layers[group[0]].geometry == layers[name].geometry:
                group.append(name)
                return
        seen.append((values, values._version, [name]))

    with _inputs_of({name: each.module for name, each in layers.items()}, note):
        model(**inputs)
    return [group for _, _, group in seen]


def _stack(model: nn.Module, inputs: Inputs) -> str | None:
    """Returns the name of the module with the most prunable weights whose children are a chain."""
    candidates = {
        name: sum(weight.numel() for weight in prunable_weights(module).values())
        for name, module in model.named_modules()
        if isinstance(module, (nn.ModuleList, nn.Sequential)) and len(module) > 1
    }
    for name in sorted(candidates, key=lambda each: -candidates[each]):
        if candidates[name] and _is_chain(
            model, list(model.get_submodule(name).children()), inputs
        ):
            return name
    return None


def _is_chain(model: nn.Module, blocks: Sequence[nn.Module], inputs: Inputs) -> bool:
    """Whether each block works once, and reads exactly what the one before it gave.

    Nor may anybody change these tensors in place: they are read more than once.
    """
    order: list[int] = []
    links: list[tuple[Any, int]] = []

    def before(index: int, positional: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        order.append(index)
        links.append(_version(positional[0] if positional else named.get("hidden_states")))

    def after(output: Any) -> None:
        taken, version = links[-1]
        links.append(_version(_first(output)))
        if _version(taken)[1] != version:
            links.append((None, -1))

    handles = []
    for index, block in enumerate(blocks):
        handles += [
            block.register_forward_pre_hook(
                lambda _, positional, named, index=index: before(index, positional, named),
                with_kwargs=True,
            ),
            block.register_forward_hook(lambda _, __, output: after(output)),
        ]
    try:
        model(**inputs)
    finally:
        for handle in handles:
            handle.remove()
    if order != list(range(len(blocks))) or len(links) != 2 * len(blocks):
        return False
    pairs = zip(links[1:-1:2], links[2::2], strict=True)
    return all(given is taken and then == now for (given, then), (taken, now) in pairs)


def _version(value: Any) -> tuple[Any, int]:
    return value, value._version if isinstance(value, Tensor) else -1


def _first(output: Any) -> Any:
    return output[0] if isinstance(output, tuple) else output


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
