"""The ready-made adapter for a torch.nn.Module."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence, Set
from typing import Any

import torch

from plumbline import caches, parameters, reading, settings, stages, training, trial
from plumbline.adapter import Pass
from plumbline.flow_watch import FlowWatch
from plumbline.mapping import mapping_of
from plumbline.rotation import rotation_of, rounded_to
from plumbline.snapshot import preserved_global_state
from plumbline.module_runtime import ModuleRuntime
from plumbline.user_code import Misused, call, line_of

USUAL = {"model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight", "model.layers.0.mlp.gate_proj.weight"}
Builder = Callable[[dict[str, Any]], torch.nn.Module]  # of a specification


class Module(ModuleRuntime):
    """Any torch.nn.Module that takes tokens (B, T) int64 as its first argument and returns logits (B, T, V).

    build: function(specification) -> module; called again to initialise it anew.

    mask: keyword of a padding mask, int64, 1 where a token is real: (B, T), and with a cache (B, S) over all slots so far.
    positions: keyword of each token's position, int64 (B, T).
    Both are passed only where they are needed: a batch that is padded, a pass that begins elsewhere than at 0.
    cache: plumbline.Cache, how the module takes and returns its KV cache.
    logits: where they stand in what the module returns, a name or a number; found by itself in a tensor, a tuple (first), an
    object or a dict ("logits").

    mapping: where canonical parameters lie in the module's, as the protocol's `mapping`; needed for names of its own.
    stages: {stage: source}, where stages are found (plumbline/stages.py says how); usual names need not be told.
    configuration: {key: value} under the specification's keys, or function(module) returning it; beside module.config.

    initialises: whether build leaves the module as it starts training; then its initialisation is judged as well.
    loss: function(module, tokens, labels) -> (), the module's own loss; by default cross-entropy of its logits. One that takes
    **keywords as well is asked of padded batches too, with what the module is then called with.

    generate: function(module, tokens, *, max_new_tokens, ...) -> (B, T + new tokens), its own loop that writes text, or a method,
    generate=MyModel.generate. It returns the prompts as they came, padding included, and after each what it wrote: max_new_tokens,
    or fewer when every row has ended. It is given those of these parameters that its signature names: temperature (0.0: greedy),
    top_k (0: all), top_p (1.0: all), repetition_penalty (1.0: none; of prompt and new tokens alike), eos_token_id or end (None:
    none), seed (torch, random and numpy are seeded as well), do_sample (False: greedy, with a temperature of 1.0), pad_token_id (the
    end token, or 0), and the mask, where prompts are padded. Of one that is to do nothing and is None by default, None is given.
    One that names no temperature is taken to draw, at 1, unless it writes the same whatever the seed. What a loop cannot do, being greedy or anything else, it refuses by
    raising plumbline.Cannot. If it draws every token by one call of
    torch.multinomial over the vocabulary for all rows, what it draws from is judged as well.
    pad: the id that the loop fills a row with after its end token, if not that token itself; by default config.pad_token_id.
    prompt_padding: sides on which prompts of unlike length may be padded; by default "left", if the loop takes the mask.

    repeat_kv: function(x, factor), (B, S, K, Dh) -> (B, S, K * factor, Dh).
    rotate: function(module, x, positions), (B, T, heads, Dh) at (B, T) int64.
    name: what the candidate is called; by default the module's class.
    """

    reads_always = False  # whether its data flow is read although all was told

    def __init__(self, build: Builder, *, mask: str | None = None, positions: str | None = None,
                 cache: caches.Cache | None = None, logits: str | int | None = None, mapping: dict[str, Any] | None = None,
                 stages: dict[str, Any] | None = None, configuration: Any = None, initialises: bool = True,
                 loss: Callable[..., torch.Tensor] | None = None, generate: Callable[..., Any] | None = None,
                 pad: int | None = None, prompt_padding: str | Sequence[str] | None = None,
                 repeat_kv: Callable[..., Any] | None = None, rotate: Callable[..., Any] | None = None,
                 name: str | None = None) -> None:
        self.build = build
        self.mask, self.positions, self.cache, self.logits_at = mask, positions, cache, logits
        self.mapping, self.stage_sources, self.configuration = mapping, stages, configuration
        self.initialises = initialises
        self.loss, self.repeat, self.rotation, self.name = loss, repeat_kv, rotate, name
        self.writes, self.pad, self.prompt_padding = generate, pad, prompt_padding
        self.assumed: Set[str] = frozenset()  # which of mask and positions the user did not give
        self.notes = []
        self.model = self.loop = None
        self.reading: reading.Reading | None = None

    def start(self, specification: dict[str, Any], dtype: torch.dtype, device: str) -> dict[str, Any]:
        self.specification, self.dtype, self.device = specification, dtype, device
        self.notes = []  # of checks of the adapter, for the reader of the verdict
        self.model = self.build_model()
        self.understand()
        self.plan = stages.Plan(self.model, self.stage_sources)
        self.try_keywords()
        self.loop = self.make_loop()
        config = self.settings()
        self.head_size = config.get("head_dim", {}).get("value", specification["hidden_size"] // specification["num_attention_heads"])
        shown = self.find_shown_stages()
        learns = not training.keeps_no_gradients(self.model, lambda: self.logits_in(self.model(torch.zeros(1, 2, dtype=torch.int64, device=self.device))))
        self.notes += [] if learns else [training.SERVES]
        self.try_cache()
        can = {"load": True, "initialise": self.initialises, "modes": ["evaluation", "training"], "dropout": bool(training.rates(self.model)),
               "padding": ["right", "left"] if self.mask else [], "first_position": self.positions is not None, "stages": shown,
               "cache": self.describe_cache(), "gradients": learns, "train": learns, "generate": self.describe_loop(),
               "operations": [name for name, function in self.operations().items() if function]}
        return {"name": self.name or type(self.model).__name__, "configuration": config, "mapping": self.mapping,
                **parameters.describe(self.model), "can": can, "notes": self.notes,
                "lines": {} if self.reading is None else reading.lines_of(self.reading)}

    # Reading

    def understand(self) -> None:
        """Reads from the data flow of a pass what the user did not tell of a model with names of its own."""
        self.reading = None
        if not self.reads_always and (self.mapping is not None and self.stage_sources is not None or self.has_usual_names()):
            return
        try:
            self.reading = self.read()
        except (Exception, SystemExit) as error:  # as without it: what is missing is said where it is judged
            self.notes.append(f"its data flow was not understood: {str(error).splitlines()[0] if str(error) else type(error).__name__}")
            return
        if self.mapping is None and not self.has_usual_names():
            self.mapping = mapping_of(self.reading, self.model)
        self.notes += self.reading.notes

    def read(self) -> reading.Reading:
        """Errors: reading.NotUnderstood, or what the model raises."""
        tokens = torch.arange(10, device=self.device).view(2, 5) % self.specification["vocab_size"]
        with preserved_global_state():
            return reading.read(self.model, lambda: self.model(tokens), 2)

    def has_usual_names(self) -> bool:
        names = {name for name, _ in self.model.named_parameters(remove_duplicate=False)}
        return names >= USUAL

    def watch(self, tokens: torch.Tensor, options: Pass, before: int = 0, hidden: frozenset[str] = frozenset()) -> Any:
        if self.reading is None or self.stage_sources is not None:
            return super().watch(tokens, options, before, hidden)
        return FlowWatch(self.reading, self.model, options.observe - hidden, tokens, before, self.head_size)

    # Checks of declarations

    def try_keywords(self) -> None:
        """Drops mask and positions that the model ignores. Errors: Misused where forward does not take one."""
        tokens = torch.arange(6, device=self.device).unsqueeze(0) % self.specification["vocab_size"]
        ones = torch.ones_like(tokens)
        values = {"mask": (ones, (tokens > 1).long()), "positions": (torch.arange(6, device=self.device).unsqueeze(0),
                                                                     2 * torch.arange(6, device=self.device).unsqueeze(0))}
        for what, (one, other) in values.items():
            keyword = getattr(self, what)
            takes = trial.takes_keyword(self.model, keyword) if keyword else True
            if takes is False and what not in self.assumed:
                raise Misused(f"forward() of {type(self.model).__name__} takes no {keyword!r}: name the keyword that it takes, "
                              f"Module({what}=...), or leave it out", line_of(type(self.model).forward))
            if takes is False or takes is None and self.ignores(tokens, keyword, one, other):
                if takes is None:
                    self.notes.append(f"it takes {keyword} among **keywords but ignores it: {keyword} was not passed, and what "
                                      "needs it is not applicable")
                setattr(self, what, None)

    def ignores(self, tokens: torch.Tensor, keyword: str, one: torch.Tensor, other: torch.Tensor) -> bool:
        with preserved_global_state(), torch.no_grad():
            return trial.is_ignored(lambda **keywords: self.logits_in(self.model(tokens, **keywords)), keyword, one, other)

    def try_cache(self) -> None:
        """Determines the order of the cache's axes, and whether its slots are preallocated."""
        for batch in trial.BATCHES if self.cache else ():
            found = self.find_cache_layout(batch)
            if found is None:
                continue
            axes, preallocated = found
            if axes != self.cache.axes:
                self.notes.append(f"its cache holds ({', '.join(axes)}), as a trial shows")
            self.cache = dataclasses.replace(self.cache, axes=axes, preallocated=preallocated and not self.cache.fixed)
            return

    def find_cache_layout(self, batch: int) -> tuple[tuple[str, ...], bool] | None:
        """See trial.find_layout. None for an error, too, which will be raised again where it is judged."""
        tokens = torch.arange(batch * (trial.TOKENS + 1)).view(batch, -1) % self.specification["vocab_size"]
        try:
            with preserved_global_state(), torch.no_grad():
                opened = self.open_cache(batch, trial.TOKENS + 6)
                seen = self.extend(opened, tokens[:, :trial.TOKENS], Pass(observe=frozenset(("v",))))
                before = [(keys.clone(), values.clone()) for keys, values in caches.layers(opened.held, self.cache.show)]
                self.extend(opened, tokens[:, trial.TOKENS:], Pass())
                after = caches.layers(opened.held, self.cache.show)
                return trial.find_layout(before, after, batch, self.head_size, self.cache.axes, seen.get("layers.0.v"))
        except (Exception, SystemExit):
            return None

    # Building

    def build_model(self) -> torch.nn.Module:
        model = call(self.build, "build", specification=self.specification)
        if not isinstance(model, torch.nn.Module):
            raise Misused(f"build returned an object of type {type(model).__name__}, expected a torch.nn.Module", line_of(self.build))
        return self.placed(model).eval()

    def placed(self, model: torch.nn.Module) -> torch.nn.Module:
        """Moves the model to the device and type. model.to(dtype) would also round tables and drop imaginary parts."""
        model = model.to(self.device).eval()
        if cast(model.parameters(), self.dtype) and not self.runs(model):
            cast_tables = [table for table in model.buffers() if table.is_floating_point() and table.dtype != self.dtype]
            before = [table.data for table in cast_tables]
            if cast(cast_tables, self.dtype) and self.runs(model):
                self.notes.append(f"its buffers were converted to {name_of(self.dtype)}; without that it does not run in this type")
            else:
                for table, data in zip(cast_tables, before):
                    table.data = data
        return model

    def runs(self, model: torch.nn.Module) -> bool:
        """Whether a short pass succeeds. An error will be raised again where it is judged."""
        try:
            with preserved_global_state(), torch.no_grad():
                model(torch.zeros(1, 2, dtype=torch.int64, device=self.device))
        except (Exception, SystemExit):
            return False
        return True

    def settings(self) -> dict[str, Any]:
        config = getattr(self.model, "config", None)
        found = settings.settings(config) if config is not None else {}
        given = call(self.configuration, "configuration", module=self.model) if callable(self.configuration) else self.configuration
        seen = {} if self.reading is None else self.seen_settings(self.reading)
        return settings.held_against({**found, **settings.normalised(given or {})}, seen, self.specification)

    def seen_settings(self, read: reading.Reading) -> dict[str, Any]:
        """What the data flow of a short pass shows of the specification's settings."""
        found = reading.settings_of(read, self.model)
        tokens = torch.arange(10, device=self.device).view(2, 5) % self.specification["vocab_size"]
        with preserved_global_state(), torch.no_grad(), FlowWatch(
                read, self.model, frozenset(("q", "q_rotated")), tokens, 0, read.layers[0].head_size) as watch:
            self.model(tokens)
        stages = watch.stages()
        if "layers.0.q" in stages and "layers.0.q_rotated" in stages:
            turned = rotation_of(stages["layers.0.q"], stages["layers.0.q_rotated"])
            if turned is not None:
                where = "the queries of layer 0, before and after rotation"
                found["rotary"] = {"value": turned.pairing, "where": where}
                if turned.theta is not None:
                    found["rope_theta"] = {"value": rounded_to(turned.theta, self.specification["rope_theta"]), "where": where}
                    found["rope_type"] = {"value": "default", "where": where}
        dropped = {getattr(holder, name) for holder, name in training.rates(self.model)}
        if len(dropped) <= 1:
            found["dropout"] = {"value": float(next(iter(dropped), 0.0)), "where": "its modules"}
        return found

    def find_shown_stages(self) -> list[str]:
        """The stages that a short pass shows of every layer."""
        options = Pass(observe=frozenset(stages.STAGES))
        with torch.no_grad(), self.watch(torch.zeros(1, 2, dtype=torch.int64), options) as watch:
            self.logits_in(self.model(torch.zeros(1, 2, dtype=torch.int64, device=self.device)))
        self.head_size = watch.observed_head_size() or self.head_size
        seen = {**watch.stages(), "logits": None}
        return [stages.protocol_name(stage) for stage in stages.STAGES
                if all(stages.full_name(stage, layer) in seen for layer in range(max(1, self.number_of_layers())))]

    def number_of_layers(self) -> int:
        return self.plan.layers if self.reading is None else len(self.reading.layers)

    def initialise(self, seed: int) -> None:
        torch.manual_seed(seed)
        self.model = self.build_model()
        self.plan = stages.Plan(self.model, self.stage_sources)

    # Operations

    def operations(self) -> dict[str, Callable[..., Any] | None]:
        return {"repeat_kv": self.repeat, "rotate": self.rotation}

    def repeat_kv(self, x: torch.Tensor, factor: int) -> torch.Tensor:
        function = self.operations()["repeat_kv"]
        return call(function, "repeat_kv", x=x.to(self.device), factor=factor) if function else super().repeat_kv(x, factor)

    def rotate(self, x: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        function = self.operations()["rotate"]
        if not function:
            return super().rotate(x, positions)
        return call(function, "rotate", module=self.model, x=x.to(self.device), positions=positions.to(self.device))


def cast(tensors: Iterable[torch.Tensor], dtype: torch.dtype) -> bool:
    """Converts floating tensors in place; whether there were any of another type."""
    others = [tensor for tensor in tensors if tensor.is_floating_point() and tensor.dtype != dtype]
    for tensor in others:
        tensor.data = tensor.data.to(dtype)
    return bool(others)


def name_of(dtype: torch.dtype) -> str:
    return str(dtype).replace("torch.", "")
