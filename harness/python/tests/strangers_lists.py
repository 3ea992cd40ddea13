"""More of the strangers' models: lists of heads and of layers, names that say nothing.

B batch, T tokens, S slots so far, D width, H query heads, K key/value heads, G = H / K, Dh head size.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from strangers_shared import Norm, angles_of, drawn
from torch import nn

# Split heads: a linear layer for every head.


class RotaryEmbedding(nn.Module):
    """Turns heads by their positions."""

    def __init__(self, size, theta):
        """Frequencies in a buffer."""
        super().__init__()
        self.register_buffer("inv_freq", theta ** -(torch.arange(0, size, 2).float() / size))

    def forward(self, head):
        """head: (B, T, N, Dh)."""
        turns = torch.einsum("i,j->ij", torch.arange(head.size(1), device=head.device).float(), self.inv_freq)[:, None, :]
        low, high = head.chunk(2, dim=-1)
        return torch.cat([low * turns.cos() - high * turns.sin(), high * turns.cos() + low * turns.sin()], dim=-1).to(head.dtype)


class MultiHead(nn.Module):
    """Heads in lists."""

    def __init__(self, s, rotary):
        """One layer for each head's queries, and one for each group's keys and values."""
        super().__init__()
        width, self.size = s["hidden_size"], s["hidden_size"] // s["num_attention_heads"]
        self.q_heads = nn.ModuleList(nn.Linear(width, self.size, bias=False) for _ in range(s["num_attention_heads"]))
        self.k_heads = nn.ModuleList(nn.Linear(width, self.size, bias=False) for _ in range(s["num_key_value_heads"]))
        self.v_heads = nn.ModuleList(nn.Linear(width, self.size, bias=False) for _ in range(s["num_key_value_heads"]))
        self.together = nn.Linear(width, width, bias=False)
        self.rotary = rotary

    def forward(self, x):
        """(B, T, D) -> (B, T, D)"""
        share, later = len(self.q_heads) // len(self.k_heads), torch.ones(x.size(1), x.size(1), device=x.device).triu(1).bool()
        q, k, v = (torch.cat([head(x) for head in heads], dim=-1).view(x.size(0), x.size(1), len(heads), self.size)
                   for heads in (self.q_heads, self.k_heads, self.v_heads))
        q, k = self.rotary(q), self.rotary(k)
        k, v = (torch.stack([each[:, :, head // share] for head in range(len(self.q_heads))], dim=2) for each in (k, v))
        energy = torch.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(self.size)
        attention = torch.softmax(energy.masked_fill(later, float("-1e20") if energy.dtype == torch.float32 else -1e4), dim=-1)
        return self.together(torch.einsum("bhqk,bkhd->bqhd", attention, v).reshape(x.shape))


class SplitHeads(nn.Module):
    """A tutorial's model."""

    def __init__(self, s):
        """Layers in lists side by side."""
        super().__init__()
        width, eps, depth = s["hidden_size"], s["rms_norm_eps"], s["num_hidden_layers"]
        rotary = RotaryEmbedding(width // s["num_attention_heads"], s["rope_theta"])
        self.words = nn.Embedding(s["vocab_size"], width)
        self.attentions = nn.ModuleList(MultiHead(s, rotary) for _ in range(depth))
        self.feeds = nn.ModuleList(nn.ModuleDict({
            "left": nn.Sequential(nn.Linear(width, s["intermediate_size"], bias=False), nn.SiLU()),
            "right": nn.Linear(width, s["intermediate_size"], bias=False),
            "back": nn.Linear(s["intermediate_size"], width, bias=False)}) for _ in range(depth))
        self.norms = nn.ModuleList(Norm(width, eps) for _ in range(2 * depth + 1))
        self.to_words = nn.Linear(width, s["vocab_size"], bias=False)
        nn.init.normal_(self.to_words.weight, std=0.02)
        self.words.weight = self.to_words.weight

    def forward(self, tokens):
        """A dict with the logits and the last stream."""
        out = self.words(tokens)
        for i, (attention, feed) in enumerate(zip(self.attentions, self.feeds)):
            out = attention(self.norms[2 * i](out)) + out
            inner = self.norms[2 * i + 1](out)
            out = feed["back"](feed["left"](inner) * feed["right"](inner)) + out
        return {"hidden": out, "logits": self.to_words(self.norms[-1](out))}


# Scrambled: names that say nothing.


class C(nn.Module):
    """A layer."""

    def __init__(self, s):
        """Parameters by letters."""
        super().__init__()
        n, self.e, self.f, self.g = s["hidden_size"], s["rms_norm_eps"], s["num_attention_heads"], s["num_key_value_heads"]
        self.a0, self.a1 = nn.Parameter(torch.ones(n)), nn.Parameter(torch.ones(n))
        self.b0, self.b1 = nn.Linear(n, n, bias=False), nn.Linear(n, n // self.f * self.g, bias=False)
        self.b2, self.b3 = nn.Linear(n, n // self.f * self.g, bias=False), nn.Linear(n, n, bias=False)
        self.c0, self.c1 = (nn.Linear(n, s["intermediate_size"], bias=False) for _ in range(2))
        self.c2 = nn.Linear(s["intermediate_size"], n, bias=False)

    def forward(self, x, u, w):
        """u: cosines, w: sines with their signs, both (T, Dh)."""
        y = F.rms_norm(x, (x.shape[-1],), self.a0, self.e)
        q, k, v = self.b0(y), self.b1(y), self.b2(y)
        q, k, v = (z.reshape(*x.shape[:2], -1, u.shape[-1]).transpose(1, 2) for z in (q, k, v))
        q, k = (z * u + z.roll(u.shape[-1] // 2, -1) * w for z in (q, k))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        x = x + self.b3(y.transpose(1, 2).reshape(x.shape))
        y = F.rms_norm(x, (x.shape[-1],), self.a1, self.e)
        return x + self.c2(self.c0(y) * F.silu(self.c1(y)))


class Scrambled(nn.Module):
    """The model."""

    def __init__(self, s):
        """A letter each."""
        super().__init__()
        self.a, self.b = nn.Embedding(s["vocab_size"], s["hidden_size"]), nn.Parameter(torch.ones(s["hidden_size"]))
        nn.init.normal_(self.a.weight, std=0.02)
        for i in range(s["num_hidden_layers"]):
            setattr(self, f"c{i}", C(s))
        self.d, self.e = s["num_hidden_layers"], s["rms_norm_eps"]
        self.f, self.g = s["hidden_size"] // s["num_attention_heads"], s["rope_theta"]

    def forward(self, x):
        """A tuple of the logits alone."""
        t = angles_of(torch.arange(x.shape[1], device=x.device), self.f, self.g)
        x = self.a(x)
        u, w = torch.cat((t.cos(), t.cos()), 1).to(x.dtype), torch.cat((-t.sin(), t.sin()), 1).to(x.dtype)
        for i in range(self.d):
            x = getattr(self, f"c{i}")(x, u, w)
        return (F.linear(F.rms_norm(x, x.shape[-1:], self.b, self.e), self.a.weight),)


# Parallel lists: no layer is a module.


@dataclass
class Output:
    """What the model returns."""

    logits: torch.Tensor
    final: torch.Tensor


class ParallelLists(nn.Module):
    """A dict of lists, each as long as the model is deep."""

    def __init__(self, s):
        """Weights (out, in)."""
        super().__init__()
        width, wide, self.eps, self.theta = s["hidden_size"], s["intermediate_size"], s["rms_norm_eps"], s["rope_theta"]
        self.heads, self.size = s["num_attention_heads"], width // s["num_attention_heads"]
        keys = self.size * s["num_key_value_heads"]
        shapes = {"ask": (width, width), "match": (keys, width), "carry": (keys, width), "mix": (width, width),
                  "open": (wide, width), "widen": (wide, width), "narrow": (width, wide)}
        self.lists = nn.ModuleDict({name: nn.ParameterList(drawn(*shape) for _ in range(s["num_hidden_layers"]))
                                    for name, shape in shapes.items()})
        for name in ("calm", "steady"):
            self.lists[name] = nn.ParameterList(torch.ones(width) for _ in range(s["num_hidden_layers"]))
        self.weight, self.finish = drawn(s["vocab_size"], width), nn.Parameter(torch.ones(width))
        swap = torch.arange(self.size).roll(self.size // 2)
        self.register_buffer("swap", swap, persistent=False)

    def normed(self, x, gain):
        """The norm of x."""
        return (gain.float() * x.float() / (x.float().norm(dim=-1, keepdim=True) ** 2 / x.size(-1) + self.eps) ** 0.5).to(x.dtype)

    def forward(self, tokens, padding_mask=None, position_ids=None):
        """padding_mask: (B, T), 1 where real; position_ids: (B, T)."""
        batch, length = tokens.shape
        steps = torch.arange(length, device=tokens.device)
        allowed = (steps[:, None] >= steps).expand(batch, 1, length, length)
        if padding_mask is not None:
            allowed = torch.logical_and(allowed, padding_mask[:, None, None].bool()).logical_or(steps[:, None] == steps)
        angles = angles_of(steps[None] if position_ids is None else position_ids, self.size, self.theta)[:, :, None]
        x = self.weight[tokens]
        cos, sin = torch.cat([angles.cos()] * 2, -1).to(x.dtype), torch.cat([-angles.sin(), angles.sin()], -1).to(x.dtype)
        for at in range(len(self.lists["ask"])):
            w = {name: parameters[at] for name, parameters in self.lists.items()}
            y = self.normed(x, w["calm"])
            q, k, v = ((y @ w[name].t()).view(batch, length, -1, self.size) for name in ("ask", "match", "carry"))
            q, k = (each * cos + each[..., self.swap] * sin for each in (q, k))
            pick = torch.arange(self.heads, device=x.device) // (self.heads // k.size(2))
            k, v = k.index_select(2, pick), v.index_select(2, pick)
            scores = torch.matmul(q.transpose(1, 2), k.permute(0, 2, 3, 1)).div(self.size ** 0.5)
            scores = torch.where(allowed, scores, torch.tensor(float("-inf"), dtype=x.dtype, device=x.device))
            mixed = torch.matmul(scores.softmax(-1), v.transpose(1, 2)).transpose(1, 2).reshape(batch, length, -1)
            x = x + mixed @ w["mix"].t()
            y = self.normed(x, w["steady"])
            x = x + (F.silu(y @ w["open"].t()) * (y @ w["widen"].t())) @ w["narrow"].t()
        x = self.normed(x, self.finish)
        return Output(logits=x @ self.weight.t(), final=x)


MODELS = {"split": SplitHeads, "scrambled": Scrambled, "parallel": ParallelLists}
