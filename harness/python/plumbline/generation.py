"""Calls a candidate's own generation loop and records the probabilities that it draws from.

B is the number of prompts, T the number of tokens in each (padding included), n of new ones, V the vocabulary.
"""

from __future__ import annotations

import inspect
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.nn.functional as F

from plumbline.adapter import Cannot, Generation
from plumbline.user_code import Misused, line_of

NEUTRAL = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "repetition_penalty": 1.0, "end": None}
SETTINGS = (*NEUTRAL, "seed")
OTHER_NAMES = {"eos_token_id": "end"}
Draw = tuple[torch.Tensor, torch.Tensor]  # probabilities (B, V), tokens (B)
NO_TOKEN = -1  # after a row's end


class Loop:
    """function(module, tokens, *, max_new_tokens, ...), and which settings its signature names.

    mask: keyword of the padding mask, if the function is to be given one. Errors: Misused where it cannot be called so.
    """

    def __init__(self, function: Callable[..., Any], mask: str | None = None) -> None:
        self.function = function
        signature = inspect.signature(function)
        # The first two are the module and the tokens. Any keyword at all is no word on what becomes of it.
        self.parameters = {parameter.name: parameter for parameter in list(signature.parameters.values())[2:]
                           if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)}
        self.mask = mask if mask in self.parameters else None
        named = {OTHER_NAMES.get(name, name) for name in self.parameters} | {"seed"}
        self.settings = [setting for setting in SETTINGS if setting in named]
        self.greedy = "temperature" in named or "do_sample" in self.parameters  # whether it can be
        self.divides = False  # by the temperature, 0 too: the likeliest token is then that of top_k=1
        known = [name for name in self.parameters if name in ("do_sample", "pad_token_id", self.mask)
                 or OTHER_NAMES.get(name, name) in SETTINGS]
        keywords = dict.fromkeys(["max_new_tokens", *known])
        try:
            signature.bind(None, None, **keywords)
        except TypeError as error:
            words = ", ".join(f"{name}=" for name in keywords)
            raise Misused(f"`generate` is called as generate(module, tokens, {words}): {error}", line_of(function)) from None

    def only_greedy(self) -> None:
        self.settings = [setting for setting in self.settings if setting != "seed"]
        self.greedy = True

    def __call__(self, module: torch.nn.Module, tokens: torch.Tensor, settings: Generation, real: torch.Tensor) -> torch.Tensor:
        """The new tokens (B, at most n) int64 on the CPU. real: (B, T), 1 where a token is."""
        result = self.function(module, tokens, **self.keywords(settings, real))
        return self.continuation(result, tokens.cpu(), settings.most_tokens)

    def keywords(self, settings: Generation, real: torch.Tensor) -> dict[str, Any]:
        """Settings that are not named have to be neutral. Errors: Cannot."""
        for setting, neutral in NEUTRAL.items():
            if setting not in self.settings and getattr(settings, setting) != neutral and not (
                    setting == "temperature" and settings.temperature == 0 and self.greedy):
                raise Cannot(f"its own generate takes no {setting}")
        if not self.mask and not real.all():
            raise Cannot("its own generate takes no padding mask")
        greedy = settings.temperature == 0
        values: dict[str, Any] = {"do_sample": not greedy, "pad_token_id": 0 if settings.end is None else settings.end}
        if self.mask and (not real.all() or self.parameters[self.mask].default is inspect.Parameter.empty):
            values[self.mask] = real
        for name, parameter in self.parameters.items():
            setting = OTHER_NAMES.get(name, name)
            if setting in SETTINGS:
                value = getattr(settings, setting)
                unused = setting in NEUTRAL and value == NEUTRAL[setting] and parameter.default is None
                values[name] = None if unused else value
        if greedy and "do_sample" in self.parameters:
            values["temperature"] = 1.0  # a divisor
        elif greedy and self.divides:
            values.update(temperature=1.0, top_k=1)
        return {"max_new_tokens": settings.most_tokens,
                **{name: value for name, value in values.items() if name in self.parameters}}

    def continuation(self, result: Any, tokens: torch.Tensor, most_tokens: int) -> torch.Tensor:
        """The tokens after the prompts. Errors: Misused for a result without the prompts, or with too many tokens."""
        if not torch.is_tensor(result) or result.dim() != 2 or result.is_floating_point():
            what = f"{result.dtype} of shape {list(result.shape)}" if torch.is_tensor(result) else f"of type {type(result).__name__}"
            raise self.misused(f"what it returned is {what}, expected a tensor (B, T + new tokens) of whole numbers")
        batch, length = tokens.shape
        result = result.detach().to("cpu", torch.int64, copy=True)
        if result.shape[0] != batch or not torch.equal(result[:, :length], tokens):
            raise self.misused(f"what it returned, of shape {list(result.shape)}, does not begin with the prompts, {list(tokens.shape)}: "
                               "it has to return them and what it wrote, torch.cat([tokens, new], 1)")
        if result.shape[1] > length + most_tokens:
            raise self.misused(f"it wrote {result.shape[1] - length} tokens, max_new_tokens being {most_tokens}")
        return result[:, length:]

    def misused(self, message: str) -> Misused:
        return Misused(f"generate: {message}", line_of(self.function))


