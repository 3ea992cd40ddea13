"""The adapter of a model of which nothing is told but how to build it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch

from plumbline import generation, interface, reading
from plumbline.adapter import Generation
from plumbline.hugging_face import HuggingFace
from plumbline.mapping import mapping_of
from plumbline.module import Module
from plumbline.reading import NotUnderstood
from plumbline.snapshot import preserved_global_state
from plumbline.user_code import Misused, line_of


def adapter_for(what: Any, name: str, specification: dict[str, Any]) -> Module:
    """The adapter for the model that `what` is or builds: transformers' own classes follow their convention."""
    first = [what if isinstance(what, torch.nn.Module) else built(what, name, specification)]
    if not type(first[0]).__module__.startswith("transformers."):
        return Discovered(what, name)
    adapter = HuggingFace(lambda specification: first.pop() if first else built(what, name, specification), name=name)
    adapter.reads_always = True
    return adapter


class Discovered(Module):
    """A module whose parameters, stages, settings, mask, positions and cache are found out by looking and by trying.

    what: a class, a function that builds the module, or the module. It is called with nothing, with the specification (a dict), or with the
    specification's values for parameters of their names, as it takes them.
    """

    refuses_idle = True  # a parameter that takes no part in a pass; `inspect` shows the table all the same

    def __init__(self, what: Any, name: str) -> None:
        super().__init__(lambda specification: what if isinstance(what, torch.nn.Module) else built(what, name, specification),
                         initialises=False, name=name)
        self.what = what

    def require_tokens_alone(self) -> None:
        """Errors: Misused where forward needs more than tokens."""
        forward = getattr(self.model, "_orig_mod", self.model).forward
        try:
            parameters = list(inspect.signature(forward).parameters.values())[1:]
        except (TypeError, ValueError):
            return
        needed = [one.name for one in parameters if one.default is one.empty and one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD,
                                                                                            one.KEYWORD_ONLY)]
        if len(needed) == 1 and needed[0] in interface.STARTS:
            self.begin_at_zero(needed[0])
        elif needed:
            raise Misused(f"forward() needs {', '.join(needed)} beside the tokens, which nothing tells: give it a default, or name a "
                          "function that wraps the model", line_of(forward))

    def begin_at_zero(self, start: str) -> None:
        """For a model that always needs the number of tokens before: a pass that does not give it begins a text, with an empty cache."""
        def add_start(module: torch.nn.Module, args: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[Any, Any]:
            if len(args) > 1 or start in keywords:
                return args, keywords
            if self.cache is not None and self.cache.inside:
                self.cache.inside.require_room(args[0].shape[0])
                self.cache.inside.reset()
            return args, {**keywords, start: 0}

        getattr(self.model, "_orig_mod", self.model).register_forward_pre_hook(add_start, with_kwargs=True)
        self.notes.append(f"assumed: {start}=0 begins a text")

    def understand(self) -> None:
        self.require_tokens_alone()
        try:
            self.reading = self.read()
        except NotUnderstood as error:
            raise Misused(f"this model could not be understood: {error}. Say in an adapter how its parameters are called (docs/live-models.md)",
                          reading.shown(error.line) if error.line else line_of(type(self.model).forward)) from None
        self.place_idle_parameters(self.reading)
        if not self.has_usual_names():
            self.mapping = mapping_of(self.reading, self.model)
        self.notes += self.reading.notes
        tokens = (torch.arange(3 * interface.TOKENS, device=self.device).view(3, -1) * 7 + 1) % self.specification["vocab_size"]
        with preserved_global_state(), torch.no_grad():
            found = interface.Finder(self.model, tokens, self.model, self.logits_in).find()
        self.mask, self.positions, self.cache = found.mask, found.positions, found.cache
        self.assumed = {"mask", "positions"}
        self.notes += found.notes

    def place_idle_parameters(self, read: reading.Reading) -> None:
        """Errors: Misused where a parameter takes no part in a pass and nothing tells what it is for."""
        held = {name: tensor for name, tensor in self.model.named_parameters(remove_duplicate=False) if name in read.surplus and tensor.requires_grad}
        if not held:
            return
        tokens = torch.arange(6, device=self.device).view(2, 3) % self.specification["vocab_size"]
        with preserved_global_state():
            logits = self.logits_in(self.model(tokens))
            if not logits.requires_grad:
                return
            found = torch.autograd.grad(logits.float().sum(), list(held.values()), allow_unused=True)
        idle = [name for name, gradient in zip(held, found) if gradient is None]
        placed = reading.place_idle(read, {name: tuple(held[name].shape) for name in idle})
        if placed:
            self.notes.append(f"{placed[0]}{f' and {len(placed) - 1} more take' if len(placed) > 1 else ' takes'} no part in a pass: placed where "
                              "nothing else is")
        idle = [name for name in idle if name not in placed]
        if idle and self.refuses_idle:
            more = f" and {len(idle) - 1} more" if len(idle) > 1 else ""
            raise Misused(f"this model could not be understood: {idle[0]}{more} takes no part in a pass over tokens, so that nothing tells what "
                          f"it is for ({len(read.all_roles())} other parameters were placed). Remove what is not used, or say in an adapter "
                          "what the model is called with; `plumbline inspect` shows the table", line_of(type(self.model).forward))

    def make_loop(self) -> generation.Loop | None:
        method = getattr(type(self.model), "generate", None)
        if method is None:
            return None
        try:
            loop = generation.Loop(method, self.mask)
        except Misused as error:
            self.notes.append(f"its generate was not called: {error}")
            return None
        problem = self.problem_of(loop)
        if problem and "top_k" in loop.settings:
            loop.divides = True
            problem = self.problem_of(loop)
            if not problem:
                self.notes.append("its generate fails at a temperature of 0: the likeliest token is asked for by top_k=1")
        if not problem:
            return loop
        self.notes.append(f"its generate was not understood ({problem}): what needs it is not applicable; say it with generate=")
        return None

    def problem_of(self, loop: generation.Loop) -> str:
        """What goes wrong when it writes two tokens, greedily; empty where nothing does."""
        tokens = torch.arange(6, device=self.device).view(2, 3) % self.specification["vocab_size"]
        try:
            with preserved_global_state(), torch.no_grad():
                loop(self.model, tokens, Generation(most_tokens=2, temperature=0.0 if loop.greedy else 1.0), torch.ones_like(tokens))
        except (Exception, SystemExit) as error:
            return f"{type(error).__name__}: {error}".splitlines()[0][:120]
        return ""


def built(what: Callable[..., Any], name: str, specification: dict[str, Any]) -> Any:
    """What a class or function builds. Errors: Misused where it needs what cannot be known."""
    if not callable(what):
        raise Misused(f"{name} is of type {type(what).__name__}, expected a class, a function that builds a torch.nn.Module, or one", None)
    try:
        parameters = list(inspect.signature(what).parameters.values())
    except ValueError:
        return what()
    needed = [one for one in parameters if one.default is one.empty and one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
    known = {one.name: specification[one.name] for one in parameters if one.name in specification}
    if all(one.name in known for one in needed):
        return what(**known)
    if len(needed) == 1 and needed[0].kind is not inspect.Parameter.KEYWORD_ONLY:
        return what(specification, **{key: value for key, value in known.items() if key != needed[0].name})
    names = ", ".join(one.name for one in needed if one.name not in known)
    raise Misused(f"{name} needs {names}, which nothing tells: name a function without parameters that builds the model, or one of the specification",
                  line_of(vars(what)["__init__"] if isinstance(what, type) and "__init__" in vars(what) else what))
