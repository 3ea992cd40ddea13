"""Runs the user's file and calls the functions in it."""

from __future__ import annotations

import importlib.util
import inspect
import os
import sys
from collections.abc import Callable
from typing import Any

from plumbline.adapter import Adapter
from plumbline.failure import shortened


class Misused(Exception):
    """The user's file does not fit the interface; `where`: the line to look at."""

    def __init__(self, message: str, where: str | None) -> None:
        super().__init__(message)
        self.where = where


def split_target(target: str) -> tuple[str, str | None]:
    """A file and the name in it: "my_model.py:MyModel", or "my_adapter.py" without one."""
    file, colon, name = target.rpartition(":")
    return (file, name) if colon and file.endswith(".py") else (target, None)


def adapter_in(target: str, specification: dict[str, Any]) -> Adapter:
    """The plumbline.Adapter that a file defines as `adapter`, or one of the model of the name in "FILE.py:NAME".

    Errors: Misused, or whatever the file raises.
    """
    file, name = split_target(target)
    # As when Python runs a script: modules beside the file can be imported.
    sys.path.insert(0, os.path.dirname(os.path.abspath(file)))
    spec = importlib.util.spec_from_file_location("plumbline_user_adapter", file)
    if spec is None or spec.loader is None:
        raise Misused("an adapter is a Python file, its name ending in .py", shortened(file))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    if name is not None:
        from plumbline.discovered import adapter_for

        if not hasattr(module, name):
            raise Misused(f"the file defines no {name!r}", f"{shortened(file)}:1")
        return adapter_for(getattr(module, name), name, specification)
    if not hasattr(module, "adapter"):
        raise Misused(f"the file defines no `adapter`; name the model in it, {os.path.basename(file)}:NAME, if it is no adapter",
                      f"{shortened(file)}:1")
    adapter = module.adapter
    if callable(adapter) and not isinstance(adapter, type):
        adapter = call(adapter, "adapter", specification=specification)
    if not isinstance(adapter, Adapter):
        what = "a class" if isinstance(adapter, type) else f"of type {type(adapter).__name__}"
        raise Misused(f"`adapter` is {what}, expected a plumbline.Adapter object, or a function of the specification that returns one",
                      f"{shortened(file)}:{line_of_assignment(file)}")
    return adapter


def call(function: Callable[..., Any], name: str, **arguments: Any) -> Any:
    """Calls function(*arguments). Errors: Misused where its signature does not take them."""
    try:
        inspect.signature(function).bind(*arguments.values())
    except TypeError as error:
        raise Misused(f"`{name}` is called as {name}({', '.join(arguments)}): {error}", line_of(function)) from None
    except ValueError:
        pass  # written in C, without a signature to look at
    return function(*arguments.values())


def takes_keywords(function: Callable[..., Any]) -> bool:
    """Whether a function takes keywords of any name."""
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in inspect.signature(function).parameters.values())


def line_of(function: Callable[..., Any]) -> str | None:
    """Where a function is written, "my_adapter.py:4"; None for one that is not written in Python."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f"{shortened(code.co_filename)}:{code.co_firstlineno}" if code else None


def line_of_assignment(file: str) -> int:
    with open(file, encoding="utf-8") as source:
        lines = [number for number, line in enumerate(source, 1) if line.startswith(("adapter", "def adapter", "class adapter"))]
    return lines[-1] if lines else 1
