"""Finds by trying how a module takes a padding mask, positions and a KV cache, from the parameters that its forward names."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from plumbline import caches
from plumbline.kept_state import Kept, KeptState

MASKS = ("attention_mask", "pad_mask", "padding_mask", "key_padding_mask", "attn_mask", "mask")
SURE_MASKS = ("attention_mask", "pad_mask", "padding_mask")  # whose name says that 1 is a token
SURE_POSITIONS = ("position_ids", "positions")  # of each token; others may be a start, or something else
POSITIONS = ("position_ids", "positions", "position", "pos_ids", "pos")
CACHES = ("past_key_values", "past_key_value", "kv_cache", "kv_caches", "cache", "caches", "past", "past_kv", "layer_past", "pasts")
STARTS = ("start", "start_pos", "start_position", "offset", "past_length")
SWITCHES = ("use_cache", "return_cache", "return_kv")
MAKERS = ("new_cache", "init_cache", "make_cache", "create_cache", "empty_cache", "init_kv_cache")
SIZES = {"batch": ("batch", "batch_size", "bsz", "b"),
         "capacity": ("capacity", "max_len", "max_length", "length", "max_seq_len", "max_seq_length", "size", "max_tokens", "seq_len")}
TOKENS = 6


@dataclass
class Interface:
    """How a module is called; notes: what was assumed, and what was not understood."""

    mask: str | None = None
    positions: str | None = None
    cache: caches.Cache | None = None
    notes: list[str] = field(default_factory=list)


class Finder:
    """run: function(tokens, **keywords) -> what the module returns; logits_in: function(that) -> (B, T, V)."""

    def __init__(self, model: torch.nn.Module, tokens: torch.Tensor, run: Callable[..., Any], logits_in: Callable[[Any], torch.Tensor]) -> None:
        self.model, self.tokens, self.run, self.logits_in = model, tokens, run, logits_in
        parameters = list(inspect.signature(getattr(model, "_orig_mod", model).forward).parameters.values())[1:]
        self.names = [one.name for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
        self.found = Interface()

    def find(self) -> Interface:
        self.find_mask()
        self.find_positions()
        self.find_cache()
        return self.found

    def named(self, names: tuple[str, ...]) -> str | None:
        return next((name for name in names if name in self.names), None)

    def logits(self, **keywords: Any) -> torch.Tensor | str:
        """The logits, or the error in words."""
        try:
            return self.logits_in(self.run(self.tokens, **keywords)).detach().float()
        except (Exception, SystemExit) as error:
            return f"{type(error).__name__}: {error}".splitlines()[0][:120]

    def find_mask(self) -> None:
        name = self.named(MASKS)
        if name is None:
            return
        plain, ones = self.logits(), self.logits(**{name: torch.ones_like(self.tokens)})
        if isinstance(ones, str) or isinstance(plain, str):
            self.found.notes.append(f"a mask of ones as {name}= was refused ({ones}): padded batches are not applicable")
        elif not agree(plain, ones) and (name not in SURE_MASKS or self.agrees_with_zeros(name, plain)):
            self.found.notes.append(f"{name}= was not taken for a padding mask with 1 where a token is, since one of ones changes the "
                                    "logits: padded batches are not applicable")
        else:
            self.found.mask = name
            self.found.notes.append(f"assumed: {name}= takes a padding mask, (B, T) int64, 1 where a token is")

    def agrees_with_zeros(self, name: str, plain: torch.Tensor) -> bool:
        """Whether its mask is the other way round: 1 hides."""
        zeros = self.logits(**{name: torch.zeros_like(self.tokens)})
        return not isinstance(zeros, str) and agree(plain, zeros)

    def find_positions(self) -> None:
        name = self.named(POSITIONS)
        if name is None:
            return
        counted = torch.arange(self.tokens.shape[1], device=self.tokens.device).expand(self.tokens.shape).contiguous()
        plain, given = self.logits(), self.logits(**{name: counted})
        if isinstance(given, str) or isinstance(plain, str) or given.shape != plain.shape:
            self.found.notes.append(f"positions as {name}= were refused ({given if isinstance(given, str) else 'other shape'}): passes that "
                                    "begin elsewhere than at 0 are not applicable")
            return
        if name not in SURE_POSITIONS and not agree(plain, given):
            self.found.notes.append(f"{name}= was not taken for positions, since counting from 0 changes the logits: passes that begin "
                                    "elsewhere than at 0 are not applicable")
            return
        self.found.positions = name
        self.found.notes.append(f"assumed: {name}= takes the position of each token, (B, T) int64")

    # Caches

    def find_cache(self) -> None:
        name = self.named(CACHES)
        start = self.named(STARTS)
        switches = {switch: True for switch in SWITCHES if switch in self.names}
        if name is None:
            self.find_cache_inside(start, switches)
            return
        maker, makes = self.maker()
        starts = [start] if start is None else [start, None]
        trials = [caches.Cache(name, start=one, keywords=switches) for one in starts]
        if maker is not None:
            trials = [caches.Cache(name, start=one, keywords=switches, new=makes, fixed=True) for one in starts] + trials
        answers = [(cache, self.decoded(cache)) for cache in trials]
        known = [(cache, answer) for cache, answer in answers if not isinstance(answer, str)]
        if not known:
            self.found.notes.append(f"the KV cache as {name}= was not understood ({answers[0][1]}): decoding is not applicable; say it with "
                                    "plumbline.Cache")
            return
        full = self.logits()
        right = [cache for cache, answer in known if not isinstance(full, str) and agree(full[:, TOKENS - 2:TOKENS - 1], answer)]
        cache = self.found.cache = right[0] if right else known[0][0]
        made = f", made by {maker}()" if cache.new else ""
        count = f", {cache.start}= the number of tokens before" if cache.start else ""
        self.found.notes.append(f"assumed: {name}= takes the KV cache and what is returned beside the logits is the next one{made}{count}")
        if not right:
            self.found.notes.append("decoding differs from a full pass however the cache was passed in a trial: if it is passed otherwise, say "
                                    "so with plumbline.Cache")

    def find_cache_inside(self, start: str | None, switches: dict[str, bool]) -> None:
        """One that the module keeps itself, where a start or a switch asks for it."""
        if start is None and not switches:
            return
        cache = caches.Cache(start=start, keywords=switches, show=Kept.pairs)
        try:
            state = KeptState.of(self.model, lambda: self.call_twice(cache))
        except (Exception, SystemExit) as error:
            state = None
            self.found.notes.append(f"{start or next(iter(switches))}= was not taken for the start of a KV cache "
                                    f"({type(error).__name__}: {error}".splitlines()[0][:200] + "): decoding is not applicable")
        if state is None:
            return
        cache = dataclasses.replace(cache, inside=state)
        answer, full = self.decoded(cache), self.logits()
        if isinstance(answer, str) or isinstance(full, str):
            self.found.notes.append(f"what its modules keep between calls was not understood ({answer}): decoding is not applicable")
            return
        self.found.cache = cache
        how = f"{start}= is the number of tokens before" if start else f"{next(iter(switches))}= goes on after the call before"
        self.found.notes.append(f"assumed: its modules keep the KV cache ({len(state.places)} attributes), and {how}")
        if not agree(full[:, TOKENS - 2:TOKENS - 1], answer):
            self.found.notes.append("decoding with it differs from a full pass in a trial")

    def call_twice(self, cache: caches.Cache) -> None:
        for first, last in ((0, TOKENS - 2), (TOKENS - 2, TOKENS - 1)):
            self.run(self.tokens[:, first:last], **cache.keywords, **({cache.start: first} if cache.start else {}))

    def maker(self) -> tuple[str | None, Callable[..., Any] | None]:
        """A method that makes an empty cache, as function(model, batch, capacity)."""
        for name in MAKERS:
            method = getattr(type(self.model), name, None)
            if not callable(method):
                continue
            parameters = list(inspect.signature(method).parameters)[1:]
            places = {what: next((one for one in parameters if one in names), None) for what, names in SIZES.items()}
            if places["capacity"] is None:
                continue

            def make(model: Any, batch: int, capacity: int, name: str = name, places: dict[str, Any] = places) -> Any:
                sizes = {"batch": batch, "capacity": capacity}
                return getattr(model, name)(**{place: sizes[what] for what, place in places.items() if place is not None})

            return name, make
        return None, None

    def decoded(self, cache: caches.Cache) -> torch.Tensor | str:
        """The logits of one token that is decoded after others were prefilled, or what goes wrong, in words."""
        batch, before = self.tokens.shape[0], TOKENS - 2
        try:
            held = cache.inside.empty(batch) if cache.inside else cache.new(self.model, batch, TOKENS + 4) if cache.new else None
            for first, last in ((0, before), (before, before + 1)):
                start = {cache.start: first} if cache.start else {}
                if cache.inside:
                    cache.inside.write(held)
                given = {} if cache.inside else {cache.argument: held}
                result = self.run(self.tokens[:, first:last], **given, **cache.keywords, **start)
                logits = self.logits_in(result)
                if logits.shape[:2] != (batch, last - first):
                    return f"logits of shape {list(logits.shape)} for {last - first} tokens"
                held = cache.inside.read(batch) if cache.inside else returned(result, cache.argument, held)
            return logits.detach().float() if caches.layers(held, cache.show) else "nothing was kept"
        except (Exception, SystemExit) as error:
            return f"{type(error).__name__}: {error}".splitlines()[0][:120]
        finally:
            if cache.inside:
                cache.inside.reset()


def returned(result: Any, name: str, given: Any) -> Any:
    """The cache that a pass returns, else the one that it was given and changed."""
    if isinstance(result, dict):
        found = result.get(name)
    elif isinstance(result, (tuple, list)):
        found = result[1] if len(result) > 1 else None
    else:
        found = getattr(result, name, None)
    return given if found is None else found


def agree(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and bool(((one - other).abs() <= 1e-3 * one.abs().max()).all())


