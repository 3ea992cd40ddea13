"""Two models that compute the same function as Hugging Face's Llama, written in ways of their own. Rotary: halves.

B batch, T tokens, S slots of the cache so far, H query heads, K key/value heads, Dh head size.
"""

import math
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import nn

ACTIVATIONS = {"silu": F.silu, "gelu": F.gelu, "gelu_pytorch_tanh": lambda x: F.gelu(x, approximate="tanh")}


class RMSNorm(nn.Module):
    def __init__(self, size, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x):
        scale = torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight * (x.float() * scale).to(x.dtype)


# After MiniMind: a cache of tuples that grows, positions counted from its length, residuals added in place.


def rotary_tables(head_size, positions, theta):
    """Cosines and sines (positions, Dh)."""
    frequencies = theta ** -(torch.arange(0, head_size, 2).float() / head_size)
    angles = torch.outer(torch.arange(positions).float(), frequencies)
    return torch.cat([angles.cos()] * 2, -1), torch.cat([angles.sin()] * 2, -1)


def rotate(x, cos, sin):
    """x: (B, T, heads, Dh); cos, sin: (T, Dh) or (B, T, Dh)."""
    first, second = x.chunk(2, -1)
    return (x * cos.unsqueeze(-2) + torch.cat([-second, first], -1) * sin.unsqueeze(-2)).to(x.dtype)


def repeat_kv(x, factor):
    """(B, S, K, Dh) -> (B, S, K * factor, Dh)"""
    if factor == 1:
        return x
    batch, length, heads, size = x.shape
    return x[:, :, :, None, :].expand(batch, length, heads, factor, size).reshape(batch, length, heads * factor, size)


