"""Mistakes that people make, each as a change to the text of models.py, and what a verification has to find.

All are made to Plain and leave its settings as they were: what the model says of itself stays right, what it does is not.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Edit:
    """One mistake. change: {text of models.py, which stands there once: what takes its place}. fails: requirements that must
    be among the failed ones. stage: the first stage that is wrong in itself, where it can be seen. refused: what is said
    instead of a verdict, where two passes cannot be compared. cause: the catalogued defect that it is; None: one that is not
    catalogued, or not in this form, so that nothing may be named as certain. model: plain or minimind, whose adapter it runs with
    and may change, too. longest: tokens of the pass that it takes."""

    name: str
    what: str
    change: dict
    fails: tuple
    stage: str = None
    refused: str = None
    cause: str = None
    model: str = "plain"
    longest: int = 604  # tokens of the longest pass


# Places in Plain.

MASK = "allowed = torch.arange(start + length, device=tokens.device) <= slots.unsqueeze(1)  # (T, S)"
PADDED = "        if pad_mask is not None:\n            # What is padding"
ITSELF = " | (torch.arange(start + length, device=tokens.device) == slots.unsqueeze(1))"
POSITION = "position = slots.unsqueeze(0) if position is None else position"
EMBEDDED = "        x = self.tok(tokens)\n"
ITS_WEIGHTS = "self.qkv = nn.Linear(s[\"hidden_size\"], (self.heads + 2 * self.kv_heads) * self.size, bias=s[\"attention_bias\"])"
BLOCK = "            x = block(x, position, allowed, store, start)\n"
LAST_NORM = "        x = self.last_norm(x)\n"
LOGITS = "return F.linear(x, self.tok.weight) if self.head is None else self.head(x), cache"
HEAD = "self.head = None if s[\"tie_word_embeddings\"] else nn.Linear(s[\"hidden_size\"], s[\"vocab_size\"], bias=False)\n\n    def new_cache"
ATTENDED = "        x = x + self.attn(self.norm1(x), position, allowed, store, start)\n"
GATE_UP = "gate, up = self.gate_up(self.norm2(x)).chunk(2, -1)"
FED = "return x + self.down(self.activation(gate) * up)\n\n\nclass PlainAttention"
WIDE = "self.gate_up = nn.Linear(s[\"hidden_size\"], 2 * s[\"intermediate_size\"], bias=s[\"mlp_bias\"])"
SPLIT = "q, k, v = (part.view(batch, length, -1, self.size) for part in self.qkv(x).split(split, -1))"
ROTATED = "q, k = self.rotated(q, position) * self.size ** -0.5, self.rotated(k, position)"
TURNED = "return rotate(x, angles.cos().to(x.dtype), angles.sin().to(x.dtype))"
ANGLES = "angles = torch.cat([position.unsqueeze(-1) * frequencies] * 2, -1)  # (B, T, Dh)"
THETA = "self.kv_heads, self.theta = s[\"num_attention_heads\"], s[\"num_key_value_heads\"], s[\"rope_theta\"]"
WRITTEN = "                kept[:, :, start:end] = new\n"
READ = "            k, v = (kept[:, :, :end] for kept in store)\n"
GROUPED = "grouped = q.unflatten(2, (self.kv_heads, -1))  # (B, T, K, H / K, Dh)"
SOFTMAX = "weights = scores.float().masked_fill(hidden, float(\"-inf\")).softmax(-1).to(x.dtype)"
NORM = "scale = torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + self.eps)"
SCALED = "return self.weight * (x.float() * scale).to(x.dtype)"
COOLED = "    logits = logits / temperature\n"
DRAWN = "return torch.multinomial(logits.softmax(-1), 1).squeeze(1)"
BEST = "logits < logits.topk(top_k).values[:, -1:]"
REACHED = "        before = probabilities.cumsum(-1) - probabilities\n"
PENALISED = "penalised = torch.where(logits > 0, logits / repetition_penalty, logits * repetition_penalty)"
ENDED = "                new = new.masked_fill(ended, eos_token_id)\n                ended = ended | (new == eos_token_id)\n"
CONTINUED = "        logits = logits[rows, position.argmax(1)].float()  # (B, V), after the last real token\n"
STEPS = "        for step in range(max_new_tokens):\n"
SLOTS = "torch.arange(start + length, device=tokens.device)"

EDITS = (
    # The mask
    Edit("mask-off-by-one", "each token sees the one after it, too",
         {MASK: f"allowed = {SLOTS} <= slots.unsqueeze(1) + 1"}, ("MODE-1", "GQA-7", "NUM-6"), "layers.0.scores", cause="mask-sees-next"),
    Edit("mask-strict", "no token but the first sees itself",
         {MASK: f"allowed = ({SLOTS} < slots.unsqueeze(1)) | ({SLOTS} == 0)"}, ("GQA-7", "NUM-6"), "layers.0.scores"),
    Edit("mask-none", "no token is hidden from any other",
         {MASK: f"allowed = {SLOTS} >= 0 * slots.unsqueeze(1)"}, ("MODE-1", "NUM-6"), "layers.0.scores", cause="mask-none"),
    Edit("mask-none-in-training", "the mask is forgotten in training alone",
         {MASK: f"{MASK}\n        allowed = allowed | self.training"}, ("MODE-1", "MODE-3", "GQA-7"), "layers.0.scores", cause="mask-none-in-training"),
    Edit("mask-none-in-prefill", "the mask is forgotten where the first tokens are put into a cache",
         {MASK: f"{MASK}\n        allowed = allowed | (cache is not None and start == 0)"}, ("MODE-1", "KVC-4", "KVC-5"), "layers.0.scores"),
    Edit("mask-from-the-left", "tokens after a filled cache see its beginning, as scaled_dot_product_attention's is_causal has it",
         {MASK: f"allowed = {SLOTS} <= torch.arange(length).unsqueeze(1)"}, ("KVC-4", "KVC-5", "NUM-2"), "layers.0.scores"),
    Edit("mask-window", "each token sees the sixteen before it alone",
         {MASK: f"allowed = ({SLOTS} <= slots.unsqueeze(1)) & ({SLOTS} > slots.unsqueeze(1) - 16)"}, ("NUM-6",), "layers.0.scores", cause="mask-window-256=16"),
    Edit("padding-ignored", "the padding mask is taken and not used", {PADDED: "        if False:\n            # What is padding"},
         ("MODE-6", "MODE-8"), cause="mask-without-padding"),
    Edit("padding-sees-nothing", "padding on the left has no token to see, and NaN spreads from it", {ITSELF: ""}, ("MODE-6",)),
    Edit("softmax-over-queries", "softmax over the queries", {SOFTMAX: SOFTMAX.replace("softmax(-1)", "softmax(-2)")},
         ("GQA-9", "MODE-1"), "layers.0.probabilities"),
    Edit("softmax-leaks", "one is added to the sum of softmax, so that probabilities do not add up to one",
         {SOFTMAX: SOFTMAX.replace(".softmax(-1)", "").replace(
             ".to(x.dtype)", "; weights = F.pad(weights, (0, 1)).softmax(-1)[..., :-1].to(x.dtype)")},
         ("NUM-6",), cause="softmax-off-by-one"),

    # Positions and rotation
    Edit("positions-restart", "positions begin at 0 with every call", {POSITION: POSITION.replace("slots.", "(slots - start).")},
         ("KVC-4", "ROPE-6", "NUM-2"), "layers.0.q_rotated"),
    Edit("positions-one-late", "positions are one too large once the cache holds something",
         {POSITION: POSITION.replace("slots.", "(slots + (start > 0)).")}, ("KVC-4", "ROPE-6"), "layers.0.q_rotated"),
    Edit("positions-of-the-first-row", "every row of a batch takes the first row's positions",
         {POSITION: f"{POSITION}[:1]"}, ("MODE-8",)),
    Edit("positions-from-one", "positions begin at 1, which scores cannot tell",
         {POSITION: f"{POSITION}\n        position = position + 1"}, ("ROPE-1", "ROPE-7"), "layers.0.q_rotated", cause="rotary-from-position-1"),
    Edit("rotation-twice-in-cache", "what was read from the cache is rotated once more",
         {READ: READ + "            k = self.rotated(k.transpose(1, 2), torch.arange(end).unsqueeze(0)).transpose(1, 2)\n"},
         ("KVC-4", "NUM-2")),
    Edit("keys-cached-unrotated", "keys go into the cache before they are rotated, and are not rotated afterwards",
         {ROTATED: "unrotated = k.transpose(1, 2)\n        " + ROTATED, "zip(store, (k, v))": "zip(store, (unrotated, v))"},
         ("KVC-4", "KVC-9", "NUM-2"), cause="cache-unrotated"),
    Edit("keys-not-rotated", "queries alone are rotated", {ROTATED: ROTATED.replace("self.rotated(k, position)", "k")},
         ("ROPE-3", "NUM-6"), "layers.0.k_rotated", cause="rotary-keys-unrotated"),
    Edit("values-rotated", "values are rotated like keys", {ROTATED: f"{ROTATED}\n        v = self.rotated(v, position)"},
         ("ROPE-3", "NUM-6"), "layers.0.context", cause="rotary-on-values"),
    Edit("neighbours-for-halves", "neighbouring coordinates turn together",
         {TURNED: "turned = rotate(torch.cat([x[..., ::2], x[..., 1::2]], -1), angles.cos().to(x.dtype), angles.sin().to(x.dtype))\n"
                  "        return torch.stack(turned.chunk(2, -1), -1).flatten(-2)"}, ("ROPE-2", "NUM-6"), "layers.0.q_rotated", cause="rotary-other-pairing"),
    Edit("neighbours-angles", "halves turn together by the angles of neighbours",
         {ANGLES: "angles = (position.unsqueeze(-1) * frequencies).repeat_interleave(2, -1)"}, ("ROPE-1", "NUM-6"), "layers.0.q_rotated",
         cause="rotary-tables-mixed"),
    Edit("turned-backwards", "the sine has the wrong sign", {TURNED: TURNED.replace("angles.sin()", "-angles.sin()")},
         ("ROPE-1", "ROPE-10"), "layers.0.q_rotated", cause="rotary-backwards"),
    Edit("theta-of-llama-2", "theta is 10000 in the code, whatever the settings say", {THETA: THETA.replace('s["rope_theta"]', "1e4")},
         ("ROPE-1", "ROPE-8"), "layers.0.q_rotated", cause="theta-1e4"),
    Edit("positions-end-early", "positions stop at 2047", {ANGLES: ANGLES.replace("position.", "position.clamp(max=2047).")},
         ("ROPE-8",), "layers.0.q_rotated", cause="rotary-table-ends=2048"),

    # Attention
    Edit("repeat-tiled", "key/value heads are tiled, not interleaved",
         {GROUPED: "k, v = (part.repeat(1, self.heads // self.kv_heads, 1, 1) for part in (k, v))\n        grouped = q.unflatten(2, (self.heads, -1))"},
         ("GQA-2", "GQA-5", "NUM-6"), cause="repeat-tiled"),
    Edit("keys-for-values", "keys and values are swapped in the fused projection", {SPLIT: SPLIT.replace("q, k, v", "q, v, k")},
         ("NUM-6", "KVC-9"), cause="key-value-swapped"),
    Edit("scale-missing", "scores are not scaled", {ROTATED: ROTATED.replace(" * self.size ** -0.5", "")},
         ("GQA-8", "NUM-6"), "layers.0.scores", cause="scale-missing"),
    Edit("scale-by-width", "scores are scaled by the whole width",
         {ROTATED: ROTATED.replace("self.size **", "(self.size * self.heads) **")}, ("GQA-8", "NUM-6"), cause="scale-by-width"),
    Edit("scale-twice", "scores are scaled twice", {GROUPED: GROUPED.replace("q.un", "(q * self.size ** -0.5).un")}, ("GQA-8", "NUM-6"), cause="scale-twice"),

    # The cache
    Edit("cache-one-slot-late", "what follows the first call is written one slot too far",
         {WRITTEN: "                late = int(start > 0)\n                kept[:, :, start + late:end + late] = new[:, :, :kept.shape[2] - start - late]\n"},
         ("KVC-4", "NUM-2")),
    Edit("cache-values-not-kept", "values are kept of the first call alone",
         {WRITTEN: "                if start == 0 or kept is store[0]:\n                    kept[:, :, start:end] = new\n"}, ("KVC-4", "NUM-2")),
    Edit("cache-of-the-first-row", "the first row's keys are written for the whole batch",
         {WRITTEN: "                kept[:, :, start:end] = new[:1]\n"}, ("KVC-9", "MODE-8"), cause="cache-shared-by-rows"),
    Edit("cache-shared", "every cache is the same memory",
         {"return {name: [self.tok.weight.new_zeros(shape) for _ in self.blocks] for name in (\"keys\", \"values\")}":
          "self.memory = getattr(self, \"memory\", None) or [[torch.zeros(9, attention.kv_heads, 99, attention.size).to(self.tok.weight) "
          "for _ in self.blocks] for _ in range(2)]\n"
          "        return {name: [part[:batch, :, :capacity] for part in parts] for name, parts in zip((\"keys\", \"values\"), self.memory)}"},
         ("KVC-10",)),
    Edit("cache-read-whole", "slots that were not written take part", {
        READ: "            k, v = store\n",
        SOFTMAX: "hidden = F.pad(hidden, (0, scores.shape[-1] - hidden.shape[-1]))\n        " + SOFTMAX}, ("KVC-4", "KVC-7")),

    # Norms, residuals, feed-forward
    Edit("norm-without-weight", "RMSNorm forgets its weight", {SCALED: SCALED.replace("self.weight * ", "")}, ("BLK-5", "BLK-6"),
         "layers.0.attention_norm", cause="norm-weight-ignored"),
    Edit("norm-of-centred-values", "RMSNorm subtracts the mean, as LayerNorm does", {NORM: f"x = x - x.mean(-1, keepdim=True)\n        {NORM}"},
         ("BLK-5", "BLK-6"), "layers.0.attention_norm", cause="norm-centred"),
    Edit("norm-eps-outside", "eps is added to the root, not under it",
         {NORM: "scale = 1 / (x.float().pow(2).mean(-1, keepdim=True).sqrt() + self.eps)"}, ("BLK-5",), "layers.0.attention_norm", cause="norm-eps-outside"),
    Edit("norm-eps-of-llama", "eps is 1e-6 in the code, whatever the settings say", {NORM: NORM.replace("self.eps", "1e-6")}, ("BLK-5",),
         "layers.0.attention_norm", cause="eps-1e-6"),
    Edit("norm-by-sum", "RMSNorm divides by the root of the sum", {NORM: NORM.replace("mean", "sum")}, ("BLK-5",), "layers.0.attention_norm",
         cause="norm-by-sum"),
    Edit("norm-afterwards", "attention's norm stands after it",
         {ATTENDED: "        x = x + self.norm1(self.attn(x, position, allowed, store, start))\n"}, ("NUM-6", "BLK-7")),
    Edit("norm-missing-at-the-end", "the last norm is forgotten", {LAST_NORM: "", LOGITS: "self.last_norm(x)\n        " + LOGITS},
         ("NUM-6", "BLK-8"), "logits", cause="final-norm-missing"),
    Edit("residual-of-the-norm", "the residual is the normed value",
         {ATTENDED: "        x = self.norm1(x)\n        x = x + self.attn(x, position, allowed, store, start)\n"}, ("BLK-7", "NUM-6"),
         "layers.0.after_attention"),
    Edit("residual-twice", "the residual is added twice", {ATTENDED: ATTENDED.replace("x + ", "x + x + ")}, ("BLK-7", "NUM-6"),
         "layers.0.after_attention"),
    Edit("residual-missing-once", "the last layer's feed-forward has no residual",
         {BLOCK: "            block.last = index == len(self.blocks) - 1\n" + BLOCK, FED: FED.replace("return x +", "return (not self.last) * x +")},
         ("BLK-7", "NUM-6"), "layers.4.after_feed_forward"),
    Edit("gate-and-up-swapped", "the activation is put on up", {GATE_UP: GATE_UP.replace("gate, up", "up, gate")},
         ("BLK-1", "BLK-3"), "layers.0.gated", cause="gate-up-swapped"),
    Edit("gelu", "GELU, whatever the settings say", {FED: FED.replace("self.activation", "F.gelu")}, ("BLK-1", "BLK-2"), "layers.0.gated", cause="activation-gelu"),
    Edit("bias-parameter", "the feed-forward has biases", {WIDE: WIDE.replace('s["mlp_bias"]', "True")}, ("PAR-1", "PAR-4")),
    Edit("bias-constant", "0.001 is added to what goes into the activation", {FED: FED.replace("self.activation(gate)", "self.activation(gate + 1e-3)")},
         ("BLK-1",), "layers.0.gated"),

    # The whole
    Edit("dropout-in-evaluation", "the embedding is dropped out of in evaluation, too", {EMBEDDED: "        x = F.dropout(self.tok(tokens), 0.1)\n"},
         (), refused="gives other logits when it gets the same tokens again"),
    Edit("head-untied", "the output head is a matrix of its own", {HEAD: HEAD.replace('None if s["tie_word_embeddings"] else ', "")},
         ("PAR-1", "PAR-4", "PAR-7"), cause="untied-head"),
    Edit("layer-skipped-in-evaluation", "the third layer is skipped in evaluation",
         {BLOCK: "            if index == 2 and not self.training:\n                continue\n" + BLOCK}, ("MODE-3", "NUM-6")),
    Edit("layer-skipped-in-training", "the third layer is skipped in training",
         {BLOCK: "            if index == 2 and self.training:\n                continue\n" + BLOCK}, ("MODE-3",)),
    Edit("embedding-scaled", "the embedding is multiplied by the root of the width, as Gemma's is",
         {EMBEDDED: "        x = self.tok(tokens) * self.tok.weight.shape[1] ** 0.5\n"}, ("NUM-6",), cause="embedding-scaled"),
    Edit("logits-shifted", "each position has the logits of the one before it",
         {LOGITS: "return F.linear(x, self.tok.weight).roll(1, 1), cache"}, ("NUM-6", "MODE-2"), "logits", cause="logits-shifted"),
    Edit("logits-capped", "logits are capped softly, as Gemma's are",
         {LOGITS: "return 30 * torch.tanh(F.linear(x, self.tok.weight) / 30), cache"}, ("NUM-6",), "logits", cause="logits-capped"),
    # Its own text
    Edit("text-temperature-multiplied", "a temperature that multiplies", {COOLED: COOLED.replace("/", "*")}, ("TXT-4", "TXT-8"),
         cause="text-temperature-multiplied"),
    Edit("text-top-p-first", "top-p is applied at temperature 1, before the temperature",
         {COOLED: "    cooler = temperature\n", DRAWN: DRAWN.replace("logits.softmax", "(logits / cooler).softmax")}, ("TXT-6",),
         cause="text-top-p-before-temperature"),
    Edit("text-top-k-one-more", "top-k keeps the value after the k-th, too", {BEST: BEST.replace("topk(top_k)", "topk(top_k + 1)")}, ("TXT-5",),
         cause="text-top-k-one-more"),
    Edit("text-top-p-short", "top-p leaves out the token that reaches p",
         {REACHED: "        before = probabilities.cumsum(-1)\n"}, ("TXT-6",), cause="text-top-p-stops-short"),
    Edit("text-penalty-divides", "the repetition penalty divides whatever the sign",
         {PENALISED: PENALISED.replace("logits * repetition_penalty", "logits / repetition_penalty")}, ("TXT-7",), cause="text-penalty-divides-all"),
    Edit("end-or-2", "an end token of 0, or none, is taken for token 2", {STEPS: "        eos_token_id = eos_token_id or 2\n" + STEPS}, ("TXT-10",),
         cause="text-end-or-2"),
    Edit("text-end-ignored", "the end token ends nothing", {ENDED: "                pass\n"}, ("TXT-10",), cause="text-end-ignored"),
    Edit("text-from-the-last-column", "the first token is read from the last column, padding or not",
         {CONTINUED: "        logits = logits[:, -1].float()\n        # of prompts that may be padded\n"}, ("TXT-3",), cause="text-after-padding"),
    Edit("text-stops-early", "the loop stops after five tokens", {STEPS: "        for step in range(min(max_new_tokens, 5)):\n"}, ("TXT-3",)),

    Edit("not-a-number", "one logit is NaN", {LOGITS: "x[:, -1, 0] = float(\"nan\")\n        " + LOGITS}, ("NUM-5", "NUM-6")),
)

# Other places in Plain.

KEPT = "            for kept, new in zip(store, (k, v)):\n"
STORE = "store = (cache[\"keys\"][index], cache[\"values\"][index]) if cache else None"
FULL = "if end > store[0].shape[2]:"
SCORES = "scores = torch.einsum(\"btkgd,bksd->bkgts\", grouped, k)\n"
OUT = "return self.out(torch.einsum(\"bkgts,bksd->btkgd\", weights, v).flatten(2))"
FREQUENCIES = "frequencies = self.theta ** -(torch.arange(0, self.size, 2, device=x.device).float() / self.size)"
BEGUN = "nn.init.uniform_(self.tok.weight, -s[\"hidden_size\"] ** -0.5, s[\"hidden_size\"] ** -0.5)\n"
HIDDEN = "hidden = ~(allowed if allowed.dim() == 2 else allowed[:, None, None])\n"
COUNTED = "seen = torch.zeros_like(logits).scatter_add_(1, tokens, real.float())"
GREEDY = "    if temperature == 0:\n        return logits.argmax(-1)\n"
FIRST_ROW = "allowed = allowed & pad_mask.bool()[:, None, :] |"


def in_layer(number, flags, change):
    """The change reads these flags of a block's parts ("attn.odd"), which are set in one layer alone."""
    marks = "".join(f"            block.{flag} = index == {number}\n" for flag in flags)
    return {BLOCK: marks + BLOCK, **change}


