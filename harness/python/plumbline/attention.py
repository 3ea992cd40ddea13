"""Observes rotated queries and keys, scores and probabilities in the functions that attention calls.

B batch, T queries, S keys, H query heads, K key/value heads, Dh head size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

ATTENTION_STAGES = ("q_rotated", "k_rotated", "scores", "probabilities")
FUSED = "scaled_dot_product_attention"
FUSED_ARGUMENTS = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa")
PRODUCTS = ("matmul", "__matmul__", "bmm", "einsum")


class AttentionWatch(TorchFunctionMode):
    """While entered, keeps the attention call of each layer. running: the layers being run, the innermost last."""

    def __init__(self, running: list[int]) -> None:
        super().__init__()
        self.running = running
        self.calls: dict[int, FusedCall | PlainCall] = {}  # layer -> FusedCall or PlainCall, the first in each
        self.products: list[tuple[torch.Tensor, torch.Tensor, torch.Size]] = []  # (query, key, shape of the product) since the layer began or softmax was called

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (),
                           kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        if self.running and (name == FUSED or name == "softmax" or name in PRODUCTS):
            self.record_call(name, args, kwargs, result)
        return result

    def record_call(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: torch.Tensor) -> None:
        layer = self.running[-1]
        if name in PRODUCTS:
            operands = operands_of_einsum(args) if name == "einsum" else operands_of_matmul(args, kwargs)
            if operands:
                self.products.append((detached_copy(operands[0]), detached_copy(operands[1]), result.shape))
        elif name == FUSED:
            self.calls.setdefault(layer, FusedCall(dict(zip(FUSED_ARGUMENTS, args), **kwargs)))
        else:
            scores: torch.Tensor = args[0] if args else kwargs["input"]
            # The product that these scores come from has as many elements and keys.
            made_by = [product for product in self.products
                       if product[2].numel() == scores.numel() and product[2][-1] == scores.shape[-1]]
            self.products = []
            if made_by or scores.dim() == 4:
                query, key = made_by[-1][:2] if made_by else (None, None)
                self.calls.setdefault(layer, PlainCall(query, key, detached_copy(scores), detached_copy(result)))


class FusedCall:
    """torch.nn.functional.scaled_dot_product_attention, a kernel that does not return its scores and probabilities.

    They are recomputed in float64, whose type marks them as such (harness/candidate/protocol.md).
    """

    def __init__(self, arguments: dict[str, Any]) -> None:
        self.query, self.key = detached_copy(arguments["query"]), detached_copy(arguments["key"])
        mask = arguments.get("attn_mask")
        self.mask = None if mask is None else detached_copy(mask)
        self.causal = arguments.get("is_causal", False)
        self.scale = arguments.get("scale")

    def stages(self, tokens: torch.Tensor, before: int, q: torch.Tensor | None, k: torch.Tensor | None) -> dict[str, torch.Tensor]:
        scores = self.scores()
        probabilities = torch.softmax(scores, -1)
        shown = scores_in_shape(tokens, before, scores, probabilities)
        return {**shown, **rotated_in_shape(tokens, before, self.query, self.key, q, k)}

    def scores(self) -> torch.Tensor:
        """The scores of the call in float64, masked as torch documents it."""
        query, key = (x.cpu().double() for x in (self.query, self.key))  # not every device has float64
        mask = None if self.mask is None else self.mask.cpu()
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)  # enable_gqa
        scale = query.shape[-1] ** -0.5 if self.scale is None else self.scale
        scores = query @ key.transpose(-1, -2) * scale
        if self.causal:
            seen = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
            scores = scores.masked_fill(~seen, float("-inf"))
        if mask is not None and mask.dtype == torch.bool:
            scores = scores.masked_fill(~mask, float("-inf"))
        elif mask is not None:
            scores = scores + mask.double()
        return scores


class PlainCall:
    """A product of queries and keys, then softmax."""

    def __init__(self, query: torch.Tensor | None, key: torch.Tensor | None, scores: torch.Tensor,
                 probabilities: torch.Tensor) -> None:
        self.query, self.key, self.scores, self.probabilities = query, key, scores, probabilities

    def stages(self, tokens: torch.Tensor, before: int, q: torch.Tensor | None, k: torch.Tensor | None) -> dict[str, torch.Tensor]:
        if self.query is None or self.key is None:
            return scores_in_shape(tokens, before, self.scores, self.probabilities)
        # Softmax in float32 is cast back to the model's type.
        shown = scores_in_shape(tokens, before, self.scores, self.probabilities.to(self.query.dtype))
        return {**shown, **rotated_in_shape(tokens, before, self.query, self.key, q, k)}


def scores_in_shape(tokens: torch.Tensor, before: int, scores: torch.Tensor, probabilities: torch.Tensor) -> dict[str, torch.Tensor]:
    """`scores` and `probabilities` of one layer, (B, H, T, S); empty where they cannot be attention's."""
    batch, length = tokens.shape
    if not has_batch(scores, batch):
        return {}
    scores, probabilities = (unpack_single_query(with_heads(x, batch), length) for x in (scores, probabilities))
    if scores.shape[-2] != length and length > 1 and scores.shape[-2] == 1:
        return {}  # one of many calls, each of a token of its own
    written = before + length
    # Removes unwritten slots of a preallocated cache, where the mask hides them.
    if scores.shape[-1] > written and not probabilities[..., written:].any():
        scores, probabilities = scores[..., :written], probabilities[..., :written]
    return {"scores": scores, "probabilities": probabilities}


