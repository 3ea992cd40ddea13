"""Saves and restores the user's model and torch's global state."""

from __future__ import annotations

import random
import sys
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from plumbline import training

CONTAINERS = (dict, OrderedDict, list, set)  # and no subclasses, whose update() may do anything


class Snapshot:
    """The state of a model: values of tensors, attributes of modules, gradients and dropout rates.

    Values are saved by storage, so that tensors which share one still do. Takes a copy of the model in memory.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self.attributes = [(module, dict(vars(module)), containers_of(module)) for module in model.modules()]
        self.modes = [(module, module.training) for module in model.modules()]
        self.parameters = [(each, each.data, each.requires_grad, each.grad) for each in model.parameters()]
        self.rates = [(holder, name, getattr(holder, name)) for holder, name in training.rates(model)]
        self.storages: dict[Any, tuple[Any, Any]] = {}
        for tensor in tensors_of(model):
            storage = tensor.untyped_storage()
            if storage.nbytes() and not tensor.is_meta:
                self.storages.setdefault((storage.device, storage.data_ptr()), (storage, storage.clone()))

    def restore(self) -> None:
        for module, attributes, containers in self.attributes:
            restore_attributes(vars(module), attributes)
            for container, held in containers:
                # In place: hooks are removed through the container, and other objects may refer to it.
                container.clear()
                (container.extend if isinstance(container, list) else container.update)(held)
        for module, training_mode in self.modes:
            if module.training != training_mode:  # a compiled module does not keep it in vars()
                module.training = training_mode
        for parameter, data, requires_grad, grad in self.parameters:
            parameter.data = data
            parameter.requires_grad_(requires_grad)
            parameter.grad = grad
        for storage, values in self.storages.values():
            storage.copy_(values)
        for holder, name, rate in self.rates:
            setattr(holder, name, rate)


def restore_attributes(attributes: dict[str, Any], before: dict[str, Any]) -> None:
    attributes.clear()
    attributes.update(before)


def containers_of(module: torch.nn.Module) -> list[tuple[Any, list[Any]]]:
    """[(container, its content)] of the module's attributes."""
    return [(value, list(value.items()) if isinstance(value, dict) else list(value))
            for value in vars(module).values() if type(value) in CONTAINERS]


def tensors_of(model: torch.nn.Module) -> Iterator[torch.Tensor]:
    """Parameters, buffers, and tensors in attributes of modules or in lists and dicts there. Some are repeated."""
    yield from model.parameters()
    yield from model.buffers()
    for module in model.modules():
        for value in vars(module).values():
            parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else [value]
            yield from (part for part in parts if torch.is_tensor(part))


@contextmanager
def preserved_global_state() -> Iterator[None]:
    """Restores random generators, the default type, the number of threads and the grad mode at the end.

    Within, gradients are on and autocast is off, as in a fresh program.
    """
    numpy = sys.modules.get("numpy")
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    with ExitStack() as afterwards:
        afterwards.callback(torch.set_num_threads, torch.get_num_threads())
        afterwards.callback(torch.set_default_dtype, torch.get_default_dtype())
        afterwards.callback(random.setstate, random.getstate())
        if numpy:
            afterwards.callback(numpy.random.set_state, numpy.random.get_state())
        if cuda is None:
            # CUDA is not initialised: it will start with this seed, as after torch.manual_seed.
            afterwards.callback(torch.cuda.manual_seed_all, torch.initial_seed())
        else:
            afterwards.callback(torch.cuda.set_rng_state_all, cuda)
        afterwards.callback(torch.set_rng_state, torch.get_rng_state())
        for kind in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
            afterwards.enter_context(torch.autocast(kind, enabled=False))
        afterwards.enter_context(torch.inference_mode(False))  # turns gradients on, too
        yield
