"""More of the strangers' models: transposed weights, writing in place, a cache made beforehand.

B batch, T tokens, S slots so far, D width, H query heads, K key/value heads, G = H / K, Dh head size.
"""

import math
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from strangers_shared import Norm, angles_of, drawn
from torch import nn

# Conv1D: weights (in, out) as in GPT-2, residuals added by addmm, a tuple of stacked keys and values for the past.


class Conv1D(nn.Module):
    """A product with a weight (in, out)."""

    def __init__(self, nf, nx):
        """From nx to nf."""
        super().__init__()
        self.w = drawn(nx, nf)

    def forward(self, x, residual=None):
        """x @ w, and the residual if there is one."""
        rows = x.reshape(-1, x.size(-1))
        out = torch.mm(rows, self.w) if residual is None else torch.addmm(residual.reshape(rows.size(0), -1), rows, self.w)
        return out.view(x.size()[:-1] + (self.w.size(1),))


class Conv1DBlock(nn.Module):
    """One layer."""

    def __init__(self, s):
        """Four products."""
        super().__init__()
        nx, self.n_head, self.n_kv = s["hidden_size"], s["num_attention_heads"], s["num_key_value_heads"]
        self.head = nx // self.n_head
        self.ln_attn, self.ln_mlp = Norm(nx, s["rms_norm_eps"]), Norm(nx, s["rms_norm_eps"])
        self.to_qkv, self.from_heads = Conv1D(nx + 2 * self.n_kv * self.head, nx), Conv1D(nx, nx)
        self.fc_in, self.fc_gate = Conv1D(s["intermediate_size"], nx), Conv1D(s["intermediate_size"], nx)
        self.fc_out = Conv1D(nx, s["intermediate_size"])

    def forward(self, x, sincos, bias, past):
        """past: (2, B, K, S - T, Dh) or None. Returns the stream and the present (2, B, K, S, Dh)."""
        split = (x.size(-1), self.n_kv * self.head, self.n_kv * self.head)
        q, k, v = (part.unflatten(-1, (-1, self.head)).permute(0, 2, 1, 3) for part in self.to_qkv(self.ln_attn(x)).split(split, dim=2))
        q, k = self.turned(q, sincos), self.turned(k, sincos)
        present = torch.stack((k, v))
        if past is not None:
            present = torch.cat((past, present), dim=-2)
        k, v = (each.unsqueeze(2) for each in present)
        w = torch.matmul(q.unflatten(1, (self.n_kv, -1)), k.transpose(-1, -2)) * (1.0 / math.sqrt(self.head)) + bias
        a = torch.matmul(nn.Softmax(dim=-1)(w), v).flatten(1, 2).permute(0, 2, 1, 3).flatten(2)
        x = self.from_heads(a, x)
        m = self.ln_mlp(x)
        return self.fc_out(F.silu(self.fc_gate(m)) * self.fc_in(m), x), present

    def turned(self, x, sincos):
        """x: (B, N, T, Dh); sincos: (B or 1, 1, T, Dh), the sines first."""
        sin, cos = sincos.chunk(2, dim=-1)
        left, right = torch.split(x, self.head // 2, dim=-1)
        return torch.cat((torch.addcmul(left * cos, right, sin, value=-1), torch.addcmul(right * cos, left, sin)), dim=-1)


class Conv1DModel(nn.Module):
    """After GPT-2."""

    def __init__(self, s):
        """Sines and cosines in a table that is looked up."""
        super().__init__()
        self.wte = nn.Embedding(s["vocab_size"], s["hidden_size"])
        nn.init.normal_(self.wte.weight, std=0.02)
        self.h = nn.ModuleList([Conv1DBlock(s) for _ in range(s["num_hidden_layers"])])
        self.ln_f = Norm(s["hidden_size"], s["rms_norm_eps"])
        angles = angles_of(torch.arange(s["max_position_embeddings"]), s["hidden_size"] // s["num_attention_heads"], s["rope_theta"])
        self.register_buffer("sincos", torch.cat((angles.sin(), angles.cos()), dim=1), persistent=False)

    def forward(self, tokens, past=None, attention_mask=None, position_ids=None):
        """attention_mask: (B, S), 1 where real. Returns an object with logits and past."""
        past = [None] * len(self.h) if past is None else past
        before, length = 0 if past[0] is None else past[0].size(-2), tokens.size(-1)
        if position_ids is None:
            position_ids = torch.arange(before, before + length, device=tokens.device).unsqueeze(0)
        x = self.wte(tokens)
        visible = torch.ones(length, before + length, device=tokens.device).tril(before).view(1, 1, 1, length, -1)
        if attention_mask is not None:
            visible = visible * attention_mask.view(tokens.size(0), 1, 1, 1, -1)
        bias = ((1.0 - visible) * -1e9).to(x.dtype)
        sincos = self.sincos[position_ids].unsqueeze(1).to(x.dtype)
        presents = ()
        for block, layer_past in zip(self.h, past):
            x, present = block(x, sincos, bias, layer_past)
            presents += (present,)
        return SimpleNamespace(logits=torch.matmul(self.ln_f(x), self.wte.weight.transpose(0, 1)), past=presents)


# In place: whatever can be written over is.


class InPlaceLayer(nn.Module):
    """One layer, which changes the stream that it is given."""

    def __init__(self, s):
        """Projections under one word each."""
        super().__init__()
        width, self.kv, self.dh = s["hidden_size"], s["num_key_value_heads"], s["hidden_size"] // s["num_attention_heads"]
        self.before_mix, self.before_mlp = Norm(width, s["rms_norm_eps"]), Norm(width, s["rms_norm_eps"])
        self.asks, self.mixes = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.tells, self.gives = (nn.Linear(width, self.kv * self.dh, bias=False) for _ in range(2))
        self.opens, self.fills = (nn.Linear(width, s["intermediate_size"], bias=False) for _ in range(2))
        self.closes = nn.Linear(s["intermediate_size"], width, bias=False)

    def turned(self, x, cos, sin):
        """x: (B, N, T, Dh); cos, sin: (T, Dh / 2)."""
        half = self.dh // 2
        out = x * torch.cat([cos, cos], -1)
        out[..., :half] -= x[..., half:] * sin
        out[..., half:] += x[..., :half] * sin
        return out

    def forward(self, x, cos, sin, later):
        """later: (T, T), true where not to look."""
        y = self.before_mix(x)
        q, k, v = (layer(y).unflatten(-1, (-1, self.dh)).transpose(1, 2) for layer in (self.asks, self.tells, self.gives))
        q, k = self.turned(q, cos, sin), self.turned(k, cos, sin)
        q *= self.dh ** -0.5
        k, v = (each[:, :, None].repeat(1, 1, q.shape[1] // self.kv, 1, 1).flatten(1, 2) for each in (k, v))
        scores = q @ k.mT
        scores.masked_fill_(later, float("-inf"))
        mixed = torch.softmax(scores, -1, dtype=torch.float32).to(v.dtype) @ v
        x += self.mixes(mixed.transpose(1, 2).flatten(2))
        y = self.before_mlp(x)
        inner = F.silu(self.opens(y), inplace=True)
        inner *= self.fills(y)
        x += self.closes(inner)


class InPlace(nn.Module):
    """Saves memory."""

    def __init__(self, s):
        """The tables are made at every call."""
        super().__init__()
        self.letters = nn.Embedding(s["vocab_size"], s["hidden_size"])
        nn.init.normal_(self.letters.weight, std=0.02)
        self.floors = nn.ModuleList(InPlaceLayer(s) for _ in range(s["num_hidden_layers"]))
        self.roof = Norm(s["hidden_size"], s["rms_norm_eps"])
        self.dh, self.theta = s["hidden_size"] // s["num_attention_heads"], s["rope_theta"]

    def forward(self, tokens):
        """Logits (B, T, V)."""
        length = tokens.shape[1]
        angles = angles_of(torch.arange(length, device=tokens.device), self.dh, self.theta)
        later = torch.ones(length, length, dtype=torch.bool, device=tokens.device).triu_(1)
        x = self.letters(tokens)
        cos, sin = angles.cos().to(x.dtype), angles.sin_().to(x.dtype)
        for floor in self.floors:
            floor(x, cos, sin, later)
        return F.linear(self.roof(x), self.letters.weight)


# Preallocated: a cache made beforehand, slots for positions, padding that sees itself.


class Slots:
    """Room for the keys and values of every layer."""

    def __init__(self, like, layers, batch, groups, capacity, size):
        """Of zeros."""
        self.keys, self.values = (like.new_zeros(layers, batch, groups, capacity, size) for _ in range(2))

    def update(self, layer, start, key, value):
        """Writes the new, and returns all so far."""
        end = start + key.shape[2]
        self.keys[layer, :, :, start:end].copy_(key)
        self.values[layer, :, :, start:end].copy_(value)
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]


class PreallocatedLayer(nn.Module):
    """One layer."""

    def __init__(self, s, index):
        """It knows its place in the cache."""
        super().__init__()
        width, self.index, self.groups = s["hidden_size"], index, s["num_key_value_heads"]
        self.heads, self.size = s["num_attention_heads"], width // s["num_attention_heads"]
        self.attn_in, self.mlp_in = Norm(width, s["rms_norm_eps"]), Norm(width, s["rms_norm_eps"])
        self.query, self.merge = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.key, self.value = (nn.Linear(width, self.groups * self.size, bias=False) for _ in range(2))
        self.expand = nn.Linear(width, 2 * s["intermediate_size"], bias=False)
        self.contract = nn.Linear(s["intermediate_size"], width, bias=False)

    def forward(self, x, cis, allowed, cache, start):
        """cis: unit complex numbers (T, Dh / 2); allowed: (B or 1, 1, T, S)."""
        y = self.attn_in(x)
        q, k, v = (layer(y).unflatten(-1, (-1, self.size)).transpose(1, 2) for layer in (self.query, self.key, self.value))
        q, k = (self.turned(each, cis) for each in (q, k))
        if cache is not None:
            k, v = cache.update(self.index, start, k, v)
        k, v = (torch.repeat_interleave(each, self.heads // self.groups, 1) for each in (k, v))
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
        x = self.merge(out.transpose(1, 2).flatten(2)) + x
        up, gate = self.expand(self.mlp_in(x)).chunk(2, -1)
        return self.contract(up * F.silu(gate)) + x

    def turned(self, x, cis):
        """x: (B, N, T, Dh)."""
        turned = torch.complex(*x.float().chunk(2, -1)) * cis
        return torch.cat([turned.real, turned.imag], -1).to(x.dtype)


class Preallocated(nn.Module):
    """Made for serving."""

    def __init__(self, s):
        """The projection that widens has the gate last."""
        super().__init__()
        self.shape = (s["num_key_value_heads"], s["hidden_size"] // s["num_attention_heads"])
        self.vocabulary, self.theta = drawn(s["vocab_size"], s["hidden_size"]), s["rope_theta"]
        self.tower = nn.Sequential(*(PreallocatedLayer(s, index) for index in range(s["num_hidden_layers"])))
        self.last = Norm(s["hidden_size"], s["rms_norm_eps"])

    def init_cache(self, batch, capacity):
        """An empty cache."""
        return Slots(self.vocabulary, len(self.tower), batch, self.shape[0], capacity, self.shape[1])

    def forward(self, tokens, cache=None, start=0, attention_mask=None):
        """Logits (B, T, V). attention_mask: (B, S), true where real; a token's position is its slot."""
        slots = torch.arange(start + tokens.shape[1], device=tokens.device)
        allowed = (slots <= slots[start:, None])[None, None]
        if attention_mask is not None:
            allowed = allowed & attention_mask.bool()[:, None, None, :] | (slots == slots[start:, None])
        angles = angles_of(slots[start:], self.shape[1], self.theta)
        cis, x = torch.polar(torch.ones_like(angles), angles), F.embedding(tokens, self.vocabulary)
        for layer in self.tower:
            x = layer(x, cis, allowed, cache, start)
        return self.last(x) @ self.vocabulary.mT


MODELS = {"conv1d": Conv1DModel, "inplace": InPlace, "preallocated": Preallocated}
