"""A dozen models that compute the same function as models.Plain, each as another stranger would write it. The rest: strangers_*.

B batch, T tokens, S slots so far, D width, H query heads, K key/value heads, Dh head size.
"""

import strangers_fused
import strangers_in_place
import strangers_lists
import torch
import torch.nn.functional as F
from torch import nn

# Learner: keys and values in one projection, a list of (dict, position) for a cache.


class LearnerNorm(nn.Module):
    """The root mean square's norm."""

    def __init__(self, width, eps):
        """Weights of one."""
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x):
        """In float32, and back."""
        wide = x.float()
        return (wide * torch.rsqrt((wide * wide).mean(-1, keepdim=True) + self.eps)).to(x.dtype) * self.scale


class LearnerAttention(nn.Module):
    """Grouped-query attention over what the cache holds and what is new."""

    def __init__(self, s):
        """A query projection, and one for both keys and values."""
        super().__init__()
        self.num_heads, self.num_groups = s["num_attention_heads"], s["num_key_value_heads"]
        self.head_dim = s["hidden_size"] // self.num_heads
        self.q_proj = nn.Linear(s["hidden_size"], self.num_heads * self.head_dim, bias=False)
        self.kv_proj = nn.Linear(s["hidden_size"], 2 * self.num_groups * self.head_dim, bias=False)
        self.out_proj = nn.Linear(self.num_heads * self.head_dim, s["hidden_size"], bias=False)

    def forward(self, x, cos, sin, hidden, cache):
        """x: (B, T, D); hidden: (B or 1, 1, T, S), true where not to look. Returns the output and the cache with x in it."""
        batch, length, _ = x.shape
        q = self.q_proj(x).view(batch, length, self.num_heads, self.head_dim).transpose(1, 2)
        k, v = self.kv_proj(x).view(batch, length, 2, self.num_groups, self.head_dim).permute(2, 0, 3, 1, 4)
        q, k = self.turned(q, cos, sin), self.turned(k, cos, sin)
        past, position = cache
        if past:
            k, v = torch.cat((past["k"], k), dim=2), torch.cat((past["v"], v), dim=2)
        cache = ({"k": k, "v": v}, position + length)
        k, v = (each.repeat_interleave(self.num_heads // self.num_groups, dim=1) for each in (k, v))
        scores = torch.matmul(q, k.transpose(2, 3)) / self.head_dim ** 0.5
        scores = scores.masked_fill(hidden, torch.finfo(scores.dtype).min)
        context = torch.matmul(torch.softmax(scores, dim=-1), v)
        return self.out_proj(context.transpose(1, 2).contiguous().view(batch, length, -1)), cache

    def turned(self, x, cos, sin):
        """x: (B, heads, T, Dh), turned by its positions."""
        half = self.head_dim // 2
        return x * cos + torch.cat((-x[..., half:], x[..., :half]), dim=-1) * sin


class LearnerFeedForward(nn.Module):
    """A gated layer."""

    def __init__(self, s):
        """Three projections."""
        super().__init__()
        self.linear_gate = nn.Linear(s["hidden_size"], s["intermediate_size"], bias=False)
        self.linear_up = nn.Linear(s["hidden_size"], s["intermediate_size"], bias=False)
        self.linear_down = nn.Linear(s["intermediate_size"], s["hidden_size"], bias=False)
        self.silu = nn.SiLU()

    def forward(self, x):
        """Up, times the gate, and down."""
        return self.linear_down(self.linear_up(x) * self.silu(self.linear_gate(x)))


class LearnerBlock(nn.Module):
    """Attention and feed-forward, each with its norm before."""

    def __init__(self, s):
        """One of each."""
        super().__init__()
        self.attention_norm = LearnerNorm(s["hidden_size"], s["rms_norm_eps"])
        self.attention = LearnerAttention(s)
        self.feedforward_norm = LearnerNorm(s["hidden_size"], s["rms_norm_eps"])
        self.feedforward = LearnerFeedForward(s)

    def forward(self, x, cos, sin, hidden, cache):
        """Returns the stream and the layer's cache."""
        attended, cache = self.attention(self.attention_norm(x), cos, sin, hidden, cache)
        x = x + attended
        return x + self.feedforward(self.feedforward_norm(x)), cache


class Learner(nn.Module):
    """Written while learning how it all works."""

    def __init__(self, s):
        """The output layer shares the embedding's weight."""
        super().__init__()
        self.token_embedding = nn.Embedding(s["vocab_size"], s["hidden_size"])
        self.blocks = nn.ModuleList([LearnerBlock(s) for _ in range(s["num_hidden_layers"])])
        self.final_norm = LearnerNorm(s["hidden_size"], s["rms_norm_eps"])
        self.output_layer = nn.Linear(s["hidden_size"], s["vocab_size"], bias=False)
        nn.init.normal_(self.output_layer.weight, std=0.02)
        self.token_embedding.weight = self.output_layer.weight
        self.head_dim, self.rope_base = s["hidden_size"] // s["num_attention_heads"], s["rope_theta"]

    def forward(self, tokens, padding_mask=None, positions=None, kv_cache=None):
        """padding_mask: (B, S), 1 where real; positions: (B, T). Returns (logits, kv_cache)."""
        if kv_cache is None:
            kv_cache = [({}, 0) for _ in self.blocks]
        start, length = kv_cache[0][1], tokens.shape[1]
        slots = torch.arange(start + length, device=tokens.device)
        hidden = (slots[None, :] > slots[start:, None])[None, None]
        if padding_mask is not None:
            hidden = hidden | (padding_mask == 0)[:, None, None, :]
        if positions is None:
            positions = slots[None, start:]
        inverse = 1.0 / self.rope_base ** (torch.arange(0, self.head_dim, 2, device=tokens.device).float() / self.head_dim)
        angles = positions[:, None, :, None].float() * inverse
        angles = torch.cat((angles, angles), dim=-1)
        x = self.token_embedding(tokens)
        cos, sin = torch.cos(angles).to(x.dtype), torch.sin(angles).to(x.dtype)
        new_cache = []
        for block, cache in zip(self.blocks, kv_cache):
            x, cache = block(x, cos, sin, hidden, cache)
            new_cache.append(cache)
        return self.output_layer(self.final_norm(x)), new_cache


# Meta: short names, a rotation of complex numbers, a cache inside the modules.


class MetaNorm(nn.Module):
    """The root mean square's norm."""

    def __init__(self, dim, eps):
        """Weights of one."""
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def _norm(self, x):
        """Without the weights."""
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)

    def forward(self, x):
        """With them."""
        return self._norm(x.float()).type_as(x) * self.weight


def precompute_freqs_cis(dim, end, theta):
    """Unit complex numbers (end, dim / 2)."""
    freqs = 1.0 / (theta ** (torch.arange(0, dim, 2)[: (dim // 2)].float() / dim))
    freqs = torch.outer(torch.arange(end), freqs)
    return torch.polar(torch.ones_like(freqs), freqs)


def apply_rotary_emb(x, freqs_cis):
    """x: (B, T, heads, Dh), whose halves are the real and the imaginary parts; freqs_cis: (T, Dh / 2)."""
    pairs = x.float().reshape(*x.shape[:-1], 2, -1).transpose(-1, -2).contiguous()
    turned = torch.view_as_real(torch.view_as_complex(pairs) * freqs_cis[None, :, None, :])
    return turned.transpose(-1, -2).flatten(-2).type_as(x)


class MetaAttention(nn.Module):
    """Attention with its cache in buffers."""

    def __init__(self, s, max_batch_size, max_seq_len):
        """The cache is empty."""
        super().__init__()
        self.n_local_heads, self.n_local_kv_heads = s["num_attention_heads"], s["num_key_value_heads"]
        self.n_rep = self.n_local_heads // self.n_local_kv_heads
        self.head_dim = s["hidden_size"] // self.n_local_heads
        self.wq = nn.Linear(s["hidden_size"], self.n_local_heads * self.head_dim, bias=False)
        self.wk = nn.Linear(s["hidden_size"], self.n_local_kv_heads * self.head_dim, bias=False)
        self.wv = nn.Linear(s["hidden_size"], self.n_local_kv_heads * self.head_dim, bias=False)
        self.wo = nn.Linear(self.n_local_heads * self.head_dim, s["hidden_size"], bias=False)
        for name in ("cache_k", "cache_v"):
            empty = torch.zeros(max_batch_size, max_seq_len, self.n_local_kv_heads, self.head_dim)
            self.register_buffer(name, empty, persistent=False)

    def forward(self, x, start_pos, freqs_cis, mask):
        """The cache is written and read where start_pos is given."""
        bsz, seqlen, _ = x.shape
        xq, xk, xv = self.wq(x), self.wk(x), self.wv(x)
        xq = apply_rotary_emb(xq.view(bsz, seqlen, self.n_local_heads, self.head_dim), freqs_cis)
        keys = apply_rotary_emb(xk.view(bsz, seqlen, self.n_local_kv_heads, self.head_dim), freqs_cis)
        values = xv.view(bsz, seqlen, self.n_local_kv_heads, self.head_dim)
        if start_pos is not None:
            self.cache_k[:bsz, start_pos : start_pos + seqlen] = keys
            self.cache_v[:bsz, start_pos : start_pos + seqlen] = values
            keys, values = self.cache_k[:bsz, : start_pos + seqlen], self.cache_v[:bsz, : start_pos + seqlen]
        keys = torch.repeat_interleave(keys, dim=2, repeats=self.n_rep).transpose(1, 2)
        values = torch.repeat_interleave(values, dim=2, repeats=self.n_rep).transpose(1, 2)
        scores = torch.matmul(xq.transpose(1, 2), keys.transpose(2, 3)) / self.head_dim**0.5
        if mask is not None:
            scores = scores + mask
        scores = F.softmax(scores.float(), dim=-1).type_as(xq)
        return self.wo(torch.matmul(scores, values).transpose(1, 2).contiguous().view(bsz, seqlen, -1))


class MetaFeedForward(nn.Module):
    """Three numbered matrices."""

    def __init__(self, dim, hidden_dim):
        """The second leads back."""
        super().__init__()
        self.w1 = nn.Linear(dim, hidden_dim, bias=False)
        self.w2 = nn.Linear(hidden_dim, dim, bias=False)
        self.w3 = nn.Linear(dim, hidden_dim, bias=False)

    def forward(self, x):
        """The first is the gate."""
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class MetaBlock(nn.Module):
    """One layer."""

    def __init__(self, s, max_batch_size, max_seq_len):
        """Both halves and their norms."""
        super().__init__()
        self.attention = MetaAttention(s, max_batch_size, max_seq_len)
        self.feed_forward = MetaFeedForward(s["hidden_size"], s["intermediate_size"])
        self.attention_norm = MetaNorm(s["hidden_size"], s["rms_norm_eps"])
        self.ffn_norm = MetaNorm(s["hidden_size"], s["rms_norm_eps"])

    def forward(self, x, start_pos, freqs_cis, mask):
        """The stream after the layer."""
        h = x + self.attention(self.attention_norm(x), start_pos, freqs_cis, mask)
        return h + self.feed_forward(self.ffn_norm(h))


class Meta(nn.Module):
    """After Meta's own code, but that halves are turned."""

    def __init__(self, s, max_batch_size=8, max_seq_len=1024):
        """The rotations are a plain attribute, so no part of the state."""
        super().__init__()
        self.tok_embeddings = nn.Embedding(s["vocab_size"], s["hidden_size"])
        nn.init.normal_(self.tok_embeddings.weight, std=0.02)
        self.layers = nn.ModuleList()
        for _ in range(s["num_hidden_layers"]):
            self.layers.append(MetaBlock(s, max_batch_size, max_seq_len))
        self.norm = MetaNorm(s["hidden_size"], s["rms_norm_eps"])
        self.freqs_cis = precompute_freqs_cis(s["hidden_size"] // s["num_attention_heads"], max_seq_len * 2, s["rope_theta"])

    def forward(self, tokens, start_pos=None):
        """Logits (B, T, V) of tokens that follow start_pos others, or of tokens alone."""
        seqlen, past = tokens.shape[1], start_pos or 0
        h = self.tok_embeddings(tokens)
        self.freqs_cis = self.freqs_cis.to(h.device)
        freqs_cis = self.freqs_cis[past : past + seqlen]
        mask = None
        if seqlen > 1:
            mask = torch.triu(torch.full((seqlen, seqlen), float("-inf"), device=tokens.device), diagonal=1)
            mask = torch.hstack([torch.zeros((seqlen, past), device=tokens.device), mask]).type_as(h)
        for layer in self.layers:
            h = layer(h, start_pos, freqs_cis, mask)
        return F.linear(self.norm(h), self.tok_embeddings.weight)


class Serving(Meta):
    """The same for serving alone: it is always told where it goes on, and learns nothing."""

    def __init__(self, s):
        """Room for many."""
        super().__init__(s, max_batch_size=32)

    @torch.inference_mode()
    def forward(self, tokens, start_pos):
        """Logits (B, T, V) of tokens that follow start_pos others."""
        return super().forward(tokens, start_pos)


class Switched(Meta):
    """The same with a switch: each call goes on where the last one ended."""

    def __init__(self, s):
        """Nothing was seen yet."""
        super().__init__(s)
        self.current_pos = 0

    def forward(self, tokens, use_cache=False):
        """Logits (B, T, V)."""
        if not use_cache:
            return super().forward(tokens)
        logits = super().forward(tokens, self.current_pos)
        self.current_pos += tokens.shape[1]
        return logits

    def reset_cache(self):
        """Begins anew."""
        self.current_pos = 0


KEEPERS = {"serving": Serving, "switched": Switched}  # of their caches
STRANGERS = {"learner": Learner, "meta": Meta, **strangers_fused.MODELS, **strangers_in_place.MODELS,
             **strangers_lists.MODELS}

# Each model's names: of the embedding, of the last norm, of a layer ("{}" its number) and what each of the layer's parameters
# holds: canonical tensors by short names, one below the other; "'" transposes, "#" counts heads.
NAMES = {
    "learner": ("output_layer.weight", "final_norm.scale", "blocks.{}.", {
        "attention_norm.scale": "first", "attention.q_proj.weight": "q", "attention.kv_proj.weight": "k v",
        "attention.out_proj.weight": "o", "feedforward_norm.scale": "second", "feedforward.linear_gate.weight": "gate",
        "feedforward.linear_up.weight": "up", "feedforward.linear_down.weight": "down"}),
    "meta": ("tok_embeddings.weight", "norm.weight", "layers.{}.", {
        "attention_norm.weight": "first", "attention.wq.weight": "q", "attention.wk.weight": "k", "attention.wv.weight": "v",
        "attention.wo.weight": "o", "ffn_norm.weight": "second", "feed_forward.w1.weight": "gate", "feed_forward.w2.weight": "down",
        "feed_forward.w3.weight": "up"}),
    "nano": ("lm_head.weight", "transformer.ln_f.weight", "transformer.h.{}.", {
        "ln_1.weight": "first", "attn.c_attn.weight": "groups", "attn.c_proj.weight": "o", "ln_2.weight": "second",
        "mlp.c_fc.weight": "gate up", "mlp.c_proj.weight": "down"}),
    "llama2c": ("out.weight", "norm.gain", "stack.{}.", {
        "att_norm.gain": "first", "wqkv.weight": "q k v", "wo.weight": "o", "ffn_norm.gain": "second", "w13.weight": "gate up",
        "w2.weight": "down"}),
    "functional": ("params.embedding", "params.final/scale", "params.block{}/", {
        "attention/scale": "first", "attention/query": "q'", "attention/key": "k'", "attention/value": "v'", "attention/output": "o'",
        "feedforward/scale": "second", "feedforward/gate": "gate'", "feedforward/up": "up'", "feedforward/down": "down'"}),
    "einsum": ("Wte", "gf", "L.{}.", {
        "g1": "first", "Wq": "q", "Wk": "k", "Wv": "v", "Wo": "o'", "g2": "second", "Wgate": "gate", "Wup": "up", "Wdown": "down"}),
    "conv1d": ("wte.weight", "ln_f.gain", "h.{}.", {
        "ln_attn.gain": "first", "to_qkv.w": "q k v'", "from_heads.w": "o'", "ln_mlp.gain": "second", "fc_gate.w": "gate'",
        "fc_in.w": "up'", "fc_out.w": "down'"}),
    "inplace": ("letters.weight", "roof.gain", "floors.{}.", {
        "before_mix.gain": "first", "asks.weight": "q", "tells.weight": "k", "gives.weight": "v", "mixes.weight": "o",
        "before_mlp.gain": "second", "opens.weight": "gate", "fills.weight": "up", "closes.weight": "down"}),
    "preallocated": ("vocabulary", "last.gain", "tower.{}.", {
        "attn_in.gain": "first", "query.weight": "q", "key.weight": "k", "value.weight": "v", "merge.weight": "o",
        "mlp_in.gain": "second", "expand.weight": "up gate", "contract.weight": "down"}),
    "split": ("to_words.weight", "norms.{last}.gain", "", {
        "norms.{first}.gain": "first", "attentions.{}.q_heads.#.weight": "q", "attentions.{}.k_heads.#.weight": "k",
        "attentions.{}.v_heads.#.weight": "v", "attentions.{}.together.weight": "o", "norms.{second}.gain": "second",
        "feeds.{}.left.0.weight": "gate", "feeds.{}.right.weight": "up", "feeds.{}.back.weight": "down"}),
    "scrambled": ("a.weight", "b", "c{}.", {
        "a0": "first", "b0.weight": "q", "b1.weight": "k", "b2.weight": "v", "b3.weight": "o", "a1": "second", "c1.weight": "gate",
        "c0.weight": "up", "c2.weight": "down"}),
    "parallel": ("weight", "finish", "lists.", {
        "calm.{}": "first", "ask.{}": "q", "match.{}": "k", "carry.{}": "v", "mix.{}": "o", "steady.{}": "second", "open.{}": "gate",
        "widen.{}": "up", "narrow.{}": "down"}),
}


def canonical_layer(canonical, layer):
    """A layer's nine tensors under short names."""
    names = {"q": "self_attn.q_proj", "k": "self_attn.k_proj", "v": "self_attn.v_proj", "o": "self_attn.o_proj",
             "gate": "mlp.gate_proj", "up": "mlp.up_proj", "down": "mlp.down_proj",
             "first": "input_layernorm", "second": "post_attention_layernorm"}
    return {short: canonical[f"model.layers.{layer}.{name}.weight"] for short, name in names.items()}


def held(tensors, what, heads, groups):
    """One parameter's value, in rows if not yet in its shape."""
    if what == "groups":
        split = [tensors["q"].unflatten(0, (groups, -1))] + [tensors[name].unflatten(0, (groups, -1)) for name in ("k", "v")]
        return torch.cat(split, 1).flatten(0, 1)
    rows = torch.cat([tensors[name] for name in what.rstrip("'").split()])
    return rows.t() if what.endswith("'") else rows


def fill(model_name, model, canonical, heads=6, groups=2):
    """Copies canonical weights into a stranger's parameters. Errors: KeyError if it leaves any out."""
    embedding, last, prefix, parts = NAMES[model_name]
    depth = 1 + max(int(name.split(".")[2]) for name in canonical if name.startswith("model.layers."))
    values = {embedding: canonical["model.embed_tokens.weight"], last.format(last=2 * depth): canonical["model.norm.weight"]}
    for layer in range(depth):
        tensors = canonical_layer(canonical, layer)
        for name, what in parts.items():
            name, value = (prefix + name).format(layer, first=2 * layer, second=2 * layer + 1), held(tensors, what, heads, groups)
            count = {"q": heads, "k": groups, "v": groups}.get(what, 1) if "#" in name else 1
            values.update({name.replace("#", str(head)): part for head, part in enumerate(value.chunk(count))})
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    parameters = dict(model.named_parameters(remove_duplicate=False))
    left = set(names.values()) - {names[id(parameters[name])] for name in values}
    if left:
        raise KeyError(f"{model_name}: nothing for {sorted(left)}")
    with torch.no_grad():
        for name, value in values.items():
            parameters[name].copy_(value.reshape(parameters[name].shape))
