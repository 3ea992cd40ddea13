"""Connects a PyTorch language model to Plumbline.

A file of a few lines says how the model is built; `python -m plumbline.serve FILE.py` then answers for it:

    import plumbline
    from my_model import MyModel

    adapter = plumbline.Module(lambda specification: MyModel(layers=specification["num_hidden_layers"]))

In a test or a notebook plumbline.verify(model) judges a model without such a file, where it is.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {"Adapter": "adapter", "Cannot": "adapter", "Overrun": "adapter", "Pass": "adapter", "Cache": "caches",
         "CouldNotJudge": "result", "Generation": "adapter", "HuggingFace": "hugging_face", "Module": "module",
         "Result": "result", "Server": "server", "llama_config": "settings", "verify": "verification"}
__all__ = sorted(_HOME)  # noqa: PLE0605
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Imported when asked for: plumbline.serve has to be able to say that torch is missing. No file is called as a name that is
    # exported: importing it would put the module in that name's place.
    if name not in _HOME:
        raise AttributeError(f"module 'plumbline' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module("." + _HOME[name], __name__), name)
