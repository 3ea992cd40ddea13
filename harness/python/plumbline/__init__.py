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
    # Imported lazily, since plumbline.serve has to report a missing torch. No module has the name of an export: importing it
    # would replace the export.
    if name not in _HOME:
        raise AttributeError(f"module 'plumbline' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module("." + _HOME[name], __name__), name)
