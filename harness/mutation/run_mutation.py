#!/usr/bin/env python3
"""Mutates the reference model's arithmetic and sees whether the suites fail each mutant. See README.md."""

import argparse
import json
import random
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TOOL = ROOT / ".deps/mutation"  # where README.md says to install the mutation tool
if TOOL.exists():
    sys.path.append(str(TOOL))

import building  # noqa: E402
import mutants as making  # noqa: E402
import report  # noqa: E402
import schemata  # noqa: E402

FIRST = ["harness/model/formulas.cpp", "harness/model/model.cpp"]
QUICK = {"tiny": ["--spec", "tiny"], "tiny bf16": ["--spec", "tiny", "--dtype", "bf16"]}
# tiny with other choices, to reach the code that it does not: a second each, where the shipped specifications of such
# models take a minute. They have no golden tensors.
TWINS = {"tiny with pairs": {"rotary": "pairs"},
         "tiny with gelu": {"hidden_act": "gelu", "norm_precision": "model", "mlp_bias": True, "tie_word_embeddings": False,
                            "initialization": "standard_normal"}}
TWINS["tiny with gelu bf16"] = TWINS["tiny with gelu"]
TWINS["tiny with gelu's tanh form"] = {"hidden_act": "gelu_pytorch_tanh"}
SHIPPED = ["minimind2-small", "diy-before", "minimind-v1-small"]
NUMERICS = 8  # the chapter of the golden tensors
SHIPPED_SECONDS = 900


