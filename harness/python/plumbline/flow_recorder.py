"""Records the data flow of a pass, by following labels through every operation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from plumbline.attention import FUSED, FUSED_ARGUMENTS, FusedCall, PlainCall, detached_copy
from plumbline.data_flow import Attention, DataFlow, Gating, Line, Product, Scaling, Sum, running_line
from plumbline.labels import Labels, picked, storage_of

# The same function moves elements and their labels.
MOVES = ("clone", "cat", "stack", "index_select", "index", "gather", "repeat", "flip", "roll", "constant_pad_nd", "select_scatter",
         "slice_scatter", "repeat_interleave", "index_put", "scatter", "split_with_sizes_copy", "unfold_copy", "expand_copy", "view_copy")
PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "linear")
SOFTMAX = ("_softmax", "_safe_softmax")
MULTIPLICATIONS = ("mul", "mul_")
ROOTS = ("rsqrt", "sqrt", "pow")
LARGEST_EPS = 1e-2


def record(model: torch.nn.Module, run: Callable[[], Any], batch: int) -> tuple[DataFlow, Any]:
    """The data flow of run(), a pass of `batch` sequences, and what run returned."""
    recording = Recording(model, batch)
    with torch.no_grad(), recording:
        result = run()
    return recording.flow, result


class Recording:
    """While entered, records the data flow of what a model of no gradients does."""

    def __init__(self, model: torch.nn.Module, batch: int) -> None:
        self.flow = DataFlow(Labels(model), batch)
        self.recorder = Recorder(self.flow)
        self.fused = Fused(self.recorder)

    def __enter__(self) -> Recording:
        self.fused.__enter__()  # type: ignore[no-untyped-call]
        self.recorder.__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        self.recorder.__exit__(*error)  # type: ignore[no-untyped-call]
        self.fused.__exit__(*error)  # type: ignore[no-untyped-call]
        self.recorder.kept.clear()


class Fused(TorchFunctionMode):
    """Sees fused attention before it is taken apart."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (),
                           kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") != FUSED:
            return func(*args, **kwargs)
        return self.recorder.fused(func, args, kwargs)


