"""More of the strangers' models: fused projections, functions, einsum.

B batch, T tokens, S slots so far, D width, H query heads, K key/value heads, G = H / K, Dh head size.
"""

import math

import torch
import torch.nn.functional as F
from strangers_shared import Norm, angles_of, drawn
from torch import nn

# Nano: queries, keys and values in one projection, group by group.


class NanoAttention(nn.Module):
    """The projection's rows: for each group its queries, its key, its value."""

    def __init__(self, s):
        """Two projections."""
        super().__init__()
        self.n_head, self.n_query_groups, self.n_embd = s["num_attention_heads"], s["num_key_value_heads"], s["hidden_size"]
        self.head_size = self.n_embd // self.n_head
        self.c_attn = nn.Linear(self.n_embd, (self.n_head + 2 * self.n_query_groups) * self.head_size, bias=False)
        self.c_proj = nn.Linear(self.n_embd, self.n_embd, bias=False)

    def forward(self, x, cos, sin):
        """cos, sin: (T, Dh / 2)."""
        B, T, C = x.size()
        q_per_kv = self.n_head // self.n_query_groups
        qkv = self.c_attn(x).view(B, T, self.n_query_groups, q_per_kv + 2, self.head_size).permute(0, 2, 3, 1, 4)
        q, k, v = qkv.split((q_per_kv, 1, 1), dim=2)
        k, v = (each.expand(B, self.n_query_groups, q_per_kv, T, self.head_size) for each in (k, v))
        q, k, v = (each.reshape(B, self.n_head, T, self.head_size) for each in (q, k, v))
        y = F.scaled_dot_product_attention(self.rope(q, cos, sin), self.rope(k, cos, sin), v, is_causal=True)
        return self.c_proj(y.transpose(1, 2).contiguous().view(B, T, C))

    def rope(self, x, cos, sin):
        """x: (B, H, T, Dh)."""
        x1, x2 = x[..., : self.head_size // 2], x[..., self.head_size // 2 :]
        return torch.cat((x1 * cos - x2 * sin, x1 * sin + x2 * cos), dim=-1).type_as(x)


class NanoMLP(nn.Module):
    """Gate and up in one projection."""

    def __init__(self, s):
        """Two projections."""
        super().__init__()
        self.c_fc = nn.Linear(s["hidden_size"], 2 * s["intermediate_size"], bias=False)
        self.c_proj = nn.Linear(s["intermediate_size"], s["hidden_size"], bias=False)

    def forward(self, x):
        """The gate comes first."""
        gate, up = self.c_fc(x).chunk(2, dim=-1)
        return self.c_proj(F.silu(gate) * up)


class NanoBlock(nn.Module):
    """One layer."""

    def __init__(self, s):
        """PyTorch's own norms."""
        super().__init__()
        self.ln_1 = nn.RMSNorm(s["hidden_size"], eps=s["rms_norm_eps"])
        self.attn = NanoAttention(s)
        self.ln_2 = nn.RMSNorm(s["hidden_size"], eps=s["rms_norm_eps"])
        self.mlp = NanoMLP(s)

    def forward(self, x, cos, sin):
        """The stream after the layer."""
        x = x + self.attn(self.ln_1(x), cos, sin)
        return x + self.mlp(self.ln_2(x))


class Nano(nn.Module):
    """As small as it gets, with a loss and sampling."""

    def __init__(self, s):
        """The tables are buffers."""
        super().__init__()
        self.transformer = nn.ModuleDict(dict(
            wte=nn.Embedding(s["vocab_size"], s["hidden_size"]),
            h=nn.ModuleList([NanoBlock(s) for _ in range(s["num_hidden_layers"])]),
            ln_f=nn.RMSNorm(s["hidden_size"], eps=s["rms_norm_eps"]),
        ))
        self.lm_head = nn.Linear(s["hidden_size"], s["vocab_size"], bias=False)
        self.transformer.wte.weight = self.lm_head.weight
        self.apply(self._init_weights)
        half = s["hidden_size"] // s["num_attention_heads"] // 2
        angles = torch.outer(torch.arange(1024).float(), s["rope_theta"] ** (-torch.arange(half).float() / half))
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def _init_weights(self, module):
        """Small and normal."""
        if isinstance(module, (nn.Linear, nn.Embedding)):
            torch.nn.init.normal_(module.weight, mean=0.0, std=0.02)

    def forward(self, idx, targets=None):
        """Returns (logits, loss), the loss None without targets."""
        T = idx.size(1)
        x = self.transformer.wte(idx)
        for block in self.transformer.h:
            x = block(x, self.cos[:T], self.sin[:T])
        logits = self.lm_head(self.transformer.ln_f(x))
        if targets is None:
            return logits, None
        return logits, F.cross_entropy(logits.view(-1, logits.size(-1)), targets.reshape(-1), ignore_index=-1)

    @torch.no_grad()
    def generate(self, idx, max_new_tokens, temperature=1.0, top_k=None):
        """The prompts (B, T) and what follows them, sampled."""
        for _ in range(max_new_tokens):
            logits, _ = self(idx)
            logits = logits[:, -1, :] / temperature
            if top_k is not None:
                v, _ = torch.topk(logits, min(top_k, logits.size(-1)))
                logits[logits < v[:, [-1]]] = -float("inf")
            idx_next = torch.multinomial(F.softmax(logits, dim=-1), num_samples=1)
            idx = torch.cat((idx, idx_next), dim=1)
        return idx


# After llama2.c: fused projections, buffers for rotation and mask, the loss kept, the last position alone if so asked.


class Llama2cBlock(nn.Module):
    """One layer."""

    def __init__(self, s):
        """w13 has the gate first."""
        super().__init__()
        self.n_heads, self.n_kv_heads, dim = s["num_attention_heads"], s["num_key_value_heads"], s["hidden_size"]
        self.head_dim = dim // self.n_heads
        self.att_norm, self.ffn_norm = Norm(dim, s["rms_norm_eps"]), Norm(dim, s["rms_norm_eps"])
        self.wqkv = nn.Linear(dim, (self.n_heads + 2 * self.n_kv_heads) * self.head_dim, bias=False)
        self.wo = nn.Linear(dim, dim, bias=False)
        self.w13 = nn.Linear(dim, 2 * s["intermediate_size"], bias=False)
        self.w2 = nn.Linear(s["intermediate_size"], dim, bias=False)

    def forward(self, x, rope, mask):
        """rope: cosines and sines (2, T, 1, Dh / 2)."""
        bsz, seqlen, _ = x.shape
        turn, xv = self.wqkv(self.att_norm(x)).view(bsz, seqlen, -1, self.head_dim).tensor_split([self.n_heads + self.n_kv_heads], 2)
        real, imaginary = turn.float().reshape(bsz, seqlen, -1, 2, self.head_dim // 2).unbind(-2)
        turned = torch.stack([real * rope[0] - imaginary * rope[1], real * rope[1] + imaginary * rope[0]], dim=-2)
        xq, xk = turned.flatten(3).type_as(x).split([self.n_heads, self.n_kv_heads], 2)
        order = torch.arange(self.n_heads, device=x.device) // (self.n_heads // self.n_kv_heads)
        xq, xk, xv = xq.transpose(1, 2), xk[:, :, order].transpose(1, 2), xv[:, :, order].transpose(1, 2)
        scores = torch.matmul(xq, xk.transpose(2, 3)) / math.sqrt(self.head_dim) + mask.type_as(x)
        output = torch.matmul(F.softmax(scores.float(), dim=-1).type_as(xq), xv)
        h = x + self.wo(output.transpose(1, 2).contiguous().view(bsz, seqlen, -1))
        gate, up = self.w13(self.ffn_norm(h)).tensor_split(2, -1)
        return h + self.w2(F.silu(gate) * up)


class Llama2c(nn.Module):
    """A trainer's model."""

    def __init__(self, s, max_seq_len=1024):
        """One buffer for the rotation, one for the mask, both part of the state."""
        super().__init__()
        self.tok = nn.Embedding(s["vocab_size"], s["hidden_size"])
        self.stack = nn.ModuleList(Llama2cBlock(s) for _ in range(s["num_hidden_layers"]))
        self.norm = Norm(s["hidden_size"], s["rms_norm_eps"])
        self.out = nn.Linear(s["hidden_size"], s["vocab_size"], bias=False)
        self.tok.weight = self.out.weight
        angles = angles_of(torch.arange(max_seq_len), s["hidden_size"] // s["num_attention_heads"], s["rope_theta"])
        self.register_buffer("rope", torch.stack([angles.cos(), angles.sin()]).unsqueeze(2))
        self.register_buffer("mask", torch.full((1, 1, max_seq_len, max_seq_len), float("-inf")).triu(1))
        self.last_loss = None

    def forward(self, tokens, targets=None, all_positions=True):
        """Logits (B, T, V), or (B, 1, V)."""
        seqlen = tokens.shape[1]
        h = self.tok(tokens)
        for layer in self.stack:
            h = layer(h, self.rope[:, :seqlen], self.mask[:, :, :seqlen, :seqlen])
        h = self.norm(h)
        if targets is not None:
            logits = self.out(h)
            self.last_loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1)
            return logits
        self.last_loss = None
        return self.out(h if all_positions else h[:, [-1], :])


# Functional: a dict of arrays (in, out), and functions of it.


def rms(x, scale, eps):
    """The norm of x."""
    return (x.float() * (mean_square(x) + eps) ** -0.5).to(x.dtype) * scale


def mean_square(x):
    """(..., D) -> (..., 1)"""
    return torch.sum(x.float() ** 2, axis=-1, keepdims=True) / x.shape[-1]


def attend(params, x, positions, bias, s):
    """params: one layer's attention; bias: (B or 1, 1, T, T), added to the scores."""
    heads, groups = s["num_attention_heads"], s["num_key_value_heads"]
    size = s["hidden_size"] // heads
    angles = angles_of(positions, size, s["rope_theta"])[:, None]

    def split(array, turn):
        """(B, T, N * Dh) -> (B, N, T, Dh), turned or not."""
        array = torch.swapaxes(array.reshape(array.shape[0], array.shape[1], -1, size), 1, 2)
        a, b = torch.tensor_split(array, 2, -1)
        cos, sin = torch.cos(angles).to(x.dtype), torch.sin(angles).to(x.dtype)
        return torch.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1) if turn else array

    q, k, v = (split(x @ params[name], name != "value") for name in ("query", "key", "value"))
    k, v = (torch.repeat_interleave(each, heads // groups, 1) for each in (k, v))
    probabilities = torch.softmax(q @ torch.swapaxes(k, -1, -2) / size ** 0.5 + bias, -1)
    return torch.swapaxes(probabilities @ v, 1, 2).reshape(x.shape) @ params["output"]


def functional_forward(params, tokens, s, pad_mask=None, positions=None):
    """Logits (B, T, V). pad_mask: (B, T), true where real, from which positions follow if not given."""
    seen = torch.tril(torch.ones(tokens.shape[1], tokens.shape[1], dtype=torch.bool, device=tokens.device))[None]
    real = torch.ones_like(tokens) if pad_mask is None else pad_mask
    positions = torch.clamp(torch.cumsum(real.long(), 1) - 1, min=0) if positions is None else positions
    x = params["embedding"][tokens]
    bias = torch.where(seen & (real != 0)[:, None, :], 0.0, -1e9)[:, None].to(x.dtype)
    for layer in range(s["num_hidden_layers"]):
        at, ff = ({name: params[f"block{layer}/{part}/{name}"] for name in names.split()} for part, names in
                  (("attention", "scale query key value output"), ("feedforward", "scale gate up down")))
        x = x + attend(at, rms(x, at["scale"], s["rms_norm_eps"]), positions, bias, s)
        y = rms(x, ff["scale"], s["rms_norm_eps"])
        gate = y @ ff["gate"]
        x = x + (gate * torch.sigmoid(gate) * (y @ ff["up"])) @ ff["down"]
    return rms(x, params["final/scale"], s["rms_norm_eps"]) @ params["embedding"].T


class Functional(nn.Module):
    """Holds the dict, no more."""

    def __init__(self, s):
        """One array a name."""
        super().__init__()
        self.s, width, wide = s, s["hidden_size"], s["intermediate_size"]
        keys = width // s["num_attention_heads"] * s["num_key_value_heads"]
        shapes = {"attention/query": (width, width), "attention/key": (width, keys), "attention/value": (width, keys),
                  "attention/output": (width, width), "feedforward/gate": (width, wide), "feedforward/up": (width, wide),
                  "feedforward/down": (wide, width)}
        arrays = {"embedding": drawn(s["vocab_size"], width), "final/scale": nn.Parameter(torch.ones(width))}
        for layer in range(s["num_hidden_layers"]):
            arrays.update({f"block{layer}/{name}": drawn(*shape) for name, shape in shapes.items()})
            arrays.update({f"block{layer}/{part}/scale": nn.Parameter(torch.ones(width)) for part in ("attention", "feedforward")})
        self.params = nn.ParameterDict(arrays)

    def forward(self, tokens, pad_mask=None, positions=None):
        """A dict with the logits."""
        return {"logits": functional_forward(self.params, tokens, self.s, pad_mask, positions)}


# Einsum: weights with an axis for heads, rotation by a 2 by 2 matrix.


class EinsumLayer(nn.Module):
    """One layer."""

    def __init__(self, s):
        """Weights by their letters."""
        super().__init__()
        H, K, D, E = s["num_attention_heads"], s["num_key_value_heads"], s["hidden_size"], s["intermediate_size"]
        self.eps, self.Wq, self.Wo = s["rms_norm_eps"], drawn(H, D // H, D), drawn(H, D // H, D)
        self.Wk, self.Wv = drawn(K, D // H, D), drawn(K, D // H, D)
        self.Wgate, self.Wup, self.Wdown = drawn(E, D), drawn(E, D), drawn(D, E)
        self.g1, self.g2 = nn.Parameter(torch.ones(D)), nn.Parameter(torch.ones(D))

    def forward(self, x, turn):
        """turn: (T, 2, 2, Dh / 2)."""
        y = einsum_norm(x, self.g1, self.eps)
        q, k, v = (torch.einsum("btd,hnd->bthn", y, W) for W in (self.Wq, self.Wk, self.Wv))
        q, k = (torch.einsum("tijf,bthjf->bthif", turn, each.unflatten(-1, (2, -1))).flatten(-2) for each in (q, k))
        q = q.unflatten(2, (k.shape[2], -1))
        scores = torch.einsum("btkge,bske->bkgts", q, k) * q.shape[-1] ** -0.5
        later = torch.ones_like(scores[0, 0, 0], dtype=torch.bool).triu(1)
        weights = scores.masked_fill(later, -torch.inf).softmax(-1)
        x = x + torch.einsum("bthn,hnd->btd", torch.einsum("bkgts,bske->btkge", weights, v).flatten(2, 3), self.Wo)
        y = einsum_norm(x, self.g2, self.eps)
        gate, up = torch.einsum("btd,ed->bte", y, self.Wgate), torch.einsum("btd,ed->bte", y, self.Wup)
        return x + torch.einsum("bte,bte,de->btd", F.silu(gate), up, self.Wdown)


def einsum_norm(x, gain, eps):
    """The norm of x: (B, T, D)."""
    square = torch.einsum("btd,btd->bt", x.float(), x.float()) / x.shape[-1]
    return torch.einsum("btd,bt,d->btd", x.float(), torch.rsqrt(square + eps), gain.float()).to(x.dtype)


class Einsum(nn.Module):
    """Every product spelt out."""

    def __init__(self, s):
        """The embedding is a bare parameter."""
        super().__init__()
        self.Wte, self.gf = drawn(s["vocab_size"], s["hidden_size"]), nn.Parameter(torch.ones(s["hidden_size"]))
        self.eps = s["rms_norm_eps"]
        self.L = nn.ModuleList(EinsumLayer(s) for _ in range(s["num_hidden_layers"]))
        self.size, self.theta = s["hidden_size"] // s["num_attention_heads"], s["rope_theta"]

    def forward(self, tokens):
        """Logits (B, T, V)."""
        x = F.embedding(tokens, self.Wte)
        angles = angles_of(torch.arange(tokens.shape[1], device=tokens.device), self.size, self.theta)
        c, s = angles.cos(), angles.sin()
        turn = torch.stack([torch.stack([c, -s], 1), torch.stack([s, c], 1)], 1).to(x.dtype)
        for layer in self.L:
            x = layer(x, turn)
        return torch.einsum("btd,vd->btv", einsum_norm(x, self.gf, self.eps), self.Wte)


MODELS = {"nano": Nano, "llama2c": Llama2c, "functional": Functional, "einsum": Einsum}
