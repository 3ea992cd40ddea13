"""What is asked of the model: fixtures/probes.json, and the tokens, positions and masks that follow from it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import weights
from .errors import InputError
from .specification import Specification, read_json

PAD = 0
IGNORED = -100  # a label that counts for nothing
LAYERS = ("embedding", "after_feed_forward", "final_norm", "logits")  # what "stages": "layers" records


@dataclass(frozen=True)
class Probe:
    name: str
    lengths: tuple[int, ...]  # (B): real tokens of each row
    padding: str  # "none" | "right" | "left"
    stages: str  # "all" | "layers"
    positions: tuple[int, ...]  # (R): stored rows of the T axis
    cache: bool  # whether the cache's contents are recorded
    decode: bool  # whether the logits of decoding step by step are recorded
    stream: str  # the name that the tokens are drawn under

    @property
    def length(self) -> int:  # T
        return max(self.lengths)

    def records(self, stage: str) -> bool:
        return self.stages == "all" or stage.rpartition(".")[2] in LAYERS


@dataclass(frozen=True)
class GradientProbe:
    batch: int  # B
    length: int  # T
    ignored: tuple[tuple[int, int], ...]  # row and column of labels that count for nothing
    directions: int  # random directions for each parameter

    def tokens(self, vocabulary: int) -> np.ndarray:
        """(B, T) int64."""
        return weights.tokens("gradients", self.batch * self.length, vocabulary).reshape(self.batch, self.length)

    def labels(self, vocabulary: int) -> np.ndarray:
        """(B, T) int64: the tokens, but for those that count for nothing."""
        labels = self.tokens(vocabulary)
        for place in self.ignored:
            labels[place] = IGNORED
        return labels


def _probe(entry: dict, where: str) -> Probe:
    def need(good: bool, key: str, wanted: str) -> None:
        if not good:
            raise InputError(f"{where}: {key}: expected {wanted}, got {entry.get(key)!r}; correct the probe")

    def numbers(value, low: int, high: int) -> bool:
        return isinstance(value, list) and value and all(type(v) is int and low <= v <= high for v in value)

    name, lengths, padding = entry.get("name"), entry.get("lengths"), entry.get("padding")
    need(isinstance(name, str) and name.replace("_", "").isalnum(), "name", "letters, digits and underscores")
    need(numbers(lengths, 1, 32768), "lengths", "a list of lengths of at least 1")
    need(entry.get("batch") == len(lengths), "batch", f"{len(lengths)}, the number of lengths")
    need(padding in ("none", "right", "left"), "padding", "'none', 'right' or 'left'")
    need(padding != "none" or len(set(lengths)) == 1, "lengths", "equal lengths where padding is 'none'")
    need(entry.get("stages") in ("all", "layers"), "stages", "'all' or 'layers'")
    need(isinstance(entry.get("why"), str), "why", "a sentence saying why the probe is there")
    for flag in ("cache", "decode"):
        need(isinstance(entry.get(flag), bool), flag, "true or false")
    length = max(lengths)
    positions = entry.get("positions")
    if positions == "all":
        positions = list(range(length))
    need(numbers(positions, 0, length - 1) and sorted(set(positions)) == positions, "positions",
         f"'all' or increasing positions from 0 to {length - 1}")
    stream = entry.get("tokens_of", name)
    need(isinstance(stream, str), "tokens_of", "the name of the probe whose tokens are used")
    return Probe(name, tuple(lengths), padding, entry["stages"], tuple(positions), entry["cache"], entry["decode"],
                 stream)


def load(path: Path) -> dict[str, list[Probe]]:
    """The probes of each specification that has any, in the file's order."""
    document, _ = read_json(path, "the probes")
    entries = document.get("probes")
    if document.get("format") != "plumbline-probes" or document.get("version") != 1 or not isinstance(entries, list):
        raise InputError(f"{path}: expected format \"plumbline-probes\", version 1, and a list of probes; correct it")
    probes: dict[str, list[Probe]] = {}
    for index, entry in enumerate(entries):
        where = f"{path}: probes[{index}]"
        names = entry.get("specifications") if isinstance(entry, dict) else None
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise InputError(f"{where}: specifications: expected a list of specification names; correct the probe")
        probe = _probe(entry, where)
        for name in names:
            if any(other.name == probe.name for other in probes.setdefault(name, [])):
                raise InputError(f"{where}: name: {name} already has a probe {probe.name!r}; expected a new name")
            probes[name].append(probe)
    return probes


