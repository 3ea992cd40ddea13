"""What an adapter declares is tried: what its model does not take is not given to it, and its cache is found to be as it is."""

import unittest

import models
import plain_adapter
import torch
from support import Case, in_process, specification, started

import plumbline
from plumbline import trial
from plumbline.stage_watch import join_pieces

S = specification()
TOKENS = torch.randint(0, S["vocab_size"], (3, 9), generator=torch.Generator().manual_seed(2))


class Swallowing(models.Plain):
    """A forward that takes keywords of any name, and uses none."""

    def forward(self, tokens, **keywords):
        return super().forward(tokens)[0]


class Passing(models.Plain):
    """A forward that takes keywords of any name, and hands them on."""

    def forward(self, *inputs, **keywords):
        return super().forward(*inputs, **keywords)


class Ignoring(models.Plain):
    """A forward that names a mask and positions, and uses neither: the model's mistake, and not its adapter's."""

    def forward(self, tokens, pad_mask=None, position=None):
        return super().forward(tokens)[0]


def plain(build, **changes):
    adapter = plain_adapter.adapter(S)
    adapter.build = build
    for name, value in {"loop": None, "writes": None, **changes}.items():
        setattr(adapter, name, value)
    return adapter


class Keywords(Case):
    def can(self, build, **changes):
        description = started(plain(build, cache=None, **changes)).description
        return description["can"]["padding"], description["can"]["first_position"], description["notes"]

    def test_what_is_swallowed_is_not_declared(self):
        padding, first_position, notes = self.can(Swallowing)
        self.assertEqual((padding, first_position), ([], False))
        self.assertEqual([note.split(":")[0] for note in notes],
                         ["it takes pad_mask among **keywords but ignores it", "it takes position among **keywords but ignores it"])

    def test_what_is_handed_on_is_declared(self):
        self.assertEqual(self.can(Passing), (["right", "left"], True, []))

    def test_what_is_named_and_ignored_is_declared(self):
        self.assertEqual(self.can(Ignoring), (["right", "left"], True, []))

    def test_what_it_would_refuse_is_the_adapters_mistake(self):
        talk = in_process(plain(models.Plain, positions="position_ids", cache=None))
        error = talk.refused("hello", **talk.greeting(S))
        self.assertIn("forward() of Plain takes no 'position_ids': name the keyword that it takes, Module(positions=...)", error["message"])
        self.assertIn("models.py:", error["where"])

    def test_a_model_that_has_no_influence_yet_is_not_taken_for_one_that_swallows(self):
        """With its output projections at 0, as some start, a mask changes no logits; it is looked at all the same."""

        class Silent(Passing):
            def __init__(self, s):
                super().__init__(s)
                for block in self.blocks:
                    torch.nn.init.zeros_(block.attn.out.weight)

        self.assertEqual(self.can(Silent)[:2], (["right", "left"], True))


