"""What the tests of repetition metrics share: texts of many kinds, and what the real program measures of them."""

import json
import random
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def random_texts(chance, kind, count):
    """Token sequences of many kinds: natural, small alphabets, loops of every sort, copies from far back, short ones."""
    made = []
    for _ in range(count):
        length = chance.choice([0, 1, 2, 3, 5, 6, 7, 11, 12, 13, 40, 150]) if kind == "short" else chance.randrange(60, 220)
        words = {"two": 2, "few": 5}.get(kind, 6400)
        tokens = [min(int(chance.paretovariate(0.8)) - 1, words - 1) for _ in range(length)]
        if kind == "loop":
            period, begin = chance.choice([1, 2, 3, 7, 30, 60]), chance.randrange(0, length // 2)
            block = tokens[begin:begin + period]
            tokens[begin:] = (block * (length // period + 1))[:chance.randrange(2, length)]
            if chance.random() < 0.5:
                tokens += [chance.randrange(6400) for _ in range(chance.randrange(1, 40))]
        if kind == "copy":
            begin, end = sorted(chance.sample(range(length), 2))
            tokens += tokens[begin:end]
        made.append(tokens)
    return made


def looping_samples(prompts, looping, seed=1, **more):
    """So many prompts, of which this share ends in a loop."""
    chance = random.Random(seed)
    made = []
    for i in range(prompts):
        ids = [chance.randrange(6400) for _ in range(100)]
        if chance.random() < looping:
            ids[40:] = (ids[40:45] * 12)[:60]
        made.append({"prompt": f"p{i}", "ids": ids, **more})
    return made


def same(seen, right, what):
    if right is None or seen is None:
        assert seen == right, what
    else:
        assert seen == pytest.approx(right, rel=1e-12, abs=1e-12), what


def mean(values):
    values = [value for value in values if value is not None]
    return sum(values) / len(values) if values else None


class Texts:
    def __init__(self, program, root):
        self.program, self.root = program, root

    def file(self, lines, name="samples.jsonl"):
        path = self.root / name
        path.write_text(lines if isinstance(lines, str) else "".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        return path

    def run_it(self, *arguments):
        return self.program("text", *arguments)

    def measured(self, lines, *arguments, status=0, name="samples.jsonl"):
        out, each = self.root / "text.json", self.root / "each.jsonl"
        run = self.run_it(self.file(lines, name), "-o", out, "--each", each, *arguments)
        assert run.returncode == status, run.stdout + run.stderr
        assert run.stderr == ""
        self.said = run.stdout
        document = json.loads(out.read_text())
        assert document["document"] == "plumbline text"
        values = {metric["id"]: metric["value"] for metric in document["metrics"]}
        return document, values, [json.loads(line) for line in each.read_text().splitlines()]
