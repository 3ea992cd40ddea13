"""Converts configurations to the specification's keys and back."""

from __future__ import annotations

from typing import Any

# Key of the specification -> attributes that may hold it.
ATTRIBUTES = {
    "vocab_size": ("vocab_size",),
    "hidden_size": ("hidden_size",),
    "num_hidden_layers": ("num_hidden_layers",),
    "num_attention_heads": ("num_attention_heads",),
    "num_key_value_heads": ("num_key_value_heads",),
    "head_dim": ("head_dim",),
    "intermediate_size": ("intermediate_size",),
    "hidden_act": ("hidden_act",),
    "rms_norm_eps": ("rms_norm_eps",),
    "dropout": ("attention_dropout", "dropout"),
    "attention_bias": ("attention_bias",),
    "mlp_bias": ("mlp_bias",),
    "tie_word_embeddings": ("tie_word_embeddings",),
    "max_position_embeddings": ("max_position_embeddings",),
}
MEASURED = 5e-3  # how far a number that was measured may be off, relative
SURE_NAMES = ("silu", "gelu", "gelu_pytorch_tanh", "relu", "halves", "pairs")
ROTARY_SECTIONS = ("rope_parameters", "rope_scaling")


def settings(config: Any, where: str = "config") -> dict[str, Any]:
    """{key: {"value", "where"}} of a configuration object in the convention of transformers 4 and 5; what it lacks is missing."""
    found = {}
    for key, names in ATTRIBUTES.items():
        for name in names:
            value = getattr(config, name, None)
            if isinstance(value, (bool, int, float, str)):
                found[key] = {"value": value, "where": f"{where}.{name}"}
                break
    found.update(rotary(config, where))
    if "head_dim" not in found and {"hidden_size", "num_attention_heads"} <= found.keys():
        found["head_dim"] = {"value": config.hidden_size // config.num_attention_heads, "where": "hidden_size / num_attention_heads"}
    if getattr(config, "model_type", None) in ("llama", "minimind"):
        found["rotary"] = {"value": "halves", "where": f"model_type {config.model_type} turns halves"}
    return found


def rotary(config: Any, where: str) -> dict[str, Any]:
    """rope_theta and rope_type, where a type other than "default" takes precedence. Errors: ValueError for contradictory theta."""
    sections = [(section, getattr(config, section, None)) for section in ROTARY_SECTIONS]
    held = [(f"{where}.{section}[{{!r}}]", values) for section, values in sections if isinstance(values, dict)]
    thetas = [(place.format("rope_theta"), values["rope_theta"]) for place, values in held if values.get("rope_theta") is not None]
    if getattr(config, "rope_theta", None) is not None:
        thetas.insert(0, (f"{where}.rope_theta", config.rope_theta))
    for place, theta in thetas[1:]:
        if theta != thetas[0][1]:
            raise ValueError(f"{thetas[0][0]} is {thetas[0][1]} and {place} is {theta}: they contradict each other")

    types = [(place.format(name), values[name]) for place, values in held for name in ("rope_type", "type") if name in values]
    if getattr(config, "inference_rope_scaling", False):  # MiniMind's own switch
        types.append((f"{where}.inference_rope_scaling", "inference_rope_scaling"))
    place, kind = next((found for found in types if found[1] != "default"), (types or [("no scaling is configured", "default")])[0])
    found = {"rope_type": {"value": kind, "where": place}}
    if thetas:
        found["rope_theta"] = {"value": thetas[0][1], "where": thetas[0][0]}
    return found


def held_against(stated: dict[str, Any], computed: dict[str, Any], specification: dict[str, Any]) -> dict[str, Any]:
    """Both as one. Where a configuration states what the code does not compute, the value that the specification does not have counts,
    with both numbers."""
    result = {**computed, **stated}
    derived = {"intermediate_size": intermediate_size(specification),
               "head_dim": specification["hidden_size"] // specification["num_attention_heads"]}
    for key in stated.keys() & computed.keys():
        one, other = stated[key], computed[key]
        if key == "dropout" or alike(one["value"], other["value"]):  # which may be another in another place
            continue
        counts = other if alike(one["value"], {**specification, **derived}.get(key)) else one
        result[key] = {"value": counts["value"], "where": f"{one['where']} says {one['value']}, {other['where']} computes {other['value']}"}
    return result


def alike(one: Any, other: Any) -> bool:
    """Whether two values are the same, as far as that is certain: one function has several names."""
    if isinstance(one, str) or isinstance(other, str) or one is None or other is None:
        return one == other or not (one in SURE_NAMES and other in SURE_NAMES)
    if isinstance(one, int) and isinstance(other, int):
        return one == other
    return bool(abs(one - other) <= MEASURED * max(abs(one), abs(other)))


def normalised(values: dict[str, Any]) -> dict[str, Any]:
    """{key: {"value", "where"}} from the user's {key: value} or {key: {"value", "where"}}."""
    return {key: value if isinstance(value, dict) and "value" in value else {"value": value, "where": "stated in the adapter"}
            for key, value in values.items()}


def intermediate_size(specification: dict[str, Any]) -> int:
    """The feed-forward size: as stated, or int(hidden * 8 / 3) rounded up to a multiple of 64."""
    size = specification["intermediate_size"]
    return (int(specification["hidden_size"] * 8 / 3) + 63) // 64 * 64 if size == "derived" else size


def llama_config(specification: dict[str, Any]) -> dict[str, Any]:
    """Keywords for transformers' LlamaConfig, 4 or 5. Errors: ValueError where it cannot express the specification."""
    s = specification
    if s["rotary"] != "halves":
        raise ValueError("the specification turns neighbouring pairs, and LlamaForCausalLM turns halves")
    same = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "hidden_act",
            "rms_norm_eps", "attention_bias", "mlp_bias", "tie_word_embeddings", "max_position_embeddings")
    return {**{key: s[key] for key in same},
            "head_dim": s["hidden_size"] // s["num_attention_heads"],
            "intermediate_size": intermediate_size(s),
            "attention_dropout": s["dropout"],
            # The first is read by transformers 4, the second by 5.
            "rope_theta": s["rope_theta"],
            "rope_parameters": {"rope_type": "default", "rope_theta": s["rope_theta"]}}
