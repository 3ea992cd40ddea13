"""Repetition metrics of `plumbline text` against the plain Python ones of its tests: the same tokens, in turn, in one run.

Python's are the definitions and nothing else, one thread; those that are quadratic there (loops of any period, longest repeated
substring by sorting) are measured as they are. Times include reading the file on both sides. The figure to look at is ours
for ten million tokens; the ratio is measured on fewer, since Python's take minutes.
"""

import argparse
import importlib.util
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]


def definitions():
    spec = importlib.util.spec_from_file_location("definitions", ROOT / "harness" / "tests" / "repetition_definitions.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write(path, tokens, chance):
    with path.open("w") as out:
        for sample in range(tokens // 1000):
            ids = [min(int(chance.paretovariate(0.7)), 6399) for _ in range(1000)]
            if sample % 10 == 0:
                ids[600:] = (ids[:7] * 58)[:400]
            out.write(json.dumps({"prompt": f"p{sample}", "ids": ids}) + "\n")


def in_python(path, d):
    samples = [json.loads(line)["ids"] for line in path.open()]
    for ids in samples:
        for n in (1, 2, 3, 4, 8):
            d.repeated(ids, n)
        for window in (16, 32, 128, 512):
            d.among_the_last(ids, ids, window, 1)
        d.holtzman(ids)
        d.longest_repeat(ids)
        d.loops(ids)
    for n in (1, 2, 3, 4):
        len({gram for ids in samples for gram in d.grams(ids, n)})
    d.zipf([token for ids in samples for token in ids])


def timed(work):
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def main():
    parser = argparse.ArgumentParser(prog="plumbline bench --against python", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=300_000, help="for the ratio, default %(default)s")
    parser.add_argument("--binary", default=os.environ.get("PLUMBLINE", ROOT / "build" / "release" / "plumbline"))
    arguments = parser.parse_args()
    if not 1 <= arguments.rounds <= 100 or not 1000 <= arguments.tokens <= 10_000_000:
        parser.error("--rounds: 1 to 100, --tokens: 1000 to 10000000")
    d, chance = definitions(), random.Random(1)
    with tempfile.TemporaryDirectory() as folder:
        few, many = pathlib.Path(folder) / "few.jsonl", pathlib.Path(folder) / "many.jsonl"
        write(few, arguments.tokens, chance)
        write(many, 10_000_000, chance)

        def ours(path):
            subprocess.run([str(arguments.binary), "text", str(path)], check=True, stdout=subprocess.DEVNULL)

        ratios, whole = [], []
        for round_ in range(arguments.rounds):
            works = [lambda: ours(few), lambda: in_python(few, d)]
            times = [timed(work) for work in (works if round_ % 2 == 0 else works[::-1])]
            one, other = times if round_ % 2 == 0 else times[::-1]
            ratios.append(other / one)
            whole.append(timed(lambda: ours(many)))
            print(f"round {round_ + 1}: {arguments.tokens} tokens {one:.2f} s, in Python {other:.2f} s; 10,000,000 tokens {whole[-1]:.2f} s",
                  flush=True)
    print(f"{statistics.median(ratios):.1f} x Python ({min(ratios):.1f} to {max(ratios):.1f}), the program's start included; "
          f"10,000,000 tokens in {statistics.median(whole):.2f} s ({min(whole):.2f} to {max(whole):.2f})")


if __name__ == "__main__":
    sys.exit(main())