def twin(build, name):
    """A specification file that differs from tiny in what TWINS says."""
    s = json.loads((build.tree / "fixtures/specifications/tiny.json").read_text())
    s.update(TWINS[name], name=name.replace(" ", "-").replace("'", ""))
    width = s["hidden_size"]
    feed_forward = -(-(width * 8 // 3) // 64) * 64
    if s["mlp_bias"]:
        s["parameter_count"] += s["num_hidden_layers"] * (2 * feed_forward + width)
    if not s["tie_word_embeddings"]:
        s["parameter_count"] += s["vocab_size"] * width
    path = build.work / f"{s['name']}.json"
    path.write_text(json.dumps(s))
    return ["--spec", str(path), "--dtype", "bf16" if name.endswith("bf16") else "f32"]


class State:
    """What is known of each mutant, appended to a file at once: a run that is cut off loses one mutant."""

    def __init__(self, path, fresh):
        self.path, self.known = path, {}
        if fresh:
            path.unlink(missing_ok=True)
        if path.exists():
            for line in path.read_text().splitlines():
                record = json.loads(line)
                self.known.setdefault(record["id"], {}).update(record)

    def add(self, mutant, **facts):
        facts["id"] = mutant.id
        self.known.setdefault(mutant.id, {}).update(facts)
        with self.path.open("a") as file:
            file.write(json.dumps(facts) + "\n")

    def of(self, mutant):
        return self.known.get(mutant.id, {})


class Progress:
    def __init__(self, total):
        self.total, self.done, self.began = total, 0, time.time()

    def step(self, words, count=1):
        self.done += count
        left = (time.time() - self.began) / max(1, self.done) * (self.total - self.done)
        line = f"{self.done}/{self.total}  about {left / 60:.0f} min left  {words}"
        print(f"\r{line[:150]:150}" if sys.stdout.isatty() else line, end="" if sys.stdout.isatty() else "\n", flush=True)


def judged(status, failed, words, complete=True):
    """`complete`: the unmutated program assesses everything, so an incomplete assessment (3) is the mutant's doing."""
    verdict = {0: "passed", 3: "not judged" if complete else "passed", 1: "failed"}.get(status, "not judged")
    if status == 3:
        words = "incomplete: a requirement was not assessed"
    if status is None:
        words = "out of time"
    elif status < 0 or status > 3:
        words = f"ended with status {status}"
    return {"verdict": verdict, "failed": failed, "words": words}


def check_unmutated(build):
    """The unmutated program has to pass the quick runs; returns how long one may take."""
    longest = 0.0
    for name, arguments in {**QUICK, **{name: twin(build, name) for name in TWINS}}.items():
        began = time.time()
        status, failed, words = build.verify(build.base / "plumbline", 0, arguments, build.work / "out" / "unmutated", 600)
        longest = max(longest, time.time() - began)
        if status not in (0, 3) or failed:
            raise SystemExit(f"run_mutation: the unmutated program ends with {status} on {name}: {sorted(failed)} {words}; correct that first")
    return min(60, max(15, 8 * longest))


def quick(build, state, progress, jobs, program, numbered):
    """The quick runs of the mutants in one program."""

    def one(item):
        number, mutant = item
        runs, began = {}, time.time()
        for name, arguments in QUICK.items():
            out = build.work / "out" / mutant.id
            runs[name] = judged(*build.verify(program, number, arguments, out, build.seconds))
            if runs[name]["verdict"] != "passed":
                break
        state.add(mutant, compiles=True, runs=runs, seconds=round(time.time() - began, 2))
        progress.step(f"{mutant.file.split('/')[-1]}:{mutant.line} {runs[name]['verdict']}")

    if jobs == 1:  # in the main thread, where an interruption also ends the program that runs
        for item in numbered.items():
            one(item)
        return
    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(one, numbered.items()))


def batches_of(build, chosen, size):
    """(file, mutants, together): the files of FIRST in order, the others' batches mixed by a fixed seed."""
    first, rest = [], []
    for file in sorted({m.file for m in chosen}, key=lambda f: (FIRST + [f]).index(f)):
        lines = making.without_comments((build.tree / file).read_text()).split("\n")
        spans = [(f.begin, f.end) for f in schemata.functions(lines)]
        own = [m for m in chosen if m.file == file]
        together = [m for m in own if any(b <= m.line - 1 < e for b, e in spans)]
        alone = [m for m in own if m not in together]
        made = [(file, together[i : i + size], True) for i in range(0, len(together), size)]
        made += [(file, [m], False) for m in alone]
        (first if file in FIRST else rest).extend(made)
    random.Random(20).shuffle(rest)
    return first + rest


def run_quick(build, state, chosen, jobs, size):
    pending = [m for m in chosen if "compiles" not in state.of(m)]
    progress = Progress(len(pending))
    for file, batch, together in batches_of(build, pending, size):
        if together:
            program, numbered, rejected = build.batch("batch", file, batch)
        else:
            program = build.alone("alone", batch[0])
            numbered, rejected = ({0: batch[0]}, []) if program else ({}, batch)
        for mutant in rejected:
            state.add(mutant, compiles=False)
        progress.step(f"{file.split('/')[-1]}: {len(rejected)} do not compile", len(rejected))
        quick(build, state, progress, jobs, program, numbered)


def survivors(state, chosen):
    return [m for m in chosen if state.of(m).get("compiles") and all(r["verdict"] == "passed" for r in state.of(m)["runs"].values())]


def unexplained(state, chosen, equivalent):
    return [m for m in survivors(state, chosen) if not state.of(m).get("identical") and not report.reason_of(m, equivalent)]


def run_identity(build, state, chosen, equivalent):
    pending = [m for m in unexplained(state, chosen, equivalent) if "identical" not in state.of(m)]
    progress, originals = Progress(len(pending)), {}
    for mutant in pending:
        if mutant.file not in originals:
            originals[mutant.file] = build.optimised_object("identity", None, mutant.file)
        state.add(mutant, identical=build.optimised_object("identity", mutant) == originals[mutant.file])
        progress.step(f"same object code: {state.of(mutant)['identical']}")


def run_wide(build, state, chosen, names, chapters, equivalent):
    """More runs of what is left; the shipped specifications only meet the right chapters and the golden tensors."""
    pending = unexplained(state, chosen, equivalent)
    pending = [m for m in pending if set(names) - set(state.of(m)["runs"])]
    progress = Progress(len(pending))
    for file, batch, together in batches_of(build, pending, 200):
        if together:
            program, numbered, _ = build.batch("wide", file, batch)
        else:
            program, numbered = build.alone("wide", batch[0]), {0: batch[0]}
        for number, mutant in numbered.items():
            runs = dict(state.of(mutant)["runs"])
            only = ",".join(str(c) for c in sorted({*chapters[mutant.file, mutant.function], NUMERICS}))
            for name in names:
                if name not in runs:
                    run = twin(build, name) if name in TWINS else ["--spec", name, "--only", only]
                    seconds = build.seconds if name in TWINS else SHIPPED_SECONDS
                    runs[name] = judged(*build.verify(program, number, run, build.work / "out" / mutant.id, seconds), complete=False)
                    state.add(mutant, runs=dict(runs))
                if runs[name]["verdict"] != "passed":
                    break
            progress.step(f"{file.split('/')[-1]}:{mutant.line} {name}: {runs[name]['verdict']}")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", nargs="+", metavar="NAME", help="only these files, by their last names (formulas.cpp ...)")
    parser.add_argument("--mutants", nargs="+", metavar="ID", help="only these mutants, by their id in result.json")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N mutants of the fixed order")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="so many verifications at a time (default 1)")
    parser.add_argument("--batch", type=int, default=80, metavar="N", help="mutants in one program (default 80)")
    parser.add_argument("--resume", action="store_true", help="go on with the scratch copy and the state of the last run")
    parser.add_argument("--work", type=Path, default=ROOT / "build/mutation", metavar="DIR", help="scratch directory (default build/mutation)")
    parser.add_argument("--phase", choices=["quick", "twins", "identity", "shipped", "report", "all"], default="all", help="do only this part (default all)")
    python = ROOT / ".deps/python/bin/python"
    parser.add_argument("--python", default=str(python if python.exists() else sys.executable), help="an interpreter with torch, beside cmake and ninja")
    return parser.parse_args()


def main():
    options = arguments()
    regions = json.loads((HERE / "regions.json").read_text())["files"]
    equivalent = json.loads((HERE / "equivalent.json").read_text())["mutants"]
    options.work.mkdir(parents=True, exist_ok=True)
    build = building.Build(ROOT, options.work.resolve(), options.python, options.resume or options.phase == "report")
    chapters = {(file, place["name"]): place["chapters"] for file, places in regions.items() for place in places}
    everything = making.ordered([m for file, places in regions.items() for m in making.mutants_of(build.tree, file, places)], FIRST)
    chosen = [m for m in everything if not options.files or m.file.split("/")[-1] in options.files]
    chosen = [m for m in chosen if not options.mutants or m.id in options.mutants][: options.limit]
    if not chosen:
        raise SystemExit(f"run_mutation: --files, --mutants or --limit leave no mutants; the files are {', '.join(f.split('/')[-1] for f in regions)}")
    state = State(options.work / "state.jsonl", not (options.resume or options.phase == "report"))
    print(f"{len(everything)} mutants, {len(chosen)} chosen; the tree's fingerprint is {build.fingerprint}", flush=True)

    status = 0
    signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background as well
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if options.phase != "report":
            build.seconds = check_unmutated(build)
        if options.phase in ("quick", "all"):
            run_quick(build, state, chosen, options.jobs, options.batch)
        if options.phase in ("twins", "all"):
            run_wide(build, state, chosen, TWINS, chapters, equivalent)
        if options.phase in ("identity", "all"):
            run_identity(build, state, chosen, equivalent)
        if options.phase in ("shipped", "all"):
            run_wide(build, state, chosen, SHIPPED, chapters, equivalent)
    except KeyboardInterrupt:
        print("\ninterrupted; go on with --resume", flush=True)
        status = 130
    document = report.document(everything, state, chapters, equivalent, build)
    report.write(document, HERE / "result.json", HERE / "result.md")
    left = document["totals"].get("survived", 0)
    print(f"\n{json.dumps(document['totals'])}; see {HERE / 'result.md'}")
    return status or (1 if left else 0)


if __name__ == "__main__":
    sys.exit(main())
