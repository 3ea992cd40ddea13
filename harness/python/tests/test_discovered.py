"""Strangers' models, of which nothing is told but how to build them: every parameter, stage and setting is found, and rightly."""

import functools
import unittest

import models
import strangers
import torch
from support import Case, in_process, specification, weights, with_transformers, write

from plumbline import flow_recorder, stages
from plumbline.discovered import Discovered
from plumbline.kept_state import KeptState
from plumbline.user_code import Misused

S = specification()
TOKENS = torch.randint(0, S["vocab_size"], (3, 9), generator=torch.Generator().manual_seed(4))
MODELS = {**strangers.STRANGERS, "plain": models.Plain, "minimind": models.MiniMind}
WITH_CACHE = {"learner", "conv1d", "preallocated", "plain", "minimind", "meta"}
WITH_MASK = {"learner", "functional", "conv1d", "preallocated", "parallel", "plain", "minimind"}
WITH_POSITIONS = {"learner", "functional", "conv1d", "parallel", "plain"}


def place(tensors, entry):
    """The part of the model's tensors that a line of the mapping names, as a view."""
    steps = entry if isinstance(entry, dict) else {"from": entry}
    part = tensors[steps["from"]]
    part = part.view(steps["view"]) if "view" in steps else part
    part = part.narrow(*steps["slice"]) if "slice" in steps else part
    return part.transpose(-1, -2) if steps.get("transpose") else part


def mapped(canonical, mapping, tensors):
    """The canonical weights where the mapping puts them; whatever no line names is NaN."""
    result = {name: torch.full_like(tensor, float("nan")) for name, tensor in tensors.items()}
    for name, entry in (mapping or {name: name for name in canonical}).items():
        parts = [place(result, one) for one in (entry if isinstance(entry, list) else [entry])]
        for part, values in zip(parts, canonical[name].split([len(part) for part in parts])):
            part.copy_(values)
    return result


@functools.cache
def started(name):
    adapter = Discovered(MODELS[name], name)
    return adapter, adapter.start(S, torch.float32, "cpu")


class Found(Case):
    def test_every_parameter_is_where_the_mapping_says(self):
        canonical = weights(S)
        plain = Discovered(models.Plain, "plain")
        plain.start(S, torch.float32, "cpu")
        plain.load(mapped(canonical, plain.mapping, plain.weights()))
        expected = plain.model(TOKENS)[0]
        for name in MODELS:
            with self.subTest(name):
                adapter, description = started(name)
                self.assertEqual(adapter.reading.surplus, [])
                adapter.load(mapped(canonical, description["mapping"], adapter.weights()))
                self.assert_near(adapter.logits_in(adapter.model(TOKENS)), expected, name)

    def test_every_stage_is_shown(self):
        for name in MODELS:
            with self.subTest(name):
                description = started(name)[1]
                # conv1d adds its products to the residual stream in one operation: they have no value of their own.
                hidden = ("attention_out", "feed_forward_out") if name == "conv1d" else ()
                self.assertEqual(description["can"]["stages"], [stages.protocol_name(stage) for stage in stages.STAGES if stage not in hidden])

    def test_settings_are_read(self):
        keys = ("num_hidden_layers", "hidden_size", "num_attention_heads", "num_key_value_heads", "intermediate_size", "vocab_size",
                "hidden_act", "rms_norm_eps", "rotary", "rope_theta", "tie_word_embeddings", "attention_bias", "mlp_bias")
        for name in MODELS:
            with self.subTest(name):
                configuration = started(name)[1]["configuration"]
                self.assertEqual({key: configuration[key]["value"] for key in keys}, {key: S[key] for key in keys})

    def test_mask_positions_and_cache_are_found(self):
        found = {name: started(name)[1]["can"] for name in MODELS}
        self.assertEqual({name for name, can in found.items() if can["padding"]}, WITH_MASK)
        self.assertEqual({name for name, can in found.items() if can["first_position"]}, WITH_POSITIONS)
        self.assertEqual({name for name, can in found.items() if can["cache"]}, WITH_CACHE)

    def test_a_cache_of_any_name_is_found_within_modules(self):
        class Hiding(strangers.Meta):
            """Keeps the tokens so far under a private name, from the first call on."""

            def __init__(self, s):
                super().__init__(s)
                self._held = None

            def forward(self, tokens, use_cache=False):
                if not use_cache:
                    return super().forward(tokens)
                self._held = tokens if self._held is None else torch.cat([self._held, tokens], 1)
                return super().forward(self._held)[:, -tokens.shape[1]:]

        model = Hiding(S).eval()
        state = KeptState.of(model, lambda: model(TOKENS, use_cache=True))
        self.assertIsNotNone(state, "nothing was found that the call changes, though it keeps its tokens")
        self.assertEqual([name for _, name in state.places], ["_held"])
        self.assertIsNone(model._held)

    def test_every_operation_is_followed(self):
        for name, build in MODELS.items():
            with self.subTest(name):
                model = build(S).eval()
                self.assertEqual(flow_recorder.record(model, lambda model=model: model(TOKENS), 3)[0].problems, [])

    @with_transformers
    def test_a_model_of_transformers_follows_its_convention(self):
        file = write("bare_llama.py", "import plumbline\nfrom transformers import LlamaConfig, LlamaForCausalLM\n"
                     "def Model(s): return LlamaForCausalLM(LlamaConfig(**plumbline.llama_config(s)))\n")
        description = in_process(file + ":Model").hello(S)
        can = description["can"]
        self.assertEqual((can["padding"], can["first_position"], can["cache"]["axes"], can["operations"]),
                         (["right", "left"], True, ["batch", "head", "position", "size"], ["repeat_kv", "rotate"]))
        self.assertIn("modeling_llama.py", description["lines"]["layers.0.gate"]["where"])
        self.assertIsNone(description["mapping"])

    def test_stages_name_the_lines_that_make_them(self):
        adapter, _ = started("plain")
        line = adapter.reading.layers[0].lines["scores"]
        self.assertIn("torch.einsum(\"btkgd,bksd->bkgts\"", line.text())


