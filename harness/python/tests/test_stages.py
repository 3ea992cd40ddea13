"""Every stage that is shown is what the formulas say, whichever way a model computes it."""

import unittest

import formulas
import models
import torch
import torch.nn.functional as F
from support import MINIMIND, PLAIN, Case, hidden_as_infinity, in_process, specification, started, weights, with_transformers

import plumbline
from plumbline.attention import AttentionWatch, operands_of_einsum, with_heads
from plumbline.stages import STAGES, Source, protocol_name

ALL = list(STAGES)
S = specification()
TOKENS = torch.randint(0, S["vocab_size"], (3, 7), generator=torch.Generator().manual_seed(1))


def llama(attention):
    from transformers import LlamaConfig, LlamaForCausalLM

    return plumbline.HuggingFace(lambda s: LlamaForCausalLM(LlamaConfig(**plumbline.llama_config(s), attn_implementation=attention)))


class Stages(Case):
    def expect_stages(self, actual, expected, real=None):
        self.assertEqual(sorted(actual), sorted(expected))
        for name in expected:
            shown, right = actual[name], expected[name]
            if name.endswith("scores"):
                shown = hidden_as_infinity(shown)
            if real is not None:
                self.assertEqual(shown.shape, right.shape, name)
                heads_first = name.endswith(("scores", "probabilities"))
                shown, right = (x.transpose(1, 2)[real] if heads_first else x[real] for x in (shown, right))
            self.assert_near(shown, right, name)

    def check(self, adapter):
        talk = started(adapter)
        self.assertEqual(talk.description["can"]["stages"], [protocol_name(stage) for stage in STAGES])
        canonical = weights(S)
        expected = formulas.stages(S, canonical, TOKENS)
        self.expect_stages(talk.forward(TOKENS, observe=ALL), expected)
        self.assertEqual(sorted(talk.forward(TOKENS)), ["logits"])
        self.assertEqual(sorted(talk.forward(TOKENS, observe=["final_norm", "scores"])),
                         sorted(["final_norm", "logits"] + [f"layers.{layer}.scores" for layer in range(5)]))
        self.check_cached(talk, expected)
        return talk

    def check_cached(self, talk, expected):
        """A prefill of 4 tokens, then one at a time: new queries, over all keys so far."""
        cache = talk.open_cache(3, 7)
        for first, last in ((0, 4), (4, 5), (5, 6), (6, 7)):
            part = {}
            for name, value in expected.items():
                heads_first = name.endswith(("scores", "probabilities"))
                part[name] = value[:, :, first:last, :last] if heads_first else value[:, first:last]
            self.expect_stages(talk.extend(cache, TOKENS[:, first:last], observe=ALL), part)

    def check_padded(self, talk, without_positions=()):
        lengths = [7, 4, 2]
        for side in ("right", "left"):
            places = torch.arange(7)
            real = torch.stack([places < n if side == "right" else places >= 7 - n for n in lengths])
            expected = formulas.stages(S, weights(S), TOKENS, real)
            if side == "left":
                expected = {name: x for name, x in expected.items() if name.rpartition(".")[2] not in without_positions}
            self.expect_stages(talk.forward(TOKENS, padding=side, lengths=lengths, observe=ALL), expected, real)

    @with_transformers
    def test_llama_eager(self):
        self.check_padded(self.check(llama("eager")))

    @with_transformers
    def test_llama_sdpa(self):
        self.check_padded(self.check(llama("sdpa")))

    def test_minimind(self):
        # Padded on the left it rotates by other positions, which nothing but these two can tell.
        self.check_padded(self.check(MINIMIND), ("q_rotated", "k_rotated"))

    @with_transformers
    def test_llama_decoding_after_padding(self):
        """A padded batch goes on one by one; transformers 5 then packs heads into the fused kernel's rows."""
        talk = started(llama("sdpa"))
        cache = talk.open_cache(3, 7)
        lengths = [6, 3, 2]
        talk.extend(cache, TOKENS[:, :6], padding="left", lengths=lengths)
        shown = talk.extend(cache, TOKENS[:, 6:], observe=ALL)
        real = torch.arange(7) >= 6 - torch.tensor(lengths).unsqueeze(1)
        for name, right in formulas.stages(S, weights(S), TOKENS, real).items():
            last = right[:, :, 6:] if name.endswith(("scores", "probabilities")) else right[:, 6:]
            self.assert_near(hidden_as_infinity(shown[name]), last, name)

    def test_plain(self):
        self.check_padded(self.check(PLAIN))

    def test_first_position(self):
        talk = started(PLAIN)
        expected = formulas.stages(S, weights(S), TOKENS, first_position=300)
        self.expect_stages(talk.forward(TOKENS, observe=ALL, first_position=300), expected)

    def test_bfloat16_keeps_its_type(self):
        talk = started(MINIMIND, "bfloat16")
        cache = talk.open_cache(3, 7)
        # The second call is computed without the fused kernel. What a fused kernel does not show is computed beside it, exactly.
        for fused, shown in ((True, talk.forward(TOKENS, observe=ALL)), (False, talk.extend(cache, TOKENS[:, :4])),
                             (False, talk.extend(cache, TOKENS[:, 4:], observe=ALL))):
            unseen = ("scores", "probabilities") if fused else ("scores",)
            self.assertEqual({name: x.dtype for name, x in shown.items() if x.dtype != torch.bfloat16 and not name.endswith(unseen)}, {})
            self.assertEqual({x.dtype for name, x in shown.items() if name.endswith("probabilities")},
                             ({torch.float64} if fused else {torch.bfloat16} if len(shown) > 1 else set()))

    def test_parts_of_layers_called_by_themselves(self):
        class Direct(models.MiniMind):
            def forward(self, tokens):
                x, tables = self.model.embed_tokens(tokens), [t[:tokens.shape[1]] for t in (self.model.freqs_cos, self.model.freqs_sin)]
                for layer in self.model.layers:
                    x = x + layer.self_attn(layer.input_layernorm(x), tables, None, None)[0]
                    x = x + layer.mlp(layer.post_attention_layernorm(x))
                return self.lm_head(self.model.norm(x))

        talk = started(plumbline.Module(Direct))
        self.assertNotIn("layers.{layer}.after_feed_forward", talk.description["can"]["stages"])
        expected = {name: x for name, x in formulas.stages(S, weights(S), TOKENS).items() if not name.endswith("after_feed_forward")}
        self.expect_stages(talk.forward(TOKENS, observe=ALL), expected)

    def test_stage_left_out(self):
        talk = started(plumbline.Module(models.MiniMind, stages={"gate": None, "scores": None}))
        self.assertFalse({"layers.{layer}.gate", "layers.{layer}.scores"} & set(talk.description["can"]["stages"]))
        self.assertEqual(sorted(talk.forward(TOKENS, observe=["gate", "scores"])), ["logits"])


