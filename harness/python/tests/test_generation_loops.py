"""A function that writes text is called as it says, and what cannot be shown of it is not."""

import random
import unittest

import torch
from generation_support import NEUTRAL, TOKENS, Asked, S
from support import in_process

import plumbline
from plumbline import user_code


class Bigram(torch.nn.Module):
    """Logits of the token alone."""

    def __init__(self, s):
        super().__init__()
        self.table = torch.nn.Embedding(s["vocab_size"], s["vocab_size"])

    def forward(self, tokens, mask=None):
        return self.table(tokens)


def multinomial(probabilities):
    return torch.multinomial(probabilities, 1)


def loop(choose=multinomial, after=None):
    """A loop that draws by `choose`; `after`: what it writes after the end token, "itself" for that, None for going on."""
    def generate(model, tokens, *, max_new_tokens, temperature, eos_token_id):
        ended = torch.zeros(len(tokens), 1, dtype=torch.bool)
        for _ in range(max_new_tokens):
            logits = model(tokens)[:, -1]
            new = choose((logits / temperature).softmax(-1)) if temperature else logits.argmax(-1, keepdim=True)
            if after is not None and eos_token_id is not None:
                new = new.masked_fill(ended, eos_token_id if after == "itself" else after)
                ended = ended | (new == eos_token_id)
            tokens = torch.cat([tokens, new], 1)
            if ended.all():
                break
        return tokens

    return generate


