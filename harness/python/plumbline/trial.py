"""Checks an adapter's declarations before anything is judged, so that its mistakes are not blamed on the model.

What a short trial cannot decide stays as declared; what raises will be judged later.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence

import torch

from plumbline.caches import AXES, Pair

TOKENS = 7          # of the first call with a cache, followed by one more; no other axis has this size
BATCHES = (5, 3, 11)  # of which one is the size of no other axis


# Keywords


def takes_keyword(module: torch.nn.Module, keyword: str) -> bool | None:
    """Whether the module's forward has a parameter of that name; None where it takes keywords of any name."""
    module = getattr(module, "_orig_mod", module)  # compiled
    try:
        parameters = inspect.signature(module.forward).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(each.name == keyword and each.kind not in (each.POSITIONAL_ONLY, each.VAR_POSITIONAL, each.VAR_KEYWORD) for each in parameters):
        return True
    return None if any(each.kind is each.VAR_KEYWORD for each in parameters) else False


def is_ignored(run: Callable[..., torch.Tensor], keyword: str, one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether a keyword has no effect: two values give the same logits, and a value that is no tensor raises nothing.

    run: function(**keywords) -> logits.
    """
    try:
        if not torch.equal(run(**{keyword: one}), run(**{keyword: other})):
            return False
        run(**{keyword: object()})
    except (Exception, SystemExit):
        return False  # it uses the value
    return True


# Caches


def find_layout(before: list[Pair], after: list[Pair], batch: int, head_size: int | None, declared: Sequence[str],
         values: torch.Tensor | None = None) -> tuple[tuple[str, ...], bool] | None:
    """(axes, preallocated) of a cache, or None where they cannot be determined.

    before, after: [(keys, values)] after TOKENS tokens and after one more; batch: the number of sequences; head_size: of the
    keys, or None; values: (B, TOKENS, K, Dh) of the first layer, if they were seen. axes: AXES in the order that the tensors
    have them, heads and sizes as `declared` where nothing tells them apart. preallocated: slots are there before they are written, the first ones being written first.
    """
    if not before or not after:
        return None
    (keys, kept), (later, _) = before[0], after[0]
    if keys.dim() != 4 or later.dim() != 4:
        return None
    if keys.shape != later.shape:
        position = [axis for axis in range(4) if later.shape[axis] == keys.shape[axis] + 1]
        unlike = sum(one != other for one, other in zip(keys.shape, later.shape))
        if len(position) != 1 or unlike != 1 or keys.shape[position[0]] != TOKENS:
            return None
    else:
        changed = (keys != later).nonzero()
        position = [axis for axis in range(4) if keys.shape[axis] > TOKENS and changed[:, axis].unique().tolist() == [TOKENS]]
        if len(position) != 1:
            return None
    rest = [axis for axis in range(4) if axis != position[0]]
    rows = [axis for axis in rest if keys.shape[axis] == batch]
    if len(rows) != 1:
        return None
    head, size = [axis for axis in rest if axis != rows[0]]
    by_value = [pair for pair in ((head, size), (size, head)) if values is not None and has_values(kept, rows[0], position[0], *pair, values)]
    if len(by_value) == 1:
        head, size = by_value[0]
    elif [keys.shape[axis] == head_size for axis in (head, size)].count(True) == 1:
        head, size = sorted((head, size), key=lambda axis: keys.shape[axis] == head_size)
    elif declared.index("size") < declared.index("head"):
        head, size = size, head
    places = dict(zip((rows[0], position[0], head, size), AXES))
    return tuple(places[axis] for axis in range(4)), keys.shape == later.shape


def has_values(kept: torch.Tensor, batch: int, position: int, head: int, size: int, values: torch.Tensor) -> bool:
    shown = kept.permute(batch, position, head, size)[:, :TOKENS]
    return shown.shape == values.shape and torch.equal(shown, values.to(shown))
