"""A model's parameters, each tensor once, with all its names."""

from __future__ import annotations

from typing import Any

import torch

MOST_LISTED = 8


def groups(model: torch.nn.Module) -> list[tuple[list[str], torch.Tensor]]:
    """[(names, tensor)]: the names of each distinct tensor, in the order of first names."""
    found: dict[Any, tuple[list[str], torch.Tensor]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        place = (parameter.device, parameter.untyped_storage().data_ptr(), parameter.storage_offset(),
                 tuple(parameter.shape), parameter.stride())
        key = place if parameter.numel() else name
        found.setdefault(key, ([], parameter))[0].append(name)
    return list(found.values())


def parameters(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """{first name: tensor}"""
    return {names[0]: tensor for names, tensor in groups(model)}


def describe(model: torch.nn.Module) -> dict[str, Any]:
    """The `parameters` and `tied` of a reply to hello."""
    return {"parameters": [{"name": name, "shape": list(tensor.shape), "dtype": str(tensor.dtype).replace("torch.", "")}
                           for name, tensor in parameters(model).items()],
            "tied": [names for names, _ in groups(model) if len(names) > 1]}


def load(model: torch.nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    """Loads {name: tensor} into the model, rounding to its type. Errors: ValueError; the model is then unchanged.

    By load_state_dict, as a checkpoint is, so that hooks which refresh merged or packed copies of weights run.
    """
    own = parameters(model)
    shapes = [f"{name} {list(tensors[name].shape)}, expected {list(own[name].shape)}"
              for name in own if name in tensors and tensors[name].shape != own[name].shape]
    complaints = [f"{what}: {listed(names)}" for what, names in
                  (("missing", [name for name in own if name not in tensors]),
                   ("unknown", [name for name in tensors if name not in own]),
                   ("of another shape", shapes)) if names]
    if complaints:
        raise ValueError("weights do not fit the model; " + "; ".join(complaints))
    with torch.no_grad():
        try:
            model.load_state_dict({name: tensors[names[0]] for names, _ in groups(model) for name in names}, strict=False)
        except Exception:  # the user's own code may want other names there; what it left is copied
            pass
        for name, tensor in tensors.items():
            if not torch.equal(own[name], tensor.to(own[name])):
                own[name].copy_(tensor)


def listed(names: list[str]) -> str:
    more = f" and {len(names) - MOST_LISTED} more" if len(names) > MOST_LISTED else ""
    return ", ".join(names[:MOST_LISTED]) + more
