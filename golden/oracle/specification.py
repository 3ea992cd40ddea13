"""A model's dimensions, read from fixtures/specifications/NAME.json."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from .errors import InputError

MOST_PARAMETERS = 1_000_000_000  # a declared size beyond this is a mistake, and would not fit in memory anyway


@dataclass(frozen=True)
class Specification:
    name: str
    sha256: str  # of the file's bytes
    vocabulary: int  # V
    width: int  # D
    layers: int
    heads: int  # H
    key_value_heads: int  # K
    feed_forward: int  # F
    activation: str  # "silu" | "gelu"
    rotary: str  # "halves" | "pairs"
    theta: float
    epsilon: float
    attention_bias: bool
    mlp_bias: bool
    tied: bool
    max_positions: int

    @property
    def head_size(self) -> int:  # Dh
        return self.width // self.heads


def derived_feed_forward(width: int) -> int:
    return 64 * -(-int(width * 8 / 3) // 64)


def _constant(text: str):
    raise ValueError(f"{text} is no JSON number")


def read_json(path: Path, kind: str) -> tuple[dict, bytes]:
    """The object in a JSON file, and the file's bytes."""
    try:
        data = path.read_bytes()
        value = json.loads(data.decode("utf-8"), parse_constant=_constant)
    except OSError as error:
        raise InputError(f"{path}: expected {kind}, but it cannot be read ({error.strerror}); restore it") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: expected {kind} as JSON, but it cannot be parsed ({error}); correct it") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected {kind} as a JSON object, got {type(value).__name__}; correct it")
    return value, data


def load(path: Path) -> Specification:
    config, data = read_json(path, "a model specification")

    def take(key: str, kind: type, low=None, choices=None):
        value = config.get(key)
        good = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
        if kind is float:
            good = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not good or (low is not None and value < low) or (choices and value not in choices):
            wanted = " or ".join(map(repr, choices)) if choices else {bool: "true or false", str: "a text"}.get(
                kind, f"a number of at least {low}")
            raise InputError(f"{path}: {key}: expected {wanted}, got {json.dumps(value)}; correct the specification")
        return value

    width = take("hidden_size", int, 1)
    heads = take("num_attention_heads", int, 1)
    key_value_heads = take("num_key_value_heads", int, 1)
    if width % heads or heads % key_value_heads or (width // heads) % 2:
        raise InputError(f"{path}: {width} wide with {heads} heads and {key_value_heads} key/value heads is no model: "
                         "expected hidden_size to divide by heads into an even head size, and heads by key/value "
                         "heads; correct the specification")
    derived = config.get("intermediate_size") == "derived"
    specification = Specification(
        name=take("name", str), sha256=hashlib.sha256(data).hexdigest(), vocabulary=take("vocab_size", int, 1),
        width=width, layers=take("num_hidden_layers", int, 1), heads=heads, key_value_heads=key_value_heads,
        feed_forward=derived_feed_forward(width) if derived else take("intermediate_size", int, 1),
        activation=take("hidden_act", str, choices=("silu", "gelu")),
        rotary=take("rotary", str, choices=("halves", "pairs")), theta=float(take("rope_theta", float, 1)),
        epsilon=float(take("rms_norm_eps", float, 0)), attention_bias=take("attention_bias", bool),
        mlp_bias=take("mlp_bias", bool), tied=take("tie_word_embeddings", bool),
        max_positions=take("max_position_embeddings", int, 1))
    if specification.name != path.stem:
        raise InputError(f"{path}: name: expected {path.stem!r} as the file is called, got {specification.name!r}; "
                         "rename one of them")
    return specification