def without_padding(tokens: torch.Tensor, end: int | None, pad: int | None = None) -> torch.Tensor:
    """New tokens (B, n), -1 after each row's end token where nothing but padding stands there up to the row's end.

    Padding is a single id, the end token or `pad`. Other tokens were written by a loop that did not end, and stay, so that the
    mistake shows; a loop that continues with such ids only cannot be distinguished from padding.
    """
    tokens = tokens.clone()
    for row in tokens:
        ends = (row == end).nonzero().flatten().tolist() if end is not None else []
        rest = row[ends[0] + 1:] if ends else row[:0]
        if len(rest) and rest[0].item() in (end, pad) and (rest == rest[0]).all():
            rest.fill_(NO_TOKEN)
    return tokens


def pad_columns(shown: dict[str, torch.Tensor], most_tokens: int) -> dict[str, torch.Tensor]:
    """The result of an adapter's `generate`, padded to most_tokens columns."""
    missing = max(0, most_tokens - shown["tokens"].shape[1])
    result = {**shown, "tokens": F.pad(shown["tokens"].long(), (0, missing), value=NO_TOKEN)}
    if "probabilities" in shown:
        result["probabilities"] = F.pad(shown["probabilities"], (0, 0, 0, missing))
    return result


def seed_all(seed: int) -> None:
    """Seeds the generators of torch, Python and numpy."""
    torch.manual_seed(seed)
    random.seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed % 2**32)


# Recording of draws

@contextmanager
def recorded_draws() -> Iterator[list[Draw]]:
    """While entered, torch.multinomial, function and method, records draws of one token a row in the list that this yields.

    Entries are (probabilities (B, V) float32, tokens (B)), on the CPU.
    """
    seen: list[Draw] = []
    with ExitStack() as afterwards:
        holders: tuple[Any, ...] = (torch, torch.Tensor)
        for holder in holders:
            afterwards.callback(restore_multinomial, holder, vars(holder).get("multinomial"))
            holder.multinomial = recording(holder.multinomial, seen)
        yield seen


def restore_multinomial(holder: Any, own: Any) -> None:
    if own is None:  # inherited
        del holder.multinomial
    else:
        holder.multinomial = own


def recording(original: Callable[..., torch.Tensor], seen: list[Draw]) -> Callable[..., torch.Tensor]:
    def multinomial(*inputs: Any, **keywords: Any) -> torch.Tensor:
        drawn = original(*inputs, **keywords)
        weights = inputs[0] if inputs else keywords["input"]
        if drawn.shape[-1] == 1:
            weights = torch.atleast_2d(weights.detach().to("cpu", torch.float32, copy=True))
            seen.append((weights / weights.sum(-1, keepdim=True), drawn.detach().to("cpu", copy=True).flatten()))
        return drawn

    return multinomial


def probabilities_of(seen: list[Draw], tokens: torch.Tensor) -> torch.Tensor | None:
    """(B, n, V): the probabilities of tokens (B, n); None unless the recorded draws are exactly these tokens."""
    if len(seen) != tokens.shape[1] or len({weights.shape for weights, _ in seen}) != 1 or len(seen[0][1]) != len(tokens):
        return None
    drawn = torch.stack([drawn for _, drawn in seen], 1)
    if not ((drawn == tokens) | (tokens == NO_TOKEN)).all():
        return None
    return torch.stack([weights for weights, _ in seen], 1)
