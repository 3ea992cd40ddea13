import models
import plumbline


def rotate(model, x, positions):
    return models.rotate(x, model.model.freqs_cos[positions], model.model.freqs_sin[positions])


adapter = plumbline.Module(
    models.MiniMind,
    mask="attention_mask",
    cache=plumbline.Cache("past_key_values", keywords={"use_cache": True}),
    repeat_kv=models.repeat_kv,
    rotate=rotate,
)