class Loops(Asked):
    """Of a small module."""

    def started(self, generate, **keywords):
        torch.manual_seed(8)
        talk = in_process(plumbline.Module(Bigram, generate=generate, **keywords))
        talk.hello(S)
        return talk

    def error(self, generate, **fields):
        talk = self.started(generate)
        self.assertFalse(talk.description["can"]["generate"]["probabilities"])
        return talk.refused("generate", {"tokens": TOKENS}, **{**NEUTRAL, **fields})

    def test_draws_that_are_seen(self):
        """By the function, the method, keywords, a distribution, unnormalised, in another type: all the same numbers."""
        right = None
        for choose in (multinomial, lambda p: p.multinomial(1), lambda p: torch.multinomial(input=7 * p, num_samples=1),
                       lambda p: torch.distributions.Categorical(p).sample().unsqueeze(1), lambda p: p.double().multinomial(num_samples=1)):
            talk = self.started(loop(choose))
            self.assertEqual(talk.description["can"]["generate"], {"settings": ["temperature", "end", "seed"], "greedy": True, "padding": [],
                                                                          "probabilities": True})
            shown = self.generate(talk, temperature=0.5)
            whole = torch.cat([TOKENS, shown["tokens"]], 1)
            right = (talk.forward(whole)["logits"][:, 5:-1] / 0.5).softmax(-1)
            self.assert_near(shown["probabilities"], right, "probabilities")
            self.assertEqual(set(self.generate(talk, temperature=0.0)), {"tokens"})

    def test_draws_that_are_not(self):
        """Nothing is shown that the tokens were not drawn from, one by one; the text is."""
        def sorted_first(p):
            largest, order = p.sort(descending=True)
            return order.gather(1, torch.multinomial(largest, 1))

        def twice(p):
            torch.multinomial(p, 1)
            return torch.multinomial(p, 1)

        def row_by_row(p):
            return torch.cat([torch.multinomial(row, 1).unsqueeze(0) for row in p])

        for choose in (lambda p: (p / torch.empty_like(p).exponential_()).argmax(-1, keepdim=True), sorted_first, twice, row_by_row,
                       lambda p: torch.multinomial(p, 2)[:, :1]):
            talk = self.started(loop(choose))
            self.assertFalse(talk.description["can"]["generate"]["probabilities"])
            shown = self.generate(talk)
            self.assertEqual(set(shown), {"tokens"})
            self.assertTrue(torch.equal(shown["tokens"], self.generate(talk)["tokens"]), "the same seed")

    def test_other_generators_are_seeded(self):
        import numpy

        def generate(model, tokens, max_new_tokens, seed):
            seeds.append(seed)
            new = [[random.randrange(100), numpy.random.randint(100)] for _ in tokens]
            return torch.cat([tokens, torch.tensor(new)], 1)

        seeds = []
        talk = self.started(generate)
        self.assertEqual(talk.description["can"]["generate"]["settings"], ["seed"])
        first, again, other = (self.generate(talk, seed=seed)["tokens"] for seed in (2**40, 2**40, 4))
        self.assertTrue(torch.equal(first, again))
        self.assertFalse(torch.equal(first, other))
        self.assertEqual(seeds[-3:], [2**40, 2**40, 4])
        self.assertEqual(first[0, 2:].tolist(), [-1] * 5, "columns that it did not write")

    def test_the_end(self):
        """Padding of any one id is none of the text; what a loop writes after the end token is."""
        torch.manual_seed(8)
        free = self.generate(self.started(loop()))
        end = free["tokens"][0, 2].item()
        self.assertTrue(all(end not in row for row in free["tokens"][1:].tolist()))
        ended = free["tokens"][0, :3].tolist() + [-1] * 4
        for after, pad, config in (("itself", None, None), (99, 99, None), (99, None, 99), (0, 0, None)):
            talk = self.started(loop(after=after), pad=pad)
            if config:
                talk.send.__self__.started_adapter.model.config = type("Config", (), {"pad_token_id": config})
            shown = self.generate(talk, end=end)
            self.assertEqual(shown["tokens"][0].tolist(), ended)
            self.assertTrue(torch.equal(shown["tokens"][1:], free["tokens"][1:]))
            self.assert_near(shown["probabilities"][1:], free["probabilities"][1:], "probabilities")
            self.assert_near(shown["probabilities"][0, :3], free["probabilities"][0, :3], "probabilities")
        for generate, rest in ((loop(), free["tokens"][0, 3:].tolist()), (loop(after=98), [98] * 4)):
            self.assertEqual(self.generate(self.started(generate, pad=99), end=end)["tokens"][0].tolist(), ended[:3] + rest)

    def test_rows_that_have_all_ended(self):
        talk = self.started(loop(after="itself"))
        free = self.generate(talk, TOKENS[:1])
        end = free["tokens"][0, 0].item()
        shown = self.generate(talk, TOKENS[:1], end=end)
        self.assertEqual(shown["tokens"].tolist(), [[end] + [-1] * 6])
        self.assert_near(shown["probabilities"][:, :1], free["probabilities"][:, :1], "probabilities")
        self.assertEqual(shown["probabilities"][:, 1:].abs().max(), 0)

    def test_what_is_passed(self):
        """What the signature names, and nothing else; None for what does nothing and is None by default."""
        seen = []

        def generate(model, tokens, max_new_tokens, temperature=0.3, top_k=None, top_p=0.5, end=4, eos_token_id=3, do_sample=True,
                     pad_token_id=5, mask=None, **keywords):
            seen.append({"max_new_tokens": max_new_tokens, "temperature": temperature, "top_k": top_k, "top_p": top_p, "end": end,
                         "eos_token_id": eos_token_id, "do_sample": do_sample, "pad_token_id": pad_token_id, "mask": mask, **keywords})
            return tokens

        talk = self.started(generate, mask="mask")
        self.assertEqual(talk.description["can"]["generate"],
                         {"settings": ["temperature", "top_k", "top_p", "end", "seed"], "greedy": True, "padding": ["left"],
                          "probabilities": False})
        seen.clear()
        self.generate(talk)
        self.generate(talk, temperature=0.0, top_k=3, top_p=0.9, end=6)
        self.generate(talk, padding="left", lengths=[6, 6, 6])
        self.generate(talk, padding="left", lengths=[6, 2, 5])
        plain = {"max_new_tokens": 7, "temperature": 1.0, "top_k": None, "top_p": 1.0, "end": None, "eos_token_id": None, "do_sample": True,
                 "pad_token_id": 0, "mask": None}
        self.assertEqual(seen[:3], [plain, {**plain, "temperature": 1.0, "top_k": 3, "top_p": 0.9, "end": 6, "eos_token_id": 6,
                                            "do_sample": False, "pad_token_id": 6}, plain])
        self.assertEqual(seen[3]["mask"].tolist(), [[1] * 6, [0] * 4 + [1] * 2, [0] + [1] * 5])
        for fields, words in (({"padding": "right", "lengths": [6, 2, 5]}, "padded on the right"),
                              ({"repetition_penalty": 2.0}, "no repetition_penalty")):
            error = talk.refused("generate", {"tokens": TOKENS}, **{**NEUTRAL, **fields})
            self.assertEqual(error["kind"], "cannot")
            self.assertIn(words, error["message"])

    def test_a_mask_that_has_to_be_given_and_sides_that_are_stated(self):
        def generate(model, tokens, max_new_tokens, mask):
            seen.append(mask.tolist())
            return tokens

        seen = []
        talk = self.started(generate, mask="mask", prompt_padding=("right",))
        self.assertEqual(talk.description["can"]["generate"]["padding"], ["right"])
        self.generate(talk, padding="right", lengths=[6, 2, 5])
        self.generate(talk)
        self.assertEqual(seen[-2:], [[[1] * 6, [1] * 2 + [0] * 4, [1] * 5 + [0]], [[1] * 6] * 3])

    def test_one_that_raises(self):
        def generate(model, tokens, *, max_new_tokens):
            torch.multinomial(torch.ones(2, 3), 1)
            raise RuntimeError("no more words")

        error = self.error(generate)
        self.assertEqual((error["kind"], error["message"]), ("failed", "RuntimeError: no more words"))
        self.assertEqual(error["where"], f"{user_code.shortened(__file__)}:{generate.__code__.co_firstlineno + 2}")

    def test_one_that_refuses(self):
        def generate(model, tokens, *, max_new_tokens, temperature):
            if temperature == 0:
                raise plumbline.Cannot("it is never greedy")
            return loop()(model, tokens, max_new_tokens=max_new_tokens, temperature=temperature, eos_token_id=None)

        talk = self.started(generate)
        self.assertTrue(talk.description["can"]["generate"]["probabilities"])
        error = talk.refused("generate", {"tokens": TOKENS}, **{**NEUTRAL, "temperature": 0.0})
        self.assertEqual((error["kind"], error["message"]), ("cannot", "it is never greedy"))

    def test_what_it_may_not_return(self):
        for words, result in (
                ("does not begin with the prompts, [3, 6]: it has to return them", lambda tokens: tokens[:, :2]),
                ("does not begin with the prompts", lambda tokens: torch.cat([tokens + 1, tokens], 1)),
                ("does not begin with the prompts", lambda tokens: tokens[:1]),
                ("torch.float32 of shape [3, 6], expected a tensor (B, T + new tokens)", lambda tokens: tokens.float()),
                ("torch.int64 of shape [6], expected", lambda tokens: tokens[0]),
                ("of type list, expected", lambda tokens: tokens.tolist()),
                ("it wrote 12 tokens, max_new_tokens being 7", lambda tokens: torch.cat([tokens] * 3, 1))):
            with self.subTest(words):
                @torch.no_grad()
                def generate(model, tokens, *, max_new_tokens, result=result):
                    return result(tokens)

                error = self.error(generate)
                self.assertEqual(error["kind"], "failed")
                self.assertIn("Misused: generate: ", error["message"])
                self.assertIn(words, error["message"])
                line = generate.__wrapped__.__code__.co_firstlineno
                self.assertEqual(error["where"], f"{user_code.shortened(__file__)}:{line}")

    def test_functions_that_cannot_be_called_so(self):
        for words, generate in (("got an unexpected keyword argument 'max_new_tokens'", lambda model, tokens: tokens),
                                ("generate(module, tokens, max_new_tokens=, top_k=): missing a required argument: 'length'",
                                 lambda model, tokens, max_new_tokens, length, top_k=0: tokens),
                                ("too many positional arguments", lambda model, *, max_new_tokens: 0)):
            talk = in_process(plumbline.Module(Bigram, generate=generate))
            error = talk.refused("hello", **talk.greeting(S))
            self.assertIn("Misused: `generate` is called as generate(module, tokens, max_new_tokens=", error["message"])
            self.assertIn(words, error["message"])
            self.assertEqual(error["where"], f"{user_code.shortened(__file__)}:{generate.__code__.co_firstlineno}")

    def test_an_adapter_with_full_control(self):
        class Own(plumbline.Adapter):
            def start(self, specification, dtype, device):
                return {"can": {"generate": {"settings": [], "padding": [], "probabilities": False}}}

            def generate(self, tokens, settings):
                given.append(settings)
                return {"tokens": tokens[:, :2].int()}

        given = []
        talk = in_process(Own())
        talk.hello(S)
        shown = self.generate(talk, temperature=1, padding="left", lengths=[6, 2, 5])
        self.assertEqual(shown["tokens"].tolist(), [[*row[:2], -1, -1, -1, -1, -1] for row in TOKENS.tolist()])
        self.assertEqual(given, [plumbline.Generation(most_tokens=7, seed=1, padding="left", lengths=[6, 2, 5])])


if __name__ == "__main__":
    unittest.main()