def _gradient_probe(entry: dict, where: str) -> GradientProbe:
    def need(good: bool, key: str, wanted: str) -> None:
        if not good:
            raise InputError(f"{where}: {key}: expected {wanted}, got {entry.get(key)!r}; correct the probe")

    for key, low, high in (("batch", 1, 64), ("length", 2, 1024), ("directions", 1, 64)):
        need(type(entry.get(key)) is int and low <= entry[key] <= high, key, f"a whole number from {low} to {high}")
    batch, length, ignored = entry["batch"], entry["length"], entry.get("ignored")
    places = [(b, t) for b in range(batch) for t in range(length)]
    need(isinstance(ignored, list) and all(isinstance(place, list) and tuple(place) in places for place in ignored),
         "ignored", f"a list of [row, column] of a batch of {batch} by {length}")
    need(any(t > 0 and [b, t] not in ignored for b, t in places), "ignored", "labels left that count")
    need(isinstance(entry.get("why"), str), "why", "a sentence saying why the probe is there")
    return GradientProbe(batch, length, tuple(map(tuple, ignored)), entry["directions"])


def load_gradients(path: Path) -> dict[str, GradientProbe]:
    """The gradient probe of each specification that has one."""
    entries, known = read_json(path, "the probes")[0].get("gradients"), load(path)
    if not isinstance(entries, list):
        raise InputError(f"{path}: gradients: expected a list of gradient probes; correct it")
    probes: dict[str, GradientProbe] = {}
    for index, entry in enumerate(entries):
        where = f"{path}: gradients[{index}]"
        names = entry.get("specifications") if isinstance(entry, dict) else None
        if not isinstance(names, list) or not all(isinstance(name, str) and name in known for name in names):
            raise InputError(f"{where}: specifications: expected a list of specifications that have probes; correct it")
        for name in names:
            if name in probes:
                raise InputError(f"{where}: specifications: {name} has a gradient probe already; correct it")
            probes[name] = _gradient_probe(entry, where)
    return probes


def tokens(probe: Probe, vocabulary: int) -> np.ndarray:
    """(B, T) int64. Row b's real tokens are the first lengths[b] of the row that was drawn, wherever they stand, so
    probes that share a stream hold the same sentences."""
    batch, length = len(probe.lengths), probe.length
    drawn = weights.tokens(probe.stream, batch * length, vocabulary).reshape(batch, length)
    placed = np.full((batch, length), PAD, dtype=np.int64)
    placed[real(probe)] = drawn[np.arange(length) < np.array(probe.lengths)[:, None]]
    return placed


def starts(probe: Probe) -> np.ndarray:
    """(B): the column of each row's first real token."""
    lengths = np.array(probe.lengths)
    return probe.length - lengths if probe.padding == "left" else np.zeros_like(lengths)


def real(probe: Probe) -> np.ndarray:
    """(B, T): which columns hold real tokens."""
    column, start = np.arange(probe.length), starts(probe)[:, None]
    return (column >= start) & (column < start + np.array(probe.lengths)[:, None])


def positions(probe: Probe) -> np.ndarray:
    """(B, T): counted from 0 at each row's first real token; 0 for padding, which nothing looks at."""
    return np.where(real(probe), np.arange(probe.length) - starts(probe)[:, None], 0)


def visible(probe: Probe) -> np.ndarray:
    """(B, T, S): a real query sees the real keys up to itself, a padding query only itself."""
    query, key = np.arange(probe.length)[:, None], np.arange(probe.length)[None, :]
    among_real = real(probe)[:, :, None] & real(probe)[:, None, :] & (key <= query)
    return among_real | (query == key)


def rotation_positions(specification: Specification) -> np.ndarray:
    """(P) int64: near 0, powers of two between, and near the last position that the specification allows."""
    last = specification.max_positions - 1
    between = [1 << power for power in range(4, 15)]
    chosen = {*range(9), *between, *(b - 1 for b in between), *range(last - 8, last + 1)}
    return np.array(sorted(p for p in chosen if 0 <= p <= last), dtype=np.int64)


def rotation_vectors(specification: Specification, count: int) -> np.ndarray:
    """(P, Dh) float32, standard deviation 1."""
    return weights.matrix("rotation/vectors", (count, specification.head_size), 1.0)
