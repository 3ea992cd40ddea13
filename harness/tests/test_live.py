"""Live models, right and wrong, judged by the real program."""

import json
import pathlib
import shutil
import textwrap

import pytest

from edits import EDITS
from live_cases import MODELS, with_transformers, with_verdict

ROOT = pathlib.Path(__file__).resolve().parents[2]

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
    "a merged copy of weights that every change of mode drops": ("""
        import torch.nn.functional as F
        class Merged(models.PlainAttention):
            def __init__(self, s):
                super().__init__(s)
                self.project, self.qkv.forward = self.qkv.forward, self.merged
            def merged(self, x):
                if self.training:
                    return self.project(x)
                if "copy" not in vars(self):
                    self.copy = self.qkv.weight.detach().clone()
                return F.linear(x, self.copy, self.qkv.bias)
            def train(self, mode=True):
                vars(self).pop("copy", None)
                return super().train(mode)
        models.PlainAttention = Merged
        adapter = plain_adapter.adapter
        """, "f32", 70),
    "a merged copy of weights that is made again after a load and a step": ("""
        import torch.nn.functional as F
        class Merged(models.PlainAttention):
            def __init__(self, s):
                super().__init__(s)
                self.project, self.qkv.forward = self.qkv.forward, self.merged
                self.seen = None
            def merged(self, x):
                if self.training:
                    return self.project(x)
                if self.seen != self.qkv.weight._version:
                    self.copy, self.seen = self.qkv.weight.detach().clone(), self.qkv.weight._version
                return F.linear(x, self.copy, self.qkv.bias)
        models.PlainAttention = Merged
        adapter = plain_adapter.adapter
        """, "f32", 70),
    "gradients that are off in evaluation": ("""
        class Quiet(models.Plain):
            def forward(self, *inputs, **keywords):
                with torch.set_grad_enabled(torch.is_grad_enabled() and self.training):
                    return super().forward(*inputs, **keywords)
        models.Plain = plain_adapter.Plain = Quiet
        adapter = plain_adapter.adapter
        """, "f32", 70),
}


@pytest.mark.parametrize(("name", "dtype"), [
    ("plain_adapter.py", "f32"), ("minimind_adapter.py", "bf16"), pytest.param("llama_adapter.py", "f32", marks=with_transformers, id="transformers"),
    pytest.param("plain_adapter.py", "bf16", marks=pytest.mark.long), pytest.param("minimind_adapter.py", "f32", marks=pytest.mark.long),
])
def test_a_right_model_conforms(live, name, dtype):
    live.conforms(shutil.copy(MODELS / name, live.root), dtype)


@pytest.mark.parametrize(("text", "dtype", "most"), WAYS.values(), ids=WAYS)
def test_models_as_people_write_them(live, text, dtype, most):
    """Each is right, and another way of building the same; what a model cannot be asked is not applicable."""
    live.conforms(live.file("import models, plain_adapter, torch, torch.utils.checkpoint\n" + textwrap.dedent(text), "honest.py"), dtype, most)


@pytest.mark.parametrize("positions", [128, 64])
def test_a_model_is_asked_for_no_more_positions_than_it_has(live, positions):
    """Its table of rotations ends there, and an index beyond it raises."""
    own = json.loads((ROOT / "fixtures" / "specifications" / "tiny.json").read_text()) | {"name": "short", "max_position_embeddings": positions}
    live.specification = live.file(json.dumps(own), "short.json")
    code = WAYS["a table of complex numbers"][0]
    requirements = live.judged(live.file("import models, plain_adapter, torch\n" + textwrap.dedent(code), "honest.py"), 3)
    assert with_verdict(requirements, "fail") + with_verdict(requirements, "error") == []
    assert set(with_verdict(requirements, "not assessed")) <= {"NUM-1", "NUM-2", "NUM-3", "TRN-4"}  # they need golden tensors


@with_transformers
@pytest.mark.parametrize(("attention", "kernel"), [("eager", "MATH"), ("sdpa", "MATH"), ("sdpa", "FLASH_ATTENTION")])
def test_each_attention_of_transformers_and_of_torch(live, attention, kernel):
    """What hides a key, -inf or the type's lowest number, and how a kernel rounds, are the implementation's own business."""
    text = (MODELS / "llama_adapter.py").read_text()
    adapter = live.file(text.replace("llama_config(s))", f"llama_config(s), attn_implementation='{attention}')") + textwrap.dedent(f"""
        from torch.nn.attention import SDPBackend, sdpa_kernel
        plain = LlamaForCausalLM.forward
        def forward(self, *inputs, **keywords):
            with sdpa_kernel([SDPBackend.{kernel}, SDPBackend.MATH]):
                return plain(self, *inputs, **keywords)
        LlamaForCausalLM.forward = forward
        """))
    requirements = live.judged(adapter, 0, "--dtype", "bf16" if attention == "eager" else "f32")
    assert with_verdict(requirements, "fail") == []


@with_transformers
def test_labels_that_a_model_of_transformers_does_not_shift(live):
    """A model's own loss is what training sees: its logits are right."""
    adapter = live.file("""
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
    requirements = live.judged(adapter, 1)
    assert with_verdict(requirements, "fail") == ["NUM-7", "TRN-2", "TRN-3", "TRN-4", "TRN-5", "TRN-7"]
    assert with_verdict(requirements, "error") + with_verdict(requirements, "not assessed") == []


def concluded(live, name):
    """What is said of a model that shows no stage: what its logits alone tell of the place."""
    edit = next(edit for edit in EDITS if edit.name == name)
    text = (MODELS / "models.py").read_text()
    for old, new in edit.change.items():
        text = text.replace(old, new)
    live.file(text, "models.py")
    shutil.copy(MODELS / "plain_adapter.py", live.root)
    silent = live.file("""
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
    run, result = live.verify(silent, "--only", "7,8")
    assert run.returncode == 1, run.stdout[-2000:] + run.stderr
    found = result["localisation"]
    assert found["first_locally_wrong"] is None, found["conclusion"]
    return found["conclusion"]


def test_what_is_wrong_in_a_block(live):
    said = concluded(live, "gelu")
    assert "wrong on their own: the feed-forward of layer 0 alone, the feed-forward of layer 1 alone" in said
    assert "attention" not in said
    assert "a single token is wrong too" in said


def test_what_is_wrong_between_tokens(live):
    said = concluded(live, "theta-of-llama-2")
    assert "wrong on their own: the attention of layer 0 alone" in said
    assert "feed-forward" not in said
    assert "a single token is right" in said


def test_what_is_wrong_outside_the_blocks(live):
    assert "with every block silenced the logits are still wrong" in concluded(live, "embedding-scaled")


def test_what_is_wrong_in_one_way_of_running_it(live):
    assert concluded(live, "positions-restart") == (
        "a plain pass of 24 tokens is right; wrong are: decoding after a prefill, decoding from one token, "
        "decoding of 134 tokens, 4 tokens after 600, prefill in chunks")
