"""Gives the modules and parameters of a model other names, "a1.b0.a2", under which its own code still finds them."""

from torch import nn

NUMBERED = (nn.ModuleList, nn.ModuleDict, nn.ParameterDict, nn.ParameterList, nn.Sequential)


def scrambled(model):
    """The same model, changed in place."""
    for module in list(model.modules()):
        aliases = {}
        for letter, held in zip("abc", (module._modules, module._parameters, module._buffers)):
            if isinstance(module, NUMBERED):
                continue
            for number, name in enumerate(list(held)):
                aliases[name] = f"{letter}{number}"
                held[aliases[name]] = held.pop(name)
        if aliases:
            vars(module)["aliases"] = aliases
            module._non_persistent_buffers_set = {aliases[name] for name in module._non_persistent_buffers_set}
            kind = type(module)
            module.__class__ = type(kind.__name__, (kind,), {"__getattr__": by_alias, "__module__": kind.__module__})
    return model


def by_alias(module, name):
    """What torch.nn.Module finds under the name that it has now."""
    return nn.Module.__getattr__(module, vars(module).get("aliases", {}).get(name, name))
