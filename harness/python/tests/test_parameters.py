"""Weights go in and come out bit by bit, each tensor once, and what does not fit is refused by name."""

import unittest

import formulas
import models
import torch
from support import LLAMA, MINIMIND, PLAIN, Case, own_weights, specification, started, weights, with_transformers
from torch import nn

import plumbline
from plumbline import parameters

S = specification()


class Parameters(Case):
    def check(self, file, tied):
        for dtype in (torch.float32, torch.bfloat16):
            talk = started(file, str(dtype).replace("torch.", ""))
            shown = talk.ask("weights")[1]
            right = own_weights(weights(S), talk.description, S["num_hidden_layers"])
            described = {entry["name"]: entry for entry in talk.description["parameters"]}
            self.assertEqual(set(shown), set(right))
            self.assertEqual(set(shown), set(described))
            for name, tensor in right.items():
                self.assertTrue(torch.equal(shown[name], tensor.to(dtype)), name)
                self.assertEqual(described[name]["shape"], list(tensor.shape))
                self.assertEqual("torch." + described[name]["dtype"], str(dtype))
            self.assertEqual([sorted(names) for names in talk.description["tied"]], tied)
            self.assertEqual(sum(tensor.numel() for tensor in shown.values()), S["parameter_count"])

    @with_transformers
    def test_llama(self):
        self.check(LLAMA, [["lm_head.weight", "model.embed_tokens.weight"]])

    def test_minimind(self):
        self.check(MINIMIND, [["lm_head.weight", "model.embed_tokens.weight"]])

    def test_plain(self):
        self.check(PLAIN, [])

    def test_untied(self):
        self.assertEqual(parameters.describe(models.MiniMind({**S, "tie_word_embeddings": False}))["tied"], [])

    def test_tied_by_storage_alone(self):
        model = nn.ModuleList([nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)])
        model[1].weight = nn.Parameter(model[0].weight.data)
        self.assertEqual(parameters.describe(model)["tied"], [["0.weight", "1.weight"]])

    def test_a_tied_head_follows(self):
        talk = started(MINIMIND)
        tokens = torch.arange(6).unsqueeze(0)
        changed = weights(S)
        changed["model.embed_tokens.weight"][99] += 1.0  # seen by the head alone
        before = talk.forward(tokens)["logits"]
        talk.load(changed)
        after = talk.forward(tokens)["logits"]
        self.assertTrue((after[..., 99] != before[..., 99]).all())
        self.assertTrue(torch.equal(after[..., :99], before[..., :99]))

    def test_what_does_not_fit_is_refused_by_name_and_nothing_is_changed(self):
        talk = started(MINIMIND)
        name = "model.layers.2.mlp.up_proj.weight"
        before = talk.ask("weights")[1]
        for change, said in ((lambda w: w.pop(name), f"missing: {name}"),
                             (lambda w: w.update(extra=torch.ones(2)), "unknown: extra"),
                             (lambda w: w.update({name: torch.ones(48, 128)}), f"{name} [48, 128], expected [128, 48]")):
            given = weights(S, seed=8)
            change(given)
            error = talk.refused("load", given)
            self.assertEqual(error["kind"], "failed")
            self.assertIn(said, error["message"])
        self.assertTrue(all(torch.equal(tensor, before[other]) for other, tensor in talk.ask("weights")[1].items()))

    def test_initialise(self):
        talk = started(MINIMIND)
        loaded = talk.ask("weights")[1]
        results = []
        for seed in (5, 5, 6):
            talk.ask("initialise", seed=seed)
            results.append(talk.ask("weights")[1])
        name = "model.layers.0.self_attn.q_proj.weight"
        self.assertTrue(torch.equal(results[0][name], results[1][name]))
        self.assertFalse(torch.equal(results[0][name], results[2][name]))
        self.assertFalse(torch.equal(results[0][name], loaded[name]))
        self.assertIn("layers.4.gate", talk.forward(torch.zeros(1, 3, dtype=torch.int64), observe=["gate"]))


class Operations(Case):
    def check(self, file):
        x, upstream = torch.randn(2, 5, 2, 8), torch.randn(2, 5, 6, 8)
        talk = started(file)
        self.assertEqual(talk.description["can"]["operations"], ["repeat_kv", "rotate"])
        shown = talk.ask("operation", {"x": x, "upstream": upstream}, name="repeat_kv", factor=3)[1]
        self.assertTrue(torch.equal(shown["y"], x.repeat_interleave(3, 2)))
        self.assert_near(shown["gradient"], upstream.unflatten(2, (2, 3)).sum(3), "gradient")
        self.assertEqual(list(talk.ask("operation", {"x": x}, name="repeat_kv", factor=1)[1]), ["y"])

        x, positions = torch.randn(2, 5, 6, 8), torch.tensor([[0, 1, 2, 3, 4], [7, 100, 3, 0, 2000]])
        shown = talk.ask("operation", {"x": x, "positions": positions}, name="rotate")[1]["y"]
        self.assert_near(shown, formulas.rotated(x.double(), positions, S["rope_theta"]), "rotation", 2e-4)

    def test_minimind(self):
        self.check(MINIMIND)

    @with_transformers
    def test_llama(self):
        self.check(LLAMA)

    @with_transformers
    def test_llama_in_bfloat16_keeps_its_frequencies(self):
        x, positions = torch.randn(1, 2, 6, 8), torch.tensor([[2000, 2001]])
        shown = started(LLAMA, "bfloat16").ask("operation", {"x": x, "positions": positions}, name="rotate")[1]["y"]
        self.assert_near(shown, formulas.rotated(x.double(), positions, S["rope_theta"]), "rotation", 1e-3)

    def test_what_is_not_shown(self):
        talk = started(plumbline.Module(models.MiniMind))
        self.assertEqual(talk.description["can"]["operations"], [])
        x = torch.randn(1, 2, 3, 4)
        for name in ("repeat_kv", "rotate", "transpose"):
            error = talk.refused("operation", {"x": x, "positions": torch.zeros(1, 2, dtype=torch.int64)}, name=name, factor=2)
            self.assertEqual(error["kind"], "cannot", error)


if __name__ == "__main__":
    unittest.main()
