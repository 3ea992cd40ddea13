"""Modes, dropout rates, gradients and steps of AdamW."""

from contextlib import contextmanager

import torch
import torch.nn.functional as F

from plumbline.parameters import parameters

RATES = ("dropout", "attention_dropout", "attn_dropout", "resid_dropout", "dropout_p", "dropout_rate")
IGNORED = -100


def rates(model):
    """[(object, attribute)]: where the model and its configurations hold dropout rates."""
    found = []
    seen = set()
    for module in model.modules():
        if isinstance(module, torch.nn.modules.dropout._DropoutNd):
            found.append((module, "p"))
        for holder in (module, getattr(module, "config", None)):
            if holder is None or id(holder) in seen:
                continue
            seen.add(id(holder))
            found += [(holder, name) for name in RATES if is_rate(getattr(holder, name, None))]
    return found


def is_rate(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


@contextmanager
def mode(model, training, rate=0.0):
    """Training or evaluation mode with every dropout rate set to `rate`; as before afterwards.

    In evaluation too: a model that drops there shows it only where a rate is configured.
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


def cross_entropy(logits, labels):
    """Mean over the labels that count of -log p(label | tokens before it). logits: (B, T, V), labels: (B, T)."""
    return F.cross_entropy(logits[:, :-1].float().flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED)


def gradients(model, loss):
    """{"loss": (), name: gradient}; zeros for a parameter that the loss does not depend on. `loss`: function() -> ()."""
    model.zero_grad(set_to_none=True)
    value = loss()
    value.backward()
    result = {"loss": value.detach().clone()}
    for name, parameter in parameters(model).items():
        result[name] = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.detach().clone()
    model.zero_grad(set_to_none=True)
    return result


def train(model, losses, learning_rate, betas, eps, weight_decay):
    """A step of AdamW on each of `losses`, functions() -> (). Returns their values (steps), each before its step."""
    optimiser = torch.optim.AdamW(parameters(model).values(), lr=learning_rate, betas=betas, eps=eps, weight_decay=weight_decay)
    values = []
    for loss in losses:
        optimiser.zero_grad(set_to_none=True)
        value = loss()
        value.backward()
        optimiser.step()
        values.append(value.detach().float().reshape(()))
    optimiser.zero_grad(set_to_none=True)
    return torch.stack(values) if values else torch.zeros(0)
