"""What edits.py leaves of the catalogue: the defects that it had first, edited by hand into an independent model or its adapter.

Where a defect has a number, it is another one here than the catalogue's. Of positions-2048 and of matrices that begin
smaller than they should there is none: a `should` alone sees them, so that nothing is diagnosed.
"""

from edits import (ATTENDED, BEGUN, EMBEDDED, FED, GATE_UP, GROUPED, HIDDEN, LOGITS, MASK, NORM, POSITION, READ,
                   ROTATED, SCALED, SLOTS, SOFTMAX, Edit)

# Places in the adapters.
SETTINGS = "def adapter(s):\n"
BUILT = "        Plain,\n"
OWN_LOOP = "        generate=Plain.generate,\n"
MADE = "    return plumbline.Module(\n"
NO_DROPOUT = '"dropout": 0.0}'
TAKEN = "LAYER = \"model.layers.{layer}.\"\n"
# Places in models.py.
INITIALISED = "self.tok = nn.Embedding(s[\"vocab_size\"], s[\"hidden_size\"])\n"
PADDED_AND_SEEN = "allowed = allowed & pad_mask.bool()[:, None, :]"
QKV = "self.qkv = nn.Linear("
PROJECTED = "self.out = nn.Linear("
WIDE_LAYER, NARROW_LAYER = "self.gate_up = nn.Linear(", "self.down = nn.Linear("
FACTOR_ONE = "    if factor == 1:\n        return x\n"
EXPANDED = "return x[:, :, :, None, :].expand(batch, length, heads, factor, size).reshape(batch, length, heads * factor, size)"
KEPT_TUPLE = "        present = (k, v)\n"
APPENDED = "            k, v = torch.cat([past[0], k], 1), torch.cat([past[1], v], 1)\n"
FACTOR = "        factor = self.heads // self.kv_heads\n"
BROADCAST = "return (x * cos.unsqueeze(-2) + torch.cat([-second, first], -1) * sin.unsqueeze(-2)).to(x.dtype)"
WEIGHTED = "self.weight = nn.Parameter(torch.ones(size))\n"
NORMS = {'"model.norm.weight"': '"last_norm.weight"', 'LAYER + "input_layernorm.weight"': '"blocks.{layer}.norm1.weight"',
         'LAYER + "post_attention_layernorm.weight"': '"blocks.{layer}.norm2.weight"'}


def stated(key, value, built=True):
    """Settings that the model is built by, and says."""
    return {SETTINGS: f"{SETTINGS}    s = {{**s, \"{key}\": {value}}}\n", **({BUILT: "        lambda given: Plain(s),\n"} if built else {})}


def own_loss(*lines):
    """The loss that training computes: of model, tokens and labels."""
    return {OWN_LOOP: OWN_LOOP + "        loss=own_loss,\n",
            TAKEN: "import torch\nimport torch.nn.functional as F\n\n\ndef own_loss(model, tokens, labels, **keywords):\n"
                   "    logits = model(tokens, **keywords)[0].float()\n" + "".join(f"    {line}\n" for line in lines) + "\n\n" + TAKEN}


def own_optimiser(made, *lines):
    """The optimiser that training uses: `made`, and what is done before each of its steps."""
    return {MADE: "    return Trained(\n",
            TAKEN: "import torch\nfrom plumbline import training\n\n\nclass Trained(plumbline.Module):\n"
                   "    def train(self, tokens, labels, *, learning_rate, betas, eps, weight_decay):\n"
                   "        named = dict(self.model.named_parameters())\n"
                   f"        optimiser = {made}\n        values = []\n"
                   "        with training.mode(self.model, True):\n            for step in range(len(tokens)):\n"
                   "                optimiser.zero_grad()\n                loss = self.loss_of(tokens[step], labels[step], {})\n"
                   "                loss.backward()\n" + "".join(f"                {line}\n" for line in lines) +
                   "                optimiser.step()\n                values.append(loss.detach().float())\n"
                   "        return torch.stack(values)\n\n\n" + TAKEN}


ADAMW = "torch.optim.{}(named.values(), lr=learning_rate, betas=betas, eps=eps, weight_decay=weight_decay)"
LABELS = "predicted, wanted = logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()"
LOW = ("class LowLinear(nn.Linear):\n    def forward(self, x):\n        return {}\n\n\nclass PlainBlock(nn.Module):")
LOW_PLACE = "class PlainBlock(nn.Module):"


def linear_layers(formula):
    """Every linear layer computes otherwise: `formula` of x and self."""
    return {LOW_PLACE: LOW.format(formula), **{place: place.replace("nn.Linear", "LowLinear") for place in (QKV, PROJECTED, WIDE_LAYER, NARROW_LAYER)}}


