import plumbline
from models import Plain

LAYER = "model.layers.{layer}."
TAKEN = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "intermediate_size",
         "hidden_act", "rms_norm_eps", "attention_bias", "mlp_bias", "tie_word_embeddings", "max_position_embeddings", "rope_theta")


def adapter(s):
    size = s["hidden_size"] // s["num_attention_heads"]
    queries, keys, wide = s["hidden_size"], s["num_key_value_heads"] * size, s["intermediate_size"]
    parts = {"q": (0, queries), "k": (queries, keys), "v": (queries + keys, keys)}
    halves = {"gate": (0, wide), "up": (wide, wide)}
    return plumbline.Module(
        Plain,
        mask="pad_mask",
        positions="position",
        cache=plumbline.Cache("cache", start="start", axes=("batch", "head", "position", "size"), fixed=True,
                              new=lambda model, batch, capacity: model.new_cache(batch, capacity)),
        generate=Plain.generate,
        prompt_padding=("right", "left"),
        mapping={
            "model.embed_tokens.weight": "tok.weight",
            "model.norm.weight": "last_norm.weight",
            LAYER + "input_layernorm.weight": "blocks.{layer}.norm1.weight",
            LAYER + "post_attention_layernorm.weight": "blocks.{layer}.norm2.weight",
            LAYER + "self_attn.o_proj.weight": "blocks.{layer}.attn.out.weight",
            LAYER + "mlp.down_proj.weight": "blocks.{layer}.down.weight",
            **{LAYER + f"self_attn.{name}_proj.weight": {"from": "blocks.{layer}.attn.qkv.weight", "slice": [0, *part]}
               for name, part in parts.items()},
            **{LAYER + f"mlp.{name}_proj.weight": {"from": "blocks.{layer}.gate_up.weight", "slice": [0, *part]}
               for name, part in halves.items()},
        },
        stages={
            "embedding": "tok",
            "attention_norm": "blocks.{layer}.norm1",
            **{name: {"from": "blocks.{layer}.attn.qkv", "slice": [-1, *part]} for name, part in parts.items()},
            "context": "blocks.{layer}.attn.out:input",
            "attention_out": "blocks.{layer}.attn.out",
            "after_attention": "blocks.{layer}.norm2:input",
            "feed_forward_norm": "blocks.{layer}.norm2",
            **{name: {"from": "blocks.{layer}.gate_up", "slice": [-1, *part]} for name, part in halves.items()},
            "gated": "blocks.{layer}.down:input",
            "feed_forward_out": "blocks.{layer}.down",
            "after_feed_forward": "blocks.{layer}",
            "final_norm": "last_norm",
        },
        # Plain has no config: what it was built with, and what its code does.
        configuration={**{key: s[key] for key in TAKEN}, "head_dim": size, "rotary": "halves", "rope_type": "default", "dropout": 0.0},
    )
