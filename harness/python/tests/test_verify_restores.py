"""plumbline.verify leaves a model, its optimiser and torch as they were.

The program is what the environment variable PLUMBLINE names, or what verify() finds without it; without any, this fails.
"""

import contextlib
import io
import random
import unittest

import models
import numpy
import torch
from support import specification
from verify_support import MINIMIND, Case, ids

import plumbline


class Judged:
    """A model in a state worth keeping, and all that is to stay."""

    def __init__(self, kind):
        torch.manual_seed(11)
        self.model = model = kind(specification(dropout=0.1))
        model.train()
        model.model.layers[1].eval()
        model.model.layers[3].mlp.dropout.p = 0.7
        model.odd = {"held": torch.ones(3)}
        model.register_buffer("counter", torch.tensor([3, 4]))
        self.optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
        model(torch.arange(8).view(2, 4)).logits.sum().backward()
        self.optimiser.step()
        model.config.dropout = 0.3
        model.model.layers[2].requires_grad_(False)
        with torch.no_grad():
            model.model.norm.weight[0] = float("nan")  # not equal to itself, and to be kept to the bit
            model.model.freqs_cos[-1] += 1
        self.seen = []
        frozen = model.model.layers[2].mlp.up_proj.weight
        model.model.layers[0].register_forward_hook(lambda *_: self.seen.append(frozen.requires_grad))
        self.objects = {id(tensor): tensor for _, tensor in self.tensors()}

    def tensors(self):
        yield from self.model.named_parameters(remove_duplicate=False)
        yield from self.model.named_buffers(remove_duplicate=False)
        yield from self.model.odd.items()

    def state(self):
        named = list(self.tensors())
        modules = list(self.model.named_modules())
        hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
        return {
            "values": {name: bits(tensor) for name, tensor in named},
            "objects": {name: (id(tensor), tensor.data_ptr(), tensor.dtype) for name, tensor in named},
            "gradients": {name: (id(tensor.grad), None if tensor.grad is None else bits(tensor.grad)) for name, tensor in named},
            "requires_grad": {name: tensor.requires_grad for name, tensor in named},
            "of the optimiser": [id(parameter) for group in self.optimiser.param_groups for parameter in group["params"]],
            "modes": {name: module.training for name, module in modules},
            "rates": {name: module.p for name, module in modules if hasattr(module, "p")} | {"config": self.model.config.dropout},
            "hooks": {(name, kind): list(getattr(module, kind)) for name, module in modules for kind in hooks},
            "attributes": {name: sorted(vars(module)) for name, module in modules} | {"passes": self.model.passes},
            "random": (bits(torch.get_rng_state()), random.getstate(), str(numpy.random.get_state())),
            "settings": (torch.get_default_dtype(), torch.is_grad_enabled(), torch.is_inference_mode_enabled(),
                         torch.get_num_threads(), torch.is_autocast_enabled("cpu")),
        }


def bits(tensor):
    return bytes(tensor.detach().contiguous().view(torch.uint8).flatten().tolist())


class Disturbing(models.MiniMind):
    """Does in its passes what a user's code may do, then, at the pass of that number, what is asked for."""

    passes, at, what = 0, 0, None

    def forward(self, tokens, **keywords):
        self.passes += 1
        random.random(), numpy.random.rand(), torch.rand(1)
        torch.set_default_dtype(torch.float32)
        self.config.dropout = 0.25
        self.counter.add_(1)
        self.odd["more"] = tokens
        self.odd["held"].add_(1)
        result = super().forward(tokens, **keywords)
        torch.set_default_dtype(torch.float64)
        if self.passes == self.at:
            self.what()
        return result


def interrupted():
    raise KeyboardInterrupt


def out_of_luck():
    raise RuntimeError("out of luck")


