"""The strangers' models compute what models.Plain computes, with padding and caches where they take them."""

import unittest

import torch
from models import Plain
from strangers import STRANGERS, fill
from support import Case, specification, weights

BY_MASK = {"learner": ("padding_mask", "positions"), "functional": ("pad_mask", "positions"),
           "conv1d": ("attention_mask", "position_ids"), "preallocated": ("attention_mask", None),
           "parallel": ("padding_mask", "position_ids")}
CACHED = ("learner", "meta", "conv1d", "preallocated")
REAL = (9, 6, 4)  # tokens of each row


def filled_plain(s, canonical):
    """The reference."""
    model = Plain(s)
    own = {"tok.weight": canonical["model.embed_tokens.weight"], "last_norm.weight": canonical["model.norm.weight"]}
    for layer in range(s["num_hidden_layers"]):
        theirs = {name.split(".", 3)[3]: tensor for name, tensor in canonical.items() if name.startswith(f"model.layers.{layer}.")}
        own.update({f"blocks.{layer}.{name}": torch.cat([theirs[f"{each}.weight"] for each in parts]) for name, parts in (
            ("norm1.weight", ["input_layernorm"]), ("norm2.weight", ["post_attention_layernorm"]),
            ("attn.qkv.weight", ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
            ("attn.out.weight", ["self_attn.o_proj"]), ("gate_up.weight", ["mlp.gate_proj", "mlp.up_proj"]),
            ("down.weight", ["mlp.down_proj"]))})
    model.load_state_dict(own)
    return model


def logits_of(returned):
    """The logits in whatever a model returns."""
    if isinstance(returned, torch.Tensor):
        return returned
    if isinstance(returned, tuple):
        return returned[0]
    return returned["logits"] if isinstance(returned, dict) else returned.logits


def in_parts(name, model, tokens, widths, mask=None):
    """Logits of tokens given in parts of those widths, each after the cache of what was before."""
    out, start, cache = [], 0, model.init_cache(tokens.shape[0], tokens.shape[1] + 2) if name == "preallocated" else None
    for width in widths:
        part, end = tokens[:, start:start + width], start + width
        padding = {} if mask is None else padding_of(name, mask[:, :end], width)
        if name == "meta":
            returned = model(part, start_pos=start)
        elif name == "preallocated":
            returned = model(part, cache=cache, start=start, **padding)
        elif name == "learner":
            returned = model(part, kv_cache=cache, **padding)
            cache = returned[1]
        else:
            returned = model(part, past=cache, **padding)
            cache = returned.past
        out.append(logits_of(returned))
        start = end
    return torch.cat(out, 1)


def padding_of(name, mask, width):
    """Arguments for a mask (B, S) and the positions of its last columns."""
    masked, positioned = BY_MASK[name]
    result = {masked: mask}
    if positioned:
        result[positioned] = (mask.long().cumsum(1) - 1).clamp_min(0)[:, -width:]
    return result


class Strangers(Case):
    """Each stranger against the reference."""

    @classmethod
    def setUpClass(cls):
        """All are filled once with the same weights."""
        cls.s = specification()
        canonical = weights(cls.s)
        cls.models = {name: build(cls.s).eval() for name, build in STRANGERS.items()}
        for name, model in cls.models.items():
            fill(name, model, canonical)
        cls.tokens = torch.randint(cls.s["vocab_size"], (3, 9), generator=torch.Generator().manual_seed(1))
        cls.plain = filled_plain(cls.s, canonical).eval()
        with torch.no_grad():
            cls.expected = cls.plain(cls.tokens)[0]

    def padded(self):
        """Tokens padded on the left with token 0, their mask, and the logits of each row's own tokens alone."""
        tokens, mask, alone = torch.zeros_like(self.tokens), torch.zeros_like(self.tokens), []
        for row, real in enumerate(REAL):
            tokens[row, -real:], mask[row, -real:] = self.tokens[row, :real], 1
            alone.append(self.expected[row, :real])
        return tokens, mask, alone

    def assert_rows(self, actual, expected, what):
        """The logits of what is real agree, and nothing is NaN where it is not."""
        self.assertTrue(actual.isfinite().all(), what)
        for row, real in enumerate(REAL):
            self.assert_near(actual[row, -real:], expected[row], f"{what}, row {row}")

    def test_logits(self):
        """Without padding or cache."""
        for name, model in self.models.items():
            with self.subTest(name), torch.no_grad():
                self.assert_near(logits_of(model(self.tokens)), self.expected, name)

    def test_names_and_sizes(self):
        """As many parameters as the specification says, none under Hugging Face's name."""
        theirs = set(weights(self.s))
        for name, model in self.models.items():
            with self.subTest(name):
                self.assertEqual(sum(parameter.numel() for parameter in model.parameters()), self.s["parameter_count"])
                self.assertFalse(theirs & {own for own, _ in model.named_parameters(remove_duplicate=False)})

    def test_left_padding(self):
        """With masks of integers and of bools, with positions and with the model's own."""
        tokens, mask, alone = self.padded()
        for name, (masked, _) in BY_MASK.items():
            for given in (mask, mask.bool()):
                for arguments in (padding_of(name, given, tokens.shape[1]), {masked: given}):
                    with self.subTest(name, dtype=given.dtype, arguments=list(arguments)), torch.no_grad():
                        self.assert_rows(logits_of(self.models[name](tokens, **arguments)), alone, name)

    def test_prefill_and_decode(self):
        """One token at a time, and several."""
        for name in CACHED:
            for widths in ((5, 1, 1, 1, 1), (3, 4, 2), (1,) * 9):
                with self.subTest(name, widths=widths), torch.no_grad():
                    self.assert_near(in_parts(name, self.models[name], self.tokens, widths), self.expected, name)

    def test_padded_decode(self):
        """Left padding and a cache at once."""
        tokens, mask, alone = self.padded()
        for name in set(CACHED) & set(BY_MASK):
            with self.subTest(name), torch.no_grad():
                self.assert_rows(in_parts(name, self.models[name], tokens, (6, 1, 2), mask), alone, name)

    def test_gradients(self):
        """Every model trains: the embedding's gradient agrees, and every parameter has one."""
        self.plain.zero_grad()
        self.plain(self.tokens)[0].pow(2).mean().backward()
        expected = self.plain.tok.weight.grad
        for name, model in self.models.items():
            with self.subTest(name):
                model.zero_grad()
                logits_of(model(self.tokens)).pow(2).mean().backward()
                gradients = [parameter.grad for parameter in model.parameters()]
                self.assertTrue(all(gradient is not None and gradient.any() for gradient in gradients), name)
                table = next(each for each in gradients if each.shape == expected.shape)
                self.assert_near(table, expected, name, 1e-4)
                model.zero_grad()

    def test_low_precision(self):
        """In bfloat16 the models run, and end near."""
        for name, build in STRANGERS.items():
            with self.subTest(name), torch.no_grad():
                model = build(self.s)
                fill(name, model, weights(self.s))
                self.assert_near(logits_of(model.to(torch.bfloat16)(self.tokens)), self.expected, name, 0.1)

    def test_generation(self):
        """The one that generates: greedy where one token alone may be chosen."""
        model, tokens = self.models["nano"], self.tokens[:, :4]
        expected = self.plain.generate(tokens, 5, temperature=0)
        self.assertTrue(torch.equal(model.generate(tokens, 5, top_k=1), expected))
        self.assertEqual(list(model.generate(tokens, 3, temperature=0.8).shape), [3, 7])

    def test_positions_asked_for(self):
        """The one that can return its last position alone, or a loss."""
        model = self.models["llama2c"]
        with torch.no_grad():
            self.assert_near(model(self.tokens, all_positions=False), self.expected[:, -1:], "last")
            self.assert_near(model(self.tokens, self.tokens), self.expected, "with targets")
        self.assertTrue(model.last_loss.isfinite())


if __name__ == "__main__":
    unittest.main()
