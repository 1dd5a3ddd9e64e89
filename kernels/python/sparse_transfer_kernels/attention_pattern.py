"""Finds the self-attention of an exported encoder, and makes one node of it.

Taken is what torch's exporters make of it: each of query, key and value reshaped to
``[batch, tokens, heads, size]`` and transposed; their product, times or divided by a constant, plus
a mask; softmax; and the way back. What differs anywhere stays as it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

_DOMAIN = "sparsetransfer.dev"
_ATTENTION = "SelfAttention"
_HEADS_FIRST, _KEYS_LAST, _SWAPPED = [0, 2, 1, 3], [0, 2, 3, 1], [0, 1, 3, 2]
_HEADS, _MERGED = 4, 3
"""Dimensions of a tensor with heads, and of one without."""


def join_attention(model: onnx.ModelProto) -> int:
    """Makes one node ``SelfAttention`` of what computes it.

    Results differ by rounding: where the processor has products of bf16, by that of bf16. A model
    whose mask is larger than its scores would be refused when it runs.

    Args:
        model: Changed in place.

    Returns:
        How many were joined.
    """
    graph = _Graph.of(model)
    found = [match for node in model.graph.node for match in _matches(graph, node)]
    for match in found:
        _replace(model, match)
    return len(found)


@dataclass(frozen=True)
class _Match:
    query: str
    key: str
    value: str
    mask: str
    size: int
    scale: float
    nodes: Sequence[onnx.NodeProto]
    """What is replaced; the last one puts the result out."""


class _NoMatchError(Exception):
    """The graph is another one here."""


@dataclass(frozen=True)
class _Graph:
    made_by: dict[str, onnx.NodeProto]
    readers: Counter[str]
    initializers: dict[str, onnx.TensorProto]

    @classmethod
    def of(cls, model: onnx.ModelProto) -> _Graph:
        readers = Counter(name for node in model.graph.node for name in node.input)
        readers.update(item.name for item in model.graph.output)
        return cls(
            {name: node for node in model.graph.node for name in node.output},
            readers,
            {item.name: item for item in model.graph.initializer},
        )

    def maker(self, name: str, *kinds: str) -> onnx.NodeProto:
        """Returns the node that makes a tensor.

        Raises:
            _NoMatchError: It is of another kind.
        """
        node = self.made_by.get(name)
        if node is None or node.op_type not in kinds or node.domain:
            raise _NoMatchError
        return node

    def only(self, name: str, *kinds: str) -> onnx.NodeProto:
        """Returns the node that makes a tensor, which is read once.

        Raises:
            _NoMatchError: It is of another kind, or somebody else reads the tensor.
        """
        if self.readers[name] != 1:
            raise _NoMatchError
        return self.maker(name, *kinds)

    def constant(self, name: str) -> NDArray[Any] | None:
        """Returns a tensor's values, if they are in the file."""
        from onnx import numpy_helper

        node = self.made_by.get(name)
        if node is not None and node.op_type == "Constant":
            values = [item.t for item in node.attribute if item.name == "value"]
            return numpy_helper.to_array(values[0]) if values else None
        held = self.initializers.get(name)
        return None if held is None else numpy_helper.to_array(held)

    def number(self, name: str) -> float | None:
        """Returns the only value of a tensor, if it is in the file."""
        values = self.constant(name)
        return None if values is None or values.size != 1 else values.item()


def _matches(graph: _Graph, node: onnx.NodeProto) -> Iterator[_Match]:
    if node.op_type == "Reshape" and not node.domain:
        try:
            yield _match(graph, node)
        except _NoMatchError:
            return


def _match(graph: _Graph, last: onnx.NodeProto) -> _Match:
    """Follows the graph from the result back.

    Raises:
        _NoMatchError: It is not attention's.
    """
    _shape(graph, last, _MERGED)
    back = graph.only(last.input[0], "Transpose")
    _expect(_permutation(back) == _HEADS_FIRST)
    weighted = graph.only(back.input[0], "MatMul")
    softmax = graph.only(weighted.input[0], "Softmax")
    _expect([item.i for item in softmax.attribute if item.name == "axis"] in ([-1], [3]))
    add = graph.only(softmax.input[0], "Add")
    mask, scaled = _mask(graph, add)
    product = graph.only(_tensor(graph, scaled), "MatMul")
    parts = [
        _part(graph, product.input[0], _HEADS_FIRST),
        _part(graph, product.input[1], _KEYS_LAST),
        _part(graph, weighted.input[1], _HEADS_FIRST),
    ]
    sizes = {size for _, size, _ in parts}
    _expect(len(sizes) == 1)
    query, key, value = (name for name, _, _ in parts)
    nodes = [node for _, _, own in parts for node in own]
    nodes += [product, scaled, add, softmax, weighted, back, last]
    return _Match(query, key, value, mask, sizes.pop(), _scale(graph, scaled), nodes)


