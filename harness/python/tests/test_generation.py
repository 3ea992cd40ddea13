"""A loop that a whole model brings writes text as it says, and what is shown of it is what it wrote and drew from."""

import unittest

import models
import torch
from generation_support import NEUTRAL, TOKENS, Asked, S
from support import LLAMA, MINIMIND, PLAIN, in_process, specification, started, with_transformers

import plumbline
from plumbline import generation


def drawn_from(logits, before, temperature=1.0, top_k=0, top_p=1.0, repetition_penalty=1.0):
    """Probabilities (V) in float64, a token at a time, from logits (V) and the tokens before."""
    scores = {token: score for token, score in enumerate(logits.double().tolist())}
    for token in set(before):
        scores[token] *= 1 / repetition_penalty if scores[token] > 0 else repetition_penalty
    order = sorted(scores, key=lambda token: -scores[token])[:top_k or None]
    kept = torch.tensor([scores[token] / temperature for token in order]).double().softmax(0).tolist()
    enough = next((count for count in range(1, len(kept)) if sum(kept[:count]) >= top_p), len(kept))
    result = torch.zeros(len(scores), dtype=torch.float64)
    for token, probability in zip(order[:enough], kept):
        result[token] = probability / sum(kept[:enough])
    return result


class Shown(Asked):
    """Of whole models."""

    def check(self, talk, padding):
        described = talk.description["can"]["generate"]
        self.assertEqual(described, {"settings": ["temperature", "top_k", "top_p", "repetition_penalty", "end", "seed"],
                                     "greedy": True, "padding": padding, "probabilities": True})
        for settings in ({}, {"temperature": 0.6}, {"top_k": 4}, {"top_p": 0.7}, {"repetition_penalty": 1.5},
                         {"temperature": 0.7, "top_k": 5, "top_p": 0.8, "repetition_penalty": 1.3}):
            with self.subTest(settings):
                shown = self.generate(talk, **settings)
                self.assertEqual(list(shown["probabilities"].shape), [3, 7, S["vocab_size"]])
                self.check_drawing(talk, TOKENS, shown, settings)
        self.check_greedy(talk)
        self.check_seeds(talk)
        self.check_end(talk)
        for side in padding:
            self.check_padding(talk, side)

    def check_drawing(self, talk, prompts, shown, settings):
        self.assertEqual((shown["tokens"].dtype, shown["probabilities"].dtype), (torch.int64, torch.float32))
        whole = torch.cat([prompts, shown["tokens"]], 1)
        logits = talk.forward(whole)["logits"]
        for row in range(len(prompts)):
            for step in range(7):
                place = prompts.shape[1] + step
                right = drawn_from(logits[row, place - 1], whole[row, :place].tolist(), **settings)
                self.assert_near(shown["probabilities"][row, step], right, f"row {row}, step {step}", 1e-4)
                self.assertGreater(right[shown["tokens"][row, step]], 0)

    def check_greedy(self, talk):
        """Of each token the largest logit; nothing is drawn."""
        shown = self.generate(talk, temperature=0.0)
        self.assertEqual(set(shown), {"tokens"})
        logits = talk.forward(torch.cat([TOKENS, shown["tokens"]], 1))["logits"]
        self.assertTrue(torch.equal(logits[:, 5:-1].argmax(-1), shown["tokens"]))
        penalised = self.generate(talk, temperature=0.0, repetition_penalty=20.0)["tokens"]
        for prompt, row in zip(TOKENS.tolist(), penalised.tolist()):
            self.assertEqual(len(set(prompt) | set(row)), len(set(prompt)) + 7, "none twice")

    def check_seeds(self, talk):
        first, again, other = (self.generate(talk, seed=seed)["tokens"] for seed in (1, 1, 2))
        self.assertTrue(torch.equal(first, again))
        self.assertFalse(torch.equal(first, other))

    def check_end(self, talk):
        """-1 after the end token; a loop that stops when all rows have ended answers as many columns."""
        free = self.generate(talk)["tokens"]
        end = free[0, 2].item()
        shown = self.generate(talk, end=end)
        self.assertEqual(shown["tokens"][0].tolist(), free[0, :3].tolist() + [-1] * 4)
        self.assertEqual(list(shown["probabilities"].shape), [3, 7, S["vocab_size"]])
        alone = self.generate(talk, TOKENS[:1], seed=3, temperature=0.0)["tokens"][0].tolist()
        last = next(place for place in range(7) if alone[place] not in alone[:place])
        ended = self.generate(talk, TOKENS[:1], temperature=0.0, end=alone[last])["tokens"][0].tolist()
        self.assertEqual(ended, alone[:last + 1] + [-1] * (6 - last))

    def check_padding(self, talk, side):
        lengths = [6, 3, 1]
        # What stands at padding is real in the row as well: a penalty on it changes nothing.
        prompts = [row[6 - count:] for row, count in zip(TOKENS, lengths)]
        fill = [row[:1].expand(6 - len(row)) for row in prompts]
        tokens = torch.stack([torch.cat([gap, row] if side == "left" else [row, gap]) for gap, row in zip(fill, prompts)])
        for settings in ({"temperature": 0.0, "repetition_penalty": 1.3}, {"top_k": 5, "repetition_penalty": 1.3}):
            shown = self.generate(talk, tokens, padding=side, lengths=lengths, **settings)
            for row, prompt in enumerate(prompts):
                if "temperature" in settings:  # greedy
                    alone = self.generate(talk, prompt.unsqueeze(0), **settings)["tokens"][0]
                    self.assertEqual(shown["tokens"][row].tolist(), alone.tolist(), f"row {row} padded {side}")
                else:
                    one = {name: tensor[row:row + 1] for name, tensor in shown.items()}
                    self.check_drawing(talk, prompt.unsqueeze(0), one, settings)

    def test_plain(self):
        self.check(started(PLAIN), ["right", "left"])

    def test_plain_in_bfloat16(self):
        shown = self.generate(started(PLAIN, "bfloat16"), top_k=5)
        self.assertTrue(((shown["probabilities"] > 0).sum(-1) >= 5).all())

    @with_transformers
    def test_llama(self):
        self.check(started(LLAMA), ["left"])

    def test_nothing_is_offered_unasked(self):
        talk = started(MINIMIND)
        self.assertIsNone(talk.description["can"]["generate"])
        error = talk.refused("generate", {"tokens": TOKENS}, **NEUTRAL)
        self.assertEqual((error["kind"], error["message"]), ("cannot", "it does not generate text itself"))

    def test_the_model_is_in_evaluation_and_as_it_was(self):
        s = specification(dropout=0.3)
        seen = []

        def generate(model, tokens, *, max_new_tokens):
            seen.append((model.training, model.model.dropout.p, torch.is_grad_enabled()))
            return tokens

        adapter = plumbline.Module(models.MiniMind, generate=generate)
        adapter.start(s, torch.float32, "cpu")
        adapter.model.train()
        state = torch.get_rng_state()
        adapter.shows_probabilities()
        self.assertTrue(torch.equal(torch.get_rng_state(), state), "the trial draws no number of others")
        self.assertEqual(adapter.generate(TOKENS, plumbline.Generation(4))["tokens"].shape, (3, 0))
        self.assertEqual(set(seen), {(False, 0.0, False)})
        self.assertEqual((adapter.model.training, adapter.model.model.dropout.p), (True, 0.3))


