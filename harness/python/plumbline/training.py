"""Modes, dropout rates, gradients and AdamW steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F

from plumbline.adapter import Cannot
from plumbline.parameters import parameters

RATES = ("dropout", "attention_dropout", "attn_dropout", "resid_dropout", "dropout_p", "dropout_rate")
IGNORED = -100
SERVES = "its forward is decorated to keep no gradients: gradients and training are not applicable"


def rates(model: torch.nn.Module) -> list[tuple[Any, str]]:
    """[(object, attribute)] of the dropout rates of the model and its configurations."""
    found: list[tuple[Any, str]] = []
    seen = set()
    for module in model.modules():
        if isinstance(module, torch.nn.modules.dropout._DropoutNd):
            found.append((module, "p"))
        for holder in (module, getattr(module, "config", None)):
            if holder is None or id(holder) in seen:
                continue
            seen.add(id(holder))
            found += [(holder, name) for name in RATES if holds(holder, name) and is_rate(getattr(holder, name))]
    return found


def holds(holder: Any, name: str) -> bool:
    """hasattr, without the slow search among a module's parameters."""
    return name in vars(holder) or hasattr(type(holder), name) if isinstance(holder, torch.nn.Module) else hasattr(holder, name)


def is_rate(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


@contextmanager
def mode(model: torch.nn.Module, training: bool, rate: float = 0.0) -> Iterator[None]:
    """Sets training or evaluation mode and every dropout rate to `rate`, and restores both.

    In evaluation, too: a model that drops out there shows it only with a rate above 0.
    """
    before = [(holder, name, getattr(holder, name)) for holder, name in rates(model)]
    was_training = model.training
    model.train(training)
    try:
        for holder, name, _ in before:
            setattr(holder, name, rate)
        yield
    finally:
        for holder, name, value in before:
            setattr(holder, name, value)
        model.train(was_training)


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean over the labels that count of -log p(label | tokens before it). logits: (B, T, V), labels: (B, T)."""
    return F.cross_entropy(logits[:, :-1].float().flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED)


def keeps_no_gradients(model: torch.nn.Module, logits: Callable[[], torch.Tensor]) -> bool:
    """Whether forward is decorated with torch.no_grad() or torch.inference_mode(), as of a model that only serves."""
    kinds = type(getattr(model, "_orig_mod", model)).__mro__
    decorated = any(getattr(getattr(vars(kind).get("forward"), "__code__", None), "co_name", "") == "decorate_context" for kind in kinds)
    if not decorated:
        return False
    with torch.inference_mode(False), torch.enable_grad():
        return not logits().requires_grad


def gradients(model: torch.nn.Module, loss: Callable[[], torch.Tensor]) -> dict[str, torch.Tensor]:
    """{"loss": (), name: gradient}; zeros for a parameter that the loss does not depend on. `loss`: function() -> ()."""
    model.zero_grad(set_to_none=True)
    value = loss()
    if not value.requires_grad and not model.training:
        raise Cannot("in evaluation mode its loss takes no gradients")
    value.backward()
    result = {"loss": value.detach().clone()}
    for name, parameter in parameters(model).items():
        result[name] = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.detach().clone()
    model.zero_grad(set_to_none=True)
    return result


def train(model: torch.nn.Module, losses: Sequence[Callable[[], torch.Tensor]], learning_rate: float, betas: tuple[float, float],
          eps: float, weight_decay: float) -> torch.Tensor:
    """A step of AdamW on each of `losses`, functions() -> (). Returns their values (steps), each before its step."""
    optimiser = AdamW(parameters(model).values(), learning_rate, betas, eps, weight_decay)
    values = []
    for loss in losses:
        model.zero_grad(set_to_none=True)
        value = loss()
        value.backward()
        optimiser.step()
        values.append(value.detach().float().reshape(()))
    model.zero_grad(set_to_none=True)
    return torch.stack(values) if values else torch.zeros(0)


class AdamW:
    """Loshchilov and Hutter, "Decoupled Weight Decay Regularization", algorithm 2, in the order of torch.optim.AdamW's operations.

    Not torch.optim's, since that imports torch's compiler, which takes a third of the start of a verification.
    """

    def __init__(self, parameters: Iterable[torch.Tensor], learning_rate: float, betas: tuple[float, float], eps: float,
                 weight_decay: float) -> None:
        self.states = [(parameter, torch.zeros_like(parameter), torch.zeros_like(parameter)) for parameter in parameters]
        self.learning_rate, self.betas, self.eps, self.weight_decay = learning_rate, betas, eps, weight_decay
        self.steps = [0] * len(self.states)

    @torch.no_grad()
    def step(self) -> None:
        first, second = self.betas
        for index, (parameter, mean, square) in enumerate(self.states):
            if parameter.grad is None:
                continue
            self.steps[index] += 1
            step = self.steps[index]
            parameter.mul_(1 - self.learning_rate * self.weight_decay)
            mean.lerp_(parameter.grad, 1 - first)
            square.mul_(second).addcmul_(parameter.grad, parameter.grad, value=1 - second)
            root = (square.sqrt() / (1 - second**step) ** 0.5).add_(self.eps)
            parameter.addcdiv_(mean, root, value=-self.learning_rate / (1 - first**step))
