"""What modules keep between calls: KV caches and counters, in buffers and attributes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from plumbline import caches
from plumbline.adapter import Cannot

OWN = frozenset(vars(torch.nn.Module()))  # attributes of PyTorch's own
KEYS_AND_VALUES = 4  # axes of what holds them


@dataclass
class Kept:
    """Values of the places, of one sequence of calls. rows: its batch, which may be fewer than there is room for."""

    values: list[Any]
    rows: int
    places: list[tuple[torch.nn.Module, str]]

    def pairs(self) -> list[Any] | None:
        """[(keys, values)] of each layer; None where they are not found."""
        modules = {id(module): module for module, _ in self.places}
        found: list[Any] = []
        for each in modules.values():
            held = {name: value for (module, name), value in zip(self.places, self.values) if module is each}
            tensors = {name: value for name, value in held.items() if torch.is_tensor(value) and value.dim() == KEYS_AND_VALUES}
            if len(tensors) == 2:
                found.append(caches.named_pair(tensors) or tuple(tensors.values()))
                continue
            inner = [pairs for value in held.values() if isinstance(value, (dict, list, tuple))
                     and (pairs := caches.find_pairs(value) or caches.find_pairs([value]))]
            if len(inner) == 1:
                found += inner[0]
        return [tuple(part[:self.rows] for part in pair) for pair in found] if found else None


class KeptState:
    """The places that calls change, with what they held before. It stands for an empty cache."""

    def __init__(self, places: list[tuple[torch.nn.Module, str]], fresh: list[Any]) -> None:
        self.places, self.fresh = places, fresh
        self.most_rows = min((value.shape[0] for value in fresh if torch.is_tensor(value) and value.dim() == KEYS_AND_VALUES), default=None)

    @classmethod
    def of(cls, model: torch.nn.Module, calls: Callable[[], Any]) -> KeptState | None:
        """What the calls change; they are undone. None where they change nothing. Errors: those of the calls."""
        before = {(module, name): copied(value) for module, name, value in kept_values(model)}
        try:
            calls()
        finally:
            after = {(module, name): value for module, name, value in kept_values(model)}
            changed = [place for place, value in after.items() if not same(before.get(place), value)]
            state = cls(changed, [before.get(place) for place in changed])
            state.reset()
        return state if changed else None

    def require_room(self, rows: int) -> None:
        """Errors: Cannot where there is room for fewer rows."""
        if self.most_rows is not None and rows > self.most_rows:
            raise Cannot(f"its cache was built for {self.most_rows} sequences at most")

    def empty(self, rows: int) -> Kept:
        """Errors: Cannot where there is room for fewer rows."""
        self.require_room(rows)
        return Kept([copied(value) for value in self.fresh], rows, self.places)

    def read(self, rows: int) -> Kept:
        return Kept([copied(getattr(module, name)) for module, name in self.places], rows, self.places)

    def write(self, kept: Kept) -> None:
        for (module, name), value in zip(self.places, kept.values):
            setattr(module, name, copied(value))

    @contextmanager
    def going_on(self, opened: caches.OpenCache, more: int, cache: caches.Cache) -> Iterator[None]:
        """For a call with so many more tokens: what was kept of a decoding is put there, and taken out again. Errors: Cannot where they
        do not fit."""
        pairs = opened.held.pairs()
        slots = pairs[0][0].shape[cache.axes.index("position")] if cache.preallocated and pairs else None
        if slots is not None and opened.real.shape[1] + more > slots:
            raise Cannot(f"its cache was built for {slots} tokens")
        self.write(opened.held)
        try:
            yield
            opened.held = self.read(opened.batch)
        finally:
            self.reset()

    def reset(self) -> None:
        self.write(Kept([copied(value) for value in self.fresh], 0, self.places))


def kept_values(model: torch.nn.Module) -> list[tuple[torch.nn.Module, str, Any]]:
    """(module, name, value) of all buffers and attributes that may be a cache or a count."""
    return [(module, name, value) for module in model.modules() for name, value in (*module._buffers.items(), *vars(module).items())
            if name not in OWN and may_be_kept(value)]


def may_be_kept(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return type(value) in (list, tuple) and all(may_be_kept(part) for part in value)
    if isinstance(value, dict):
        return type(value) is dict and all(may_be_kept(part) for part in value.values())
    return value is None or isinstance(value, int) or torch.is_tensor(value) and not isinstance(value, torch.nn.Parameter)


def copied(value: Any) -> Any:
    if torch.is_tensor(value):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: copied(part) for key, part in value.items()}
    return type(value)(copied(part) for part in value) if isinstance(value, (list, tuple)) else value


def same(one: Any, other: Any) -> bool:
    if torch.is_tensor(one) and torch.is_tensor(other):
        return one.shape == other.shape and one.dtype == other.dtype and torch.equal(torch.nan_to_num(one), torch.nan_to_num(other))
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(part, other[key]) for key, part in one.items())
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other))
    return bool(one == other)
