"""Golden samples: what a model writes, token by token, in float64, with margins that no machine's rounding reaches.

Nucleus sampling: Holtzman et al. 2020; the repetition penalty: Keskar et al. 2019, formula 2.
"""

import dataclasses
import json
from pathlib import Path

import numpy as np

from . import weights
from .errors import Different, InputError
from .model import Model
from .philox import words_of_blocks
from .specification import Specification

FILE = "samples.json"
SPECIFICATION = "tiny"
CLEAR = 1e-4  # by how much every logit may be off before a golden token changes; float32 is off by about 1e-6
ROWS, LONGEST_PROMPT, TOKENS = 6, 20, 24
MOST_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class Settings:
    temperature: float = 1.0  # 0: greedy
    top_k: int = 0  # 0: all
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    seed: int = 1


ALL_SETTINGS = (Settings(temperature=0), Settings(), Settings(seed=2), Settings(temperature=0.7, top_k=20, top_p=0.9),
                Settings(temperature=1.5, top_k=3), Settings(top_p=0.6, repetition_penalty=1.2),
                Settings(temperature=0, repetition_penalty=1.3))


def uniform(seed: int, row: int, step: int) -> float:
    """In [0, 1), 53 bits: block row * 2^24 + step of the stream 'sampling'."""
    first, second, *_ = (int(words[0]) for words in words_of_blocks(row << 24 | step, 1, (weights.fnv1a("sampling"), seed)))
    return ((first << 32 | second) >> 11) * 2.0**-53


def next_token(logits: np.ndarray, before: list[int], settings: Settings, number: float) -> tuple[int, float]:
    """(token, margin): by how much logits (V) may be off without another token coming of it. `number` in [0, 1)."""
    s = settings
    scores = logits.copy()
    said = np.unique(np.array(before, int))
    stretched = max(s.repetition_penalty, 1 / s.repetition_penalty)
    scores[said] = np.where(scores[said] > 0, scores[said] / s.repetition_penalty, scores[said] * s.repetition_penalty)
    order = np.argsort(-scores, kind="stable")
    if s.temperature == 0:
        return int(order[0]), float(scores[order[0]] - scores[order[1]]) / 2 / stretched
    scores = scores / s.temperature
    mass = np.exp(scores - scores.max())
    edges = []  # (how near another set of candidates is, the mass at stake)
    if s.top_k:
        last, following = scores[order[s.top_k - 1]], scores[order[s.top_k]]
        edges.append(((last - following) * s.temperature / 2, mass[order[s.top_k - 1]]))
        mass[scores < last] = 0
    if s.top_p < 1:
        cumulative = np.cumsum(mass[order]) / mass.sum()
        kept = int(np.searchsorted(cumulative, s.top_p)) + 1
        last, following = mass[order[kept - 1]], mass[order[kept]] if kept < len(order) else 0
        near = 2 * s.temperature * min(abs(cumulative[kept - 1] - s.top_p),
                                       abs(s.top_p - (cumulative[kept - 2] if kept > 1 else 0)))
        if following > 0:
            near = min(near, s.temperature * np.log(last / following) / 2)
        edges.append((near, last))
        mass[order[kept:]] = 0
    steps = np.cumsum(mass) / mass.sum()
    token = int(np.searchsorted(steps, number, side="right"))
    apart = min(number - (steps[token - 1] if token else 0), steps[token] - number)
    margin = min([2 * s.temperature * apart]
                 + [max(near, 2 * s.temperature * (apart - at_stake / mass.sum())) for near, at_stake in edges])
    return token, max(float(margin), 0.0) / stretched


def write(model: Model, prompt: list[int], count: int, row: int, settings: Settings) -> tuple[list[int], float]:
    """(tokens, least margin), each token from a full pass."""
    tokens, least = list(prompt), np.inf
    for step in range(count):
        length = len(tokens)
        visible = np.tril(np.ones((1, length, length), bool))
        logits = model.forward(np.array([tokens]), np.arange(length)[None], visible, model.empty_cache(1))[0, -1]
        token, margin = next_token(logits, tokens, settings, uniform(settings.seed, row, step))
        tokens.append(token)
        least = min(least, margin)
    return tokens[len(prompt):], least