class Recorder(TorchDispatchMode):
    """While entered, follows labels through every operation and records what is made of parameters."""

    def __init__(self, flow: DataFlow) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flow, self.labels = flow, flow.labels
        self.paused = False
        self.added: dict[int, float] = {}  # storage -> the number that was added
        self.history: dict[int, frozenset[str]] = {}  # storage -> what was applied since a product
        self.made_at: dict[int, Line | None] = {}  # storage -> the line that last computed with what is in it
        self.kept: list[torch.Tensor] = []  # keeps storages from being used again

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # torch would import its compiler for that, which takes seconds

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        if torch.is_inference_mode_enabled() and not self.paused:  # what is composed of others arrives whole there
            with self:
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        result = func(*args, **kwargs)
        if not self.paused:
            self.paused = True  # what follows is of our own
            try:
                self.follow(func, args, kwargs, result)
            except Exception as error:  # the user's pass goes on
                self.flow.problems.append(f"{func}: {type(error).__name__}: {error}")
            finally:
                self.paused = False
        return result

    def follow(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        name = func._schema.name.partition("::")[2]
        out = result[0] if isinstance(result, (tuple, list)) and result and torch.is_tensor(result[0]) else result
        if not torch.is_tensor(out):
            return
        self.kept.append(out)
        if func.is_view or name in ("_unsafe_view", "lift_fresh", "detach", "alias", "empty_like", "empty"):
            return
        self.note_eps(name, args, out)
        inputs = list(tensors_in((args, kwargs)))
        if name == "embedding" or name in ("index", "index_select") and self.labels.has_rows(args[0], out):
            self.embed(args[0], out)
        elif name in PRODUCTS:
            self.multiply(name, args, out)
        elif name in SOFTMAX:
            self.normalise(args[0], out)
        elif name.rstrip("_") in MOVES or name == "copy_":
            self.move(func, name, args, kwargs, out)
        elif name == "complex":
            self.labels.set(out, torch.stack([self.labels.wide(part, out.real) for part in args[:2]], -1))
        elif torch.Tag.pointwise in func.tags or name in ("native_dropout", "_to_copy", "masked_fill_", "where"):
            self.combine(name, inputs, out)
        elif name in ("_fused_rms_norm", "native_layer_norm", "rms_norm", "layer_norm"):
            weight = next((self.labels.copy_of(one) for one in inputs[1:] if self.labels.is_parameter(one)), None)
            self.labels.set(out, None if weight is None else -weight)
            if weight is not None:
                self.flow.eps += [one for one in args if isinstance(one, float)]
                self.flow.scalings.append(Scaling(weight, self.labels.copy_of(inputs[0]), detached_copy(out), running_line()))
        else:
            same = next((one for one in inputs if one.shape == out.shape and one is not out and self.labels.of(one) is not None), None)
            self.labels.set(out, None if same is None or self.labels.is_parameter(same) else self.labels.of(same))

    def note_eps(self, name: str, args: tuple[Any, ...], out: torch.Tensor) -> None:
        if name.rstrip("_") == "add" and len(args) > 1 and isinstance(args[1], float) and 0 < args[1] < LARGEST_EPS:
            self.added[storage_of(out)] = args[1]
        elif name.rstrip("_") in ROOTS and torch.is_tensor(args[0]) and storage_of(args[0]) in self.added:
            self.flow.eps.append(self.added[storage_of(args[0])])

    # Parameters

    def embed(self, weight: torch.Tensor, out: torch.Tensor) -> None:
        found = self.labels.of(weight[:1])
        if found is None:
            return
        self.labels.set(out, -found[0])
        if self.flow.embedding is None:
            self.flow.embedding = (found[0].clone(), detached_copy(out), running_line())

    def multiply(self, name: str, args: tuple[Any, ...], out: torch.Tensor) -> None:
        bias = args[0] if name in ("addmm", "baddbmm") else args[2] if name == "linear" and len(args) > 2 else None
        a, b = (args[1], args[2]) if name in ("addmm", "baddbmm") else (args[0], args[1])
        if name == "linear":
            b = b.transpose(-1, -2)
        if a.shape[-1] == 1 and self.flow.attention_of(self.labels.of(a), "scores") is None:  # as einsum multiplies element by element
            self.combine("mul", [a, b], out)
        elif self.labels.is_parameter(b) or self.labels.is_parameter(a):
            self.multiply_by_parameter(a, b, bias, out)
        elif self.labels.of(a) is not None or self.labels.of(b) is not None:
            self.multiply_activations(a, b, out)

    def multiply_by_parameter(self, a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None, out: torch.Tensor) -> None:
        swapped = not self.labels.is_parameter(b)  # W x instead of x W
        x, weight = (b.transpose(-1, -2), a.transpose(-1, -2)) if swapped else (a, b)
        rows = self.labels.of(weight.select(-2, 0))  # (..., columns of the output)
        into = self.labels.of(weight.select(-1, 0))
        if rows is None or into is None:
            return
        shown = out.transpose(-1, -2) if swapped else out
        self.labels.set(shown, -rows.unsqueeze(-2))
        self.history[storage_of(out)] = frozenset()
        columns = self.labels.of(x)
        while columns is not None and columns.dim() > 1:
            columns = columns.select(0, 0)
        bias_labels = None if bias is None else self.labels.copy_of(bias)
        made, added_to = detached_copy(shown), False
        if bias is not None and bias_labels is not None and not self.labels.is_parameter(bias):  # a residual, given as a bias
            self.flow.sums.append(Sum((-rows.reshape(-1).clone(), self.labels.wide(bias, shown).reshape(-1, shown.shape[-1])[0].clone()), made, running_line()))
            made, bias_labels, added_to = x.detach() @ weight.detach(), None, True
        self.flow.products.append(Product(rows.reshape(-1).clone(), None if columns is None else columns.clone(), into.reshape(-1).clone(),
                                          made, detached_copy(x), running_line(), bias_labels, added_to))

    # Attention

    def multiply_activations(self, a: torch.Tensor, b: torch.Tensor, out: torch.Tensor) -> None:
        of_a, of_b = self.labels.of(a), self.labels.of(b)
        scores = self.flow.attention_of(of_a, "scores")
        if scores is not None and of_b is not None:  # probabilities times values
            self.weigh(scores, of_b, out)
        elif of_b is not None and (swapped := self.flow.attention_of(of_b, "scores")) is not None and of_a is not None:
            self.weigh(swapped, of_a.transpose(-1, -2), out.transpose(-1, -2))
        elif of_a is not None and of_b is not None:
            number = len(self.flow.attentions)
            lines = [self.made_at.get(storage_of(operand)) for operand in (a, b)]
            self.flow.attentions.append(Attention(of_a.clone(), of_b.transpose(-1, -2).clone(), running_line(), query_line=lines[0],
                                                  key_line=lines[1], operands=(detached_copy(a), detached_copy(b.transpose(-1, -2))),
                                                  products_before=len(self.flow.products)))
            self.labels.set(out, torch.tensor(-self.flow.scores_label(number) - 1))
        elif of_a is not None:
            self.labels.set(out, picked(of_a, b))
        elif of_b is not None:
            self.labels.set(out.transpose(-1, -2), picked(of_b.transpose(-1, -2), a.transpose(-1, -2)))
        self.history[storage_of(out)] = frozenset()

    def normalise(self, scores: torch.Tensor, out: torch.Tensor) -> None:
        number = self.flow.attention_of(self.labels.of(scores), "scores")
        self.labels.set(out, self.labels.of(scores) if number is not None else None)
        if number is not None and self.flow.attentions[number].call is None:
            query, key = self.flow.attentions[number].operands or (None, None)
            self.flow.attentions[number].softmax_line = running_line()
            self.flow.attentions[number].call = PlainCall(query, key, detached_copy(scores), detached_copy(out))

    def weigh(self, number: int, values: torch.Tensor, out: torch.Tensor) -> None:
        attention = self.flow.attentions[number]
        attention.value = values.clone() if attention.value is None else attention.value
        self.labels.set(out, self.flow.labels_of_context(number, out.shape))

    def fused(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self.paused:
            return func(*args, **kwargs)
        self.paused = True
        try:
            out = func(*args, **kwargs)
            given = dict(zip(FUSED_ARGUMENTS, args), **kwargs)
            query, key, value = (self.labels.copy_of(given[name]) for name in ("query", "key", "value"))
            number = len(self.flow.attentions)
            lines = [self.made_at.get(storage_of(given[name])) for name in ("query", "key")]
            self.flow.attentions.append(Attention(query, key, running_line(), FusedCall(given), value, query_line=lines[0], key_line=lines[1],
                                                  products_before=len(self.flow.products)))
            self.kept.append(out)
            self.labels.set(out, self.flow.labels_of_context(number, out.shape))
        finally:
            self.paused = False
        return out

    def move(self, func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], out: torch.Tensor) -> None:
        inputs = list(tensors_in((args, kwargs)))
        if name == "copy_":
            self.write(args[0], args[1])
            return
        floating = [one for one in inputs if one.is_floating_point() or one.is_complex()]
        if all(self.labels.of(one) is None for one in floating):
            self.labels.set(out, None)
            return
        if any(one.is_complex() for one in floating):
            self.labels.set(out, self.labels.of(floating[0]) if out.shape == floating[0].shape else None)
            return
        moved = map_tensors(args, lambda one: self.labels.dense(one) if one.is_floating_point() else one)
        keywords = {key: value for key, value in kwargs.items() if key not in ("dtype", "memory_format")}
        if func._schema.is_mutable:  # changes its first argument
            target = moved[0].clone()
            func(target, *moved[1:], **keywords)
            self.labels.set(out, target)
        else:
            self.labels.set(out, func(*moved, **keywords))
        self.history[storage_of(out)] = frozenset().union(*(self.history.get(storage_of(one), frozenset()) for one in floating))
        self.made_at[storage_of(out)] = next((line for one in floating if (line := self.made_at.get(storage_of(one)))), None)

    def write(self, target: torch.Tensor, source: torch.Tensor) -> None:
        found = self.labels.of(source)
        if target.is_complex() != source.is_complex():
            found = None
        self.labels.set(target, found)
        self.history[storage_of(target)] = self.history.get(storage_of(source), frozenset())

    def combine(self, name: str, inputs: list[torch.Tensor], out: torch.Tensor) -> None:
        floating = [one for one in inputs if (one.is_floating_point() or one.is_complex()) and self.labels.of(one) is not None]
        if not (out.is_floating_point() or out.is_complex()) or not floating:
            self.labels.set(out, None)
            return
        weights = [one for one in floating if self.labels.is_parameter(one)]
        active = [one for one in floating if not self.labels.is_parameter(one)]
        histories = [self.history.get(storage_of(one), frozenset()) for one in active]
        self.made_at[storage_of(out)] = running_line()
        self.history[storage_of(out)] = frozenset((name.rstrip("_"),)).union(*histories)
        if not active:  # of parameters alone: 1 + weight, a merged weight
            self.labels.set(out, self.labels.first(weights, out))
        elif weights and name in MULTIPLICATIONS:
            before = self.labels.copy_of(active[0])
            scale = self.labels.wide(weights[0], out).clone()
            self.labels.set(out, -scale)
            self.flow.scalings.append(Scaling(scale, before, detached_copy(out), running_line()))
            self.history[storage_of(out)] = frozenset()
        elif name in MULTIPLICATIONS and len(active) > 1 and are_gated(self.labels, active, histories, out):
            self.gate(active, histories, out)
        else:
            if name.rstrip("_") == "add" and len(active) == 2 and not weights and out.dim() > 1:
                self.add(name, active, out)
            self.add_bias(active, weights, out)
            mixes = name.rstrip("_") in ("add", "sub") and len(active) == 2
            self.labels.set(out, self.labels.of_larger(active, out) if mixes else self.labels.first(active, out))

    def add(self, name: str, active: list[torch.Tensor], out: torch.Tensor) -> None:
        """A sum in place has overwritten its first term, but not yet its labels."""
        one, other = (self.labels.wide(term, out).reshape(-1, out.shape[-1])[0].clone() for term in active)
        self.flow.sums.append(Sum((one, other), detached_copy(out), running_line()))

    def add_bias(self, active: list[torch.Tensor], weights: list[torch.Tensor], out: torch.Tensor) -> None:
        if not weights or not self.flow.products:
            return
        rows = self.labels.of(active[0])
        for product in reversed(self.flow.products):
            if product.bias is None and rows is not None and bool((rows.abs() == product.rows[0]).any()):
                product.bias = self.labels.copy_of(weights[0])
                product.output = detached_copy(out)
                return

    def gate(self, active: list[torch.Tensor], histories: list[frozenset[str]], out: torch.Tensor) -> None:
        first = 0 if len(histories[0]) >= len(histories[1]) else 1
        gate, up = (self.labels.wide(active[i], out).clone() for i in (first, 1 - first))
        number = len(self.flow.gatings)
        self.flow.gatings.append(Gating(gate, up, tuple(sorted(histories[first])), detached_copy(out), running_line()))
        self.labels.set(out, -(self.flow.gated_label(number) + 1 + torch.arange(out.shape[-1])))
        self.history[storage_of(out)] = frozenset()


def are_gated(labels: Labels, active: list[torch.Tensor], histories: list[frozenset[str]], out: torch.Tensor) -> bool:
    """Whether they are of different columns, and of products, with something between on one side alone."""
    one, other = (labels.wide(each, out) for each in active[:2])
    if torch.equal(one, other) or not bool((one < 0).all() and (other < 0).all()):
        return False
    return histories[0] != histories[1] or bool(histories[0])


def tensors_in(value: Any) -> Iterator[torch.Tensor]:
    if torch.is_tensor(value):
        yield value
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from tensors_in(part)
    elif isinstance(value, dict):
        yield from tensors_in(list(value.values()))


def map_tensors(value: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    if torch.is_tensor(value):
        return change(value)
    if isinstance(value, (tuple, list)):
        return type(value)(map_tensors(part, change) for part in value)
    return value