def held_as(order, rounded=1, view=False, cut=False, axes=plumbline.caches.AXES, fixed=False, preallocated=True):
    """An adapter of Plain whose cache has another order of axes, more room, or tensors that are views of larger ones."""
    places = [("batch", "head", "position", "size").index(axis) for axis in order]
    back = [order.index(axis) for axis in ("batch", "head", "position", "size")]

    class Held(models.Plain):
        def forward(self, tokens, pad_mask=None, position=None, cache=None, start=0):
            if cache is None:
                return super().forward(tokens, pad_mask, position)
            end = start + tokens.shape[1]
            if not preallocated:
                cache = cache or {"keys": [], "values": []}
                grown = self.new_cache(tokens.shape[0], end)
                for name, layers in grown.items():
                    for into, kept in zip(layers, cache[name]):
                        into[:, :, :start] = kept.permute(back)
            else:
                grown = {name: [kept.permute(back) for kept in layers] for name, layers in cache.items()}
            logits, grown = super().forward(tokens, pad_mask, position, grown, start)
            return logits, {name: [kept.permute(places) for kept in layers] for name, layers in grown.items()}

    def new(model, batch, capacity):
        if not preallocated:
            return {}
        room = -(-capacity // rounded) * rounded
        shape = model.new_cache(batch, room)["keys"][0].permute(places).shape

        def slots():
            return torch.zeros(*shape[:-1], 3 * shape[-1])[..., :shape[-1]] if view else torch.zeros(shape)

        return {name: [slots() for _ in model.blocks] for name in ("keys", "values")}

    class Growing(Held):
        def forward(self, tokens, pad_mask=None, position=None, cache=None, start=0):
            if cache is None and start == 0 and position is None and pad_mask is None:
                return super().forward(tokens)
            return super().forward(tokens, pad_mask, position, cache if cache is not None else {}, start)

    return plain(Held, cache=plumbline.Cache("cache", start="start", axes=axes, fixed=fixed, new=new))


class Caches(Case):
    ORDERS = (("batch", "position", "head", "size"), ("batch", "head", "position", "size"), ("position", "batch", "head", "size"),
              ("head", "batch", "size", "position"), ("batch", "head", "size", "position"))

    def shown(self, adapter, length=5):
        talk = started(adapter)
        cache = talk.open_cache(3, 9)
        talk.extend(cache, TOKENS[:, :length - 1])
        talk.extend(cache, TOKENS[:, length - 1:length])
        return talk, *talk.ask("show_cache", cache=cache)

    def test_every_order_of_axes_is_found(self):
        for order in self.ORDERS:
            for preallocated in (True, False):
                with self.subTest(order=order, preallocated=preallocated):
                    talk, numbers, tensors = self.shown(held_as(order, preallocated=preallocated))
                    self.assertEqual(tuple(talk.description["can"]["cache"]["axes"]), order)
                    self.assertEqual((numbers["length"], numbers["capacity"]), (5, 9 if preallocated else 5))
                    stages = talk.forward(TOKENS[:, :5], observe=["k_rotated", "v"])
                    back = [order.index(axis) for axis in ("batch", "position", "head", "size")]
                    self.assert_near(tensors["layers.2.values"].permute(back), stages["layers.2.v"], "values")
                    self.assert_near(tensors["layers.4.keys"].permute(back), stages["layers.4.k_rotated"], "keys")

    def test_what_was_declared_otherwise_is_said(self):
        declared = ("batch", "position", "head", "size")
        self.assertEqual(started(held_as(declared)).description["notes"], [])
        notes = started(held_as(("batch", "head", "position", "size"))).description["notes"]
        self.assertEqual(notes, ["its cache holds (batch, head, position, size), as a trial shows"])

    def test_more_room_than_was_asked_for(self):
        talk, numbers, _ = self.shown(held_as(self.ORDERS[1], rounded=16, fixed=True))
        self.assertEqual((numbers["length"], numbers["capacity"]), (5, 16))
        self.assertEqual(talk.description["can"]["cache"]["capacity"], True)

    def test_views_hold_more_than_they_are(self):
        _, numbers, _ = self.shown(held_as(self.ORDERS[0], view=True))
        self.assertEqual(numbers["bytes"], 5 * 2 * 3 * 9 * 2 * 8 * 4)  # layers, keys and values, B, slots, K, Dh, float32
        self.assertEqual(numbers["held"], 3 * numbers["bytes"])

    def test_heads_as_many_as_their_size_are_told_by_their_values(self):
        keys = torch.randn(5, trial.TOKENS, 4, 4)
        for order in ((0, 1, 2, 3), (0, 1, 3, 2), (2, 0, 1, 3)):
            pair = tuple(part.permute(order) for part in (keys, keys + 1))
            later = tuple(torch.cat([part, part.narrow(order.index(1), 0, 1)], order.index(1)) for part in pair)
            axes, preallocated = trial.find_layout([pair], [later], 5, 4, plumbline.caches.AXES, keys + 1)
            self.assertEqual((axes, preallocated), (tuple(plumbline.caches.AXES[place] for place in order), False))

    def test_what_does_not_tell_is_left_as_declared(self):
        keys = torch.randn(5, trial.TOKENS, 4, 4)
        self.assertIsNone(trial.find_layout([], [], 5, 4, plumbline.caches.AXES))
        self.assertIsNone(trial.find_layout([(keys, keys)], [(keys.clone(), keys)], 5, 4, plumbline.caches.AXES), "nothing was written")
        self.assertIsNone(trial.find_layout([(keys[0], keys[0])], [(keys[0], keys[0])], 5, 4, plumbline.caches.AXES), "three axes")


class Casts(Case):
    def test_a_table_of_complex_numbers_stays_complex(self):
        class Complex(models.Plain):
            def __init__(self, s):
                super().__init__(s)
                self.register_buffer("table", torch.polar(torch.ones(4), torch.arange(4.0)), persistent=False)

        for dtype in (torch.float32, torch.bfloat16):
            adapter = plain(Complex)
            adapter.start(S, dtype, "cpu")
            self.assertEqual((adapter.model.table.dtype, adapter.model.tok.weight.dtype), (torch.complex64, dtype))
            self.assertEqual(adapter.notes, [])

    def test_tables_are_converted_where_nothing_runs_without(self):
        class Scaled(models.Plain):
            def __init__(self, s):
                super().__init__(s)
                self.register_buffer("table", torch.eye(s["vocab_size"]))

            def forward(self, tokens, **keywords):
                logits, cache = super().forward(tokens, **keywords)
                return logits @ self.table, cache

        adapter = plain(Scaled, cache=None)
        adapter.start(S, torch.bfloat16, "cpu")
        self.assertEqual(adapter.model.table.dtype, torch.bfloat16)
        self.assertEqual(adapter.notes, ["its buffers were converted to bfloat16; without that it does not run in this type"])
        adapter.start(S, torch.float32, "cpu")
        self.assertEqual(adapter.model.table.dtype, torch.float32)


class OneByOne(Case):
    def test_stages_of_a_model_that_takes_a_token_at_a_time_are_joined(self):
        class Stepping(models.Plain):
            def forward(self, tokens):
                cache, logits = self.new_cache(*tokens.shape), []
                for place in range(tokens.shape[1]):
                    logits.append(super().forward(tokens[:, place:place + 1], cache=cache, start=place)[0])
                return torch.cat(logits, 1)

        stepping, right = (started(plain(build, cache=None, mask=None, positions=None)) for build in (Stepping, models.Plain))
        stages = [talk.forward(TOKENS, observe=["k", "gated", "after_feed_forward", "probabilities", "q_rotated"]) for talk in (stepping, right)]
        self.assertNotIn("layers.0.probabilities", stages[0], "one token's alone is no stage of the pass")
        self.assertNotIn("layers.0.q_rotated", stages[0])
        for name in ("layers.0.k", "layers.3.gated", "layers.4.after_feed_forward", "logits"):
            self.assert_near(stages[0][name], stages[1][name], name)

    def test_what_does_not_make_up_the_pass_is_left_out(self):
        self.assertIsNone(join_pieces([torch.ones(2, 3, 4), torch.ones(2, 4, 4)], 9))
        self.assertEqual(join_pieces([torch.ones(2, 9, 4), torch.zeros(2, 9, 4)], 9).sum(), 72, "the first call's")


class GreedyLoops(Case):
    def test_one_that_always_writes_the_same_is_greedy(self):
        def likeliest(model, tokens, max_new_tokens):
            for _ in range(max_new_tokens):
                tokens = torch.cat([tokens, model(tokens)[0][:, -1:].argmax(-1)], 1)
            return tokens

        def drawn(model, tokens, max_new_tokens):
            for _ in range(max_new_tokens):
                tokens = torch.cat([tokens, torch.multinomial(model(tokens)[0][:, -1].softmax(-1), 1)], 1)
            return tokens

        for loop, described in ((likeliest, {"settings": [], "greedy": True, "padding": [], "probabilities": False}),
                                (drawn, {"settings": ["seed"], "greedy": False, "padding": [], "probabilities": True})):
            description = started(plumbline.Module(models.Plain, generate=loop, mapping=plain_adapter.adapter(S).mapping)).description
            self.assertEqual(description["can"]["generate"], described)
            self.assertEqual(len(description["notes"]), int(described["greedy"]))


if __name__ == "__main__":
    unittest.main()
