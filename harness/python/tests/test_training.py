"""Gradients are those of the formulas, dropout is what was asked for, and a step is AdamW's."""

import unittest

import formulas
import models
import torch
import torch.nn.functional as F
from support import LLAMA, MINIMIND, PLAIN, Case, own_weights, specification, started, weights, with_transformers

import plumbline
from plumbline import training

S = specification()
GENERATOR = torch.Generator().manual_seed(4)
TOKENS = torch.randint(0, S["vocab_size"], (2, 6), generator=GENERATOR)
LABELS = torch.where(torch.rand(2, 6, generator=GENERATOR) < 0.3, -100, TOKENS)


def right_gradients(canonical):
    w = {name: tensor.double().requires_grad_() for name, tensor in canonical.items()}
    logits = formulas.stages(S, w, TOKENS)["logits"]
    counted = [(row, t) for row in range(2) for t in range(1, 6) if LABELS[row, t] != -100]
    loss = -sum(logits[row, t - 1].log_softmax(-1)[LABELS[row, t]] for row, t in counted) / len(counted)
    return loss.detach(), dict(zip(w, torch.autograd.grad(loss, list(w.values()))))


class Gradients(Case):
    def check(self, adapter):
        talk = started(adapter)
        loss, right = right_gradients(weights(S))
        right = own_weights(right, talk.description, S["num_hidden_layers"])
        for mode in ("evaluation", "training"):
            shown = talk.ask("gradients", {"tokens": TOKENS, "labels": LABELS}, mode=mode, padding="none", lengths=[])[1]
            self.assertEqual(set(shown), {"loss", *right})
            self.assertEqual(list(shown["loss"].shape), [])
            self.assert_near(shown["loss"], loss, f"loss in {mode}")
            for name, gradient in right.items():
                self.assert_near(shown[name], gradient, f"{name} in {mode}", 1e-4)

    @with_transformers
    def test_llama(self):
        self.check(LLAMA)

    def test_minimind(self):
        self.check(MINIMIND)

    def test_plain(self):
        self.check(PLAIN)

    def test_a_loss_of_its_own(self):
        def loss(model, tokens, labels):
            logits = model(tokens).logits
            return F.cross_entropy(logits[:, :-1].reshape(-1, logits.shape[-1]), labels[:, 1:].reshape(-1)) + 5

        talk = started(plumbline.Module(models.MiniMind, loss=loss))
        shown = talk.ask("gradients", {"tokens": TOKENS, "labels": LABELS}, mode="training", padding="none", lengths=[])[1]
        self.assert_near(shown["loss"], right_gradients(weights(S))[0] + 5, "loss")

    def test_the_loss_of_a_model_that_takes_labels(self):
        """An object's, a tuple's first; a loss that is not there, or of shape (1), is no hindrance."""
        plain = F.cross_entropy

        def returning(what):
            class Labelled(models.MiniMind):
                def forward(self, tokens, labels=None, **keywords):
                    logits = super().forward(tokens, **keywords).logits
                    if labels is None:
                        return (logits,)
                    return what(plain(logits[:, :-1].reshape(-1, logits.shape[-1]), labels[:, 1:].reshape(-1)) + 5, logits)
            return started(plumbline.HuggingFace(Labelled, positions=None, cache=None))

        right = right_gradients(weights(S))[0]
        for what, more in ((lambda loss, logits: (loss, logits), 5), (lambda loss, logits: {"loss": loss, "logits": logits}, 5),
                           (lambda loss, logits: (logits,), 0)):
            shown = returning(what).ask("gradients", {"tokens": TOKENS, "labels": LABELS}, mode="training", padding="none", lengths=[])[1]
            self.assert_near(shown["loss"], right + more, "loss")
        losses = returning(lambda loss, logits: (loss.reshape(()), logits)).ask(
            "train", {"tokens": TOKENS.expand(2, 2, 6), "labels": LABELS.expand(2, 2, 6)}, steps=2, learning_rate=0.0, betas=[0.9, 0.9],
            eps=1e-8, weight_decay=0.0)[1]["losses"]
        self.assertEqual(list(losses.shape), [2])

    def test_padding(self):
        """Padding changes no gradient; a loss of the model's own is not asked about it."""
        fields = {"mode": "training", "padding": "left", "lengths": [6, 6]}
        fill = torch.zeros(2, 3, dtype=torch.int64)
        padded = {"tokens": torch.cat([fill, TOKENS], 1), "labels": torch.cat([fill - 100, LABELS[:, :1] * 0 - 100, LABELS[:, 1:]], 1)}
        shown = started(PLAIN).ask("gradients", padded, **fields)[1]
        talk = started(PLAIN)
        right = own_weights(right_gradients(weights(S))[1], talk.description, S["num_hidden_layers"])
        for name, gradient in right.items():
            self.assert_near(shown[name], gradient, name, 1e-4)
        own = started(plumbline.Module(models.MiniMind, mask="attention_mask", loss=lambda model, tokens, labels: 0))
        self.assertEqual(own.refused("gradients", padded, **fields)["kind"], "cannot")

        def loss(model, tokens, labels, **keywords):
            logits = model(tokens, **keywords).logits
            return F.cross_entropy(logits[:, :-1].reshape(-1, logits.shape[-1]), labels[:, 1:].reshape(-1)) + 5

        own = started(plumbline.Module(models.MiniMind, mask="attention_mask", loss=loss))
        shown = own.ask("gradients", padded, **fields)[1]
        self.assert_near(shown["loss"], right_gradients(weights(S))[0] + 5, "loss")

    def test_what_the_loss_does_not_depend_on_has_zeros(self):
        class Surplus(models.MiniMind):
            def __init__(self, s):
                super().__init__(s)
                self.idle = torch.nn.Parameter(torch.ones(3))

        talk = plumbline.Module(Surplus)
        talk.start(S, torch.float32, "cpu")
        self.assertEqual(talk.gradients(TOKENS, LABELS, plumbline.Pass())["idle"].tolist(), [0.0] * 3)


