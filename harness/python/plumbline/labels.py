"""Labels for the elements of tensors: which element of a parameter an activation's column comes from.

Each element of a parameter has a positive label. What a parameter makes of an input has its labels, negative: a column of a
product that of the weight's row, a norm's output that of its weight. 0: neither. Labels are kept by storage, so that views and writes into them need no rules.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass

import torch

from plumbline import parameters


@dataclass(frozen=True)
class Place:
    """An element of a parameter: its name and flat index."""

    name: str
    index: int


class Labels:
    """The labels of a model's parameters and of what is computed from them."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.names: list[str] = []
        self.tensors: list[torch.Tensor] = []
        self.starts: list[int] = []           # the label before the first of each parameter
        self.parameter_of: dict[int, int] = {}  # storage -> number of the parameter
        self.kept: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}  # storage -> (labels of its units, a tensor that keeps it alive)
        self.end = 0
        for names, tensor in parameters.groups(model):
            self.parameter_of[storage_of(tensor)] = len(self.names)
            self.names.append(names[0])
            self.tensors.append(tensor.detach())
            self.starts.append(self.end)
            self.end += tensor.untyped_storage().nbytes() // unit_of(tensor)

    def place(self, label: int) -> Place | None:
        """The element of a parameter that a label names, whatever its sign."""
        number = abs(int(label)) - 1
        if not 0 <= number < self.end:
            return None
        which = bisect.bisect_right(self.starts, number) - 1
        return Place(self.names[which], number - self.starts[which] - int(self.tensors[which].storage_offset()))

    def of(self, tensor: torch.Tensor) -> torch.Tensor | None:
        """Its labels, int64, in its shape (complex: with a last axis of 2), or None where all are 0."""
        storage = storage_of(tensor)
        sizes, strides, offset = layout_of(tensor)
        if storage in self.kept:
            return self.kept[storage][0].as_strided(sizes, strides, offset)
        if storage not in self.parameter_of:
            return None
        start = self.starts[self.parameter_of[storage]]
        found = torch.full(sizes, start + offset + 1, dtype=torch.int64)
        for axis, (size, stride) in enumerate(zip(sizes, strides)):
            found += (torch.arange(size) * stride).view([size if i == axis else 1 for i in range(len(sizes))])
        return found

    def is_parameter(self, tensor: torch.Tensor) -> bool:
        """Whether a tensor is made of parameters alone."""
        if storage_of(tensor) in self.parameter_of and storage_of(tensor) not in self.kept:
            return True
        found = self.of(tensor)
        return found is not None and found.numel() > 0 and bool((found > 0).any()) and not bool((found < 0).any())

    def has_rows(self, matrix: torch.Tensor, out: torch.Tensor) -> bool:
        """Whether a matrix is of parameters and `out` may be rows of it, read by token ids."""
        return matrix.dim() == 2 and out.dim() >= 2 and out.shape[-1] == matrix.shape[1] and self.is_parameter(matrix)

    def set(self, tensor: torch.Tensor, labels: torch.Tensor | None) -> None:
        """Labels what was just computed or written. labels: of a shape that broadcasts to the tensor's."""
        storage = storage_of(tensor)
        if storage not in self.kept:
            if labels is None:
                return
            units = tensor.untyped_storage().nbytes() // unit_of(tensor)
            self.kept[storage] = (torch.zeros(units, dtype=torch.int64), tensor.detach())
        sizes, strides, offset = layout_of(tensor)
        target = self.kept[storage][0].as_strided(sizes, strides, offset)
        target.copy_(torch.zeros((), dtype=torch.int64) if labels is None else labels)

    def copy_of(self, tensor: torch.Tensor) -> torch.Tensor | None:
        found = self.of(tensor)
        return None if found is None else found.clone()

    def dense(self, tensor: torch.Tensor) -> torch.Tensor:
        found = self.of(tensor)
        return torch.zeros(tensor.shape, dtype=torch.int64) if found is None else found

    def wide(self, tensor: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """Its labels in the shape of what is computed from it."""
        found = self.of(tensor)
        sizes = [*out.shape, 2] if out.is_complex() else list(out.shape)
        if found is None:
            return torch.zeros(sizes, dtype=torch.int64)
        if out.is_complex() and not tensor.is_complex():
            found = found.unsqueeze(-1)
        if tensor.is_complex() and not out.is_complex():  # its real part, or its size
            found = found[..., 0]
        if list(found.shape) == sizes:
            return found
        fits = len(found.shape) <= len(sizes) and all(one in (1, size) for one, size in zip(reversed(found.shape), reversed(sizes)))
        return found.expand(sizes) if fits else torch.zeros(sizes, dtype=torch.int64)

    def of_larger(self, tensors: list[torch.Tensor], out: torch.Tensor) -> torch.Tensor:
        """The labels of the larger of two terms: at position 0 a rotation is the identity, so that each column keeps its own."""
        one, other = (self.wide(tensor, out) for tensor in tensors)
        if any(each.is_complex() for each in tensors) or tensors[0] is out:  # in place: the first is overwritten
            return torch.where(one != 0, one, other)
        larger = tensors[0].detach().abs().cpu() >= tensors[1].detach().abs().cpu()
        return torch.where((other == 0) | ((one != 0) & larger), one, other)

    def first(self, tensors: list[torch.Tensor], out: torch.Tensor) -> torch.Tensor:
        """The first label of each element that is not 0."""
        found = self.wide(tensors[0], out)
        for tensor in tensors[1:]:
            found = torch.where(found != 0, found, self.wide(tensor, out))
        return found


def picked(labels: torch.Tensor, constant: torch.Tensor) -> torch.Tensor:
    """The labels (..., M, K) of what is multiplied by a constant (..., K, N): of what each of N takes most of. A rotation by a matrix
    is the identity at position 0."""
    most = constant.detach().abs().argmax(-2).cpu()  # (..., N)
    sizes = [*torch.broadcast_shapes(labels.shape[:-2], most.shape[:-1]), labels.shape[-2], most.shape[-1]]
    wide = labels.expand(*sizes[:-2], *labels.shape[-2:])
    return wide.gather(-1, most.unsqueeze(-2).expand(sizes))


def storage_of(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage()._cdata


def unit_of(tensor: torch.Tensor) -> int:
    """Bytes of a number."""
    return tensor.element_size() // 2 if tensor.is_complex() else tensor.element_size()


def layout_of(tensor: torch.Tensor) -> tuple[list[int], list[int], int]:
    """Sizes, strides and offset in numbers: a complex number is an axis of two."""
    if not tensor.is_complex():
        return list(tensor.shape), list(tensor.stride()), int(tensor.storage_offset())
    return [*tensor.shape, 2], [*(2 * stride for stride in tensor.stride()), 1], 2 * int(tensor.storage_offset())
