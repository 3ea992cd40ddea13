"""The model, from the formulas. Shapes in comments:
B batch, T queries, S keys, D width, H query heads, K key/value heads, Dh head size, F feed-forward, V vocabulary.

RMSNorm                  Zhang and Sennrich, "Root mean square layer normalization", 2019
rotary embedding         Su et al., "RoFormer: enhanced transformer with rotary position embedding", 2021
grouped-query attention  Ainslie et al., "GQA: training generalized multi-query transformer models", 2023
gated feed-forward       Shazeer, "GLU variants improve transformer", 2020
attention, tied head     Vaswani et al., 2017; Press and Wolf, "Using the output embedding", 2017

Everything is computed in the type of the weights: float64 for what is true, float32 end to end (frequencies and
angles too, as ordinary implementations do) for how far an honest float32 program may be from it. Dropout is off.
Every formula is analytic and holds for complex x as well, which is what gradients.py takes derivatives with.
"""

import math
from typing import Callable

import numpy as np

from .specification import Specification

Observer = Callable[[str, np.ndarray], None]
Cache = list[tuple[np.ndarray, np.ndarray]]  # for each layer rotated keys and values, (B, S, K, Dh), unrepeated

_real_erf = np.vectorize(math.erf, otypes=[np.float64])


def erf(x: np.ndarray) -> np.ndarray:
    """In float64. Of a complex a + ib the expansion to first order in b, which gradients.py makes small enough."""
    value = _real_erf(x.real)
    return value if np.isrealobj(x) else value + 1j * x.imag * (2 / math.sqrt(math.pi) * np.exp(-x.real**2))


def rms_norm(x: np.ndarray, gain: np.ndarray, epsilon: float) -> np.ndarray:
    """x / sqrt(mean(x^2) + epsilon) * gain, over the last axis; no mean is subtracted."""
    mean_square = np.mean(x * x, axis=-1, keepdims=True)  # (..., 1)
    return x / np.sqrt(mean_square + x.dtype.type(epsilon)) * gain


def rotary_angles(positions: np.ndarray, head_size: int, theta: float, dtype: type) -> np.ndarray:
    """positions (...) to angles (..., Dh/2): position * theta^(-2i/Dh)."""
    exponents = np.arange(0, head_size, 2).astype(dtype) / dtype(head_size)  # (Dh/2): 2i/Dh
    frequencies = dtype(1) / dtype(theta) ** exponents  # (Dh/2)
    return positions[..., None].astype(dtype) * frequencies


def rotate(x: np.ndarray, angles: np.ndarray, rotary: str) -> np.ndarray:
    """Turns each plane of the last axis by its angle. x (..., Dh), angles broadcastable to (..., Dh/2).
    halves: plane i holds the columns i and i + Dh/2. pairs: plane i holds the columns 2i and 2i + 1."""
    half = x.shape[-1] // 2
    first, second = ((slice(0, half), slice(half, None)) if rotary == "halves"
                     else (slice(0, None, 2), slice(1, None, 2)))
    cosine, sine = np.cos(angles), np.sin(angles)
    rotated = np.empty_like(x)
    rotated[..., first] = x[..., first] * cosine - x[..., second] * sine
    rotated[..., second] = x[..., first] * sine + x[..., second] * cosine
    return rotated


def softmax(scores: np.ndarray) -> np.ndarray:
    """Over the last axis; -inf becomes exactly 0."""
    exponentials = np.exp(scores - np.max(scores.real, axis=-1, keepdims=True))
    return exponentials / np.sum(exponentials, axis=-1, keepdims=True)


def silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


def gelu(x: np.ndarray) -> np.ndarray:
    """The exact form, x * Phi(x); erf itself is taken in float64 and rounded once."""
    half = x.dtype.type(0.5)
    return half * x * (1 + erf(x * x.dtype.type(math.sqrt(0.5))).astype(x.dtype))


ACTIVATIONS = {"silu": silu, "gelu": gelu}