class Steps(Case):
    def test_adamw(self):
        """Two steps from the formulas' gradients, by Loshchilov and Hutter's algorithm 2 in float64."""
        talk = started(MINIMIND)
        settings = {"learning_rate": 1e-3, "betas": [0.9, 0.95], "eps": 1e-8, "weight_decay": 0.1}
        losses = talk.ask("train", {"tokens": TOKENS.expand(2, 2, 6), "labels": LABELS.expand(2, 2, 6)}, steps=2, **settings)[1]["losses"]
        w = {name: tensor.double() for name, tensor in weights(S).items()}
        first, second = ({name: torch.zeros_like(tensor) for name, tensor in w.items()} for _ in range(2))
        right_losses = []
        for step in (1, 2):
            loss, gradients = right_gradients(w)
            right_losses.append(loss)
            for name, g in gradients.items():
                first[name] = 0.9 * first[name] + 0.1 * g
                second[name] = 0.95 * second[name] + 0.05 * g * g
                rate = first[name] / (1 - 0.9 ** step) / ((second[name] / (1 - 0.95 ** step)).sqrt() + 1e-8)
                w[name] = w[name] * (1 - 1e-3 * 0.1) - 1e-3 * rate
        self.assert_near(losses, torch.stack(right_losses), "losses")
        shown = talk.ask("weights")[1]
        for name in w:
            # Where a gradient nearly vanishes, its rounding decides the direction of a whole step.
            off = (shown[name] - w[name]).abs()
            self.assertTrue((off > 1e-5).double().mean() < 0.01 and off.max() < 4e-3, name)

    def test_it_is_torchs_to_the_last_bit(self):
        """And, as there, a parameter without a gradient is left as it is."""
        starts = [torch.randn(3, 4, generator=GENERATOR), torch.randn(5, generator=GENERATOR), torch.randn(2, generator=GENERATOR)]
        factors = torch.randn(3, 12, generator=GENERATOR)
        ends = []
        for optimiser in (training.AdamW, torch.optim.AdamW):
            a, b, _ = parameters = [torch.nn.Parameter(start.clone()) for start in starts]
            made = optimiser(parameters, 1e-3, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
            for factor in factors:
                a.grad = b.grad = None
                ((a.flatten() * factor).sin().sum() + (b ** 3).sum()).backward()
                made.step()
            ends.append(parameters)
        for ours, theirs in zip(*ends):
            self.assertTrue(torch.equal(ours, theirs))
        self.assertTrue(torch.equal(ends[0][2], starts[2]))


class Dropout(Case):
    def test_rate_is_set_for_the_call_and_restored(self):
        s = specification(dropout=0.1)
        adapter = plumbline.Module(models.MiniMind, mask="attention_mask")
        self.assertTrue(adapter.start(s, torch.float32, "cpu")["can"]["dropout"])
        model = adapter.model
        before = {(id(holder), name): getattr(holder, name) for holder, name in training.rates(model)}
        self.assertEqual(set(before.values()), {0.1})
        self.assertEqual(len(before), 1 + 1 + 5 * 3)  # the config, the embedding; in each layer twice attention, once feed-forward
        seen = []
        model.model.layers[2].mlp.register_forward_hook(
            lambda *_: seen.append((model.training, model.config.dropout, model.model.dropout.p, model.model.layers[4].self_attn.dropout)))
        for options in (plumbline.Pass(training=True, dropout=0.4), plumbline.Pass(training=True), plumbline.Pass(dropout=0.4)):
            adapter.forward(TOKENS, options)
        self.assertEqual(seen, [(True, 0.4, 0.4, 0.4), (True, 0.0, 0.0, 0.0), (False, 0.4, 0.4, 0.4)])
        self.assertEqual({(id(holder), name): getattr(holder, name) for holder, name in training.rates(model)}, before)
        self.assertFalse(model.training)

    def test_rate_is_restored_after_an_error(self):
        adapter = plumbline.Module(models.MiniMind)
        adapter.start(specification(dropout=0.1), torch.float32, "cpu")
        with self.assertRaises(IndexError):
            adapter.forward(torch.full((1, 2), 10**6), plumbline.Pass(training=True, dropout=0.4))
        self.assertEqual({getattr(holder, name) for holder, name in training.rates(adapter.model)}, {0.1})
        self.assertFalse(adapter.model.training)

    def test_training_without_dropout_is_evaluation(self):
        talk = started(MINIMIND)
        right = talk.forward(TOKENS)["logits"]
        self.assertTrue(torch.equal(talk.forward(TOKENS, mode="training", dropout=0.0)["logits"], right))
        self.assertFalse(torch.allclose(talk.forward(TOKENS, mode="training", dropout=0.5)["logits"], right))

    def test_a_model_without_dropout_says_so(self):
        self.assertFalse(started(PLAIN).description["can"]["dropout"])


if __name__ == "__main__":
    unittest.main()