class Shown(Case):
    """What is wrong stays visible."""

    def setUp(self):
        self.repeat = models.repeat_kv

    def tearDown(self):
        models.repeat_kv = self.repeat

    def test_heads_repeated_in_a_wrong_order_are_not_reduced(self):
        models.repeat_kv = lambda x, factor: x.repeat(1, 1, factor, 1)
        shown = started(plumbline.Module(models.MiniMind)).forward(TOKENS, observe=["k_rotated"])
        self.assertEqual(list(shown["layers.0.k_rotated"].shape), [3, 7, 6, 8])

    def test_a_wrong_scale_is_seen_in_the_scores(self):
        class Unscaled(models.MiniMind):
            def forward(self, *args, **keywords):
                kernel = F.scaled_dot_product_attention
                models.F.scaled_dot_product_attention = lambda *a, **k: kernel(*a, **k, scale=1.0)
                try:
                    return super().forward(*args, **keywords)
                finally:
                    models.F.scaled_dot_product_attention = kernel

        shown = started(plumbline.Module(Unscaled)).forward(TOKENS, observe=["scores", "q_rotated"])
        expected = formulas.stages(S, weights(S), TOKENS)
        self.assert_near(shown["layers.0.scores"], expected["layers.0.scores"] * 8 ** 0.5, "scores")
        self.assert_near(shown["layers.0.q_rotated"], expected["layers.0.q_rotated"], "q_rotated")

    def test_unknown_stages_and_modules_are_refused(self):
        for given, said in (({"scored": "model"}, "no stage 'scored'"), ({"gate": "model.layers.{layer}.gate"}, "no such module"),
                            ({"gate": {"slice": [0, 1, 2]}}, "expected from"), ({"gate": "model.norm"}, "expected a {layer}"),
                            ({"final_norm": "model.layers.{layer}.mlp"}, "expected no {layer}"),
                            ({"gate": "model.norm:end"}, ":input or :output")):
            talk = in_process(plumbline.Module(models.MiniMind, stages=given))
            with self.subTest(said):
                self.assertIn(said, talk.refused("hello", **talk.greeting(S))["message"])


class Product(Case):
    """The operands of einsum are found in whatever order its letters stand."""

    def test_equations(self):
        q, k = torch.randn(2, 3, 4, 5), torch.randn(2, 7, 4, 5)  # (B, T, H, Dh), (B, S, H, Dh)
        for equation, operands in (("bthd,bshd->bhts", (q, k)), ("bshd,bthd->bhts", (k, q)),
                                   ("bhtd,bhsd->bhts", (q.transpose(1, 2), k.transpose(1, 2)))):
            query, key = operands_of_einsum((equation, *operands))
            self.assertTrue(torch.equal(query, q.transpose(1, 2)), equation)
            self.assertTrue(torch.equal(key, k.transpose(1, 2)), equation)
        query, key = operands_of_einsum(("btkgd,bskd->bkgts", [q.unflatten(2, (2, 2)), k[:, :, :2]]))
        self.assertTrue(torch.equal(with_heads(query, 2), q.transpose(1, 2)))
        self.assertTrue(torch.equal(with_heads(key, 2), k[:, :, :2].transpose(1, 2)))
        self.assertIsNone(operands_of_einsum(("...td,...sd->...ts", q, q)))