# A copy of the weights of queries, keys and values, made once, with which evaluation runs.
MERGED = ("if not hasattr(self, 'merged'):\n            self.merged = self.qkv.weight.detach().clone()\n        "
          + SPLIT.replace("self.qkv(x)", "F.linear(x, self.qkv.weight if self.training else self.merged, self.qkv.bias)"))
FORGOTTEN = "lambda module, _: module.__dict__.pop('merged', None)"

# The same mistakes by other numbers, in one layer or one mode alone, and more of the catalogue.
MORE_EDITS = (
    Edit("theta-of-llama-3", "theta is 500000 in the code", {THETA: THETA.replace('s["rope_theta"]', "5e5")}, ("ROPE-1",),
         cause="theta-1e4=500000"),
    Edit("theta-of-nobody", "theta is 31234.5 in the code", {THETA: THETA.replace('s["rope_theta"]', "31234.5")}, ("ROPE-1",),
         cause="theta-1e4=31234.5"),
    Edit("norm-eps-large", "eps is 3e-4 in the code", {NORM: NORM.replace("self.eps", "3e-4")}, ("BLK-5",), cause="eps-1e-6=0.0003"),
    Edit("mask-window-of-eleven", "each token sees the eleven before it, itself included",
         {MASK: f"allowed = ({SLOTS} <= slots.unsqueeze(1)) & ({SLOTS} > slots.unsqueeze(1) - 11)"}, ("NUM-6",), cause="mask-window-256=11"),
    Edit("mask-window-of-1024", "each token sees the 1024 before it alone, itself included",
         {MASK: f"allowed = ({SLOTS} <= slots.unsqueeze(1)) & ({SLOTS} > slots.unsqueeze(1) - 1024)"}, ("NUM-9",),
         cause="mask-window-1024", longest=4097),
    Edit("evaluation-by-forward", "a pass leaves the model in evaluation mode",
         {EMBEDDED: EMBEDDED + "        self.eval()\n"}, ("MODE-12",)),
    Edit("merged-once", "evaluation has a copy of the weights of queries, keys and values that is made once", {SPLIT: MERGED}, ("MODE-12",)),
    Edit("merged-on-load", "evaluation has a copy of the weights of queries, keys and values that a load alone refreshes",
         {SPLIT: MERGED, ITS_WEIGHTS: ITS_WEIGHTS + f"\n        self.register_load_state_dict_post_hook({FORGOTTEN})"}, ("TRN-8",)),
    Edit("logits-capped-lower", "logits are capped at 12.5", {LOGITS: "return 12.5 * torch.tanh(F.linear(x, self.tok.weight) / 12.5), cache"},
         ("NUM-8",), cause="logits-capped=12.5"),
    Edit("scores-capped", "scores are capped at 50, as Gemma's are", {SCORES: SCORES + "        scores = 50 * torch.tanh(scores / 50)\n"},
         ("GQA-8",), cause="scores-capped"),
    Edit("scores-capped-lower", "scores are capped at 7", {SCORES: SCORES + "        scores = 7 * torch.tanh(scores / 7)\n"},
         ("GQA-8",), cause="scores-capped=7"),
    Edit("positions-divided", "positions are divided by 4", {ANGLES: ANGLES.replace("position.", "(position / 4).")}, ("ROPE-1",),
         cause="rotary-scaled"),
    Edit("positions-divided-by-three", "positions are divided by 3", {ANGLES: ANGLES.replace("position.", "(position / 3).")}, ("ROPE-1",),
         cause="rotary-scaled=3"),
    Edit("embedding-scaled-by-twelve", "the embedding is multiplied by 12, as MiniCPM's is",
         {EMBEDDED: "        x = self.tok(tokens) * 12\n"}, ("NUM-6",), cause="embedding-scaled=12"),
    Edit("residual-halved", "the residual is halved", {ATTENDED: ATTENDED.replace("x + ", "0.5 * x + "), FED: FED.replace("return x", "return 0.5 * x")},
         ("BLK-7",), cause="residual-doubled=0.5"),
    Edit("residual-doubled", "the residual is doubled", {ATTENDED: ATTENDED.replace("x + ", "2 * x + "), FED: FED.replace("return x", "return 2 * x")},
         ("BLK-7",), cause="residual-doubled"),
    Edit("gate-and-up-swapped-once", "the activation is put on up in layer 3",
         in_layer(3, ["odd"], {GATE_UP: GATE_UP + "\n        gate, up = (up, gate) if self.odd else (gate, up)"}), ("BLK-1",), "layers.3.gated",
         cause="gate-up-swapped@3"),
    Edit("norm-centred-once", "RMSNorm subtracts the mean in layer 1",
         in_layer(1, ["norm1.odd", "norm2.odd"], {NORM: f"x = x - getattr(self, 'odd', False) * x.mean(-1, keepdim=True)\n        {NORM}"}),
         ("BLK-5",), "layers.1.attention_norm", cause="norm-centred@1"),
    Edit("scale-missing-once", "scores are not scaled in layer 4",
         in_layer(4, ["attn.odd"], {ROTATED: ROTATED.replace("self.size ** -0.5", "(1 if self.odd else self.size ** -0.5)")}), ("GQA-8",),
         "layers.4.scores", cause="scale-missing@4"),
    Edit("rotation-backwards-once", "the sine has the wrong sign in layer 2",
         in_layer(2, ["attn.odd"], {TURNED: TURNED.replace("angles.sin()", "(-angles if self.odd else angles).sin()")}), ("ROPE-1",),
         "layers.2.q_rotated", cause="rotary-backwards@2"),
    Edit("gelu-in-training", "GELU in training alone", {FED: FED.replace("self.activation(gate)", "(F.gelu if self.training else self.activation)(gate)")},
         ("MODE-3",), cause="activation-gelu@training"),
    Edit("mask-off-by-one-in-training", "each token sees the one after it in training alone",
         {MASK: f"allowed = {SLOTS} <= slots.unsqueeze(1) + int(self.training)"}, ("MODE-1",), cause="mask-sees-next@training"),
    Edit("gelu-approximate", "GELU by its approximation", {FED: FED.replace("self.activation(gate)", 'F.gelu(gate, approximate="tanh")')}, ("BLK-2",),
         cause="activation-gelu-tanh"),
    Edit("ungated", "the feed-forward has no gate", {FED: FED.replace("self.activation(gate) * up", "self.activation(gate)")}, ("BLK-1",),
         cause="feed-forward-ungated"),
    Edit("residual-missing", "there is no residual", {ATTENDED: ATTENDED.replace("x + ", ""), FED: FED.replace("x + ", "")}, ("BLK-7",),
         cause="residual-missing"),
    Edit("norms-swapped", "the two norms of a block are swapped",
         {ATTENDED: ATTENDED.replace("norm1", "norm2"), GATE_UP: GATE_UP.replace("norm2", "norm1")}, ("NUM-6",), cause="norms-swapped"),
    Edit("norm-missing-before-feed-forward", "the feed-forward's norm does nothing",
         {GATE_UP: GATE_UP.replace("self.norm2(x)", "(self.norm2(x), x)[1]")}, ("NUM-6",), cause="norm-missing-before-feed-forward"),
    Edit("layers-shared", "all layers are the first", {BLOCK: "            block = self.blocks[0]\n" + BLOCK}, ("NUM-6",), cause="layers-shared"),
    Edit("output-transposed", "the output projection is transposed",
         {OUT: OUT.replace("self.out(", "F.linear(").replace(".flatten(2))", ".flatten(2), self.out.weight.t(), self.out.bias)")}, ("NUM-6",),
         cause="output-projection-transposed"),
    Edit("queries-reordered", "query heads are in another order",
         {GROUPED: "q = q.unflatten(2, (self.kv_heads, -1)).transpose(2, 3).flatten(2, 3)\n        " + GROUPED}, ("NUM-6",), cause="query-heads-reordered"),
    Edit("softmax-in-half", "softmax is computed in bfloat16", {SOFTMAX: SOFTMAX.replace("scores.float()", "scores.bfloat16()")}, ("GQA-9",),
         cause="softmax-bfloat16"),
    Edit("values-detached", "no gradient goes through the values", {ROTATED: ROTATED + "\n        v = v.detach()"}, ("NUM-7",),
         cause="gradient-not-through-values"),
    Edit("embedding-detached", "no gradient goes through the embedding", {EMBEDDED: "        x = self.tok(tokens).detach()\n"}, ("NUM-7",),
         cause="gradient-not-through-embedding"),
    Edit("token-0-is-padding", "token 0 is embedded as zeros", {EMBEDDED: "        x = self.tok(tokens) * (tokens != 0).unsqueeze(-1)\n"}, ("MODE-11",),
         cause="token-0-is-padding"),
    Edit("logits-in-half", "logits go through bfloat16", {LOGITS: "return F.linear(x, self.tok.weight).bfloat16().float(), cache"}, ("NUM-6",),
         cause="logits-bfloat16"),
    Edit("cache-in-half", "the cache is bfloat16", {WRITTEN: "                kept[:, :, start:end] = new.bfloat16()\n".replace("()", "().float()")},
         ("KVC-4",), cause="cache-bfloat16"),
    Edit("cache-shared-by-layers", "every layer has the first one's cache", {STORE: STORE.replace("[index]", "[0]")}, ("KVC-4",),
         cause="cache-shared-by-layers"),
    Edit("cache-one-too-small", "the last slot of a cache is refused", {FULL: FULL.replace(">", ">=")}, ("KVC-8",), cause="cache-refuses-last-slot"),
    Edit("cache-slot-early", "what follows the first call is written one slot too early",
         {WRITTEN: "                early = int(start > 0)\n                kept[:, :, start - early:end - early] = new\n"}, ("KVC-4",), cause="cache-slot-late"),
    Edit("angles-in-half", "angles go through bfloat16", {ANGLES: ANGLES.replace("angles = ", "angles = (").replace("2, -1)", "2, -1)).bfloat16().float()")},
         ("ROPE-8",), cause="rotary-bfloat16-angles"),
    Edit("rotation-twice", "queries and keys are rotated twice",
         {ROTATED: "q, k = self.rotated(q, position), self.rotated(k, position)\n        " + ROTATED}, ("ROPE-1",), cause="rotary-twice"),
    Edit("frequencies-by-width", "frequencies are spread over the whole width",
         {FREQUENCIES: FREQUENCIES.replace("/ self.size)", "/ (self.size * self.heads))")}, ("ROPE-1",), cause="rotary-frequencies-by-width"),
    Edit("rotation-partial", "the first half of the pairs is rotated alone",
         {FREQUENCIES: FREQUENCIES + "\n        frequencies = frequencies * (torch.arange(self.size // 2) < self.size // 4)"}, ("ROPE-1",),
         cause="rotary-partial"),
    Edit("mask-inverted", "tokens see what is after them",
         {MASK: f"allowed = {SLOTS} >= slots.unsqueeze(1)"}, ("MODE-1",), cause="mask-inverted"),
    Edit("mask-inverted-in-training", "tokens see what is after them in training",
         {MASK: f"allowed = ({SLOTS} >= slots.unsqueeze(1)) if self.training else ({SLOTS} <= slots.unsqueeze(1))"}, ("MODE-1",),
         cause="mask-inverted-in-training"),
    Edit("mask-by-zero", "hidden scores are multiplied by 0", {SOFTMAX: SOFTMAX.replace('.masked_fill(hidden, float("-inf"))', " * ~hidden").replace(
        "scores.float() * ~hidden", "(scores.float() * ~hidden)")}, ("MODE-1",), cause="mask-by-zero"),
    Edit("mask-weak", "hidden scores are lowered by 10", {SOFTMAX: SOFTMAX.replace('scores.float().masked_fill(hidden, float("-inf"))', "(scores.float() - 10 * hidden)")},
         ("MODE-1",), cause="mask-additive-weak"),
    Edit("mask-weak-otherwise", "hidden scores are lowered by 4", {SOFTMAX: SOFTMAX.replace('scores.float().masked_fill(hidden, float("-inf"))', "(scores.float() - 4 * hidden)")},
         ("MODE-1",), cause="mask-additive-weak=4"),
    Edit("mask-of-the-first-row", "every row has the first row's padding", {FIRST_ROW: FIRST_ROW.replace("[:, None, :]", "[:1, None, :]")}, ("MODE-8",),
         cause="mask-of-first-row"),
    Edit("embedding-begins-large", "the embedding begins as standard normal", {BEGUN: "nn.init.normal_(self.tok.weight)\n"}, ("CFG-14",),
         cause="embedding-standard-normal"),
    Edit("embedding-begins-with-zeros", "the embedding's first row begins as zeros", {BEGUN: BEGUN + "        nn.init.zeros_(self.tok.weight[0])\n"},
         ("CFG-14",), cause="embedding-zero-row"),
    Edit("text-penalty-not-on-prompt", "the prompt is not penalised", {COUNTED: COUNTED + " * 0"}, ("TXT-7",), cause="text-penalty-not-on-prompt"),
    Edit("text-penalty-by-count", "the penalty grows with each occurrence",
         {PENALISED: PENALISED.replace("repetition_penalty", "repetition_penalty ** seen")}, ("TXT-7",), cause="text-penalty-per-occurrence"),
    Edit("text-greedy-samples", "greedy text is sampled", {GREEDY: "    temperature = temperature or 1.0\n"}, ("TXT-3",), cause="text-greedy-samples"),
    Edit("text-seed-ignored", "the seed is ignored", {DRAWN: "torch.seed()\n    " + DRAWN}, ("TXT-9",), cause="text-seed-ignored"),
    Edit("text-rows-alike", "every row draws the same number",
         {DRAWN: "return (logits.softmax(-1).cumsum(-1) < torch.rand(1)).sum(-1).clamp(max=logits.shape[1] - 1)"}, ("TXT-8",), cause="text-rows-alike"),
)

# Changes of no consequence in float32, wrong in bfloat16.
BFLOAT16_EDITS = (
    Edit("norm-in-half", "RMSNorm computes in the model's type", {NORM: NORM.replace("x.float()", "x"), SCALED: "return self.weight * x * scale"},
         ("BLK-5",), "layers.0.attention_norm"),
    Edit("frequencies-in-half", "rotary frequencies are kept in the model's type, as a buffer is that moves with the model",
         {ANGLES: ANGLES.replace("frequencies", "frequencies.to(x.dtype).float()")}, ("ROPE-8",), "layers.0.q_rotated"),
)
