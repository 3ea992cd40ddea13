"""Gradients without automatic differentiation: the slope of the loss along random directions of each parameter, by the
complex step.

For an analytic f and a small h, f(w + ihr) = f(w) + ih f'(w) r + O(h^2): the imaginary part over h is the derivative along
r. Nothing is subtracted, so nothing cancels, and the derivative is as exact as f itself.

complex step  Squire and Trapp, "Using complex variables to estimate derivatives of real functions", SIAM Review 40, 1998
              Martins, Sturdza and Alonso, "The complex-step derivative approximation", ACM TOMS 29, 2003

A direction has +1 or -1 for every element of its parameter, so its slope is the gradient's elements added and subtracted,
each in full: an element that is wrong cannot hide, as it could in a norm or a mean.
"""

import numpy as np

from . import weights
from .model import Model, rms_norm
from .philox import fill
from .probes import IGNORED, GradientProbe
from .specification import Specification

STEP = 2.0**-40  # h: its square is far below float64's rounding, and far above float32's smallest numbers


def direction(name: str, shape: tuple[int, ...], number: int, seed: int = weights.SEED) -> np.ndarray:
    """+1 and -1, int8. Element e is +1 where bit e mod 32 (0 is the lowest) of word e div 32 of the Philox stream
    "direction/NUMBER/NAME" is set."""

    def convert(words: list[np.ndarray], _first: int) -> np.ndarray:
        bits = np.unpackbits(np.stack(words, axis=1).astype("<u4").view(np.uint8), bitorder="little")
        return 2 * bits.astype(np.int8) - 1

    size = int(np.prod(shape))
    return fill(np.empty(size, dtype=np.int8), 128, (weights.fnv1a(f"direction/{number}/{name}"), seed),
                convert).reshape(shape)


def next_token_loss(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Mean cross-entropy of predicting labels[t] from the tokens before it, that is, from logits[t - 1]; labels (B, T),
    IGNORED counts for nothing. logits (N, B, T, V) to (N)."""
    counts = labels[:, 1:] != IGNORED  # (B, T - 1)
    wanted = labels[:, 1:][counts]  # (M)
    predicted = logits[:, :, :-1][:, counts]  # (N, M, V)
    predicted = predicted - np.max(predicted.real, axis=-1, keepdims=True)
    log_sum = np.log(np.sum(np.exp(predicted), axis=-1))  # (N, M)
    return np.mean(log_sum - predicted[:, np.arange(len(wanted)), wanted], axis=-1)


class Moved(Model):
    """The model on N copies of a batch, x (N * B, T, D), in each of which one parameter is moved by ih along one
    direction. All copies have the same real parts, as a change of h^2 is rounded away: those, and the activation's derivative by a
    complex step of its own, are computed once."""

    def __init__(self, model: Model, probe: GradientProbe):
        self.specification, self.dtype, self.weights = model.specification, model.dtype, model.weights
        self.batch, self.directions = probe.batch, probe.directions
        self.first: dict[str, int] = {}  # the first copy in which a parameter is moved; the next directions follow

    def move(self, names: list[str], x: np.ndarray) -> np.ndarray:
        """From now on these are moved. x (B, T, D) to complex (N * B, T, D)."""
        self.first = {name: index * self.directions for index, name in enumerate(names)}
        return np.tile(x, (len(names) * self.directions, 1, 1)).astype(np.result_type(x, np.complex64))

    def moves(self, name: str):
        """The rows of x in which this parameter is moved, and by what."""
        for number in range(self.directions if name in self.first else 0):
            start = (self.first[name] + number) * self.batch
            by = direction(name, self.weights[name].shape, number).astype(self.dtype) * self.dtype(STEP)
            yield slice(start, start + self.batch), by

    def embedding(self, x: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        for rows, by in self.moves("model.embed_tokens.weight"):
            x[rows].imag += by[tokens]
        return x

    def _activation(self, x: np.ndarray) -> np.ndarray:
        once = super()._activation(x[:self.batch].real + 1j * STEP)  # f and hf' where all copies are
        y = np.empty_like(x)
        copies = y.reshape(-1, *once.shape)
        copies.real, copies.imag = once.real, x.imag.reshape(copies.shape) * (once.imag / self.dtype(STEP))
        return y

    def _linear(self, x: np.ndarray, name: str) -> np.ndarray:
        weight, bias = name + ".weight", name + ".bias"
        columns = self.weights[weight].T  # (in, out)
        real = x[:self.batch].real  # (B, T, in)
        y = np.empty((len(x), x.shape[1], columns.shape[1]), x.dtype)
        # One product of two matrices is several times as fast as one for each row of a stack.
        y.imag = (x.imag.reshape(-1, x.shape[2]) @ columns).reshape(y.shape)
        y.reshape(-1, *real.shape[:2], y.shape[2]).real = real @ columns
        for rows, by in self.moves(weight):
            y[rows].imag += real @ by.T
        if bias in self.weights:
            y += self.weights[bias]
            for rows, by in self.moves(bias):
                y[rows].imag += by
        return y

    def _norm(self, x: np.ndarray, name: str) -> np.ndarray:
        y = super()._norm(x, name)
        for rows, by in self.moves(name + ".weight"):
            y[rows] = rms_norm(x[rows], self.weights[name + ".weight"] + 1j * by, self.specification.epsilon)
        return y


def groups(specification: Specification) -> list[tuple[int, list[str]]]:
    """Every parameter, with others whose moving shows first in the same layer: (that layer, their names)."""
    names, layers = list(weights.parameters(specification)), specification.layers
    of_layers = [(n, [name for name in names if name.startswith(f"model.layers.{n}.")]) for n in range(layers)]
    return [(0, names[:1]), *of_layers, (layers, [name for name in names[1:] if ".layers." not in name])]


def run(model: Model, probe: GradientProbe) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The loss, (1), and each parameter's slopes, (directions). What comes before the layer in which a move shows is
    the same in all copies, so their passes start there, from what an ordinary pass gave."""
    s = model.specification
    tokens, labels = probe.tokens(s.vocabulary), probe.labels(s.vocabulary)  # (B, T)
    positions, visible = np.arange(probe.length)[None], np.tri(probe.length, dtype=bool)[None]  # (1, T), (1, T, S)
    inputs = []  # of each layer and of the final norm, (B, T, D)

    def observe(stage: str, tensor: np.ndarray) -> None:
        if stage == "embedding" or stage.endswith("after_feed_forward"):
            inputs.append(tensor)

    logits = model.forward(tokens, positions, visible, model.empty_cache(probe.batch), observe)
    loss = next_token_loss(logits[None], labels)
    moved = Moved(model, probe)
    slopes: dict[str, np.ndarray] = {}
    for first_layer, names in groups(s):
        x = moved.embedding(moved.move(names, inputs[first_layer]), tokens)  # (N * B, T, D)
        for n in range(first_layer, s.layers):
            x = moved.layer(n, x, moved.angles(positions), visible, moved.empty_cache(len(x)))
        logits = moved.head(x)  # (N * B, T, V)
        losses = next_token_loss(logits.reshape(-1, *tokens.shape, s.vocabulary), labels)  # (N)
        assert losses.dtype == np.result_type(model.dtype, np.complex64), "something was computed in another type"
        slopes |= zip(names, (losses.imag / model.dtype(STEP)).reshape(len(names), probe.directions))
    return loss, slopes