class MiniMindAttention(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.heads, self.kv_heads = s["num_attention_heads"], s["num_key_value_heads"]
        self.size = s["hidden_size"] // self.heads
        self.dropout = s["dropout"]
        self.q_proj = nn.Linear(s["hidden_size"], self.heads * self.size, bias=s["attention_bias"])
        self.k_proj = nn.Linear(s["hidden_size"], self.kv_heads * self.size, bias=s["attention_bias"])
        self.v_proj = nn.Linear(s["hidden_size"], self.kv_heads * self.size, bias=s["attention_bias"])
        self.o_proj = nn.Linear(self.heads * self.size, s["hidden_size"], bias=s["attention_bias"])
        self.resid_dropout = nn.Dropout(s["dropout"])

    def forward(self, x, tables, past, mask):
        batch, length, _ = x.shape
        q = rotate(self.q_proj(x).view(batch, length, self.heads, self.size), *tables)
        k = rotate(self.k_proj(x).view(batch, length, self.kv_heads, self.size), *tables)
        v = self.v_proj(x).view(batch, length, self.kv_heads, self.size)
        if past is not None:
            k, v = torch.cat([past[0], k], 1), torch.cat([past[1], v], 1)
        present = (k, v)
        factor = self.heads // self.kv_heads
        q, k, v = q.transpose(1, 2), repeat_kv(k, factor).transpose(1, 2), repeat_kv(v, factor).transpose(1, 2)
        rate = self.dropout if self.training else 0.0
        if past is None and mask is None:
            out = F.scaled_dot_product_attention(q, k, v, dropout_p=rate, is_causal=True)
        else:
            scores = q @ k.transpose(-2, -1) / math.sqrt(self.size)  # (B, H, T, S)
            later = torch.full((length, k.shape[2]), float("-inf"), device=x.device).triu(k.shape[2] - length + 1)
            scores = scores + later
            if mask is not None:
                scores = scores + (1.0 - mask[:, None, None, :].to(scores.dtype)) * -1e9
            out = F.dropout(F.softmax(scores.float(), dim=-1).type_as(q), rate) @ v
        return self.resid_dropout(self.o_proj(out.transpose(1, 2).reshape(batch, length, -1))), present


class MiniMindFeedForward(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.gate_proj = nn.Linear(s["hidden_size"], s["intermediate_size"], bias=s["mlp_bias"])
        self.up_proj = nn.Linear(s["hidden_size"], s["intermediate_size"], bias=s["mlp_bias"])
        self.down_proj = nn.Linear(s["intermediate_size"], s["hidden_size"], bias=s["mlp_bias"])
        self.dropout = nn.Dropout(s["dropout"])
        self.activation = ACTIVATIONS[s["hidden_act"]]

    def forward(self, x):
        return self.dropout(self.down_proj(self.activation(self.gate_proj(x)) * self.up_proj(x)))


class MiniMindBlock(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.self_attn = MiniMindAttention(s)
        self.input_layernorm = RMSNorm(s["hidden_size"], s["rms_norm_eps"])
        self.post_attention_layernorm = RMSNorm(s["hidden_size"], s["rms_norm_eps"])
        self.mlp = MiniMindFeedForward(s)

    def forward(self, x, tables, past, mask):
        residual = x
        x, present = self.self_attn(self.input_layernorm(x), tables, past, mask)
        x += residual
        return x + self.mlp(self.post_attention_layernorm(x)), present


class MiniMindModel(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.embed_tokens = nn.Embedding(s["vocab_size"], s["hidden_size"])
        self.dropout = nn.Dropout(s["dropout"])
        self.layers = nn.ModuleList(MiniMindBlock(s) for _ in range(s["num_hidden_layers"]))
        self.norm = RMSNorm(s["hidden_size"], s["rms_norm_eps"])
        tables = rotary_tables(s["hidden_size"] // s["num_attention_heads"], s["max_position_embeddings"], s["rope_theta"])
        for name, table in zip(("freqs_cos", "freqs_sin"), tables):
            self.register_buffer(name, table, persistent=False)

    def forward(self, tokens, mask, pasts):
        pasts = pasts or [None] * len(self.layers)
        start = pasts[0][0].shape[1] if pasts[0] is not None else 0
        tables = [table[start:start + tokens.shape[1]] for table in (self.freqs_cos, self.freqs_sin)]
        x = self.dropout(self.embed_tokens(tokens))
        presents = []
        for layer, past in zip(self.layers, pasts):
            x, present = layer(x, tables, past, mask)
            presents.append(present)
        return self.norm(x), presents


class MiniMind(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.config = SimpleNamespace(model_type="minimind", **s)
        self.model = MiniMindModel(s)
        self.lm_head = nn.Linear(s["hidden_size"], s["vocab_size"], bias=False)
        if s["tie_word_embeddings"]:
            self.model.embed_tokens.weight = self.lm_head.weight
        self.out = SimpleNamespace()  # one for all calls, as upstream has it

    def forward(self, input_ids, attention_mask=None, past_key_values=None, use_cache=False):
        x, presents = self.model(input_ids, attention_mask, past_key_values)
        self.out.logits = self.lm_head(x)
        self.out.past_key_values = presents if use_cache else None
        return self.out


# Names and layouts of its own: one matrix for query, key and value, one for gate and up, heads grouped in one product, the
# scale on the queries, a dict of preallocated slots that refuses to be overrun.


class Plain(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.tok = nn.Embedding(s["vocab_size"], s["hidden_size"])
        nn.init.uniform_(self.tok.weight, -s["hidden_size"] ** -0.5, s["hidden_size"] ** -0.5)
        self.blocks = nn.ModuleList(PlainBlock(s) for _ in range(s["num_hidden_layers"]))
        self.last_norm = RMSNorm(s["hidden_size"], s["rms_norm_eps"])
        self.head = None if s["tie_word_embeddings"] else nn.Linear(s["hidden_size"], s["vocab_size"], bias=False)

    def new_cache(self, batch, capacity):
        attention = self.blocks[0].attn
        shape = (batch, attention.kv_heads, capacity, attention.size)
        return {name: [self.tok.weight.new_zeros(shape) for _ in self.blocks] for name in ("keys", "values")}

    def forward(self, tokens, pad_mask=None, position=None, cache=None, start=0):
        """tokens: (B, T); pad_mask: (B, S), 1 where real; position: (B, T). Returns (logits, cache)."""
        length = tokens.shape[1]
        slots = torch.arange(start, start + length, device=tokens.device)
        allowed = torch.arange(start + length, device=tokens.device) <= slots.unsqueeze(1)  # (T, S)
        if pad_mask is not None:
            # What is padding sees itself alone.
            allowed = allowed & pad_mask.bool()[:, None, :] | (torch.arange(start + length, device=tokens.device) == slots.unsqueeze(1))
        position = slots.unsqueeze(0) if position is None else position
        x = self.tok(tokens)
        for index, block in enumerate(self.blocks):
            store = (cache["keys"][index], cache["values"][index]) if cache else None
            x = block(x, position, allowed, store, start)
        x = self.last_norm(x)
        return F.linear(x, self.tok.weight) if self.head is None else self.head(x), cache

    @torch.no_grad()
    def generate(self, tokens, max_new_tokens, temperature=1.0, top_k=None, top_p=None, repetition_penalty=1.0, eos_token_id=None,
                 pad_mask=None):
        """Prompts (B, T), padded on either side, and what follows them. Rows that have ended go on with the end token."""
        batch, length = tokens.shape
        real = torch.ones_like(tokens) if pad_mask is None else pad_mask
        position = (real.cumsum(1) - 1).clamp_min(0)
        cache = self.new_cache(batch, length + max_new_tokens)
        logits, cache = self(tokens, pad_mask=real, position=position, cache=cache)
        rows = torch.arange(batch, device=tokens.device)
        logits = logits[rows, position.argmax(1)].float()  # (B, V), after the last real token
        seen = torch.zeros_like(logits).scatter_add_(1, tokens, real.float())
        ended = torch.zeros(batch, dtype=torch.bool, device=tokens.device)
        for step in range(max_new_tokens):
            penalised = torch.where(logits > 0, logits / repetition_penalty, logits * repetition_penalty)
            new = chosen(torch.where(seen > 0, penalised, logits), temperature, top_k, top_p)
            if eos_token_id is not None:
                new = new.masked_fill(ended, eos_token_id)
                ended = ended | (new == eos_token_id)
            tokens = torch.cat([tokens, new.unsqueeze(1)], 1)
            if ended.all() or step == max_new_tokens - 1:
                break
            seen[rows, new] += 1
            real = torch.cat([real, real.new_ones(batch, 1)], 1)
            logits, cache = self(tokens[:, -1:], pad_mask=real, position=real.sum(1, keepdim=True) - 1, cache=cache,
                                 start=length + step)
            logits = logits[:, -1].float()
        return tokens


def chosen(logits, temperature, top_k, top_p):
    """The next tokens (B), from logits (B, V)."""
    if temperature == 0:
        return logits.argmax(-1)
    logits = logits / temperature
    if top_k:
        logits = logits.masked_fill(logits < logits.topk(top_k).values[:, -1:], float("-inf"))
    if top_p is not None:
        largest, order = logits.sort(descending=True)
        probabilities = largest.softmax(-1)
        before = probabilities.cumsum(-1) - probabilities
        logits = logits.masked_fill((before >= top_p).scatter(1, order, before >= top_p), float("-inf"))
    return torch.multinomial(logits.softmax(-1), 1).squeeze(1)


class PlainBlock(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.norm1 = RMSNorm(s["hidden_size"], s["rms_norm_eps"])
        self.attn = PlainAttention(s)
        self.norm2 = RMSNorm(s["hidden_size"], s["rms_norm_eps"])
        self.gate_up = nn.Linear(s["hidden_size"], 2 * s["intermediate_size"], bias=s["mlp_bias"])
        self.down = nn.Linear(s["intermediate_size"], s["hidden_size"], bias=s["mlp_bias"])
        self.activation = ACTIVATIONS[s["hidden_act"]]

    def forward(self, x, position, allowed, store, start):
        x = x + self.attn(self.norm1(x), position, allowed, store, start)
        gate, up = self.gate_up(self.norm2(x)).chunk(2, -1)
        return x + self.down(self.activation(gate) * up)


class PlainAttention(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.heads, self.kv_heads, self.theta = s["num_attention_heads"], s["num_key_value_heads"], s["rope_theta"]
        self.size = s["hidden_size"] // self.heads
        self.qkv = nn.Linear(s["hidden_size"], (self.heads + 2 * self.kv_heads) * self.size, bias=s["attention_bias"])
        self.out = nn.Linear(self.heads * self.size, s["hidden_size"], bias=s["attention_bias"])

    def rotated(self, x, position):
        """x: (B, T, heads, Dh); position: (B, T)."""
        frequencies = self.theta ** -(torch.arange(0, self.size, 2, device=x.device).float() / self.size)
        angles = torch.cat([position.unsqueeze(-1) * frequencies] * 2, -1)  # (B, T, Dh)
        return rotate(x, angles.cos().to(x.dtype), angles.sin().to(x.dtype))

    def forward(self, x, position, allowed, store, start):
        batch, length, _ = x.shape
        split = [heads * self.size for heads in (self.heads, self.kv_heads, self.kv_heads)]
        q, k, v = (part.view(batch, length, -1, self.size) for part in self.qkv(x).split(split, -1))
        q, k = self.rotated(q, position) * self.size ** -0.5, self.rotated(k, position)
        k, v = k.transpose(1, 2), v.transpose(1, 2)  # (B, K, T, Dh)
        if store:
            end = start + length
            if end > store[0].shape[2]:
                raise IndexError(f"{length} tokens do not fit: {start} of {store[0].shape[2]} slots are written")
            for kept, new in zip(store, (k, v)):
                kept[:, :, start:end] = new
            k, v = (kept[:, :, :end] for kept in store)
        grouped = q.unflatten(2, (self.kv_heads, -1))  # (B, T, K, H / K, Dh)
        scores = torch.einsum("btkgd,bksd->bkgts", grouped, k)
        hidden = ~(allowed if allowed.dim() == 2 else allowed[:, None, None])
        weights = scores.float().masked_fill(hidden, float("-inf")).softmax(-1).to(x.dtype)
        return self.out(torch.einsum("bkgts,bksd->btkgd", weights, v).flatten(2))
