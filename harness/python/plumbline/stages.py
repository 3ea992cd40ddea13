"""Stages of a pass, and the modules of a model that show them.

A source is a module's path, whose output is the stage: "model.layers.{layer}.mlp.up_proj"; or its first input:
"model.layers.{layer}.mlp.down_proj:input"; or an object {"from": source} with steps on it, in this order: "view": sizes that
the last axis is split into, "select": [axis, index], "slice": [axis, first, count].
"""

from __future__ import annotations

import itertools
from collections.abc import Container
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

LAYER = "{layer}"
# Names of Hugging Face's Llama and MiniMind, then those of Meta's Llama and of MiniMind's first version.
PREFIXES = ("model.", "", "model.model.")
EMBEDDINGS = ("embed_tokens", "tok_embeddings")
ATTENTION = ("self_attn", "attention", "attn")
FEED_FORWARD = ("mlp", "feed_forward")
FEED_FORWARD_NORM = ("post_attention_layernorm", "ffn_norm")
IN_LAYER: dict[str, tuple[tuple[Any, ...], str]] = {
    "attention_norm": (("input_layernorm", "attention_norm"), ""),
    "q": ((ATTENTION, ("q_proj", "wq")), ""),
    "k": ((ATTENTION, ("k_proj", "wk")), ""),
    "v": ((ATTENTION, ("v_proj", "wv")), ""),
    "context": ((ATTENTION, ("o_proj", "wo")), ":input"),
    "attention_out": ((ATTENTION, ("o_proj", "wo")), ""),
    "after_attention": (FEED_FORWARD_NORM, ":input"),
    "feed_forward_norm": (FEED_FORWARD_NORM, ""),
    "gate": ((FEED_FORWARD, ("gate_proj", "w1")), ""),
    "up": ((FEED_FORWARD, ("up_proj", "w3")), ""),
    "gated": ((FEED_FORWARD, ("down_proj", "w2")), ":input"),
    "feed_forward_out": ((FEED_FORWARD, ("down_proj", "w2")), ""),
}
OUTSIDE = ("embedding", "final_norm", "logits")
STAGES = ("embedding", "attention_norm", "q", "k", "v", "q_rotated", "k_rotated", "scores", "probabilities", "context",
          "attention_out", "after_attention", "feed_forward_norm", "gate", "up", "gated", "feed_forward_out",
          "after_feed_forward", "final_norm", "logits")


def full_name(stage: str, layer: Any) -> str:
    """ "logits", "layers.3.scores" """
    return stage if stage in OUTSIDE else f"layers.{layer}.{stage}"


def protocol_name(stage: str) -> str:
    """The name in `can.stages`: "logits", "layers.{layer}.scores"."""
    return full_name(stage, LAYER)


def conventional_sources(paths: Container[str]) -> dict[str, str]:
    """{stage: source} for modules with conventional names. paths: of the model's modules."""
    sources: dict[str, str] = {}
    for prefix in PREFIXES:
        layer = f"{prefix}layers.{LAYER}"
        if layer.format(layer=0) not in paths:
            continue
        for stage, (names, end) in IN_LAYER.items():
            for path in itertools.product(*(names if isinstance(names[0], tuple) else (names,))):
                source = ".".join((layer,) + path)
                if source.format(layer=0) in paths:
                    sources.setdefault(stage, source + end)
        sources["after_feed_forward"] = layer
        for stage, names in (("embedding", EMBEDDINGS), ("final_norm", ("norm",))):
            for name in names:
                if prefix + name in paths:
                    sources.setdefault(stage, prefix + name)
        break
    return sources


class Plan:
    """The source of each stage of a model. given: {stage: source}, which replaces conventional ones; None hides a stage.

    Errors: ValueError naming a stage or a module that does not exist.
    """

    def __init__(self, model: torch.nn.Module, given: dict[str, Any] | None = None) -> None:
        self.paths = dict(model.named_modules())
        given = dict(given or {})
        for stage in given:
            if stage not in STAGES:
                raise ValueError(f"stages: there is no stage {stage!r}; there are {', '.join(STAGES)}")
        found = {**conventional_sources(self.paths), **given}
        self.left_out = {stage for stage, source in found.items() if source is None}
        self.sources = [Source(stage, source) for stage, source in found.items() if source is not None]
        for source in self.sources:
            if source.path.format(layer=0) not in self.paths:
                raise ValueError(f"stages: {source.stage} is to come from {source.path}, and the model has no such module")
        layered = [source.path for source in self.sources if LAYER in source.path]
        self.layer_path: str = layered[0][:layered[0].index(LAYER) + len(LAYER)] if layered else ""
        self.layers = 0
        while self.layer_path and self.layer_path.format(layer=self.layers) in self.paths:
            self.layers += 1

    def modules(self, source: Source) -> list[tuple[int | None, torch.nn.Module]]:
        """[(layer, module)] of a source; layer is None outside of layers."""
        places = [(layer, source.path.format(layer=layer)) for layer in (range(self.layers) if LAYER in source.path else [None])]
        return [(layer, self.paths[path]) for layer, path in places if path in self.paths]

    def layer_modules(self) -> list[torch.nn.Module]:
        return [self.paths[self.layer_path.format(layer=layer)] for layer in range(self.layers)]


class Source:
    """The source of a stage as the user writes it: a module, its input or output, and steps. Errors: ValueError."""

    def __init__(self, stage: str, source: str | dict[str, Any]) -> None:
        steps: dict[str, Any] = source if isinstance(source, dict) else {"from": source}
        unknown = set(steps) - {"from", "view", "select", "slice"}
        if "from" not in steps or unknown:
            raise ValueError(f"stages: {stage} is {source}; expected from, and view, select or slice")
        self.stage = stage
        self.steps = steps
        self.path, _, end = steps["from"].partition(":")
        if end not in ("", "input", "output"):
            raise ValueError(f"stages: {stage} is taken from {steps['from']}; expected :input or :output after the path")
        if (LAYER in self.path) == (stage in OUTSIDE):
            raise ValueError(f"stages: {stage} is taken from {self.path}; expected {'no' if stage in OUTSIDE else 'a'} {LAYER} in it")
        self.of_input = end == "input"

    def extract(self, tensor: torch.Tensor) -> torch.Tensor:
        """Applies the steps to the module's input or output."""
        if "view" in self.steps:
            tensor = tensor.unflatten(-1, self.steps["view"])
        if "select" in self.steps:
            tensor = tensor.select(*self.steps["select"])
        if "slice" in self.steps:
            tensor = tensor.narrow(*self.steps["slice"])
        return tensor