class Restored(Case):
    def check(self, judged, before):
        after = judged.state()
        for what in before:
            if isinstance(before[what], dict):
                names = before[what].keys() | after[what].keys()
                changed = [name for name in names if before[what].get(name) != after[what].get(name)]
                self.assertEqual(changed, [], f"{what} changed")
            self.assertTrue(before[what] == after[what], f"{what} changed")

    def judged(self, what=None, at=0):
        random.seed(1)
        numpy.random.seed(2)
        judged = Judged(Disturbing)
        judged.model.passes, judged.model.at, judged.model.what = 0, at, what
        del judged.model.odd["more"]
        torch.set_default_dtype(torch.float32)
        self.addCleanup(torch.set_default_dtype, torch.float32)
        return judged

    def test_after_a_verdict(self):
        judged = self.judged()
        before = judged.state()
        found = plumbline.verify(judged.model, "tiny", longest=604, **MINIMIND)
        self.assertEqual(found.errors, [], str(found))
        # What is odd about its state is said of it.
        self.assertEqual(ids(found.failures), {"CFG-10", "PAR-6"}, str(found))
        self.assertEqual(set(judged.seen), {True}, "its own hooks were called, and nothing was frozen")
        self.check(judged, before)
        # The optimiser still moves it.
        weight = judged.model.lm_head.weight
        held = weight.detach().clone()
        judged.model(torch.arange(4).view(1, 4)).logits[0, 0, 0].backward()
        judged.optimiser.step()
        self.assertFalse(torch.equal(weight, held))

    def test_after_an_error_and_an_interruption(self):
        for what, at in ((out_of_luck, 9), (interrupted, 1), (interrupted, 12)):
            with self.subTest(what.__name__, at=at):
                judged = self.judged(what, at)
                before = judged.state()
                errors, expected = io.StringIO(), (KeyboardInterrupt, plumbline.CouldNotJudge)
                with contextlib.redirect_stderr(errors), self.assertRaises(expected) as caught:
                    plumbline.verify(judged.model, "tiny", only=[6, 7], **MINIMIND)
                self.check(judged, before)
                if what is interrupted:
                    self.assertIsInstance(caught.exception, KeyboardInterrupt)
                else:
                    self.assertIn("out of luck", str(caught.exception))
                    self.assertIn("out of luck", errors.getvalue())
                self.assertEqual(judged.model.training, True)

    def test_in_modes_of_torch(self):
        judged = self.judged()
        for preserved_global_state in (torch.no_grad(), torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16)):
            with self.subTest(type(preserved_global_state).__name__), preserved_global_state:
                before = judged.state()
                found = plumbline.verify(judged.model, "tiny", only=[3, 6], **MINIMIND)
                self.assertEqual(found.errors, [], str(found))
                self.assertIn("GQA-5", ids(found.passed), "gradients, in the model's own type")
                self.check(judged, before)

    def test_what_functions_and_adapters_hand_out(self):
        class Own(plumbline.Module):
            def __init__(self, model):
                super().__init__(lambda specification: model, **MINIMIND)
                self.users = model

            def placed(self, model):
                return model.to(torch.bfloat16).to(torch.float32)

        class Holding(plumbline.Adapter):
            def __init__(self, model):
                self.model = model

            def start(self, specification, dtype, device):
                self.model.zero_grad(set_to_none=False)
                self.model.eval().bfloat16()
                raise plumbline.Cannot("nothing more")

        judged = self.judged()
        before = judged.state()
        self.assertIn("nothing more", str(self.not_judged(Holding(judged.model), "tiny")))
        self.check(judged, before)
        for kind in (lambda model: lambda specification: model,
                     lambda model: plumbline.Module(lambda specification: model, **MINIMIND),
                     lambda model: lambda specification: Own(model), Own):
            judged = self.judged()
            torch.set_num_threads(2)
            self.addCleanup(torch.set_num_threads, 1)
            before = judged.state()
            found = plumbline.verify(kind(judged.model), "tiny", only=1, threads=1, device="cpu")
            self.assertEqual(found.document["header"]["threads"], 1)
            self.check(judged, before)
            torch.set_num_threads(1)


if __name__ == "__main__":
    unittest.main()
