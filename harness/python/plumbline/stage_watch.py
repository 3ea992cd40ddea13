"""Observes the stages of a pass, by hooks on modules and on the functions that attention calls."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.hooks import RemovableHandle

from plumbline.attention import ATTENTION_STAGES, AttentionWatch
from plumbline.stages import Plan, Source, full_name

IN_HEADS = ("q", "k", "v", "q_rotated", "k_rotated")


class StageWatch:
    """While entered, copies the stages of a pass, since models change tensors in place.

    observe: stages, without their layer; tokens: (B, T); before: slots of the cache that were written before;
    head_size: of queries and keys.
    """

    def __init__(self, plan: Plan, observe: frozenset[str], tokens: torch.Tensor, before: int, head_size: int) -> None:
        self.plan = plan
        self.observe = set(observe) - plan.left_out
        self.tokens, self.before = tokens, before
        self.head_size = head_size
        self.seen: dict[str, list[torch.Tensor]] = {}
        self.handles: list[RemovableHandle] = []
        self.active_layers: list[int] = []  # layers, the innermost last
        self.attention: AttentionWatch | None = None

    def __enter__(self) -> StageWatch:
        # Rotated queries and keys are shown only beside those before rotation.
        wanted = self.observe | ({"q", "k"} if self.observe & set(ATTENTION_STAGES) else set())
        for source in self.plan.sources:
            for layer, module in self.plan.modules(source) if source.stage in wanted else []:
                self.handles.append(self.add_hook(source, layer, module))
        if self.observe & set(ATTENTION_STAGES) and self.plan.layers:
            for layer, outer in enumerate(self.plan.layer_modules()):
                # Its submodules, too: some models call the parts of a layer and never the layer itself.
                for module in outer.modules():
                    self.handles.append(module.register_forward_pre_hook(lambda *_, layer=layer: self.active_layers.append(layer)))
                    self.handles.append(module.register_forward_hook(lambda *_: self.leave_layer()))
            self.attention = AttentionWatch(self.active_layers)
            self.attention.__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        if self.attention:
            self.attention.__exit__(*error)  # type: ignore[no-untyped-call]
        for handle in self.handles:
            handle.remove()

    def leave_layer(self) -> None:
        self.active_layers.pop()
        if not self.active_layers and self.attention:
            self.attention.products.clear()

    def add_hook(self, source: Source, layer: int | None, module: torch.nn.Module) -> RemovableHandle:
        def keep(tensor: torch.Tensor | None) -> None:
            if tensor is not None:
                self.seen.setdefault(full_name(source.stage, layer), []).append(source.extract(tensor).detach().clone())

        if source.of_input:
            return module.register_forward_pre_hook(
                lambda _, inputs, keywords: keep(first_tensor(inputs) if inputs else first_tensor(keywords)), with_kwargs=True)
        return module.register_forward_hook(lambda _, inputs, output: keep(first_tensor(output)))

    def stages(self) -> dict[str, torch.Tensor]:
        """{name: tensor} of the observed stages, "layers.0.q", in the protocol's shapes."""
        found = {}
        for name, pieces in self.seen.items():
            tensor = join_pieces(pieces, self.tokens.shape[1])
            if tensor is None:
                continue
            in_heads = name.rpartition(".")[2] in IN_HEADS and tensor.dim() == 3 and tensor.shape[-1] % self.head_size == 0
            found[name] = tensor.unflatten(-1, (-1, self.head_size)) if in_heads else tensor
        for layer, call in (self.attention.calls if self.attention else {}).items():
            before = [found.get(full_name(stage, layer)) for stage in ("q", "k")]
            shown = call.stages(self.tokens, self.before, *before)
            # Sources that the user named take precedence.
            found = {**{full_name(stage, layer): tensor for stage, tensor in shown.items()}, **found}
        return {name: tensor for name, tensor in found.items() if name.rpartition(".")[2] in self.observe}

    def observed_head_size(self) -> int | None:
        """Of the queries that attention was called with, or None."""
        calls = self.attention.calls if self.attention else {}
        return next((call.query.shape[-1] for call in calls.values() if call.query is not None), None)


def join_pieces(pieces: list[torch.Tensor], length: int) -> torch.Tensor | None:
    """(B, length, ...) from the calls of one module: the first call's, or all concatenated where each took some of the tokens,
    as in a model that runs token by token. None where they do not add up to the pass.
    """
    if pieces[0].dim() < 2 or pieces[0].shape[1] == length:
        return pieces[0]
    joined = [piece for piece in pieces if piece.dim() == pieces[0].dim()]
    if len(joined) < len(pieces) or sum(piece.shape[1] for piece in joined) != length:
        return None if len(pieces) > 1 else pieces[0]
    return torch.cat(joined, 1)


def first_tensor(value: Any) -> torch.Tensor | None:
    """The tensor that a module takes or returns, or the first in a tuple or dict."""
    if torch.is_tensor(value):
        return value
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return next((part for part in value if torch.is_tensor(part)), None)
    return None
