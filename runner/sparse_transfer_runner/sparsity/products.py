"""Linear and convolution layers as what they compute: a matrix times unfolded inputs.

So every layer-wise method knows one kind of layer. The columns of a convolution's matrix are its
kernel's places one after another, and at each place the input channels. Layers with groups are
several products side by side.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from sparse_transfer_api.errors import InputError

Layer = nn.Linear | nn.Conv1d | nn.Conv2d


@dataclass(frozen=True)
class Product:
    """One layer.

    Args:
        name: Of the module in its model.
        module: The layer itself.
    """

    name: str
    module: Layer

    @classmethod
    def of(cls, name: str, module: nn.Module) -> Product:
        """Takes a layer as a product.

        Raises:
            InputError: It is another kind of layer, or computes something else.
        """
        if not isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d)):
            raise InputError(f"{name}: a {type(module).__name__} is not pruned layer by layer")
        if not _computes_as_usual(module):
            raise InputError(
                f"{name}: {type(module).__name__} computes its convolution in a way of its own, "
                "which layer-wise pruning does not know; use plain nn.Conv2d layers"
            )
        return cls(name, module)

    @property
    def groups(self) -> int:
        """Products side by side."""
        return 1 if isinstance(self.module, nn.Linear) else self.module.groups

    @property
    def columns(self) -> int:
        """Inputs of one output."""
        return self.module.weight[0].numel()

    @property
    def geometry(self) -> Hashable:
        """Equal for layers that unfold one tensor alike."""
        module = self.module
        if isinstance(module, nn.Linear):
            return nn.Linear
        return (
            *(module.kernel_size, module.stride, module.dilation, module.groups),
            *(module.padding, module.padding_mode),
        )

    def matrices(self, weight: Tensor) -> Tensor:
        """Returns a tensor of the weight's shape as matrices, ``[groups, out / groups, in]``."""
        if weight.dim() > 2:
            weight = weight.movedim(1, -1)
        return weight.reshape(self.groups, -1, self.columns)

    def folded(self, matrices: Tensor) -> Tensor:
        """Returns matrices in the weight's shape; undoes ``matrices``."""
        shape = self.module.weight.shape
        if len(shape) == 2:
            return matrices.reshape(shape)
        return matrices.reshape(shape[0], *shape[2:], shape[1]).movedim(-1, 1)

    def rows(self, inputs: Tensor, valid: Tensor | None = None) -> Tensor:
        """Unfolds inputs of the layer, ``[groups, rows, in]``.

        Args:
            inputs: As the layer reads them.
            valid: Boolean, over all but the last dimension of a Linear's inputs: which of them
                count; all of them without it.
        """
        if isinstance(self.module, nn.Linear):
            chosen = inputs if valid is None else inputs[valid]
            return chosen.reshape(1, -1, self.columns)
        return self._unfolded(inputs)

    def _unfolded(self, inputs: Tensor) -> Tensor:
        module = self.module
        assert not isinstance(module, nn.Linear)
        flat = isinstance(module, nn.Conv1d)
        if flat:
            inputs = inputs.unsqueeze(-2)
        kernel, stride, dilation = (
            (1, *each) if flat else each
            for each in (module.kernel_size, module.stride, module.dilation)
        )
        padded = _padded(inputs, module)
        if kernel == (1, 1):
            columns = padded[..., :: stride[0], :: stride[1]].flatten(2)
        else:
            columns = F.unfold(padded, kernel, dilation=dilation, stride=stride)
        batch, _, places = columns.shape
        grouped = columns.view(batch, self.groups, -1, kernel[0] * kernel[1], places)
        return grouped.permute(1, 0, 4, 3, 2).reshape(self.groups, batch * places, self.columns)


def _padded(inputs: Tensor, module: nn.Conv1d | nn.Conv2d) -> Tensor:
    """Pads as the layer would; a Conv1d's inputs have a height of 1."""
    if module.padding == "valid":
        return inputs
    pads: list[int] = []
    for index in reversed(range(len(module.kernel_size))):
        if module.padding == "same":
            total = module.dilation[index] * (module.kernel_size[index] - 1)
            pads += [total // 2, total - total // 2]
        else:
            pads += [int(module.padding[index])] * 2
    if isinstance(module, nn.Conv1d):
        pads += [0, 0]
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    return F.pad(inputs, pads, mode=mode) if any(pads) else inputs


def _computes_as_usual(module: Layer) -> bool:
    kind = next(each for each in (nn.Linear, nn.Conv1d, nn.Conv2d) if isinstance(module, each))
    if type(module).forward is kind.forward:
        return True
    # Subclasses that pad by themselves do nothing of their own where nothing is to be padded.
    return not isinstance(module, nn.Linear) and set(module.kernel_size) == {1}