class Unlike(torch.nn.Module):
    """A model with another theta, another eps and neighbouring pairs, by its own names."""

    def __init__(self):
        super().__init__()
        self.inner = models.Plain({**S, "rope_theta": 23456.0, "rms_norm_eps": 1e-6})

    def forward(self, tokens):
        return self.inner(tokens)[0]


class Hiding(models.Plain):
    """1 hides in its mask, and its position is something else."""

    def forward(self, tokens, pad_mask=None, pos=None):
        logits = super().forward(tokens, None if pad_mask is None else 1 - pad_mask)[0]
        return logits if pos is None else logits * 2


class Counting(models.Plain):
    """Its cache is passed with a start, which has to be left out: it counts by itself."""

    def forward(self, tokens, cache=None, start=None):
        held = self.new_cache(len(tokens), 64) if cache is None else cache[0]
        before = 0 if cache is None else cache[1]
        logits, held = super().forward(tokens, cache=held, start=before + (start or 0))
        return logits, (held, before + tokens.shape[1])


class Serving(models.Plain):
    """A forward in inference mode, where composed operations arrive whole."""

    @torch.inference_mode()
    def forward(self, *inputs, **keywords):
        return super().forward(*inputs, **keywords)


class Recurrent(torch.nn.Module):
    """A model without attention."""

    def __init__(self):
        super().__init__()
        self.embedding, self.cell = torch.nn.Embedding(101, 48), torch.nn.GRU(48, 48, batch_first=True)

    def forward(self, tokens):
        return self.cell(self.embedding(tokens))[0] @ self.embedding.weight.t()


class Needing(torch.nn.Module):
    """A class that cannot be built from what is known."""

    def __init__(self, tokenizer):
        super().__init__()