@with_transformers
class Transformers(Asked):
    def llama(self):
        from transformers import LlamaConfig, LlamaForCausalLM
        torch.manual_seed(3)
        return LlamaForCausalLM(LlamaConfig(**plumbline.llama_config(S)))

    def started(self, model, **keywords):
        talk = in_process(plumbline.HuggingFace(lambda s: model, **keywords))
        talk.hello(S)
        return talk

    def test_what_the_model_brings_does_not_interfere(self):
        right = self.generate(self.started(self.llama()), top_p=1.0)
        model = self.llama()
        own = model.generation_config
        for name, value in {"top_p": 0.1, "top_k": 2, "temperature": 0.2, "repetition_penalty": 3.0, "min_new_tokens": 3, "eos_token_id": 7,
                            "no_repeat_ngram_size": 2, "do_sample": False, "suppress_tokens": [1, 2]}.items():
            setattr(own, name, value)
        before = own.to_dict()
        talk = self.started(model)
        shown = self.generate(talk, top_p=1.0)
        self.assertTrue(torch.equal(shown["tokens"], right["tokens"]))
        self.assertTrue(torch.equal(shown["probabilities"], right["probabilities"]))
        self.assertGreater(shown["probabilities"].min(), 0)
        self.assertIs(model.generation_config, own)
        self.assertEqual(own.to_dict(), before)

    def test_it_can_be_left_out(self):
        self.assertIsNone(self.started(self.llama(), generate=False).description["can"]["generate"])

    def test_a_class_after_minimind_that_inherits_the_method(self):
        """Its cache is not transformers' own, and what it returns is one object for all calls."""
        from transformers import GenerationMixin, PretrainedConfig, PreTrainedModel
        from transformers.modeling_outputs import CausalLMOutputWithPast

        class Inheriting(PreTrainedModel, GenerationMixin):
            config_class = PretrainedConfig

            def __init__(self, s):
                super().__init__(PretrainedConfig(**s))
                self.model = models.MiniMindModel(s)
                self.lm_head = torch.nn.Linear(s["hidden_size"], s["vocab_size"], bias=False)
                self.lm_head.weight = self.model.embed_tokens.weight
                self.out = CausalLMOutputWithPast()

            def forward(self, input_ids=None, attention_mask=None, past_key_values=None, use_cache=False, **keywords):
                past = None if hasattr(past_key_values, "layers") else past_key_values
                x, self.out["past_key_values"] = self.model(input_ids, attention_mask, past)
                self.out["logits"] = self.lm_head(x)
                return self.out

        talk = started(plumbline.HuggingFace(Inheriting, positions=None))
        shown = self.generate(talk, temperature=0.8)
        logits = talk.forward(torch.cat([TOKENS, shown["tokens"]], 1))["logits"][:, 5:-1]
        self.assert_near(shown["probabilities"], (logits / 0.8).softmax(-1), "probabilities")

    def test_one_that_raises(self):
        model = self.llama()
        own = model.generation_config
        model.prepare_inputs_for_generation = lambda tokens, attention_mask=None, **keywords: 1 / 0
        talk = self.started(model)
        self.assertFalse(talk.description["can"]["generate"]["probabilities"])
        self.assertIn("ZeroDivisionError", talk.refused("generate", {"tokens": TOKENS}, **NEUTRAL)["message"])
        self.assertIs(model.generation_config, own)