class Model:
    def __init__(self, specification: Specification, weights: dict[str, np.ndarray], dtype: type):
        self.specification = specification
        self.dtype = dtype
        self.weights = {name: weight.astype(dtype) for name, weight in weights.items()}

    def empty_cache(self, batch: int) -> Cache:
        s = self.specification
        nothing = np.empty((batch, 0, s.key_value_heads, s.head_size), self.dtype)
        return [(nothing, nothing) for _ in range(s.layers)]

    def forward(self, tokens: np.ndarray, positions: np.ndarray, visible: np.ndarray, cache: Cache,
                observe: Observer = lambda stage, tensor: None) -> np.ndarray:
        """tokens, positions (B, T); visible (B, T, S) says which keys, cached ones first, a query may see.
        Adds this pass's keys and values to the cache. Returns logits (B, T, V)."""
        angles = self.angles(positions)  # (B, T, Dh/2)
        x = self.weights["model.embed_tokens.weight"][tokens]  # (B, T, D)
        observe("embedding", x)
        for n in range(self.specification.layers):
            x = self.layer(n, x, angles, visible, cache, observe)  # (B, T, D)
        logits = self.head(x, observe)  # (B, T, V)
        assert logits.dtype == self.dtype, "something was computed in another type"
        return logits

    def angles(self, positions: np.ndarray) -> np.ndarray:
        return rotary_angles(positions, self.specification.head_size, self.specification.theta, self.dtype)

    def layer(self, n: int, x: np.ndarray, angles: np.ndarray, visible: np.ndarray, cache: Cache,
              observe: Observer = lambda stage, tensor: None) -> np.ndarray:
        def see(stage: str, tensor: np.ndarray) -> np.ndarray:
            observe(f"layers.{n}.{stage}", tensor)
            return tensor

        normed = see("attention_norm", self._norm(x, f"model.layers.{n}.input_layernorm"))
        x = see("after_attention", x + self._attention(n, normed, angles, visible, cache, see))  # (B, T, D)
        normed = see("feed_forward_norm", self._norm(x, f"model.layers.{n}.post_attention_layernorm"))
        return see("after_feed_forward", x + self._feed_forward(n, normed, see))  # (B, T, D)

    def head(self, x: np.ndarray, observe: Observer = lambda stage, tensor: None) -> np.ndarray:
        x = self._norm(x, "model.norm")  # (B, T, D)
        observe("final_norm", x)
        logits = self._linear(x, "model.embed_tokens" if self.specification.tied else "lm_head")  # (B, T, V)
        observe("logits", logits)
        return logits

    def _attention(self, n: int, x: np.ndarray, angles: np.ndarray, visible: np.ndarray, cache: Cache,
                   see: Callable[[str, np.ndarray], np.ndarray]) -> np.ndarray:
        s = self.specification
        layer = f"model.layers.{n}.self_attn."
        heads = (*x.shape[:2], -1, s.head_size)  # (B, T, heads, Dh)
        q = see("q", self._linear(x, layer + "q_proj").reshape(heads))  # (B, T, H, Dh)
        k = see("k", self._linear(x, layer + "k_proj").reshape(heads))  # (B, T, K, Dh)
        v = see("v", self._linear(x, layer + "v_proj").reshape(heads))  # (B, T, K, Dh)
        # One angle for every head: the axis that is added here stands for the heads.
        q = see("q_rotated", rotate(q, angles[:, :, None, :], s.rotary))
        k = see("k_rotated", rotate(k, angles[:, :, None, :], s.rotary))

        keys = np.concatenate([cache[n][0], k], axis=1)  # (B, S, K, Dh)
        values = np.concatenate([cache[n][1], v], axis=1)  # (B, S, K, Dh)
        cache[n] = (keys, values)

        # Query head h reads key/value head h // (H/K), so each is repeated H/K times in place.
        repeat = s.heads // s.key_value_heads
        keys = np.repeat(keys, repeat, axis=2).transpose(0, 2, 3, 1)  # (B, H, Dh, S)
        values = np.repeat(values, repeat, axis=2).transpose(0, 2, 1, 3)  # (B, H, S, Dh)
        scores = q.transpose(0, 2, 1, 3) @ keys / self.dtype(math.sqrt(s.head_size))  # (B, H, T, S)
        scores = see("scores", np.where(visible[:, None], scores, self.dtype(-np.inf)))
        probabilities = see("probabilities", softmax(scores))  # (B, H, T, S)
        context = (probabilities @ values).transpose(0, 2, 1, 3)  # (B, T, H, Dh)
        context = see("context", context.reshape(*x.shape[:2], -1))  # (B, T, H*Dh)
        return see("attention_out", self._linear(context, layer + "o_proj"))  # (B, T, D)

    def _feed_forward(self, n: int, x: np.ndarray, see: Callable[[str, np.ndarray], np.ndarray]) -> np.ndarray:
        layer = f"model.layers.{n}.mlp."
        gate = see("gate", self._linear(x, layer + "gate_proj"))  # (B, T, F)
        up = see("up", self._linear(x, layer + "up_proj"))  # (B, T, F)
        gated = see("gated", self._activation(gate) * up)  # (B, T, F)
        return see("feed_forward_out", self._linear(gated, layer + "down_proj"))  # (B, T, D)

    def _activation(self, x: np.ndarray) -> np.ndarray:
        return ACTIVATIONS[self.specification.activation](x)

    def _linear(self, x: np.ndarray, name: str) -> np.ndarray:
        """x (..., in) to (..., out); weights are (out, in)."""
        y = x @ self.weights[name + ".weight"].T
        bias = self.weights.get(name + ".bias")
        return y if bias is None else y + bias

    def _norm(self, x: np.ndarray, name: str) -> np.ndarray:
        return rms_norm(x, self.weights[name + ".weight"], self.specification.epsilon)