class Wrong(Case):
    def test_what_is_computed_is_told_and_not_what_is_claimed(self):
        configuration = Discovered(Unlike, "Unlike").start(S, torch.float32, "cpu")["configuration"]
        self.assertEqual((configuration["rope_theta"]["value"], configuration["rms_norm_eps"]["value"]), (23460.0, 1e-6))

    def test_what_a_parameter_means_is_tried(self):
        adapter = Discovered(Hiding, "Hiding")
        can = adapter.start(S, torch.float32, "cpu")["can"]
        self.assertEqual((can["padding"], can["first_position"]), ([], False))
        self.assertEqual([note.split("=")[0] for note in adapter.notes][:2], ["pad_mask", "pos"])
        adapter = Discovered(Counting, "Counting")
        self.assertIsNotNone(adapter.start(S, torch.float32, "cpu")["can"]["cache"])
        self.assertIsNone(adapter.cache.start)

    def test_inference_mode_hides_nothing(self):
        adapter = Discovered(Serving, "Serving")
        adapter.start(S, torch.float32, "cpu")
        self.assertEqual((len(adapter.reading.all_roles()), adapter.reading.surplus), (47, []))

    def test_a_parameter_that_nothing_uses_is_left_over(self):
        model = models.Plain(S)
        model.unused = torch.nn.Parameter(torch.zeros(3))
        adapter = Discovered(model, "model")
        with self.assertRaisesRegex(Misused, r"could not be understood: unused takes no part in a pass .*\(47 other parameters were placed\)"):
            adapter.start(S, torch.float32, "cpu")
        adapter.refuses_idle = False
        adapter.start(S, torch.float32, "cpu")
        self.assertEqual(adapter.reading.surplus, ["unused"])

    def test_a_norm_that_is_forgotten_and_an_up_that_is_not_multiplied_keep_their_places(self):
        def forgetful(block, x, position, allowed, store, start):
            gate, up = block.gate_up(x := x + block.attn(block.norm1(x), position, allowed, store, start)).chunk(2, -1)
            return x + block.down(block.activation(gate))

        model = models.Plain(S)
        for block in model.blocks:
            block.forward = functools.partial(forgetful, block)
        adapter = Discovered(model, "model")
        description = adapter.start(S, torch.float32, "cpu")
        self.assertEqual(adapter.reading.surplus, [])
        self.assertEqual(description["mapping"]["model.layers.2.post_attention_layernorm.weight"], "blocks.2.norm2.weight")
        self.assertEqual(description["mapping"]["model.layers.2.mlp.up_proj.weight"], {"from": "blocks.2.gate_up.weight", "slice": [0, 128, 128]})
        self.assertIn("blocks.0.norm2.weight and 4 more take no part in a pass: placed where nothing else is", adapter.notes)
        self.assertEqual(sum("no layer has a gated feed-forward" in note for note in adapter.notes), 1)

    def test_a_parameter_that_is_used_and_known_to_nobody_is_judged(self):
        class Scaled(models.Plain):
            def __init__(self, s):
                super().__init__(s)
                self.temperature = torch.nn.Parameter(torch.ones(()))

            def forward(self, tokens):
                return super().forward(tokens)[0] * self.temperature

        adapter = Discovered(Scaled, "Scaled")
        adapter.start(S, torch.float32, "cpu")
        self.assertEqual(adapter.reading.surplus, ["temperature"])

    def test_two_layers_of_the_same_parameters_are_said(self):
        model = models.Plain(S)
        model.blocks[1] = model.blocks[0]
        adapter = Discovered(model, "model")
        adapter.start(S, torch.float32, "cpu")
        self.assertNotIn("model.layers.1.self_attn.q_proj.weight", adapter.mapping)
        self.assertTrue(any("which is model.layers.0.self_attn.q_proj.weight as well" in note for note in adapter.notes))

    def test_what_is_no_such_model_is_not_understood(self):
        with self.assertRaisesRegex(Misused, "could not be understood: no attention was found"):
            Discovered(Recurrent, "Recurrent").start(S, torch.float32, "cpu")

    def test_a_class_that_needs_more_says_what(self):
        with self.assertRaisesRegex(Misused, "expected a torch.nn.Module|is called as"):
            Discovered(lambda: 3, "number").start(S, torch.float32, "cpu")
        file = write("needing.py", "import torch\nclass Needing(torch.nn.Module):\n    def __init__(self, vocabulary, tokenizer):\n        pass\n")
        talk = in_process(file + ":Needing")
        error = talk.refused("hello", **talk.greeting(S))
        self.assertIn("Needing needs vocabulary, tokenizer, which nothing tells", error["message"])
        self.assertIn("needing.py:3", error["where"])
        talk = in_process(file + ":Missing")
        self.assertIn("the file defines no 'Missing'", talk.refused("hello", **talk.greeting(S))["message"])


if __name__ == "__main__":
    unittest.main()
