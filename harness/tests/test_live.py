"""Live models, right and wrong, judged by the real program.

Run by CTest as `python test_live.py PROGRAM [-k transformers]`. Models run in the interpreter that runs this file.
"""

import importlib.util
import pathlib
import shutil
import sys
import textwrap
import unittest

import live_cases
from live_cases import MODELS, Runs
from edits import EDITS  # beside the models


# Each is right, and another way of building the same: code, type, how many requirements pass at least.
WAYS = {
    "a table of complex numbers": ("""
        class Attention(models.PlainAttention):
            def __init__(self, s):
                super().__init__(s)
                frequencies = self.theta ** -(torch.arange(0, self.size, 2).float() / self.size)
                angles = torch.outer(torch.arange(s["max_position_embeddings"]).float(), frequencies)
                self.register_buffer("table", torch.polar(torch.ones_like(angles), angles), persistent=False)
            def rotated(self, x, position):
                halves = torch.stack(x.float().chunk(2, -1), -1).contiguous()
                turned = torch.view_as_real(torch.view_as_complex(halves) * self.table[position].unsqueeze(-2))
                return torch.cat(turned.unbind(-1), -1).to(x.dtype)
        models.PlainAttention = Attention
        adapter = plain_adapter.adapter
        """, "bf16", 70),
    "checkpointed blocks": ("""
        class Block(models.PlainBlock):
            def forward(self, *inputs):
                if not torch.is_grad_enabled():
                    return super().forward(*inputs)
                return torch.utils.checkpoint.checkpoint(super().forward, *inputs, use_reentrant=False)
        models.PlainBlock = Block
        adapter = plain_adapter.adapter
        """, "f32", 70),
    "the library's norms, compiled": ("""
        models.RMSNorm = lambda size, eps: torch.nn.RMSNorm(size, eps)
        def adapter(s):
            made = plain_adapter.adapter(s)
            made.build = lambda s: torch.compile(models.Plain(s), backend="eager")
            prefixed = lambda value: {**value, "from": "_orig_mod." + value["from"]} if isinstance(value, dict) else "_orig_mod." + value
            made.mapping = {name: prefixed(value) for name, value in made.mapping.items()}
            made.stage_sources = {name: prefixed(value) for name, value in made.stage_sources.items()}
            made.writes = None
            return made
        """, "f32", 60),
    "a mask of ones, always": ("""
        class Masked(models.Plain):
            def forward(self, tokens, pad_mask=None, position=None, cache=None, start=0):
                if pad_mask is None:
                    pad_mask = torch.ones(len(tokens), start + tokens.shape[1], dtype=torch.bool)
                return super().forward(tokens, pad_mask, position, cache, start)
        plain_adapter.Plain = Masked
        adapter = plain_adapter.adapter
        """, "f32", 70),
    "neither mask nor cache, and a greedy loop": ("""
        class Bare(models.Plain):
            def forward(self, idx):
                return super().forward(idx)[0]
            def generate(self, idx, max_new_tokens):
                for _ in range(max_new_tokens):
                    idx = torch.cat([idx, self(idx)[:, -1:].argmax(-1)], 1)
                return idx
        def adapter(s):
            made = plain_adapter.adapter(s)
            made.build, made.writes = Bare, Bare.generate
            made.mask = made.positions = made.cache = made.prompt_padding = None
            return made
        """, "f32", 60),
}


class Honest(Runs):
    def conforms(self, name, dtype):
        adapter = self.root / name
        shutil.copy(MODELS / name, adapter)
        requirements = self.judged(adapter, 0, "--dtype", dtype)
        for verdict in ("fail", "error", "not assessed"):
            self.assertEqual(self.verdicts(requirements, verdict), [], verdict)
        self.assertGreaterEqual(len(self.verdicts(requirements, "pass")), 70)

    def test_a_model_of_names_and_layouts_of_its_own(self):
        self.conforms("plain_adapter.py", "f32")

    def test_a_model_like_minimind(self):
        self.conforms("minimind_adapter.py", "bf16")

    def test_models_as_people_write_them(self):
        """Each is right, and another way of building the same; what a model cannot be asked is not applicable."""
        for name, (text, dtype, most) in WAYS.items():
            with self.subTest(name):
                adapter = self.file("import models, plain_adapter, torch, torch.utils.checkpoint\n" + textwrap.dedent(text), "honest.py")
                requirements = self.judged(adapter, 0, "--dtype", dtype)
                for verdict in ("fail", "error", "not assessed"):
                    self.assertEqual(self.verdicts(requirements, verdict), [], verdict)
                self.assertGreaterEqual(len(self.verdicts(requirements, "pass")), most)

    @unittest.skipUnless(importlib.util.find_spec("transformers"), "transformers cannot be imported here")
    def test_transformers_llama(self):
        self.conforms("llama_adapter.py", "f32")

    @unittest.skipUnless(importlib.util.find_spec("transformers"), "transformers cannot be imported here")
    def test_each_attention_of_transformers_and_of_torch(self):
        """What hides a key, -inf or the type's lowest number, and how a kernel rounds, are the implementation's own business."""
        text = (MODELS / "llama_adapter.py").read_text()
        for attention, kernel in (("eager", "MATH"), ("sdpa", "MATH"), ("sdpa", "FLASH_ATTENTION")):
            with self.subTest(attention=attention, kernel=kernel):
                adapter = self.file(text.replace("llama_config(s))", f"llama_config(s), attn_implementation='{attention}')") + textwrap.dedent(f"""
                    from torch.nn.attention import SDPBackend, sdpa_kernel
                    plain = LlamaForCausalLM.forward
                    def forward(self, *inputs, **keywords):
                        with sdpa_kernel([SDPBackend.{kernel}, SDPBackend.MATH]):
                            return plain(self, *inputs, **keywords)
                    LlamaForCausalLM.forward = forward
                    """))
                requirements = self.judged(adapter, 0, "--dtype", "bf16" if attention == "eager" else "f32")
                self.assertEqual(self.verdicts(requirements, "fail"), [])


