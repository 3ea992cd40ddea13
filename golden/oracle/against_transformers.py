"""The oracle against Hugging Face's LlamaForCausalLM (transformers 4 or 5) with the same weights and tokens:

    PYTHONPATH=<folder with transformers> .deps/python/bin/python golden/oracle/against_transformers.py [NAME ...]

Two comparisons for every specification and every probe of it, padded ones included, on every stage that a module of
theirs puts out, and on the slopes of the loss, for which torch's gradients are multiplied with the directions:

1. float64, eager attention: at most 1e-9 of the stage's largest value. Their float64 model computes in float32 at
   four places whatever its type, so an honest float64 comparison has to replace exactly these:
   - LlamaRotaryEmbedding holds inverse frequencies in float32 and multiplies them by positions in float32. Replaced by
     a module that returns cos and sin of position * theta^(-2i/Dh), all in float64.
   - LlamaRMSNorm casts its input to float32. Replaced by its own formula without the cast.
   - eager attention asks for the softmax in float32. Replaced by the same call without the dtype.
   - the loss casts the logits to float32. Replaced by the same cross-entropy without the cast.
   Everything else is theirs: projections, heads, repeat_kv, which columns rotate, mask, scaling, activation, biases,
   residuals, head.
2. float32, nothing replaced: the logits at most 16 times as far from the oracle as its own float32 run is, plus one
   rounding of the largest value (what golden tolerances are made of: that one run may happen to err by almost nothing,
   and for the loss, which is one number, it does on some processors), and so the loss and its slopes. How far the other
   stages are is printed, in the same unit.

They rotate halves. For a specification that rotates pairs, the rows of q_proj and k_proj are reordered within each head so
that pairs become halves; q and k then come out reordered and are left out, all else must be the same. Variants of
`tiny` cover what no fixture has: an untied head, attention biases, as many key/value heads as heads, all together.

Exit status: 0 all agree, 1 something differs, 2 it could not be run.
"""

import dataclasses
import sys
from contextlib import contextmanager
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from oracle import gradients, probes, specification, weights  # noqa: E402
from oracle.errors import InputError  # noqa: E402
from oracle.regenerate import compared, error_between, run_gradients, run_probe, slope_errors  # noqa: E402
from oracle.model import Model  # noqa: E402

import numpy as np  # noqa: E402

PROJECT = Path(__file__).resolve().parents[2]
FLOAT64_AGREEMENT = 1e-9
FLOAT32_FACTOR = 16
FLOAT32_ROUNDING = 2.0**-24

MODULES = {"input_layernorm": "attention_norm", "self_attn.q_proj": "q", "self_attn.k_proj": "k",
           "self_attn.v_proj": "v", "self_attn.o_proj": "attention_out",
           "post_attention_layernorm": "feed_forward_norm", "mlp.gate_proj": "gate", "mlp.up_proj": "up",
           "mlp.down_proj": "feed_forward_out", "": "after_feed_forward"}


def import_transformers():
    try:
        import torch
        import transformers
        from transformers.models.llama import modeling_llama
    except ImportError as error:
        raise InputError(f"against_transformers: {error}; expected torch and transformers 4.57 or 5 on PYTHONPATH; see the "
                         "first lines of this file") from None
    transformers.utils.logging.set_verbosity_error()
    return torch, transformers, modeling_llama


def build(transformers, torch, spec: specification.Specification, parameters: dict[str, np.ndarray], dtype):
    """Their model with our weights."""
    rope = {"rope_theta": spec.theta}
    if int(transformers.__version__.split(".")[0]) >= 5:
        rope = {"rope_parameters": {"rope_type": "default", "rope_theta": spec.theta}}
    config = transformers.LlamaConfig(
        vocab_size=spec.vocabulary, hidden_size=spec.width, num_hidden_layers=spec.layers,
        num_attention_heads=spec.heads, num_key_value_heads=spec.key_value_heads, head_dim=spec.head_size,
        intermediate_size=spec.feed_forward, hidden_act=spec.activation, rms_norm_eps=spec.epsilon,
        attention_bias=spec.attention_bias, mlp_bias=spec.mlp_bias, tie_word_embeddings=spec.tied,
        max_position_embeddings=spec.max_positions, pad_token_id=None, bos_token_id=None, eos_token_id=None, **rope)
    config._attn_implementation = "eager"
    model = transformers.LlamaForCausalLM(config).to(dtype).eval()
    # .to(dtype) would round the float32 frequencies again were dtype smaller; to float64 and float32 it is exact.
    state = {name: torch.from_numpy(array) for name, array in parameters.items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    if unexpected or set(missing) != ({"lm_head.weight"} if spec.tied else set()):
        raise InputError(f"{spec.name}: transformers knows other parameters: missing {missing}, unexpected {unexpected}")
    return model


@contextmanager
def all_in_float64(torch, modeling_llama, model, spec: specification.Specification):
    """Replaces the four places that compute in float32 whatever the model's type; see the top of the file."""

    class ExactRotary(torch.nn.Module):
        def forward(self, x, position_ids):
            exponents = torch.arange(0, spec.head_size, 2, dtype=torch.float64) / spec.head_size
            angles = position_ids[..., None].double() * torch.pow(torch.tensor(spec.theta).double(), -exponents)
            angles = torch.cat([angles, angles], dim=-1)
            return angles.cos(), angles.sin()

    def norm(self, x):
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))

    def loss(logits, labels, vocab_size, **_):
        return torch.nn.functional.cross_entropy(logits[:, :-1].reshape(-1, vocab_size), labels[:, 1:].flatten())

    softmax, their_norm = torch.nn.functional.softmax, modeling_llama.LlamaRMSNorm.forward
    model.model.rotary_emb = ExactRotary()
    model.loss_function = loss
    torch.nn.functional.softmax = lambda x, dim, dtype=None: softmax(x, dim=dim)
    modeling_llama.LlamaRMSNorm.forward = norm
    try:
        yield
    finally:
        torch.nn.functional.softmax, modeling_llama.LlamaRMSNorm.forward = softmax, their_norm


