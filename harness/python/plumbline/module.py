"""The ready-made adapter for a torch.nn.Module."""

import dataclasses
import functools
import time
from collections.abc import Mapping

import torch

from plumbline import caches, generation, parameters, settings, stages, training, trial
from plumbline.adapter import Adapter, Cannot, Generation, Overrun, Pass
from plumbline.keeping import surroundings
from plumbline.tokens import positions, real_tokens
from plumbline.user_code import Misused, call, line_of, takes_keywords
from plumbline.watch import Watch


def raised_at(error):
    """The kind of an exception and the line that raised it."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    return type(error), place and (place.tb_frame.f_code.co_filename, place.tb_lineno)


class Module(Adapter):
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

    def __init__(self, build, *, mask=None, positions=None, cache=None, logits=None, mapping=None, stages=None,
                 configuration=None, initialises=True, loss=None, generate=None, pad=None, prompt_padding=None, repeat_kv=None,
                 rotate=None, name=None):
        self.build = build
        self.mask, self.positions, self.cache, self.logits_at = mask, positions, cache, logits
        self.mapping, self.stage_sources, self.configuration = mapping, stages, configuration
        self.initialises = initialises
        self.loss, self.repeat, self.rotation, self.name = loss, repeat_kv, rotate, name
        self.writes, self.pad, self.prompt_padding = generate, pad, prompt_padding
        self.assumed = ()  # of mask and positions: what the user has not said
        self.notes = []
        self.model = self.loop = None

    def start(self, specification, dtype, device):
        self.specification, self.dtype, self.device = specification, dtype, device
        self.notes = []  # what trying the adapter has shown, for whoever reads the verdict
        self.model = self.built()
        self.plan = stages.Plan(self.model, self.stage_sources)
        self.try_keywords()
        self.loop = self.own_loop()
        config = self.settings()
        self.head_size = config.get("head_dim", {}).get(
            "value", specification["hidden_size"] // specification["num_attention_heads"])
        shown = self.tried_stages()
        self.try_cache()
        can = {"load": True, "initialise": self.initialises, "modes": ["evaluation", "training"],
               "dropout": bool(training.rates(self.model)), "padding": ["right", "left"] if self.mask else [],
               "first_position": self.positions is not None, "stages": shown, "cache": self.described_cache(), "gradients": True,
               "train": True, "generate": self.described_loop(),
               "operations": [name for name, function in self.operations().items() if function]}
        return {"name": self.name or type(self.model).__name__, "configuration": config, "mapping": self.mapping,
                **parameters.described(self.model), "can": can, "notes": self.notes}

    # Trying what was declared

    def try_keywords(self):
        """Leaves out a mask and positions that the model does not take. Errors: Misused where forward would refuse one."""
        tokens = torch.arange(6, device=self.device).unsqueeze(0) % self.specification["vocab_size"]
        ones = torch.ones_like(tokens)
        values = {"mask": (ones, (tokens > 1).long()), "positions": (torch.arange(6, device=self.device).unsqueeze(0),
                                                                     2 * torch.arange(6, device=self.device).unsqueeze(0))}
        for what, (one, other) in values.items():
            keyword = getattr(self, what)
            takes = trial.named(self.model, keyword) if keyword else True
            if takes is False and what not in self.assumed:
                raise Misused(f"forward() of {type(self.model).__name__} takes no {keyword!r}: name the keyword that it takes, "
                              f"Module({what}=...), or leave it out", line_of(type(self.model).forward))
            if takes is False or takes is None and self.ignores(tokens, keyword, one, other):
                if takes is None:
                    self.notes.append(f"it takes {keyword} among **keywords, and nothing in it depends on that: it was not given to "
                                      "it, and what needs it is not applicable")
                setattr(self, what, None)

    def ignores(self, tokens, keyword, one, other):
        with surroundings(), torch.no_grad():
            return trial.does_nothing(lambda **keywords: self.logits_in(self.model(tokens, **keywords)), keyword, one, other)

    def try_cache(self):
        """Finds the order of the cache's axes, and whether its slots are there before they are written."""
        for batch in trial.BATCHES if self.cache else ():
            found = self.form_of_cache(batch)
            if found is None:
                continue
            axes, preallocated = found
            if axes != self.cache.axes:
                self.notes.append(f"its cache holds ({', '.join(axes)}), as trying it shows")
            self.cache = dataclasses.replace(self.cache, axes=axes, preallocated=preallocated and not self.cache.fixed)
            return

    def form_of_cache(self, batch):
        """See trial.form. None for an error, too: it will be raised again where it is judged."""
        tokens = torch.arange(batch * (trial.TOKENS + 1)).view(batch, -1) % self.specification["vocab_size"]
        try:
            with surroundings(), torch.no_grad():
                opened = self.open_cache(batch, trial.TOKENS + 6)
                seen = self.extend(opened, tokens[:, :trial.TOKENS], Pass(observe=frozenset(("v",))))
                before = [tuple(part.clone() for part in pair) for pair in caches.layers(opened.held, self.cache.show)]
                self.extend(opened, tokens[:, trial.TOKENS:], Pass())
                after = caches.layers(opened.held, self.cache.show)
                return trial.form(before, after, batch, self.head_size, self.cache.axes, seen.get("layers.0.v"))
        except (Exception, SystemExit):
            return None

    # Building

    def built(self):
        model = call(self.build, "build", specification=self.specification)
        if not isinstance(model, torch.nn.Module):
            raise Misused(f"build returned an object of type {type(model).__name__}, expected a torch.nn.Module", line_of(self.build))
        return self.placed(model).eval()

    def placed(self, model):
        """On the device, in the type. model.to(dtype) would round tables, too, and take complex ones' imaginary parts away."""
        model = model.to(self.device).eval()
        if cast(model.parameters(), self.dtype) and not self.runs(model):
            cast_tables = [table for table in model.buffers() if table.is_floating_point() and table.dtype != self.dtype]
            before = [table.data for table in cast_tables]
            if cast(cast_tables, self.dtype) and self.runs(model):
                self.notes.append(f"its buffers were converted to {name_of(self.dtype)}, without which it does not run in that type")
            else:
                for table, data in zip(cast_tables, before):
                    table.data = data
        return model

    def runs(self, model):
        """Whether a short pass raises nothing. What it raises will be raised again where it is judged."""
        try:
            with surroundings(), torch.no_grad():
                model(torch.zeros(1, 2, dtype=torch.int64, device=self.device))
        except (Exception, SystemExit):
            return False
        return True

    def settings(self):
        config = getattr(self.model, "config", None)
        found = settings.settings(config) if config is not None else {}
        given = call(self.configuration, "configuration", module=self.model) if callable(self.configuration) else self.configuration
        return {**found, **settings.stated(given or {})}

    def tried_stages(self):
        """What a short pass shows of every layer."""
        options = Pass(observe=frozenset(stages.STAGES))
        with torch.no_grad(), self.watch(torch.zeros(1, 2, dtype=torch.int64), options) as watch:
            self.logits_in(self.model(torch.zeros(1, 2, dtype=torch.int64, device=self.device)))
        self.head_size = watch.seen_head_size() or self.head_size
        seen = {**watch.stages(), "logits": None}
        return [stages.protocol_name(stage) for stage in stages.STAGES
                if all(stages.full_name(stage, layer) in seen for layer in range(max(1, self.plan.layers)))]

    def described_cache(self):
        if self.cache is None:
            return None
        return {"axes": list(self.cache.axes), "chunks": self.cache.chunks, "capacity": self.cache.fixed, "fill": self.cache.has_slots,
                "padding": self.padded_prefills()}

    def padded_prefills(self):
        """Sides on which a padded batch may be prefilled. Padding on the left only shifts what counts its own positions."""
        if self.cache.padding is not None:
            return list(self.cache.padding)
        return (["right", "left"] if self.positions else ["left"]) if self.mask else []

    # Parameters

    def weights(self):
        return parameters.parameters(self.model)

    def load(self, tensors):
        parameters.load(self.model, tensors)

    def initialise(self, seed):
        torch.manual_seed(seed)
        self.model = self.built()
        self.plan = stages.Plan(self.model, self.stage_sources)

    # Passes

    def forward(self, tokens, options):
        return self.passed(tokens, options, self.keywords(real_tokens(tokens, options), options.first_position))[0]

    def keywords(self, real, first_position=0, earlier=None):
        """The mask and positions that a pass needs. real: (B, T) bool; earlier: (B, slots written before) bool."""
        seen = real if earlier is None else torch.cat([earlier, real], 1)
        padded = not seen.all()
        if padded and not self.mask:
            raise Cannot("it takes no padding mask")
        if first_position and not self.positions:
            raise Cannot("it takes no positions")
        keywords = {self.mask: seen.long().to(self.device)} if padded else {}
        if self.positions and (padded or first_position):
            before = first_position + (0 if earlier is None else earlier.sum(1))
            before = torch.as_tensor(before).expand(real.shape[0])
            keywords[self.positions] = positions(real, before).to(self.device)
        return keywords

    def passed(self, tokens, options, keywords, before=0):
        """({"logits", stages, "seconds"}, what the model returned)"""
        # Padding on the left shifts what counts its own positions. Logits cannot tell; rotated vectors stand elsewhere.
        shifted = self.mask in keywords and not self.positions and options.padding != "right"
        hidden = frozenset(("q_rotated", "k_rotated") if shifted else ())
        with torch.no_grad(), training.mode(self.model, options.training, options.dropout), \
                self.watch(tokens, options, before, hidden) as watch:
            began = time.perf_counter()
            result = self.model(tokens.to(self.device), **keywords)
            if self.device.startswith("cuda"):
                torch.cuda.synchronize(self.device)
            seconds = time.perf_counter() - began
        return {**watch.stages(), "logits": self.logits_in(result), "seconds": seconds}, result

    def watch(self, tokens, options, before=0, hidden=frozenset()):
        return Watch(self.plan, options.observe - hidden, tokens, before, self.head_size)

    def logits_in(self, result):
        """(B, T, V). Errors: TypeError where there are none."""
        if self.logits_at is not None:
            found = part(result, self.logits_at)
        elif torch.is_tensor(result):
            found = result
        else:
            found = part(result, "logits")
            found = part(result, 0) if found is None else found
        if not torch.is_tensor(found) or found.dim() != 3:
            what = f"of shape {list(found.shape)}" if torch.is_tensor(found) else f"not in what it returned ({type(result).__name__})"
            raise TypeError(f"the model's logits are {what}, expected a tensor (B, T, V): say where they stand, Module(logits=...)")
        return found

    # Cache

    def open_cache(self, batch, capacity):
        if self.cache is None:
            raise Cannot("its adapter does not describe a KV cache: Module(cache=...)")
        held = None
        if self.cache.new:
            held = call(self.cache.new, "new", model=self.model, batch=batch, capacity=capacity)
        return caches.Open(batch, capacity, held, torch.zeros(batch, 0, dtype=torch.bool))

    def extend(self, cache, tokens, options):
        real = real_tokens(tokens, options)
        before, length = cache.real.shape[1], tokens.shape[1]
        sides = self.padded_prefills()
        # In a later call padding on either side leaves a gap before what follows, as on the right in the first.
        if not real.all() and (options.padding not in sides or before and "right" not in sides):
            raise Cannot(f"its KV cache takes no padding on the {options.padding} {'in a later call' if before else 'in a prefill'}")
        keywords = {**self.keywords(real, earlier=cache.real), **self.cache.keywords, self.cache.argument: cache.held}
        if self.cache.start:
            keywords[self.cache.start] = before
        try:
            shown, result = self.passed(tokens, options, keywords, before)
        except Exception as error:
            if self.cache.fixed and (before + length > cache.capacity or raised_at(error) == self.refusal()):
                raise Overrun(f"{type(error).__name__}: {error}".splitlines()[0]) from error
            raise
        cache.held = self.cache_in(result, cache.held)
        cache.real = torch.cat([cache.real, real], 1)
        return shown

    def refusal(self):
        """Where the model refuses two tokens that a cache of one has no room for; None where it does not, or refuses them with
        room for many, too."""
        for capacity in (64, 1):
            empty = self.open_cache(1, capacity)
            keywords = {**self.keywords(torch.ones(1, 2, dtype=torch.bool), earlier=empty.real), **self.cache.keywords,
                        self.cache.argument: empty.held, **({self.cache.start: 0} if self.cache.start else {})}
            try:
                self.passed(torch.zeros(1, 2, dtype=torch.long), Pass(), keywords, 0)
            except Exception as error:
                return raised_at(error) if capacity == 1 else None
        return None

    def cache_in(self, result, given):
        place = self.cache.result
        found = part(result, self.cache.argument if place is None else place)
        if found is None and place is None:
            found = part(result, 1)
        found = given if found is None else found
        if found is None:
            raise TypeError(f"the model returned no cache ({type(result).__name__}): say where it stands, Cache(result=...)")
        return found

    def show_cache(self, cache):
        pairs = caches.layers(cache.held, self.cache.show)
        axis = self.cache.axes.index("position")
        written = cache.real.shape[1]
        # What a growing cache holds is its own word; others have their written slots first.
        held = pairs[0][0].shape[axis] if pairs else 0
        length = min(written, held) if self.cache.has_slots else held
        tensors = {}
        for layer, (keys, values) in enumerate(pairs if length else []):
            tensors[f"layers.{layer}.keys"] = keys.narrow(axis, 0, length)
            tensors[f"layers.{layer}.values"] = values.narrow(axis, 0, length)
        own, kept_alive = caches.bytes_held(pairs)
        return {"length": length, "capacity": held, "bytes": own, "held": kept_alive}, tensors

    def fill_cache(self, cache, value):
        if not self.cache.has_slots:
            raise Cannot("its KV cache grows: it has no unwritten slots")
        axis = self.cache.axes.index("position")
        written = cache.real.shape[1]
        with torch.no_grad():
            for pair in caches.layers(cache.held, self.cache.show):
                for tensor in pair:
                    tensor.narrow(axis, written, tensor.shape[axis] - written).fill_(value)

    # Training

    def loss_of(self, tokens, labels, keywords):
        tokens, labels = tokens.to(self.device), labels.to(self.device)
        if self.loss:
            if keywords and not takes_keywords(self.loss):
                raise Cannot("its own loss takes no padding: Module(loss=function(module, tokens, labels, **keywords))")
            loss = functools.partial(self.loss, **keywords) if keywords else self.loss
            return call(loss, "loss", model=self.model, tokens=tokens, labels=labels)
        return training.cross_entropy(self.logits_in(self.model(tokens, **keywords)), labels)

    def gradients(self, tokens, labels, options):
        keywords = self.keywords(real_tokens(tokens, options))
        with training.mode(self.model, options.training, options.dropout):
            return training.gradients(self.model, lambda: self.loss_of(tokens, labels, keywords))

    def train(self, tokens, labels, *, learning_rate, betas, eps, weight_decay):
        losses = [lambda step=step: self.loss_of(tokens[step], labels[step], {}) for step in range(len(tokens))]
        with training.mode(self.model, True):
            return training.train(self.model, losses, learning_rate, betas, eps, weight_decay)

    # Text

    def own_loop(self):
        """The generation.Loop, or None. Errors: Misused."""
        return generation.Loop(self.writes, self.mask) if self.writes else None

    def described_loop(self):
        if self.loop is None:
            return None
        if not self.loop.greedy and "temperature" not in self.loop.settings and self.always_writes_the_same():
            self.loop.only_greedy()
            self.notes.append("its own loop writes the same whatever the seed: it is judged as a greedy one")
        return {"settings": self.loop.settings, "greedy": self.loop.greedy, "padding": self.padded_prompts(),
                "probabilities": self.tried_drawing()}

    def padded_prompts(self):
        """Sides on which prompts may be padded. Most loops go on from the last column."""
        if self.prompt_padding is not None:
            return list(self.prompt_padding)
        return ["left"] if self.loop.mask else []

    def always_writes_the_same(self):
        """Whether two seeds write the same four texts, on whatever weights it was built with."""
        prompts = torch.arange(12).view(4, 3) % self.specification["vocab_size"]
        try:
            with surroundings():
                one, other = (self.generate(prompts, Generation(most_tokens=8, seed=seed))["tokens"] for seed in (1, 2))
        except (Exception, SystemExit):
            return False
        return one.shape[1] > 3 and torch.equal(one, other)

    def tried_drawing(self):
        """Whether a short text shows what it was drawn from. An error will be raised again where text is asked for."""
        try:
            with surroundings():
                return "probabilities" in self.generate(torch.zeros(2, 3, dtype=torch.int64), Generation(most_tokens=2))
        except (Exception, SystemExit):
            return False

    def generate(self, tokens, settings):
        if self.loop is None:
            return super().generate(tokens, settings)
        real = real_tokens(tokens, settings)
        if not real.all() and settings.padding not in self.padded_prompts():
            raise Cannot(f"its own generate takes no prompts padded on the {settings.padding}")
        generation.seed_all(settings.seed)
        with torch.no_grad(), training.mode(self.model, False), generation.draws() as seen:
            new = self.loop(self.model, tokens.to(self.device), settings, real.long().to(self.device))
        pad = getattr(getattr(self.model, "config", None), "pad_token_id", None) if self.pad is None else self.pad
        new = generation.without_padding(new, settings.end, pad)
        probabilities = generation.drawn_from(seen, new) if settings.temperature else None
        return {"tokens": new} if probabilities is None else {"tokens": new, "probabilities": probabilities}

    # Operations

    def operations(self):
        return {"repeat_kv": self.repeat, "rotate": self.rotation}

    def repeat_kv(self, x, factor):
        function = self.operations()["repeat_kv"]
        return call(function, "repeat_kv", x=x.to(self.device), factor=factor) if function else super().repeat_kv(x, factor)

    def rotate(self, x, positions):
        function = self.operations()["rotate"]
        if not function:
            return super().rotate(x, positions)
        return call(function, "rotate", module=self.model, x=x.to(self.device), positions=positions.to(self.device))


def cast(tensors, dtype):
    """Converts floating tensors in place; whether there were any of another type."""
    others = [tensor for tensor in tensors if tensor.is_floating_point() and tensor.dtype != dtype]
    for tensor in others:
        tensor.data = tensor.data.to(dtype)
    return bool(others)


def name_of(dtype):
    return str(dtype).replace("torch.", "")


def part(result, place):
    """What stands at a name or number in a tuple, dict or object; None where nothing does."""
    if isinstance(place, int):
        return result[place] if isinstance(result, (tuple, list)) and place < len(result) else None
    return result.get(place) if isinstance(result, Mapping) else getattr(result, place, None)
