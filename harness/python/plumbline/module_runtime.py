"""Runs a torch.nn.Module: the part of plumbline.Module that follows its start."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch

from plumbline import caches, generation, parameters, stages, training
from plumbline.adapter import Adapter, Cannot, Generation, Overrun, Pass
from plumbline.leftovers import Leftovers
from plumbline.snapshot import preserved_global_state
from plumbline.tokens import positions, real_tokens
from plumbline.user_code import call, takes_keywords
from plumbline.stage_watch import StageWatch


def raise_location(error: BaseException) -> tuple[type[BaseException], tuple[str, int] | None]:
    """The kind of an exception and the line that raised it."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    return type(error), place and (place.tb_frame.f_code.co_filename, place.tb_lineno)


class ModuleRuntime(Adapter):
    """Passes, caches, training steps and generated text of a module. plumbline.Module documents the attributes."""

    model: Any  # the torch.nn.Module, once it was started
    specification: dict[str, Any]
    device: str
    plan: stages.Plan
    head_size: int
    mask: str | None
    positions: str | None
    logits_at: str | int | None
    cache: Any  # plumbline.Cache; what handles one is called where there is one
    loss: Callable[..., torch.Tensor] | None
    writes: Callable[..., Any] | None
    loop: generation.Loop | None
    pad: int | None
    prompt_padding: str | Sequence[str] | None
    notes: list[str]

    # Parameters

    def weights(self) -> dict[str, torch.Tensor]:
        return parameters.parameters(self.model)

    def load(self, tensors: dict[str, torch.Tensor]) -> None:
        parameters.load(self.model, tensors)

    # Passes

    def forward(self, tokens: torch.Tensor, options: Pass) -> dict[str, Any]:
        keywords = self.keywords(real_tokens(tokens, options), options.padding != "none", options.first_position)
        return self.run_pass(tokens, options, keywords)[0]

    def keywords(self, real: torch.Tensor, padded: bool, first_position: int = 0, earlier: torch.Tensor | None = None) -> dict[str, Any]:
        """The mask and positions that a pass needs. real: (B, T) bool; padded: a mask is given, of ones perhaps; earlier:
        (B, slots written before) bool."""
        seen = real if earlier is None else torch.cat([earlier, real], 1)
        if padded and not self.mask:
            raise Cannot("it takes no padding mask")
        if first_position and not self.positions:
            raise Cannot("it takes no positions")
        keywords: dict[str, Any] = {str(self.mask): seen.long().to(self.device)} if padded else {}
        if self.positions and (padded or first_position):
            before = first_position + (0 if earlier is None else earlier.sum(1))
            before = torch.as_tensor(before).expand(real.shape[0])
            keywords[self.positions] = positions(real, before).to(self.device)
        return keywords

    def run_pass(self, tokens: torch.Tensor, options: Pass, keywords: dict[str, Any], before: int = 0) -> tuple[dict[str, Any], Any]:
        """({"logits", stages, "seconds", "left"}, what the model returned)"""
        # A model that counts its own positions is shifted by padding on the left: its logits are the same, but rotated vectors
        # differ and are not shown.
        shifted = self.mask in keywords and not self.positions and options.padding != "right"
        hidden = frozenset(("q_rotated", "k_rotated") if shifted else ())
        with torch.no_grad(), training.mode(self.model, options.training, options.dropout), \
                self.watch(tokens, options, before, hidden) as watch:
            leftovers = Leftovers(self.model)
            began = time.perf_counter()
            result = self.model(tokens.to(self.device), **keywords)
            if self.device.startswith("cuda"):
                torch.cuda.synchronize(self.device)
            seconds = time.perf_counter() - began
            left = leftovers.changes()
        return {**watch.stages(), "logits": self.logits_in(result), "seconds": seconds, "left": left}, result

    def watch(self, tokens: torch.Tensor, options: Pass, before: int = 0, hidden: frozenset[str] = frozenset()) -> StageWatch:
        return StageWatch(self.plan, options.observe - hidden, tokens, before, self.head_size)

    def logits_in(self, result: Any) -> torch.Tensor:
        """(B, T, V). Errors: TypeError where there are none."""
        if self.logits_at is not None:
            found = member(result, self.logits_at)
        elif torch.is_tensor(result):
            found = result
        else:
            found = member(result, "logits")
            found = member(result, 0) if found is None else found
        if not torch.is_tensor(found) or found.dim() != 3:
            what = f"of shape {list(found.shape)}" if torch.is_tensor(found) else f"not in what it returned ({type(result).__name__})"
            raise TypeError(f"the model's logits are {what}, expected a tensor (B, T, V): say where they stand, Module(logits=...)")
        return found

    # Cache

    def describe_cache(self) -> dict[str, Any] | None:
        if self.cache is None:
            return None
        return {"axes": list(self.cache.axes), "chunks": self.cache.chunks, "capacity": self.cache.fixed, "fill": self.cache.has_slots,
                "padding": self.padded_prefills()}

    def padded_prefills(self) -> list[str]:
        """Sides on which a padded batch may be prefilled. Without positions padding on the left is harmless: it shifts all alike."""
        if self.cache.padding is not None:
            return list(self.cache.padding)
        return (["right", "left"] if self.positions else ["left"]) if self.mask else []

    def open_cache(self, batch: int, capacity: int) -> caches.OpenCache:
        if self.cache is None:
            raise Cannot("its adapter does not describe a KV cache: Module(cache=...)")
        return caches.OpenCache(batch, capacity, self.cache.empty(self.model, batch, capacity), torch.zeros(batch, 0, dtype=torch.bool))

    def extend(self, cache: Any, tokens: torch.Tensor, options: Pass) -> dict[str, Any]:
        real = real_tokens(tokens, options)
        before, length = cache.real.shape[1], tokens.shape[1]
        sides = self.padded_prefills()
        # In a later call padding on either side leaves a gap before the next token, as padding on the right does in the first.
        if not real.all() and (options.padding not in sides or before and "right" not in sides):
            raise Cannot(f"its KV cache takes no padding on the {options.padding} {'in a later call' if before else 'in a prefill'}")
        padded = cache.padded or options.padding != "none"
        keywords = {**self.keywords(real, padded, earlier=cache.real), **self.cache.keywords}
        if self.cache.start:
            keywords[self.cache.start] = before
        if not (inside := self.cache.inside):
            keywords[self.cache.argument] = cache.held
        try:
            with inside.going_on(cache, length, self.cache) if inside else nullcontext():
                shown, result = self.run_pass(tokens, options, keywords, before)
        except Exception as error:
            if self.cache.fixed and (before + length > cache.capacity or raise_location(error) == self.refusal()):
                raise Overrun(f"{type(error).__name__}: {error}".splitlines()[0]) from error
            raise
        if not inside:
            cache.held = self.returned_cache(result, cache.held)
        cache.real = torch.cat([cache.real, real], 1)
        cache.padded = padded
        return shown

    def refusal(self) -> Any:
        """Where the model refuses two tokens with a cache of one slot; None where it accepts them, or refuses them with many slots,
        too."""
        for capacity in (64, 1):
            empty = self.open_cache(1, capacity)
            keywords = {**self.keywords(torch.ones(1, 2, dtype=torch.bool), False, earlier=empty.real), **self.cache.keywords,
                        self.cache.argument: empty.held, **({self.cache.start: 0} if self.cache.start else {})}
            try:
                self.run_pass(torch.zeros(1, 2, dtype=torch.long), Pass(), keywords, 0)
            except Exception as error:
                return raise_location(error) if capacity == 1 else None
        return None

    def returned_cache(self, result: Any, given: Any) -> Any:
        place = self.cache.result
        found = member(result, self.cache.argument if place is None else place)
        if found is None and place is None:
            found = member(result, 1)
        found = given if found is None else found
        if found is None:
            raise TypeError(f"the model returned no cache ({type(result).__name__}): say where it stands, Cache(result=...)")
        return found

    def show_cache(self, cache: Any) -> tuple[dict[str, int], dict[str, torch.Tensor]]:
        pairs = caches.layers(cache.held, self.cache.show)
        axis = self.cache.axes.index("position")
        written = cache.real.shape[1]
        # A growing cache holds what it shows; in others the written slots come first.
        held = pairs[0][0].shape[axis] if pairs else 0
        length = min(written, held) if self.cache.has_slots else held
        tensors = {}
        for layer, (keys, values) in enumerate(pairs if length else []):
            tensors[f"layers.{layer}.keys"] = keys.narrow(axis, 0, length)
            tensors[f"layers.{layer}.values"] = values.narrow(axis, 0, length)
        own, kept_alive = caches.bytes_held(pairs)
        return {"length": length, "capacity": held, "bytes": own, "held": kept_alive}, tensors

    def fill_cache(self, cache: Any, value: Any) -> None:
        if not self.cache.has_slots:
            raise Cannot("its KV cache grows: it has no unwritten slots")
        axis = self.cache.axes.index("position")
        written = cache.real.shape[1]
        with torch.no_grad():
            for pair in caches.layers(cache.held, self.cache.show):
                for tensor in pair:
                    tensor.narrow(axis, written, tensor.shape[axis] - written).fill_(value)

    # Training

    def loss_of(self, tokens: torch.Tensor, labels: torch.Tensor, keywords: dict[str, Any]) -> torch.Tensor:
        tokens, labels = tokens.to(self.device), labels.to(self.device)
        if self.loss:
            if keywords and not takes_keywords(self.loss):
                raise Cannot("its own loss takes no padding: Module(loss=function(module, tokens, labels, **keywords))")
            loss = functools.partial(self.loss, **keywords) if keywords else self.loss
            return call(loss, "loss", model=self.model, tokens=tokens, labels=labels)
        return training.cross_entropy(self.logits_in(self.model(tokens, **keywords)), labels)

    def gradients(self, tokens: torch.Tensor, labels: torch.Tensor, options: Pass) -> dict[str, torch.Tensor]:
        keywords = self.keywords(real_tokens(tokens, options), options.padding != "none")
        with training.mode(self.model, options.training, options.dropout):
            return training.gradients(self.model, lambda: self.loss_of(tokens, labels, keywords))

    def train(self, tokens: torch.Tensor, labels: torch.Tensor, *, learning_rate: float, betas: tuple[float, float], eps: float,
              weight_decay: float) -> torch.Tensor:
        losses = [functools.partial(self.loss_of, tokens[step], labels[step], {}) for step in range(len(tokens))]
        with training.mode(self.model, True):
            return training.train(self.model, losses, learning_rate, betas, eps, weight_decay)

    # Text

    def make_loop(self) -> generation.Loop | None:
        """The generation.Loop, or None. Errors: Misused."""
        return generation.Loop(self.writes, self.mask) if self.writes else None

    def describe_loop(self) -> dict[str, Any] | None:
        if self.loop is None:
            return None
        if not self.loop.greedy and "temperature" not in self.loop.settings and self.ignores_seed():
            self.loop.only_greedy()
            self.notes.append("its own loop writes the same whatever the seed: it is judged as a greedy one")
        return {"settings": self.loop.settings, "greedy": self.loop.greedy, "padding": self.padded_prompts(),
                "probabilities": self.shows_probabilities()}

    def padded_prompts(self) -> list[str]:
        """Sides on which prompts may be padded. Most loops continue from the last column."""
        if self.prompt_padding is not None:
            return list(self.prompt_padding)
        return ["left"] if self.loop and self.loop.mask else []

    def ignores_seed(self) -> bool:
        """Whether two seeds write the same four texts, with the weights from build."""
        prompts = torch.arange(12).view(4, 3) % self.specification["vocab_size"]
        try:
            with preserved_global_state():
                one, other = (self.generate(prompts, Generation(most_tokens=8, seed=seed))["tokens"] for seed in (1, 2))
        except (Exception, SystemExit):
            return False
        return one.shape[1] > 3 and torch.equal(one, other)

    def shows_probabilities(self) -> bool:
        """Whether the probabilities of a short text can be observed. An error will be raised again when text is requested."""
        try:
            with preserved_global_state():
                return "probabilities" in self.generate(torch.zeros(2, 3, dtype=torch.int64), Generation(most_tokens=2))
        except (Exception, SystemExit):
            return False

    def generate(self, tokens: torch.Tensor, settings: Generation) -> dict[str, torch.Tensor]:
        if self.loop is None:
            return super().generate(tokens, settings)
        real = real_tokens(tokens, settings)
        if not real.all() and settings.padding not in self.padded_prompts():
            raise Cannot(f"its own generate takes no prompts padded on the {settings.padding}")
        generation.seed_all(settings.seed)
        with torch.no_grad(), training.mode(self.model, False), generation.recorded_draws() as seen:
            new = self.loop(self.model, tokens.to(self.device), settings, real.long().to(self.device))
        pad = getattr(getattr(self.model, "config", None), "pad_token_id", None) if self.pad is None else self.pad
        new = generation.without_padding(new, settings.end, pad)
        probabilities = generation.probabilities_of(seen, new) if settings.temperature else None
        return {"tokens": new} if probabilities is None else {"tokens": new, "probabilities": probabilities}


def member(result: Any, place: Any) -> Any:
    """The member with this name or index of a tuple, dict or object; None where there is none."""
    if isinstance(place, int):
        return result[place] if isinstance(result, (tuple, list)) and place < len(result) else None
    return result.get(place) if isinstance(result, Mapping) else getattr(result, place, None)
