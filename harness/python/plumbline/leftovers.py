"""What a pass leaves changed in a model and in torch, and must not."""

from __future__ import annotations

from typing import Any

import torch

from plumbline.parameters import listed


class Leftovers:
    """Taken before a pass; changes() afterwards says what is not as it was.

    Looked at are the modes of modules, the parameters and whether they take gradients, torch's grad mode and the seed of its
    generator. Buffers are not: tables that grow when they are needed are sound.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self.model = model
        self.before = state_of(model)

    def changes(self) -> list[str]:
        now = state_of(self.model)
        sentences = []
        for what, before in self.before.items():
            changed = [name for name, value in before.items() if now[what].get(name, value) != value]
            if changed:
                first = f"{before[changed[0]]} before, {now[what][changed[0]]} after"
                sentences.append(f"{what} ({first}): {listed(changed)}")
        return sentences


def state_of(model: torch.nn.Module) -> dict[str, dict[str, Any]]:
    parameters = list(model.named_parameters())
    return {"training mode": {name or "the model": module.training for name, module in model.named_modules()},
            "requires_grad": {name: parameter.requires_grad for name, parameter in parameters},
            "number of changes to a parameter": {name: version(parameter) for name, parameter in parameters},
            "torch's state": {"grad mode": torch.is_grad_enabled(), "seed": torch.initial_seed()}}


def version(tensor: torch.Tensor) -> int:
    try:
        return tensor._version
    except RuntimeError:  # an inference tensor counts nothing
        return 0
