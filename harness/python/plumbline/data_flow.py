"""The data flow of one pass: which products, norms and attentions there are, with their inputs, values and lines.

B sequences, T tokens, H query heads, K key/value heads, Dh head size.
"""

from __future__ import annotations

import linecache
import os
import sys
from dataclasses import dataclass, field
from types import FrameType

import torch

from plumbline.attention import FusedCall, PlainCall
from plumbline.labels import Labels

OWN = (os.path.dirname(os.path.abspath(__file__)), os.path.dirname(os.path.abspath(torch.__file__)))


@dataclass(frozen=True)
class Line:
    """A line of the user's code."""

    file: str
    number: int

    def text(self) -> str:
        return linecache.getline(self.file, self.number).strip()


@dataclass
class Product:
    """A product of an activation with a parameter. rows: the labels of the output's columns; columns: of the input's."""

    rows: torch.Tensor
    columns: torch.Tensor | None
    weight: torch.Tensor  # labels of one row: how the input's columns lie in the parameter
    output: torch.Tensor
    input: torch.Tensor
    line: Line | None
    bias: torch.Tensor | None = None
    added_to: bool = False  # to the residual stream, in the same operation: output then has no value of the pass

    def __post_init__(self) -> None:
        self.first, self.last = int(self.rows.min()), int(self.rows.max())


@dataclass
class Scaling:
    """An activation times a parameter of one axis: the end of a norm. before: the labels of what is multiplied."""

    labels: torch.Tensor
    before: torch.Tensor | None
    output: torch.Tensor
    line: Line | None


@dataclass
class Gating:
    """A product, element by element, of two activations; one of them went through what is not linear."""

    gate: torch.Tensor  # labels
    up: torch.Tensor
    activation: tuple[str, ...]
    output: torch.Tensor
    line: Line | None


@dataclass
class Sum:
    """An activation added to another: a residual. Labels of both, of the last axis."""

    terms: tuple[torch.Tensor, torch.Tensor]
    output: torch.Tensor
    line: Line | None


@dataclass
class Attention:
    """An attention. Labels of its queries, keys and values, as they are multiplied: (..., T or S, Dh)."""

    query: torch.Tensor | None
    key: torch.Tensor | None
    line: Line | None
    call: FusedCall | PlainCall | None = None
    value: torch.Tensor | None = None
    operands: tuple[torch.Tensor, torch.Tensor] | None = None  # queries and keys of the product of scores
    products_before: int = 0
    softmax_line: Line | None = None
    query_line: Line | None = None  # that made the queries, as they are multiplied
    key_line: Line | None = None


@dataclass
class DataFlow:
    """What a pass did, in order."""

    labels: Labels
    batch: int
    embedding: tuple[torch.Tensor, torch.Tensor, Line | None] | None = None  # labels, values
    products: list[Product] = field(default_factory=list)
    scalings: list[Scaling] = field(default_factory=list)
    gatings: list[Gating] = field(default_factory=list)
    sums: list[Sum] = field(default_factory=list)
    attentions: list[Attention] = field(default_factory=list)
    eps: list[float] = field(default_factory=list)  # small numbers that were added before a root
    problems: list[str] = field(default_factory=list)  # operations that could not be followed

    # Labels beyond those of the parameters: of the context that an attention makes, and of what a gate makes.
    WIDTH = 1 << 24

    def context_label(self, attention: int) -> int:
        return self.labels.end + 1 + 4 * attention * self.WIDTH

    def gated_label(self, gating: int) -> int:
        return self.labels.end + 1 + (4 * gating + 1) * self.WIDTH

    def labels_of_context(self, attention: int, shape: torch.Size) -> torch.Tensor:
        """By head and column, of (B, H, T, Dh), (B * H, T, Dh) or, grouped, (B, K, H / K, T, Dh)."""
        heads = shape[:-2].numel() // self.batch
        columns = torch.arange(heads * shape[-1]).view(heads, 1, shape[-1])
        return -(self.context_label(attention) + 1 + columns.repeat(self.batch, 1, 1).view(*shape[:-2], 1, shape[-1]))

    def scores_label(self, attention: int) -> int:
        return self.labels.end + 1 + (4 * attention + 2) * self.WIDTH

    def origin(self, label: int) -> tuple[str, int, int] | None:
        """("context" | "gated" | "scores" | "probabilities", number, column) of a label beyond the parameters'."""
        number = abs(int(label)) - 1 - self.labels.end
        if number < 0:
            return None
        which, column = divmod(number, self.WIDTH)
        return ("context", "gated", "scores")[which % 4], which // 4, column

    def attention_of(self, labels: torch.Tensor | None, kind: str) -> int | None:
        """The number of the attention whose "context" or "scores" these labels are, or None."""
        if labels is None or labels.numel() == 0:
            return None
        origin = self.origin(int(labels.abs().max()))
        return origin[1] if origin is not None and origin[0] == kind else None


def running_line() -> Line | None:
    """The innermost line of the running code that is neither torch's nor Plumbline's."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if not frame.f_code.co_filename.startswith(OWN) and not frame.f_code.co_filename.startswith("<"):
            return Line(frame.f_code.co_filename, frame.f_lineno)
        frame = frame.f_back
    return None