class OwnMethods(Asked):
    """Of classes in transformers' convention that need not be its own."""

    def described(self, method):
        model = type("Own", (models.MiniMind,), {"generate": method})
        talk = in_process(plumbline.HuggingFace(model, positions=None))
        return talk, talk.hello(S)["can"]["generate"]

    def test_after_minimind(self):
        @torch.inference_mode()
        def generate(self, inputs=None, attention_mask=None, max_new_tokens=8192, temperature=0.85, top_p=0.85, top_k=50, eos_token_id=2,
                     do_sample=True, repetition_penalty=1.0, **kwargs):
            for _ in range(max_new_tokens):
                logits = self(inputs).logits[:, -1] / temperature
                if top_k > 0:
                    logits = logits.masked_fill(logits < logits.topk(top_k)[0][:, -1:], float("-inf"))
                new = torch.multinomial(logits.softmax(-1), 1) if do_sample else logits.argmax(-1, keepdim=True)
                inputs = torch.cat([inputs, new], -1)
            return inputs

        talk, described = self.described(generate)
        self.assertEqual(described, {"settings": list(generation.SETTINGS), "greedy": True, "padding": ["left"],
                                     "probabilities": True})
        shown = self.generate(talk, temperature=0.0)["tokens"]
        logits = talk.forward(torch.cat([TOKENS, shown], 1))["logits"]
        self.assertTrue(torch.equal(logits[:, 5:-1].argmax(-1), shown))
        self.assertTrue(((self.generate(talk, top_k=4)["probabilities"] > 0).sum(-1) == 4).all())

    def test_of_another_kind(self):
        for method in (lambda self, idx, eos, max_new_tokens: idx, lambda self, prompt: prompt):
            self.assertIsNone(self.described(method)[1])


if __name__ == "__main__":
    unittest.main()