class Steps(Case):
    def test_steps(self):
        """Heads that hold query, key and value beside each other: (H, 3, Dh) in the last axis."""
        x = torch.randn(2, 5, 4 * 3 * 8)
        taken = Source("k", {"from": "a.{layer}", "view": [4, 3, 8], "select": [-2, 1], "slice": [-2, 1, 2]}).extract(x)
        self.assertTrue(torch.equal(taken, x.view(2, 5, 4, 3, 8)[:, :, 1:3, 1]))


class Calls(Case):
    """What the functions of attention are called with is kept as it was."""

    def test_fused_kernel(self):
        """The scores and probabilities that are shown are those that the kernel used: its own output says so."""
        q, k, v = torch.randn(2, 6, 5, 8), torch.randn(2, 2, 7, 8), torch.randn(2, 2, 7, 8)
        bias = torch.randn(2, 1, 5, 7)
        calls = ({"attn_mask": bias}, {"attn_mask": bias > -1}, {"is_causal": True}, {"scale": 0.3}, {"attn_mask": bias, "scale": 0.3})
        for keywords in calls:
            keys, values = k.repeat_interleave(3, 1), v.repeat_interleave(3, 1)
            if "enable_gqa" in (F.scaled_dot_product_attention.__doc__ or ""):
                keys, values, keywords = k, v, {**keywords, "enable_gqa": True}
            with AttentionWatch([0]) as watch:
                out = F.scaled_dot_product_attention(q, keys, values, **keywords)
            shown = watch.calls[0].stages(torch.zeros(2, 5), 2, q.transpose(1, 2), k[:, :, 2:].transpose(1, 2))
            self.assert_near(shown["probabilities"] @ v.double().repeat_interleave(3, 1), out.double(), str(list(keywords)))
            self.assert_near(shown["probabilities"], shown["scores"].softmax(-1), str(list(keywords)))
            self.assertTrue(torch.equal(shown["q_rotated"], q.transpose(1, 2)))
            self.assertTrue(torch.equal(shown["k_rotated"], k[:, :, 2:].transpose(1, 2)))

    def test_copies(self):
        q, k = torch.randn(2, 6, 5, 8), torch.randn(2, 6, 8, 5)
        right_q, right_scores = q.transpose(1, 2).clone(), q @ k
        with AttentionWatch([0]) as watch:
            scores = torch.matmul(q, k)
            q.zero_()
            probabilities = torch.softmax(scores, -1)
            scores.zero_(), probabilities.zero_()
        shown = watch.calls[0].stages(torch.zeros(2, 5), 0, right_q, None)
        self.assertNotIn("k_rotated", shown)
        self.assertTrue(torch.equal(shown["q_rotated"], right_q))
        self.assertTrue(torch.equal(shown["scores"], right_scores))
        self.assertTrue(torch.equal(shown["probabilities"], right_scores.softmax(-1)))

    def test_batched_products(self):
        """Heads within the batch's axis; a softmax that is of no batch is not attention's."""
        q, k = torch.randn(2, 6, 5, 8), torch.randn(2, 6, 5, 8)
        with AttentionWatch([0]) as watch:
            torch.softmax(torch.bmm(q.flatten(0, 1), k.flatten(0, 1).transpose(1, 2)) * 8 ** -0.5, -1)
        shown = watch.calls[0].stages(torch.zeros(2, 5), 0, q.transpose(1, 2), k.transpose(1, 2))
        self.assertTrue(torch.equal(shown["q_rotated"], q.transpose(1, 2)))
        self.assertTrue(torch.equal(shown["k_rotated"], k.transpose(1, 2)))
        self.assert_near(shown["scores"], q @ k.transpose(-1, -2) * 8 ** -0.5, "scores")
        self.assertEqual(watch.calls[0].stages(torch.zeros(5, 1), 0, q.transpose(1, 2), None), {})

    def test_slots_of_a_preallocated_cache(self):
        """Those after the written ones are left out where the mask hides them, and shown where it does not."""
        q, k = torch.randn(2, 6, 2, 8), torch.randn(2, 6, 9, 8)
        for hidden, keys in ((True, 5), (False, 9)):
            with AttentionWatch([0]) as watch:
                scores = torch.matmul(q, k.transpose(-1, -2))
                scores = scores.masked_fill(torch.arange(9) >= 5, float("-inf")) if hidden else scores
                torch.softmax(scores, -1)
            shown = watch.calls[0].stages(torch.zeros(2, 2), 3, None, k[:, :, 3:5].transpose(1, 2))
            self.assertEqual(shown["scores"].shape[-1], keys)
            self.assertTrue(torch.equal(shown["k_rotated"], k[:, :, 3:5].transpose(1, 2)))


if __name__ == "__main__":
    unittest.main()