def rotated_in_shape(tokens: torch.Tensor, before: int, query: torch.Tensor, key: torch.Tensor, q: torch.Tensor | None,
                     k: torch.Tensor | None) -> dict[str, torch.Tensor]:
    """`q_rotated` and `k_rotated` of the new tokens, (B, T, heads, Dh).

    q, k: before rotation, or None. Without them a scale cannot be recognised, and nothing is shown.
    """
    batch, length = tokens.shape
    if not has_batch(query, batch) or not has_batch(key, batch):
        return {}
    query, key = unpack_single_query(with_heads(query, batch), length), with_heads(key, batch)
    if query.shape[-2] == 1 < length:
        return {}
    key = key if k is None else remove_repetition(key, k.shape[2])
    if key.shape[2] > length:
        key = key.narrow(2, min(before, key.shape[2] - length), length)
    pairs = {"q_rotated": (query, q), "k_rotated": (key, k)}
    return {stage: remove_scale(x.transpose(1, 2), own) for stage, (x, own) in pairs.items() if own is not None}


def has_batch(x: torch.Tensor, batch: int) -> bool:
    return x.shape[0] == batch if x.dim() in (4, 5) else x.dim() == 3 and x.shape[0] % batch == 0


def with_heads(x: torch.Tensor, batch: int) -> torch.Tensor:
    """(B * H, L, n), (B, H, L, n) or, grouped, (B, K, H / K, L, n) -> (B, H, L, n)."""
    if x.dim() == 3:
        return x.unflatten(0, (batch, -1))
    return x.flatten(1, 2) if x.dim() == 5 else x


def unpack_single_query(x: torch.Tensor, length: int) -> torch.Tensor:
    """A single query's heads may stand as (B, K, H / K, n), so that keys need no repeating -> (B, H, 1, n)."""
    return x.flatten(1, 2).unsqueeze(2) if length == 1 and x.shape[2] != 1 else x


def remove_repetition(key: torch.Tensor, count: int) -> torch.Tensor:
    """(B, H, S, Dh) -> (B, count, S, Dh) where heads are repeated correctly; unchanged otherwise, so that the mistake shows."""
    if key.shape[1] <= count or key.shape[1] % count:
        return key
    factor = key.shape[1] // count
    once = key[:, ::factor]
    return once if torch.equal(once.repeat_interleave(factor, 1), key) else key


def remove_scale(rotated: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
    """Takes back the scale of the scores where it was put on the queries, or in halves on both.

    Rotation preserves norms, so that a factor of 1/sqrt(Dh), or its root, is the scale. Other factors stay.
    """
    if before.shape != rotated.shape:
        return rotated
    ratio = (rotated.float().norm() / before.float().norm()).item()
    for power in (0.5, 0.25):
        factor = rotated.shape[-1] ** -power
        if abs(ratio / factor - 1) < 0.01:
            return (rotated.float() / factor).to(rotated.dtype)
    return rotated


def operands_of_matmul(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Queries (..., T, Dh) and keys (..., S, Dh) of a product (..., T, S); None for what cannot be one."""
    operands = [*args, *kwargs.values()][:2]
    if len(operands) < 2 or not all(torch.is_tensor(x) and 3 <= x.dim() <= 5 for x in operands):
        return None
    query, key = operands
    return query, key.transpose(-1, -2)


def operands_of_einsum(args: tuple[Any, ...]) -> tuple[torch.Tensor, torch.Tensor] | None:
    """As operands_of_matmul, from an equation such as "bthd,bshd->bhts" or, grouped, "btkgd,bskd->bkgts"."""
    if not isinstance(args[0], str) or "->" not in args[0] or "." in args[0]:
        return None
    operands = args[1] if isinstance(args[1], (list, tuple)) else args[1:]
    inputs, output = args[0].replace(" ", "").split("->")
    letters = inputs.split(",")
    if len(operands) != 2 or len(letters) != 2 or not 3 <= len(output) <= 5:
        return None
    summed = [letter for letter in letters[0] if letter not in output]
    if len(summed) != 1 or summed[0] not in letters[1]:
        return None
    *outer, row, column = list(output)
    if row in letters[1]:  # keys stand first
        operands, letters = operands[::-1], letters[::-1]
    if row in letters[1] or column in letters[0]:
        return None
    query, key = (permute_axes(x, own, [*outer, last, summed[0]]) for x, own, last in zip(operands, letters, (row, column)))
    return query, key


def permute_axes(x: torch.Tensor, letters: str, order: list[str]) -> torch.Tensor:
    """x with its axes in that order; keys may lack the axis of the heads that share them."""
    return x.permute([letters.index(letter) for letter in order if letter in letters])


def detached_copy(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().clone()