CATALOGUED_EDITS = (
    # 1 Configuration
    Edit("more-layers", "it has nine layers", stated("num_hidden_layers", 9), ("CFG-3", "PAR-4"), cause="layers-23=9"),
    Edit("wide-feed-forward", "the feed-forward is 160 wide", stated("intermediate_size", 160), ("CFG-6", "PAR-3"), cause="feed-forward-4x=160"),
    Edit("dropout-stated", "a dropout of 0.3 is configured", {NO_DROPOUT: '"dropout": 0.3}'}, ("CFG-10",), cause="dropout-0.5=0.3"),
    Edit("vocabulary-of-112", "the vocabulary has 112 rows", stated("vocab_size", 112), ("CFG-1", "PAR-3"), cause="vocabulary-padded=112"),
    Edit("wider", "it is 96 wide", stated("hidden_size", 96), ("CFG-2", "PAR-3"), cause="width-768=96"),
    Edit("wider-and-raising", "it is 96 wide, and fails on a text of more than eight tokens",
         {**stated("hidden_size", 96), EMBEDDED: EMBEDDED + "        if tokens.shape[1] > 8:\n            raise IndexError(\"too long\")\n"},
         ("CFG-2", "PAR-3")),
    Edit("more-heads", "it has 12 query heads", stated("num_attention_heads", 12), ("CFG-4", "PAR-3"), cause="heads-doubled"),
    Edit("begins-with-nan", "the last row of the embedding begins as not a number",
         {BEGUN: BEGUN + "        nn.init.constant_(self.tok.weight[-1], float(\"nan\"))\n"}, ("PAR-6",), cause="initial-not-a-number"),

    # 2 Parameters
    Edit("head-of-its-own", "the output head is a matrix of its own", stated("tie_word_embeddings", False), ("CFG-13", "PAR-4"), cause="untied-head"),
    Edit("feed-forward-biases", "the feed-forward has biases", stated("mlp_bias", True), ("CFG-12", "PAR-4"), cause="feed-forward-bias"),
    Edit("attention-biases", "the attention has biases", stated("attention_bias", True), ("CFG-12", "PAR-4"), cause="attention-bias"),
    Edit("head-with-a-bias", "the output head has a bias",
         {INITIALISED: INITIALISED + "        self.head_bias = nn.Parameter(torch.zeros(s[\"vocab_size\"]))\n",
          LOGITS: "return F.linear(x, self.tok.weight, self.head_bias), cache"}, ("PAR-4",), cause="head-bias"),
    Edit("norms-of-heads", "queries and keys are normed head by head",
         {QKV: "self.q_norm, self.k_norm = (RMSNorm(self.size, s[\"rms_norm_eps\"]) for _ in range(2))\n        " + QKV,
          ROTATED: "q, k = self.q_norm(q), self.k_norm(k)\n        " + ROTATED}, ("PAR-4",), cause="query-key-norm"),
    Edit("norms-have-no-weight", "norms have no weight",
         {WEIGHTED: "self.weight = 1.0\n", **{f'            {name}: {place},\n': "" for name, place in NORMS.items()}}, ("PAR-2",),
         cause="norm-without-weight"),

    # 3 Grouped-query attention
    Edit("as-many-key-heads", "every query head has a key/value head of its own", stated("num_key_value_heads", 6), ("CFG-5", "PAR-3"), cause="multi-head"),
    Edit("one-copy-has-a-gradient", "gradients of the other copies of a key/value head are lost",
         {EXPANDED: "return torch.stack([x] + [x.detach()] * (factor - 1), 3).reshape(batch, length, heads * factor, size)"}, ("GQA-6",),
         cause="repeat-one-gradient", model="minimind"),
    Edit("factor-fixed", "repeat_kv repeats three times, whatever factor it is given", {FACTOR_ONE: "    factor = 3\n"}, ("GQA-1", "GQA-3"),
         cause="repeat-factor-fixed", model="minimind"),
    Edit("softmax-over-all-queries", "softmax over the queries, and nothing where none sees a key",
         {SOFTMAX: SOFTMAX.replace("softmax(-1)", "softmax(-2).nan_to_num(0)")}, ("GQA-9",), cause="softmax-over-queries"),
    Edit("tiled-in-cache", "key/value heads are tiled where they come from the cache",
         {GROUPED: "if store:\n            k, v = (part.repeat(1, self.heads // self.kv_heads, 1, 1) for part in (k, v))\n"
                   "        else:\n            k, v = (part.repeat_interleave(self.heads // self.kv_heads, 1) for part in (k, v))\n"
                   "        grouped = q.unflatten(2, (self.heads, -1))"}, ("KVC-4",), cause="repeat-tiled-in-cache"),

    # 4 KV cache
    Edit("repeated-before-cached", "keys and values are repeated before they are cached",
         {APPENDED: "            k, v = repeat_kv(k, self.heads // self.kv_heads), repeat_kv(v, self.heads // self.kv_heads)\n" + APPENDED,
          KEPT_TUPLE: "        if past is None:\n            k, v = repeat_kv(k, self.heads // self.kv_heads), repeat_kv(v, self.heads // self.kv_heads)\n" + KEPT_TUPLE,
          FACTOR: "        factor = 1\n"}, ("KVC-1", "KVC-3"), cause="cache-repeated", model="minimind"),
    Edit("next-slot-read", "the next, unwritten slot is read",
         {READ: "            more = min(end + 1, store[0].shape[2])\n            k, v = (kept[:, :, :more] for kept in store)\n",
          SOFTMAX: "hidden = F.pad(hidden, (0, scores.shape[-1] - hidden.shape[-1]))\n        " + SOFTMAX}, ("KVC-7",), cause="cache-reads-unwritten"),
    Edit("window-in-cache", "with a cache each token sees the 64 before it alone",
         {MASK: f"{MASK}\n        if cache is not None:\n            allowed = allowed & ({SLOTS} > slots.unsqueeze(1) - 64)"}, ("KVC-11",), cause="cache-window-64"),
    Edit("wide-window-in-cache", "with a cache each token sees the 256 before it alone",
         {MASK: f"{MASK}\n        if cache is not None:\n            allowed = allowed & ({SLOTS} > slots.unsqueeze(1) - 256)"}, ("KVC-11",), cause="cache-window-256"),

    # 5 RoPE
    Edit("rotated-over-heads", "angles broadcast over heads where there are as many as tokens",
         {BROADCAST: "if x.shape[1] == x.shape[2]:\n        return x * cos.unsqueeze(-3) + torch.cat([-second, first], -1) * sin.unsqueeze(-3)\n    " + BROADCAST},
         ("ROPE-9",), cause="rotary-over-heads"),
    Edit("positions-restart-whatever-is-said", "positions begin at 0 with every call",
         {POSITION: "position = (slots - start).unsqueeze(0) if position is None or start else position"}, ("KVC-4", "ROPE-6"), cause="position-restarts"),
    Edit("positions-too-low", "decoding goes on two positions too low",
         {POSITION: POSITION + "\n        position = (position - 2 * (start > 0)).clamp_min(0)"}, ("KVC-4", "ROPE-6"), cause="position-late-in-decoding=2"),

    # 6 Feed-forward, norms, residuals
    Edit("norm-computed-low", "RMSNorm computes in bfloat16",
         {NORM: "return self.low(x.bfloat16()).to(x.dtype)\n\n    def low(self, x):\n        " + NORM.replace("x.float()", "x"),
          SCALED: "return self.weight.bfloat16() * (x * scale)"}, ("BLK-5",), cause="norm-bfloat16"),
    Edit("residuals-normed", "every residual is the normed value",
         {ATTENDED: "        x = self.norm1(x)\n        x = x + self.attn(x, position, allowed, store, start)\n",
          GATE_UP: "x = self.norm2(x)\n        " + GATE_UP.replace("self.norm2(x)", "x")}, ("BLK-7",), cause="residual-normed"),

    # 7 Causality and modes
    Edit("mask-none-with-ones", "the causal mask is forgotten where a mask of ones is given",
         {MASK: f"{MASK}\n        allowed = allowed | (pad_mask is not None and bool(pad_mask.all()))"}, ("MODE-5", "MODE-6", "MODE-8"),
         cause="mask-none-with-ones"),
    Edit("mask-none-with-a-cache", "with a cache nothing is hidden but padding",
         {MASK: f"{MASK}\n        allowed = allowed | (cache is not None)"}, ("MODE-1", "KVC-5"), cause="mask-none-in-prefill"),
    Edit("padding-ignored-in-training", "padding takes part in training alone",
         {PADDED_AND_SEEN: "allowed = allowed & (pad_mask.bool() | self.training)[:, None, :]"}, ("MODE-6",), cause="mask-without-padding-in-training"),
    Edit("dropout-whatever-the-mode", "dropout is active in evaluation",
         {INITIALISED: INITIALISED + "        self.drop = nn.Dropout(0.0)\n", "        x = self.tok(tokens)\n": "        x = F.dropout(self.tok(tokens), self.drop.p)\n"},
         ("MODE-9",), cause="dropout-in-evaluation"),
    Edit("mask-strict-where-it-can-be", "no token sees itself, but where it would see nothing",
         {HIDDEN: HIDDEN + "        itself = torch.arange(k.shape[2]) == torch.arange(start, start + length).unsqueeze(1)\n"
                           "        hidden = hidden | (itself & (~hidden & ~itself).any(-1, keepdim=True))\n"}, ("GQA-5",), cause="mask-strict"),

    # 8 Numerics
    Edit("largest-logit-is-nan", "the largest logit is not a number",
         {LOGITS: "x = F.linear(x, self.tok.weight)\n        return x.masked_fill(x >= x.max(), float(\"nan\")), cache"}, ("NUM-5",), cause="logits-not-a-number"),
    Edit("products-in-half", "matrix products are computed in bfloat16",
         {**linear_layers("F.linear(x.bfloat16(), self.weight.bfloat16()).to(x.dtype)"),
          LOGITS: "return F.linear(x.bfloat16(), self.tok.weight.bfloat16()).to(x.dtype), cache"}, ("NUM-6",), cause="autocast-bfloat16"),
    Edit("weights-in-half", "weights go through bfloat16",
         {**linear_layers("F.linear(x, self.weight.bfloat16().float())"),
          "        x = self.tok(tokens)\n": "        x = self.tok(tokens).bfloat16().float()\n", SCALED: SCALED.replace("self.weight", "self.weight.bfloat16().float()"),
          LOGITS: "return F.linear(x, self.tok.weight.bfloat16().float()), cache"}, ("NUM-6",), cause="weights-bfloat16"),
    Edit("residual-in-half", "the residual goes through bfloat16",
         {ATTENDED: ATTENDED + "        x = x.bfloat16().float()\n", FED: FED.replace("return x + self.down(self.activation(gate) * up)",
                                                                                 "return (x + self.down(self.activation(gate) * up)).bfloat16().float()")},
         ("NUM-6",), cause="residual-bfloat16"),

    # 9 Training
    Edit("labels-unshifted", "labels are compared with the logits of their own tokens", own_loss("return F.cross_entropy(logits.flatten(0, 1), labels.flatten())"),
         ("TRN-2",), cause="loss-unshifted"),
    Edit("labels-shifted-twice", "labels are shifted by two", own_loss("return F.cross_entropy(logits[:, :-2].flatten(0, 1), labels[:, 2:].flatten())"),
         ("TRN-2",), cause="loss-shifted-twice"),
    Edit("ignored-in-the-mean", "ignored labels count in the mean", own_loss(LABELS, "return F.cross_entropy(predicted, wanted, reduction=\"sum\") / len(wanted)"),
         ("TRN-3",), cause="loss-over-ignored"),
    Edit("ignored-are-token-0", "ignored labels are token 0", own_loss(LABELS, "return F.cross_entropy(predicted, wanted.clamp(min=0))"), ("TRN-3",),
         cause="loss-ignored-as-token-0"),
    Edit("label-0-left-out", "labels that are token 0 do not count", own_loss(LABELS, "return F.cross_entropy(predicted, wanted.masked_fill(wanted == 0, -100))"),
         ("TRN-3",), cause="loss-without-token-0"),
    Edit("mean-of-rows", "the mean of each row's mean",
         own_loss(LABELS, "each = F.cross_entropy(predicted, wanted, reduction=\"none\").view(len(labels), -1)",
                  "return (each.sum(1) / (labels[:, 1:] != -100).sum(1).clamp(min=1)).mean()"), ("TRN-3",), cause="loss-mean-of-means"),
    Edit("adam-for-adamw", "Adam's decay, which goes into the gradient", own_optimiser(ADAMW.format("Adam")), ("TRN-5",), cause="adamw-decay-in-gradient"),
    Edit("moments-uncorrected", "moments are as they are after many steps",
         own_optimiser(ADAMW.format("AdamW"),
                       "for p in named.values():\n                    state = optimiser.state[p]\n                    if not state:\n"
                       "                        state.update(step=torch.tensor(0.0), exp_avg=torch.zeros_like(p), exp_avg_sq=torch.zeros_like(p))\n"
                       "                    state[\"step\"] = torch.tensor(1e6)"), ("TRN-5",), cause="adamw-uncorrected"),
    Edit("step-stays-1", "every step is corrected as the first",
         own_optimiser(ADAMW.format("AdamW"), "for state in optimiser.state.values():\n                    state[\"step\"] = torch.tensor(0.0)"), ("TRN-5",),
         cause="adamw-step-stays-1"),
    Edit("optimiser-of-a-copy", "the optimiser has the parameters of a copy",
         own_optimiser(ADAMW.format("AdamW").replace("named.values()", "[p.detach().clone().requires_grad_() for p in named.values()]")), ("TRN-5",),
         cause="optimiser-of-other-parameters"),
)
