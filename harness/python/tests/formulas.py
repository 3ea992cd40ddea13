"""Every stage of the specification's model in float64, for tests to compare with. Shares no code with the models."""

import math

import torch


def rms_norm(x, weight, eps):
    return x / (x.pow(2).mean(-1, keepdim=True) + eps).sqrt() * weight


def rotated(x, positions, theta):
    """Halves of x (B, T, heads, Dh) turned at positions (B, T)."""
    half = x.shape[-1] // 2
    angles = positions.double()[:, :, None, None] * theta ** -(torch.arange(half, dtype=torch.float64) / half)
    first, second = x[..., :half], x[..., half:]
    return torch.cat([first * angles.cos() - second * angles.sin(), second * angles.cos() + first * angles.sin()], -1)


def stages(s, weights, tokens, real=None, first_position=0):
    """{stage: tensor} of a full pass. real: (B, T) bool; padding stands at the position before the first real token, or 0."""
    w = {name: tensor.double() for name, tensor in weights.items()}
    batch, length = tokens.shape
    heads, groups, eps = s["num_attention_heads"], s["num_key_value_heads"], s["rms_norm_eps"]
    size = s["hidden_size"] // heads
    real = torch.ones(batch, length, dtype=torch.bool) if real is None else real
    positions = (first_position + real.cumsum(1) - 1).clamp_min(0)
    allowed = torch.ones(length, length, dtype=torch.bool).tril() & real[:, None, None, :]
    allowed = allowed | torch.eye(length, dtype=torch.bool)

    seen = {"embedding": w["model.embed_tokens.weight"][tokens]}
    x = seen["embedding"]
    for layer in range(s["num_hidden_layers"]):
        def see(stage, value):
            seen[f"layers.{layer}.{stage}"] = value
            return value

        def weight(name):
            return w[f"model.layers.{layer}.{name}.weight"]

        normed = see("attention_norm", rms_norm(x, weight("input_layernorm"), eps))
        q, k, v = (see(name, (normed @ weight(f"self_attn.{name}_proj").T).view(batch, length, -1, size)) for name in "qkv")
        q, k = (see(f"{name}_rotated", rotated(value, positions, s["rope_theta"])) for name, value in (("q", q), ("k", k)))
        k, v = (value[:, :, [head * groups // heads for head in range(heads)]] for value in (k, v))
        scores = torch.einsum("bthd,bshd->bhts", q, k) / math.sqrt(size)
        probabilities = see("probabilities", see("scores", scores.masked_fill(~allowed, float("-inf"))).softmax(-1))
        context = see("context", torch.einsum("bhts,bshd->bthd", probabilities, v).flatten(2))
        x = see("after_attention", x + see("attention_out", context @ weight("self_attn.o_proj").T))
        normed = see("feed_forward_norm", rms_norm(x, weight("post_attention_layernorm"), eps))
        gate, up = (see(name, normed @ weight(f"mlp.{name}_proj").T) for name in ("gate", "up"))
        out = see("feed_forward_out", see("gated", gate * gate.sigmoid() * up) @ weight("mlp.down_proj").T)
        x = see("after_feed_forward", x + out)
    seen["final_norm"] = rms_norm(x, w["model.norm.weight"], eps)
    seen["logits"] = seen["final_norm"] @ w["model.embed_tokens.weight"].T
    return seen