def prompts(row: int, vocabulary: int):
    """One after the other, for a row."""
    key = (weights.fnv1a("golden prompts"), weights.SEED)
    for attempt in range(1000):
        words = [int(w[0]) for block in range(LONGEST_PROMPT // 4 + 1)
                 for w in words_of_blocks(row << 24 | attempt << 8 | block, 1, key)]
        yield [word * vocabulary >> 32 for word in words[1:2 + (words[0] * LONGEST_PROMPT >> 32)]]
    raise InputError(f"golden samples: no prompt of row {row} keeps clear of ties")


def regenerate(specification: Specification) -> dict:
    """What samples.json says. Row r of a group is written under the number r; prompts that come near a tie are left."""
    model = Model(specification, weights.generate_all(specification), np.float64)
    groups = []
    for settings in ALL_SETTINGS:
        rows = []
        for row in range(ROWS):
            for prompt in prompts(row, specification.vocabulary):
                tokens, margin = write(model, prompt, TOKENS, row, settings)
                if margin >= CLEAR:
                    break
            rows.append({"prompt": prompt, "tokens": tokens, "margin": float(f"{margin:.6g}")})
        groups.append({"settings": dataclasses.asdict(settings), "rows": rows})
    return {"format": "plumbline-golden-samples", "version": 1, "specification": specification.name,
            "specification_sha256": specification.sha256, "clear_of_ties": CLEAR, "groups": groups}


def encode(samples: dict) -> bytes:
    lines = [f' {{"settings": {json.dumps(group["settings"])}, "rows": [\n'
             + ",\n".join("  " + json.dumps(row) for row in group["rows"]) + "]}" for group in samples["groups"]]
    head = json.dumps({key: value for key, value in samples.items() if key != "groups"})
    return (head[:-1] + ', "groups": [\n' + ",\n".join(lines) + "\n]}\n").encode()


def read(path: Path) -> dict:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{path}: larger than golden samples are; restore it, or record and accept it anew")
        return json.loads(path.read_text())
    except (OSError, ValueError) as problem:
        raise InputError(f"{path}: cannot be read: {problem}; restore it, or record and accept it anew") from None


def check(path: Path, specification: Specification) -> str:
    """What was found, in words; raises InputError or Different. Margins may differ by rounding, tokens may not."""
    recorded = read(path)
    if isinstance(recorded, dict) and recorded.get("specification_sha256") != specification.sha256:
        raise InputError(f"{path}: was recorded for another {specification.name}.json; restore it, or record and accept it anew")
    fresh = regenerate(specification)

    def but_for_margins(samples):
        return {**samples, "groups": [{**group, "rows": [{**row, "margin": None} for row in group["rows"]]}
                                      for group in samples["groups"]]}

    def margins(samples):
        return np.array([row["margin"] for group in samples["groups"] for row in group["rows"]])

    try:
        same = but_for_margins(recorded) == but_for_margins(fresh)
        close = same and np.allclose(margins(recorded), margins(fresh), rtol=1e-5, atol=0)
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{path}: is no file of golden samples; restore it, or record and accept it anew") from None
    if not same:
        for number, (old, new) in enumerate(zip(recorded["groups"], fresh["groups"])):
            for row, (was, now) in enumerate(zip(old.get("rows", []), new["rows"])):
                if was.get("tokens") != now["tokens"]:
                    raise Different(f"{path}: groups[{number}].rows[{row}].tokens: the formulas write {now['tokens'][:8]}..., "
                                    f"recorded {str(was.get('tokens'))[:60]}...")
        raise Different(f"{path}: other settings, prompts or another specification than the formulas'; record and accept it anew")
    if not close:
        raise Different(f"{path}: margins are not what the formulas say; record and accept it anew")
    return f"{len(margins(fresh))} samples of {TOKENS} tokens agree, each margin at least {margins(fresh).min():.1e}"
