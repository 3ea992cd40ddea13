"""How Plumbline reaches my model. Try it: plumbline verify THIS_FILE.py"""

import plumbline

from my_model import MyModel  # <- your module; files beside this one are found


def build(specification):
    """Returns the model, a torch.nn.Module. specification["num_hidden_layers"] and so on say what it will be judged against."""
    return MyModel()


adapter = plumbline.Module(
    build,
    # A keyword of the model's forward for a padding mask, int64 (batch, tokens), 1 where a token is real:
    # mask="attention_mask",
    # A keyword for the positions of the tokens, int64 (batch, tokens):
    # positions="position_ids",
    # Its KV cache: the keyword that takes it; what the model returns is handed back to it as it is:
    # cache=plumbline.Cache("past_key_values", keywords={"use_cache": True}, axes=("batch", "position", "head", "size")),
    # Names of its own: where the weights lie that Hugging Face's Llama calls so. Query, key and value in one matrix, for instance:
    # mapping={
    #     "model.embed_tokens.weight": "tok.weight",
    #     "model.layers.{layer}.self_attn.q_proj.weight": {"from": "blocks.{layer}.qkv.weight", "slice": [0, 0, 512]},
    # },
    # Which modules show what happens inside (their output, or their input):
    # stages={
    #     "attention_norm": "blocks.{layer}.norm1",
    #     "q": {"from": "blocks.{layer}.qkv", "slice": [-1, 0, 512]},
    #     "gated": "blocks.{layer}.w2:input",
    # },
    # Settings that model.config does not hold:
    # configuration={"num_attention_heads": 8, "rope_theta": 1e6, "rotary": "halves"},
    # Its own loop that writes text: function(model, tokens, *, max_new_tokens, ...) -> prompts and what follows, (batch, all tokens).
    # It is given what it names of temperature, top_k, top_p, repetition_penalty, eos_token_id, seed and the mask:
    # generate=MyModel.generate,
    # The function that repeats key/value heads, (batch, tokens, heads, size) -> (batch, tokens, heads * factor, size):
    # repeat_kv=lambda x, factor: x.repeat_interleave(factor, 2),
)

# A model that follows transformers' conventions needs one line instead:
# adapter = plumbline.HuggingFace(build)