def _expect(holds: bool) -> None:
    if not holds:
        raise _NoMatchError


def _permutation(node: onnx.NodeProto) -> list[int]:
    return [axis for item in node.attribute if item.name == "perm" for axis in item.ints]


def _mask(graph: _Graph, add: onnx.NodeProto) -> tuple[str, onnx.NodeProto]:
    """Returns what is added to scores, and the node that scales them."""
    for scores, mask in (add.input, reversed(add.input)):
        maker = graph.made_by.get(scores)
        if maker is not None and maker.op_type in ("Mul", "Div") and _multiplied(graph, maker):
            return mask, graph.only(scores, maker.op_type)
    raise _NoMatchError


def _multiplied(graph: _Graph, node: onnx.NodeProto) -> bool:
    makers = [graph.made_by.get(each) for each in node.input]
    return any(maker is not None and maker.op_type == "MatMul" for maker in makers)


def _tensor(graph: _Graph, scaled: onnx.NodeProto) -> str:
    """Returns the scaled one of a node's inputs."""
    tensors: list[str] = [each for each in scaled.input if graph.number(each) is None]
    _expect(len(tensors) == 1 and (scaled.op_type == "Mul" or tensors[0] == scaled.input[0]))
    return tensors[0]


def _scale(graph: _Graph, scaled: onnx.NodeProto) -> float:
    number = next(n for each in scaled.input if (n := graph.number(each)) is not None)
    _expect(number != 0)
    return number if scaled.op_type == "Mul" else 1 / number


def _part(
    graph: _Graph, name: str, permutation: Sequence[int]
) -> tuple[str, int, list[onnx.NodeProto]]:
    """Returns a tensor before its heads were taken apart, their size, and what did it."""
    nodes = [graph.only(name, "Transpose")]
    if permutation == _KEYS_LAST and _permutation(nodes[0]) == _SWAPPED:
        nodes.insert(0, graph.only(nodes[0].input[0], "Transpose"))
        permutation = _HEADS_FIRST
    _expect(_permutation(nodes[0]) == permutation)
    reshape = graph.only(nodes[0].input[0], "Reshape")
    heads, size = _shape(graph, reshape, _HEADS)
    _expect(size > 0 and (heads > 0 or heads == -1))
    return reshape.input[0], size, [reshape, *nodes]


def _shape(graph: _Graph, reshape: onnx.NodeProto, rank: int) -> list[int]:
    """Returns the dimensions behind batch and tokens that a tensor is reshaped to.

    Raises:
        _NoMatchError: The first two are not batch and tokens, as they are.
    """
    concat = graph.maker(reshape.input[1], "Concat")
    _expect(len(concat.input) == rank)
    for axis, name in enumerate(concat.input[:2]):
        gather = graph.maker(graph.maker(name, "Unsqueeze").input[0], "Gather")
        _expect(graph.number(gather.input[1]) == axis)
        graph.maker(gather.input[0], "Shape")
    found = [graph.number(name) for name in concat.input[2:]]
    _expect(all(number is not None for number in found))
    return [int(number) for number in found if number is not None]


def _replace(model: onnx.ModelProto, match: _Match) -> None:
    from onnx import helper

    last = match.nodes[-1]
    nodes = model.graph.node
    place = list(nodes).index(last)
    joined = helper.make_node(
        _ATTENTION,
        [match.query, match.key, match.value, match.mask],
        list(last.output),
        name=last.name,
        domain=_DOMAIN,
        head_size=match.size,
        scale=match.scale,
    )
    nodes.insert(place, joined)
    for node in match.nodes:
        nodes.remove(node)
    if all(item.domain != _DOMAIN for item in model.opset_import):
        model.opset_import.append(helper.make_opsetid(_DOMAIN, 1))
