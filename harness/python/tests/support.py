"""What the tests share: the tiny specification, weights, and the conversation with a server."""

import atexit
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import unittest

import torch
from safetensors.torch import load_file, save_file

from plumbline.server import Server
from plumbline.settings import intermediate_size
from plumbline.user_code import adapter_in

HERE = os.path.dirname(os.path.abspath(__file__))
FIXTURES = os.path.join(HERE, "..", "..", "..", "fixtures", "specifications")
LLAMA, MINIMIND, PLAIN = (os.path.join(HERE, f"{name}_adapter.py") for name in ("llama", "minimind", "plain"))

ROOT = tempfile.TemporaryDirectory(prefix="plumbline-python-tests-")
atexit.register(ROOT.cleanup)
torch.set_num_threads(1)


def specification(name="tiny", **changes):
    with open(os.path.join(FIXTURES, name + ".json"), encoding="utf-8") as file:
        result = {**json.load(file), **changes}
    return {**result, "intermediate_size": intermediate_size(result)}


def weights(s, seed=7):
    """Under canonical names: norms away from 1, attention neither uniform nor one-hot."""
    generator = torch.Generator().manual_seed(seed)
    hidden, wide = s["hidden_size"], s["intermediate_size"]
    keys = s["num_key_value_heads"] * hidden // s["num_attention_heads"]
    shapes = {"self_attn.q_proj": (hidden, hidden), "self_attn.k_proj": (keys, hidden), "self_attn.v_proj": (keys, hidden),
              "self_attn.o_proj": (hidden, hidden), "mlp.gate_proj": (wide, hidden), "mlp.up_proj": (wide, hidden),
              "mlp.down_proj": (hidden, wide)}

    def norm():
        return 0.5 + torch.rand(hidden, generator=generator)

    result = {"model.embed_tokens.weight": 0.02 * torch.randn(s["vocab_size"], hidden, generator=generator),
              "model.norm.weight": norm()}
    for layer in range(s["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        result[prefix + "input_layernorm.weight"], result[prefix + "post_attention_layernorm.weight"] = norm(), norm()
        for name, shape in shapes.items():
            spread = 1.6 if name.endswith(("q_proj", "k_proj")) else 1.0
            result[f"{prefix}{name}.weight"] = torch.randn(shape, generator=generator) * spread / shape[1] ** 0.5
    return result


def own_weights(canonical, hello, layers):
    """The same under the candidate's names: its mapping, followed backwards (names and slices)."""
    if hello["mapping"] is None:
        return dict(canonical)
    result = {parameter["name"]: torch.zeros(parameter["shape"]) for parameter in hello["parameters"]}
    for name, entry in hello["mapping"].items():
        entry = entry if isinstance(entry, dict) else {"from": entry}
        for layer in range(layers if "{layer}" in name else 1):
            target = result[entry["from"].format(layer=layer)]
            target = target.narrow(*entry["slice"]) if "slice" in entry else target
            target.copy_(canonical[name.format(layer=layer)])
    return result


class Talk:
    """Requests to a server, with their tensors. Ids count up; every reply is checked to be one to its request."""

    def __init__(self, send):
        self.send = send
        self.directory = tempfile.mkdtemp(dir=ROOT.name)
        self.asked = 0

    def reply(self, request, tensors=None, **fields):
        self.asked += 1
        message = {"id": self.asked, "request": request, **fields}
        if tensors is not None:
            message["tensors"] = f"request-{self.asked}.safetensors"
            whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
            save_file(whole, os.path.join(self.directory, message["tensors"]))
        reply = self.send(message)
        if reply["id"] != self.asked:
            raise AssertionError(f"the reply's id is {reply['id']}, expected {self.asked}")
        return reply

    def ask(self, request, tensors=None, **fields):
        """The reply's fields and tensors. Errors: AssertionError for an error."""
        reply = self.reply(request, tensors, **fields)
        if "error" in reply:
            raise AssertionError(f"{request}: {reply['error']}")
        if "tensors" not in reply:
            return reply, {}
        return reply, load_file(os.path.join(self.directory, reply["tensors"]))

    def refused(self, request, tensors=None, **fields):
        """The error that the request is answered with, which stands on standard error too."""
        with contextlib.redirect_stderr(io.StringIO()):
            return self.reply(request, tensors, **fields)["error"]

    def hello(self, s, dtype="float32"):
        self.specification = s
        self.description = self.ask("hello", **self.greeting(s, dtype))[0]
        return self.description

    def greeting(self, s, dtype="float32"):
        return {"protocol": 1, "directory": self.directory, "specification": s, "dtype": dtype, "device": "cpu", "threads": 1, "seed": 3}

    def load(self, canonical):
        self.ask("load", own_weights(canonical, self.description, self.specification["num_hidden_layers"]))

    def forward(self, tokens, **fields):
        return self.ask("forward", {"tokens": tokens}, **{**PASS, **fields})[1]

    def extend(self, cache, tokens, **fields):
        return self.ask("extend", {"tokens": tokens}, cache=cache, **{**PASS, **fields})[1]

    def open_cache(self, batch, capacity):
        return self.ask("open_cache", batch=batch, capacity=capacity)[0]["cache"]


PASS = {"mode": "evaluation", "dropout": 0.0, "padding": "none", "lengths": [], "first_position": 0, "observe": []}


def in_process(adapter):
    """A conversation with the adapter, or with the one that a file defines."""
    if isinstance(adapter, str):
        return Talk(Server(lambda s, file=adapter: adapter_in(file, s), adapter).answer)
    return Talk(Server(adapter).answer)


def started(adapter, dtype="float32", seed=7):
    """A conversation after hello, with weights loaded."""
    talk = in_process(adapter)
    s = specification()
    talk.hello(s, dtype)
    talk.load(weights(s, seed))
    return talk


class Process(Talk):
    """A conversation with `python -m plumbline.serve`."""

    def __init__(self, file):
        self.errors = tempfile.TemporaryFile("w+", dir=ROOT.name)
        self.process = subprocess.Popen([sys.executable, "-m", "plumbline.serve", file], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=self.errors, text=True)
        super().__init__(self.through_pipes)

    def through_pipes(self, message):
        print(json.dumps(message), file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())

    def ended(self):
        """(status, what was left on standard output, standard error)"""
        self.process.stdin.close()
        status = self.process.wait(timeout=30)
        left = self.process.stdout.read()
        self.process.stdout.close()
        self.errors.seek(0)
        text = self.errors.read()
        self.errors.close()
        return status, left, text


class Case(unittest.TestCase):
    def assert_near(self, actual, expected, what, allowed=2e-5):
        """Elements differ by at most `allowed` of the largest; infinities agree."""
        self.assertEqual(list(actual.shape), list(expected.shape), what)
        actual, expected = actual.double(), expected.double()
        finite = expected.isfinite()
        self.assertTrue(torch.equal(actual[~finite], expected[~finite]), f"{what}: infinities")
        difference = (actual - expected)[finite].abs().max().item()
        bound = allowed * expected[finite].abs().max().item()
        self.assertTrue(difference <= bound, f"{what}: off by {difference}, allowed {bound}")


def hidden_as_infinity(scores):
    """Masks of large negative numbers hide as infinity does."""
    return scores.masked_fill(scores < -1e4, float("-inf"))


def write(name, text):
    """A file of that name, alone in a directory."""
    path = os.path.join(tempfile.mkdtemp(dir=ROOT.name), name)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def with_transformers(test):
    try:
        import transformers  # noqa: F401
    except ImportError:
        return unittest.skip("transformers cannot be imported: put it on PYTHONPATH to test with Hugging Face's Llama")(test)
    return test