def their_stages(torch, model, spec, probe: probes.Probe) -> dict[str, np.ndarray]:
    """What their modules put out, by our stage names and in our shapes, all rows."""
    seen: dict[str, np.ndarray] = {}
    batch, length = len(probe.lengths), probe.length

    def catch(stage: str):
        def hook(_module, _inputs, output):
            tensor = (output[0] if isinstance(output, tuple) else output).detach()
            if stage.rpartition(".")[2] in ("q", "k", "v"):
                tensor = tensor.view(batch, length, -1, spec.head_size)
            seen[stage] = tensor.clone().numpy()
        return hook

    hooks = [model.model.embed_tokens.register_forward_hook(catch("embedding")),
             model.model.norm.register_forward_hook(catch("final_norm"))]
    for n, layer in enumerate(model.model.layers):
        for path, stage in MODULES.items():
            hooks.append(layer.get_submodule(path).register_forward_hook(catch(f"layers.{n}.{stage}")))
    try:
        with torch.no_grad():
            output = model(input_ids=torch.from_numpy(probes.tokens(probe, spec.vocabulary)),
                           attention_mask=torch.from_numpy(probes.real(probe).astype(np.int64)),
                           position_ids=torch.from_numpy(probes.positions(probe)), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    seen["logits"] = output.logits.numpy()
    return seen


def pairs_as_halves(spec, parameters: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Reorders the rows of q_proj and k_proj within each head: 0, 2, 4 ... then 1, 3, 5 ..."""
    order = np.concatenate([np.arange(0, spec.head_size, 2), np.arange(1, spec.head_size, 2)])
    reordered = dict(parameters)
    for name, array in parameters.items():
        if ".q_proj." in name or ".k_proj." in name:
            heads = array.reshape(-1, spec.head_size, *array.shape[1:])
            reordered[name] = np.ascontiguousarray(heads[:, order].reshape(array.shape))
    return reordered


def float32_unit(own: dict[str, float]) -> float:
    """Of error_between; 0 where float32 does not round."""
    return own["error"] + FLOAT32_ROUNDING * own["largest"] if own["error"] > 0 else 0.0


def differences(probe, ours, theirs, pairs: bool) -> dict[str, dict[str, float]]:
    """error and largest of every stage that both have."""
    found = {}
    for path, tensor in ours.items():
        stage = path.removeprefix("stages/")
        if stage in theirs and not (pairs and stage.endswith((".q", ".k"))):
            found[stage] = error_between(tensor, theirs[stage], compared(probe, path, tensor))
    return found


def their_slopes(torch, model, spec, probe: probes.GradientProbe) -> dict[str, np.ndarray]:
    """By path as in the golden file, from automatic differentiation."""
    tokens, labels = (torch.from_numpy(t) for t in (probe.tokens(spec.vocabulary), probe.labels(spec.vocabulary)))
    loss = model(input_ids=tokens, labels=labels, use_cache=False).loss
    loss.backward()
    found = {"gradients/loss": loss.detach().numpy()[None]}
    for name, shape in weights.parameters(spec).items():
        gradient = model.get_parameter(name).grad.numpy().astype(np.float64)
        directions = [gradients.direction(name, shape, number) for number in range(probe.directions)]
        if spec.rotary == "pairs":
            directions = [pairs_as_halves(spec, {name: direction})[name] for direction in directions]
        found["gradients/slopes/" + name] = np.array([np.sum(gradient * direction) for direction in directions])
    model.zero_grad(set_to_none=True)
    return found


def compare(libraries, spec, asked: list[probes.Probe], gradient_probe: probes.GradientProbe) -> bool:
    torch, transformers, modeling_llama = libraries
    parameters = weights.generate_all(spec)
    pairs = spec.rotary == "pairs"
    theirs = pairs_as_halves(spec, parameters) if pairs else parameters
    everything = [dataclasses.replace(probe, stages="all", positions=tuple(range(probe.length)), cache=False, decode=False)
                  for probe in asked]
    ours = [run_probe(Model(spec, parameters, np.float64), probe) for probe in everything]
    float32 = [run_probe(Model(spec, parameters, np.float32), probe) for probe in everything]
    our_slopes = run_gradients(Model(spec, parameters, np.float64), gradient_probe)
    allowances = slope_errors(our_slopes, run_gradients(Model(spec, parameters, np.float32), gradient_probe))
    good = True

    def report(probe: str, kind: str, worst: float, stage: str, count: int, allowed: float, unit: str, text: str = "") -> None:
        nonlocal good
        within = worst <= allowed
        good &= within
        print(f"  {spec.name:24} {probe:24} {kind}: {count:3} tensors, worst {worst:.2g} {unit} at {stage}, allowed "
              f"{allowed:g}{text}: {'agrees' if within else 'DIFFERS'}", flush=True)

    def report_slopes(kind: str, found: dict, unit_of: dict[str, float], allowed: float, unit: str) -> None:
        ratios = {path: np.max(np.abs(found[path] - our_slopes[path])) / unit_of[path] for path in our_slopes}
        worst = max(ratios, key=lambda path: (np.isnan(ratios[path]), ratios[path]))
        report("gradients", kind, ratios[worst], worst.removeprefix("gradients/"), len(ratios), allowed, unit)

    model = build(transformers, torch, spec, theirs, torch.float64)
    with all_in_float64(torch, modeling_llama, model, spec):
        for probe, exact in zip(everything, ours):
            found = differences(probe, exact, their_stages(torch, model, spec, probe), pairs)
            ratios = {stage: e["error"] / e["largest"] for stage, e in found.items()}
            worst = max(ratios, key=lambda stage: (np.isnan(ratios[stage]), ratios[stage]))
            report(probe.name, "float64", ratios[worst], worst, len(found), FLOAT64_AGREEMENT, "of its largest value",
                   f" (logits {ratios['logits']:.2g})")
        report_slopes("float64", their_slopes(torch, model, spec, gradient_probe),
                      {path: e["largest"] for path, e in allowances.items()}, FLOAT64_AGREEMENT, "of its largest value")
    del model

    model = build(transformers, torch, spec, theirs, torch.float32)
    for probe, exact, approximate in zip(everything, ours, float32):
        found = differences(probe, exact, their_stages(torch, model, spec, probe), pairs)
        ratios = {}
        for stage, e in found.items():
            path = f"stages/{stage}"
            own = float32_unit(error_between(exact[path], approximate[path], compared(probe, path, exact[path])))
            ratios[stage] = e["error"] / own if own > 0 else (np.inf if e["error"] > 0 else 0.0)
        worst = max(ratios, key=lambda stage: ratios[stage])
        report(probe.name, "float32", ratios["logits"], "logits", 1, FLOAT32_FACTOR, "x float32's own error",
               f" (worst of {len(ratios)} stages {ratios[worst]:.2g} at {worst})")
    report_slopes("float32", their_slopes(torch, model, spec, gradient_probe),
                  {path: e["error"] + FLOAT32_ROUNDING * e["largest"] for path, e in allowances.items()},
                  FLOAT32_FACTOR, "x float32's own error")
    return good


def variants(tiny, asked: list[probes.Probe]):
    """Settings that no fixture has, on the tiny model."""
    chosen = [probe for probe in asked if probe.name in ("short", "padded_left", "single")]
    for changes in ({"tied": False}, {"attention_bias": True}, {"key_value_heads": tiny.heads}, {"rotary": "pairs"},
                    {"tied": False, "attention_bias": True, "mlp_bias": True, "activation": "gelu",
                     "key_value_heads": tiny.heads, "theta": 1e4}):
        label = "all together" if len(changes) > 1 else "{}={}".format(*next(iter(changes.items())))
        yield dataclasses.replace(tiny, name=f"tiny {label}", **changes), chosen


def main(names: list[str]) -> int:
    try:
        libraries = import_transformers()
        known = probes.load(PROJECT / "fixtures" / "probes.json")
        slopes = probes.load_gradients(PROJECT / "fixtures" / "probes.json")
        for name in names:
            if name not in known:
                raise InputError(f"against_transformers: {name}: expected one of {', '.join(known)}")
        print(f"transformers {libraries[1].__version__}, torch {libraries[0].__version__}")
        good = True
        for name in names or known:
            spec = specification.load(PROJECT / "fixtures" / "specifications" / f"{name}.json")
            good &= compare(libraries, spec, known[name], slopes[name])
            if name == "tiny":
                for variant, chosen in variants(spec, known[name]):
                    good &= compare(libraries, variant, chosen, slopes[name])
    except InputError as problem:
        print(problem, file=sys.stderr)
        return 2
    print("the oracle and transformers agree" if good else "the oracle and transformers DIFFER")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
