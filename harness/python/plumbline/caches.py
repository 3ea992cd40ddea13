"""KV caches of modules: how they are passed and returned, and their keys and values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from plumbline.adapter import Cannot
from plumbline.user_code import call

Pair = tuple[torch.Tensor, torch.Tensor]  # keys and values of a layer
AXES = ("batch", "position", "head", "size")
NAMES = (("keys", "values"), ("key", "value"), ("k", "v"), ("key_cache", "value_cache"), ("k_cache", "v_cache"),
         ("cache_k", "cache_v"))


@dataclass(frozen=True)
class Cache:
    """How a module takes and returns its KV cache; what it returns is handed back to it as it is.

    argument: the keyword that takes it. result: where it stands in what the module returns, a name or a number; by default
    under the argument's name, or second in a tuple; where neither is there, the module changes in place what it was given.
    start: the keyword that takes the number of slots written before, if it needs one. keywords: others that go with it.
    axes: their order in each layer's keys and values; found by trying where that tells, so seldom needed. new: function(model, batch, capacity) making an empty cache, None by
    default. show: function(cache) -> [(keys, values), ...], a pair for each layer, found by itself in tuples, lists, dicts
    and objects of the usual names. fixed: `new` makes room for `capacity` tokens or some more, and what exceeds it makes the module
    raise an error. preallocated: slots are there before they are written, the first being written first; found by trying, too.
    chunks: several tokens at a time may follow the first call. padding: sides on which a padded batch may be prefilled; by
    default what the module's mask and positions allow.
    """

    argument: str = "past_key_values"
    result: str | int | None = None
    start: str | None = None
    keywords: dict[str, Any] = field(default_factory=dict)
    axes: tuple[str, ...] = AXES
    new: Callable[..., Any] | None = None
    show: Callable[[Any], Any] | None = None
    fixed: bool = False
    preallocated: bool = False
    chunks: bool = True
    padding: tuple[str, ...] | None = None
    inside: Any = None  # kept_state.KeptState of a module that keeps its cache itself, found by trying: argument is then not passed

    @property
    def has_slots(self) -> bool:
        """Whether there are slots that nothing was written to yet."""
        return self.fixed or self.preallocated

    def empty(self, model: torch.nn.Module, batch: int, capacity: int) -> Any:
        """The module's own, before anything was written."""
        if self.inside:
            return self.inside.empty(batch)
        return call(self.new, "new", model=model, batch=batch, capacity=capacity) if self.new else None

    def __post_init__(self) -> None:
        if sorted(self.axes) != sorted(AXES):
            raise ValueError(f"axes are an order of {AXES}, not {self.axes}")
        if self.fixed and self.new is None:
            raise ValueError("a fixed cache needs new=, the function that makes it")


@dataclass
class OpenCache:
    """A decoding in progress."""

    batch: int
    capacity: int
    held: Any           # the module's own cache
    real: torch.Tensor  # (B, slots written) bool: false for padding
    padded: bool = False  # a padding mask was given, of ones perhaps, and grows with each call


def layers(held: Any, show: Callable[[Any], Any] | None = None) -> list[Pair]:
    """[(keys, values)] of a module's own cache, as held. Errors: Cannot where its form is unknown."""
    found = show(held) if show else find_pairs(held)
    if found is None:
        raise Cannot(f"its KV cache is a {type(held).__name__} of an unknown form: say what lies in it, Cache(show=...)")
    return [(pair[0], pair[1]) for pair in found]


def find_pairs(held: Any) -> list[Any] | None:
    """[(keys, values)] of a cache in a usual form, without empty layers; None for another form."""
    if held is None:
        return []
    inner = getattr(held, "layers", None)
    if inner is not None and not isinstance(held, Mapping):
        return find_pairs(list(inner))
    pair = named_pair(held)
    if pair is not None:
        return list(zip(*pair))
    if isinstance(held, Mapping):
        held = list(held.values())
    if not isinstance(held, (list, tuple)):
        return None
    pairs: list[Any] = [pair_in(layer) for layer in held]
    if any(pair is None for pair in pairs):  # a cache beside other things, such as a count
        inside = [found for part in held if isinstance(part, (Mapping, list, tuple)) and (found := find_pairs(part))]
        return inside[0] if len(inside) == 1 else None
    return [pair for pair in pairs if pair[0] is not None]


def pair_in(layer: Any) -> Any:
    """Keys and values of a layer: two tensors, one of both along its first axis, or what holds them beside other things."""
    if is_pair(layer):
        return layer
    if torch.is_tensor(layer) and layer.dim() == 5 and layer.shape[0] == 2:
        return layer[0], layer[1]
    found = named_pair(layer)
    if found is None and isinstance(layer, (list, tuple)):
        inner = [pair for pair in (pair_in(part) for part in layer if isinstance(part, (Mapping, list, tuple))) if pair is not None]
        found = inner[0] if len(inner) == 1 else None
    return found


def is_pair(layer: Any) -> bool:
    return isinstance(layer, (list, tuple)) and len(layer) >= 2 and all(torch.is_tensor(part) for part in layer[:2])


def named_pair(holder: Any) -> tuple[Any, Any] | None:
    """Keys and values under one of the usual pairs of names: tensors, or one of each for every layer."""
    for names in NAMES:
        if isinstance(holder, Mapping):
            if all(name in holder for name in names):
                return tuple(holder[name] for name in names)
        elif all(hasattr(holder, name) and not callable(getattr(holder, name)) for name in names):
            return tuple(getattr(holder, name) for name in names)
    return None


def bytes_held(pairs: list[Pair]) -> tuple[int, int]:
    """(bytes of the tensors, bytes of the storage that they keep alive), shared memory counted once."""
    whole: dict[int, int] = {}
    own: dict[int, int] = {}
    for tensor in (part for pair in pairs for part in pair):
        storage = tensor.untyped_storage()
        place = storage.data_ptr()
        whole[place] = storage.nbytes()
        own[place] = min(own.get(place, 0) + tensor.numel() * tensor.element_size(), storage.nbytes())
    return sum(own.values()), sum(whole.values())
