"""Everything that a golden file holds, computed anew: object path in the file to array."""

import re
from dataclasses import dataclass

import numpy as np

from . import gradients
from . import probes as p
from .model import Model, rotary_angles, rotate
from .probes import GradientProbe, Probe
from .specification import Specification

Tensors = dict[str, np.ndarray]


@dataclass
class Golden:
    specification: Specification
    tensors: Tensors  # by path, as in the file: "probes/short/stages/layers.3.scores"
    paddings: dict[str, str]  # of each probe
    float32_error: dict[str, dict[str, float]]  # by "short/layers.3.scores"


def run_probe(model: Model, probe: Probe) -> Tensors:
    """The probe's recorded stages, cache and decoded logits, by path below the probe's group."""
    tokens = p.tokens(probe, model.specification.vocabulary)  # (B, T)
    positions, visible = p.positions(probe), p.visible(probe)  # (B, T), (B, T, S)
    stored = list(probe.positions)
    tensors: Tensors = {}

    def observe(stage: str, tensor: np.ndarray) -> None:
        if probe.records(stage):
            over_heads = stage.endswith((".scores", ".probabilities"))  # (B, H, T, S); all others (B, T, ...)
            tensors["stages/" + stage] = np.take(tensor, stored, axis=2 if over_heads else 1)

    cache = model.empty_cache(len(probe.lengths))
    model.forward(tokens, positions, visible, cache, observe)
    if probe.cache:
        for n, (keys, values) in enumerate(cache):
            tensors[f"cache/layers.{n}.keys"] = keys
            tensors[f"cache/layers.{n}.values"] = values
    if probe.decode:
        tensors["decode/logits"] = decode(model, tokens, positions, visible)[0][:, stored]
    return tensors


def decode(model: Model, tokens: np.ndarray, positions: np.ndarray, visible: np.ndarray):
    """One column at a time through a cache of its own: logits (B, T, V), and the cache at the end."""
    cache = model.empty_cache(tokens.shape[0])
    steps = []
    for t in range(tokens.shape[1]):
        now = slice(t, t + 1)
        steps.append(model.forward(tokens[:, now], positions[:, now], visible[:, now, :t + 1], cache))
    return np.concatenate(steps, axis=1), cache


def rotation(specification: Specification, dtype: type) -> Tensors:
    positions = p.rotation_positions(specification)  # (P)
    vectors = p.rotation_vectors(specification, len(positions)).astype(dtype)  # (P, Dh)
    angles = rotary_angles(positions, specification.head_size, specification.theta, dtype)  # (P, Dh/2)
    return {"rotation/positions": positions, "rotation/vectors": vectors, "rotation/angles": angles,
            "rotation/rotated": rotate(vectors, angles, specification.rotary)}


def compared(probe: Probe, path: str, tensor: np.ndarray) -> np.ndarray:
    """A mask, broadcastable to the tensor, without what padding produced: that is meaningless."""
    real = p.real(probe)  # (B, T)
    if not path.startswith("cache/"):
        real = real[:, list(probe.positions)]  # (B, R)
    if path.endswith((".scores", ".probabilities")):
        return real[:, None, :, None]
    return real.reshape(*real.shape, *(1,) * (tensor.ndim - 2))


def error_between(exact: np.ndarray, approximate: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    mask = np.broadcast_to(mask, exact.shape) & np.isfinite(exact)  # masked scores are -inf in both
    difference = np.abs(approximate[mask].astype(np.float64) - exact[mask])
    return {"error": float(np.max(difference)), "largest": float(np.max(np.abs(exact[mask])))}


def run_gradients(model: Model, probe: GradientProbe) -> Tensors:
    loss, slopes = gradients.run(model, probe)
    return {"gradients/loss": loss} | {f"gradients/slopes/{name}": slope for name, slope in slopes.items()}


def beside(path: str) -> list[str]:
    """The same parameter of the layer before, of this and of the next."""
    found = re.fullmatch(r"(.*\.layers\.)(\d+)(\..*)", path)
    return [f"{found[1]}{int(found[2]) + step}{found[3]}" for step in (-1, 0, 1)] if found else [path]


def slope_errors(exact: Tensors, approximate: Tensors) -> dict[str, dict[str, float]]:
    """By path. The slopes of one parameter are few samples, and both its slopes and their errors may happen to be small.
    So none is taken to err by less than what nine parameters in ten stay under, relative to the largest slope here and
    beside."""
    errors = {path: error_between(exact[path], approximate[path], np.True_) for path in exact}
    scales = {path: max(errors[other]["largest"] for other in beside(path) if other in errors)
              for path in errors if path.startswith("gradients/slopes/")}
    relative = [errors[path]["error"] / scale for path, scale in scales.items() if scale > 0]
    floor = float(np.quantile(relative or [0.0], 0.9))
    for path, scale in scales.items():
        errors[path]["error"] = max(errors[path]["error"], floor * scale)
    return errors


def regenerate(specification: Specification, weights: dict[str, np.ndarray], probes: list[Probe],
               gradient_probe: GradientProbe | None) -> Golden:
    """The file's tensors in float64, and how far the same formulas in float32 are from them."""
    golden = Golden(specification, {}, {probe.name: probe.padding for probe in probes}, {})
    exact = {}
    model = Model(specification, weights, np.float64)
    for probe in probes:
        group = f"probes/{probe.name}/"
        golden.tensors[group + "tokens"] = p.tokens(probe, specification.vocabulary)
        golden.tensors[group + "lengths"] = np.array(probe.lengths, dtype=np.int64)
        golden.tensors[group + "positions"] = np.array(probe.positions, dtype=np.int64)
        exact[probe.name] = run_probe(model, probe)
        golden.tensors |= {group + path: tensor for path, tensor in exact[probe.name].items()}
    golden.tensors |= rotation(specification, np.float64)
    if gradient_probe:
        golden.tensors["gradients/tokens"] = gradient_probe.tokens(specification.vocabulary)
        golden.tensors["gradients/labels"] = gradient_probe.labels(specification.vocabulary)
        exact["gradients"] = run_gradients(model, gradient_probe)
        golden.tensors |= exact["gradients"]

    model = Model(specification, weights, np.float32)
    for probe in probes:
        for path, tensor in run_probe(model, probe).items():
            key = f"{probe.name}/{path.removeprefix('stages/')}"
            golden.float32_error[key] = error_between(exact[probe.name][path], tensor, compared(probe, path, tensor))
    rotated = "rotation/rotated"
    golden.float32_error[rotated] = error_between(golden.tensors[rotated], rotation(specification, np.float32)[rotated],
                                                  np.True_)
    if gradient_probe:
        golden.float32_error |= slope_errors(exact["gradients"], run_gradients(model, gradient_probe))
    return golden