class Losses(Runs):
    @unittest.skipUnless(importlib.util.find_spec("transformers"), "transformers cannot be imported here")
    def test_labels_that_a_model_of_transformers_does_not_shift(self):
        """A model's own loss is what training sees: its logits are right."""
        adapter = self.file("""
            import plumbline
            from torch.nn.functional import cross_entropy
            from transformers import LlamaConfig, LlamaForCausalLM
            class Unshifted(LlamaForCausalLM):
                def forward(self, *inputs, labels=None, **keywords):
                    result = super().forward(*inputs, **keywords)
                    if labels is not None:
                        result.loss = cross_entropy(result.logits.flatten(0, 1), labels.flatten())
                    return result
            adapter = plumbline.HuggingFace(lambda s: Unshifted(LlamaConfig(**plumbline.llama_config(s))))
            """)
        requirements = self.judged(adapter, 1)
        self.assertEqual(self.verdicts(requirements, "fail"), ["NUM-7", "TRN-2", "TRN-3", "TRN-4", "TRN-5", "TRN-7"])
        self.assertEqual(self.verdicts(requirements, "error") + self.verdicts(requirements, "not assessed"), [])


class Narrowing(Runs):
    """A model that shows no stage: what its logits alone tell of the place."""

    def concluded(self, name):
        edit = next(edit for edit in EDITS if edit.name == name)
        text = (MODELS / "models.py").read_text()
        for old, new in edit.change.items():
            text = text.replace(old, new)
        self.file(text, "models.py")
        shutil.copy(MODELS / "plain_adapter.py", self.root)
        silent = self.file("""
            import dataclasses
            import plain_adapter
            def adapter(specification):
                made = plain_adapter.adapter(specification)
                def silent(method):
                    return lambda *given: method(*given[:-1], dataclasses.replace(given[-1], observe=frozenset()))
                made.tried_stages = lambda: []
                made.forward, made.extend = silent(made.forward), silent(made.extend)
                return made
            """, "silent.py")
        run, result = self.verify(silent, "--only", "7,8")
        self.assertEqual(run.returncode, 1, run.stdout[-2000:] + run.stderr)
        found = result["localisation"]
        self.assertIsNone(found["first_locally_wrong"], found["conclusion"])
        return found["conclusion"]

    def test_what_is_wrong_in_a_block(self):
        said = self.concluded("gelu")
        self.assertIn("wrong on their own: the feed-forward of layer 0 alone, the feed-forward of layer 1 alone", said)
        self.assertNotIn("attention", said)
        self.assertIn("a single token is wrong too", said)

    def test_what_is_wrong_between_tokens(self):
        said = self.concluded("theta-of-llama-2")
        self.assertIn("wrong on their own: the attention of layer 0 alone", said)
        self.assertNotIn("feed-forward", said)
        self.assertIn("a single token is right", said)

    def test_what_is_wrong_outside_the_blocks(self):
        self.assertIn("with every block silenced the logits are still wrong", self.concluded("embedding-scaled"))

    def test_what_is_wrong_in_one_way_of_running_it(self):
        self.assertEqual(self.concluded("positions-restart"),
                         "a plain pass of 24 tokens is right; wrong are: decoding after a prefill, decoding from one token, "
                         "decoding of 134 tokens, 4 tokens after 600, prefill in chunks")


if __name__ == "__main__":
    live_cases.PROGRAM = str(pathlib.Path(sys.argv.pop(1)).resolve())
    unittest.main(verbosity=1)
