"""The ready-made adapter for causal language models in the convention of Hugging Face's transformers, 4 and 5."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

import torch

from plumbline.adapter import Pass
from plumbline.caches import Cache
from plumbline.generation import Loop
from plumbline.module import Builder, Module
from plumbline.module_runtime import ModuleRuntime, member
from plumbline.stage_watch import StageWatch
from plumbline.user_code import Misused


class HuggingFace(Module):
    """build: function(specification) -> a model such as LlamaForCausalLM.

    It is called as model(input_ids, attention_mask=, position_ids=, past_key_values=, use_cache=) and returns .logits and
    .past_key_values, its own kind of cache. Where it takes labels, its own loss is asked for. Where it can generate, by transformers'
    method or one of its class's own, text is, unless generate=False. Keywords of plumbline.Module change what is assumed;
    initialises is False unless said otherwise, since such models start from a normal distribution of their configuration's, or
    from a checkpoint.
    """

    def __init__(self, build: Builder, **keywords: Any) -> None:
        usual = {"initialises": False, "mask": "attention_mask", "positions": "position_ids",
                 "cache": Cache("past_key_values", keywords={"use_cache": True}, axes=("batch", "head", "position", "size"))}
        super().__init__(build, **{**usual, **keywords})
        self.assumed = {"mask", "positions"} - set(keywords)

    def loss_of(self, tokens: torch.Tensor, labels: torch.Tensor, keywords: dict[str, Any]) -> torch.Tensor:
        if self.loss or "labels" not in inspect.signature(self.model.forward).parameters:
            return super().loss_of(tokens, labels, keywords)
        result = self.model(tokens.to(self.device), labels=labels.to(self.device), **keywords)
        loss = getattr(result, "loss", None)  # before its items: what was set later stands there alone in transformers 4
        loss = member(result, "loss") if loss is None else loss
        if loss is None and isinstance(result, tuple) and result and torch.is_tensor(result[0]) and result[0].dim() == 0:
            loss = result[0]
        if loss is None:  # labels are taken and not used
            return super().loss_of(tokens, labels, keywords)
        return loss

    def make_loop(self) -> Loop | None:
        if self.writes is not None:
            return super().make_loop()
        method = getattr(type(self.model), "generate", None)
        if method is None or not getattr(self.model, "can_generate", lambda: True)():
            return None
        try:
            return Loop(generate_by_transformers if method.__module__.startswith("transformers.") else method, self.mask)
        except Misused:  # another interface, which the user did not ask to call
            return None

    def watch(self, tokens: torch.Tensor, options: Pass, before: int = 0, hidden: frozenset[str] = frozenset()) -> StageWatch:
        return ModuleRuntime.watch(self, tokens, options, before, hidden)  # its modules have the usual names

    def operations(self) -> dict[str, Callable[..., Any] | None]:
        own = super().operations()
        return {"repeat_kv": own["repeat_kv"] or self.usual_repeat(), "rotate": own["rotate"] or self.usual_rotation()}

    # The functions beside transformers' models take (B, heads, L, Dh).

    def beside_model(self, name: str) -> Any:
        """A function of the module that defines the model's class, if that is one of transformers."""
        home = type(self.model).__module__
        return getattr(sys.modules.get(home), name, None) if home.startswith("transformers.") else None

    def usual_repeat(self) -> Callable[..., Any] | None:
        function = self.beside_model("repeat_kv")
        return function and (lambda x, factor: function(x.transpose(1, 2), factor).transpose(1, 2))

    def usual_rotation(self) -> Callable[..., Any] | None:
        function = self.beside_model("apply_rotary_pos_emb")
        if function is None or rotary_embedding(self.model) is None:
            return None

        def rotate(model: torch.nn.Module, x: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
            x = x.transpose(1, 2)
            return function(x, x, *rotary_embedding(model)(x, positions))[0].transpose(1, 2)

        return rotate


def generate_by_transformers(model: Any, tokens: torch.Tensor, *, max_new_tokens: int, do_sample: bool, temperature: float, top_k: int,
              top_p: float, repetition_penalty: float, eos_token_id: int | None,
              attention_mask: torch.Tensor | None = None) -> torch.Tensor:
    """Generates with transformers' own loop."""
    from transformers import GenerationConfig
    if attention_mask is None:  # transformers 4 needs one
        attention_mask = torch.ones_like(tokens)
    drawing = {"temperature": temperature, "top_k": top_k, "top_p": top_p} if do_sample else {}
    config = GenerationConfig(max_new_tokens=max_new_tokens, do_sample=do_sample, **drawing, repetition_penalty=repetition_penalty,
                              eos_token_id=eos_token_id, pad_token_id=eos_token_id, use_cache=True)
    # transformers prefers the model's generation_config to settings that equal the library's defaults.
    original, model.generation_config = model.generation_config, config
    try:
        return model.generate(tokens, attention_mask=attention_mask, generation_config=config)
    finally:
        model.generation_config = original


def rotary_embedding(model: torch.nn.Module) -> Any:
    return next((module for module in model.modules() if type(module).__name__.endswith("RotaryEmbedding")), None)
