"""Connects a PyTorch language model to Plumbline.

A file of a few lines says how the model is built; `python -m plumbline.serve FILE.py` then answers for it:

    import plumbline
    from my_model import MyModel

    adapter = plumbline.Module(lambda specification: MyModel(layers=specification["num_hidden_layers"]))
"""

import importlib

_HOME = {"Adapter": "adapter", "Cannot": "adapter", "Overrun": "adapter", "Pass": "adapter", "Cache": "caches",
         "HuggingFace": "hugging_face", "Module": "module", "Server": "server", "llama_config": "settings"}
__all__ = sorted(_HOME)
__version__ = "0.1.0"


def __getattr__(name):
    # Imported when asked for: plumbline.serve has to be able to say that torch is missing.
    if name not in _HOME:
        raise AttributeError(f"module 'plumbline' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module("." + _HOME[name], __name__), name)
