"""Deterministic weights and tokens, "scheme 1": exact arithmetic on Philox words, so that any language on any machine
makes the same bits. Chosen to discriminate: attention neither uniform nor one-hot, norm weights away from 1, and
every eighth row of the embedding so small that its mean square is near the norm's epsilon.
"""

import math

import numpy as np

from .errors import InputError
from .philox import fill
from .specification import MOST_PARAMETERS, Specification

SCHEME = 1
SEED = 1
SPREAD = math.sqrt((65536.0 * 65536.0 - 1.0) / 3.0)  # the standard deviation of bell(): four uniform 16-bit words
HALFWORD = np.uint64(0xFFFF)
SIXTEEN = np.uint64(16)
SMALL_ROW_EVERY, SMALL_ROW_AT = 8, 5


def fnv1a(text: str) -> int:
    """FNV-1a, 32 bits, of the text in UTF-8: turns a tensor's name into its key."""
    value = 0x811C9DC5
    for byte in text.encode("utf-8"):
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return value


def bell(name: str, size: int, seed: int = SEED) -> np.ndarray:
    """(size,) float64 holding exact integers, bell-shaped around 0 with standard deviation SPREAD."""

    def convert(words: list[np.ndarray], _first: int) -> np.ndarray:
        pairs = np.empty((words[0].size, 2))  # two elements from each block
        for column, (a, b) in enumerate(((words[0], words[1]), (words[2], words[3]))):
            pairs[:, column] = (a & HALFWORD) + (a >> SIXTEEN) + (b & HALFWORD) + (b >> SIXTEEN)
        return pairs.ravel() - 131070.0

    return fill(np.empty(size), 2, (fnv1a(name), seed), convert)


def uniform_words(name: str, size: int, seed: int = SEED) -> np.ndarray:
    """(size,) uint64: each of the blocks' 32-bit words in turn."""
    return fill(np.empty(size, dtype=np.uint64), 4, (fnv1a(name), seed),
                lambda words, _first: np.stack(words, axis=1).ravel())


def matrix(name: str, shape: tuple[int, ...], deviation: float, seed: int = SEED) -> np.ndarray:
    """float32 with the given standard deviation: one double multiplication and one rounding."""
    values = bell(name, math.prod(shape), seed)
    values *= deviation / SPREAD
    return values.astype(np.float32).reshape(shape)


def embedding(name: str, shape: tuple[int, int], seed: int = SEED) -> np.ndarray:
    small = np.arange(shape[0]) % SMALL_ROW_EVERY == SMALL_ROW_AT
    factor = np.where(small, (0.02 * 0.15) / SPREAD, 0.02 / SPREAD)
    return (bell(name, math.prod(shape), seed).reshape(shape) * factor[:, None]).astype(np.float32)


def norm(name: str, size: int, seed: int = SEED) -> np.ndarray:
    """(size,) float32, uniform over [0.5, 1.5)."""
    return (0.5 + (uniform_words(name, size, seed) >> np.uint64(8)).astype(np.float64) * 2.0**-24).astype(np.float32)


def tokens(name: str, count: int, vocabulary: int, seed: int = SEED) -> np.ndarray:
    """(count,) int64 token ids below `vocabulary`."""
    return (uniform_words(f"probe/{name}", count, seed) % np.uint64(vocabulary)).astype(np.int64)


def parameters(specification: Specification) -> dict[str, tuple[int, ...]]:
    """Every parameter's name and shape, (out, in) for matrices; the tied head counts once and is not listed."""
    s = specification
    query, key_value = s.heads * s.head_size, s.key_value_heads * s.head_size
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (s.vocabulary, s.width)}
    for n in range(s.layers):
        layer = f"model.layers.{n}."
        projections = {"self_attn.q_proj": (query, s.width), "self_attn.k_proj": (key_value, s.width),
                       "self_attn.v_proj": (key_value, s.width), "self_attn.o_proj": (s.width, query),
                       "mlp.gate_proj": (s.feed_forward, s.width), "mlp.up_proj": (s.feed_forward, s.width),
                       "mlp.down_proj": (s.width, s.feed_forward)}
        shapes[layer + "input_layernorm.weight"] = (s.width,)
        shapes[layer + "post_attention_layernorm.weight"] = (s.width,)
        for projection, shape in projections.items():
            shapes[f"{layer}{projection}.weight"] = shape
            if s.mlp_bias if projection.startswith("mlp.") else s.attention_bias:
                shapes[f"{layer}{projection}.bias"] = shape[:1]
    shapes["model.norm.weight"] = (s.width,)
    if not s.tied:
        shapes["lm_head.weight"] = (s.vocabulary, s.width)
    return shapes


def generate(name: str, shape: tuple[int, ...], seed: int = SEED) -> np.ndarray:
    """One parameter, float32."""
    if name == "model.embed_tokens.weight":
        return embedding(name, shape, seed)
    if name.endswith(".bias"):
        return matrix(name, shape, 0.3, seed)
    if len(shape) == 1:
        return norm(name, shape[0], seed)
    gain = 1.6 if name.endswith((".q_proj.weight", ".k_proj.weight")) else 1.0
    return matrix(name, shape, gain / math.sqrt(shape[1]), seed)


def generate_all(specification: Specification, seed: int = SEED) -> dict[str, np.ndarray]:
    """Every parameter, float32."""
    shapes = parameters(specification)
    count = sum(math.prod(shape) for shape in shapes.values())
    if count > MOST_PARAMETERS:
        raise InputError(f"{specification.name}.json: {count} parameters; expected at most {MOST_PARAMETERS}; "
                         "correct its dimensions")
    return {name: generate(name, shape, seed) for name, shape in shapes.items()}
