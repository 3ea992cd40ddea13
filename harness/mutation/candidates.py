#!/usr/bin/env python3
"""Mutants as candidates: the candidate alone is mutated, and everything that judges it is not. See README.md.

Each has to be failed, and either explained by known defects or left unexplained with the right stage as the first one
that is wrong by itself.
"""

import argparse
import collections
import json
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import building
import mutants as making
import report
from run_mutation import HERE, QUICK, ROOT, TWINS, twin

REFERENCE = "harness/candidate/reference.cpp"
FILES = ["harness/model/formulas.cpp", "harness/model/model.cpp"]
NAMED, RIGHT, WRONG, PASSED = "named", "not explained, first wrong at the right stage", "not explained, first wrong at another stage", "passed"
UNSHOWN = "not explained, its stages not shown, first divergent at the right one"
INSIDE = """
extern "C" { extern int plumbline_in_candidate; }
namespace {
struct InCandidate {
  explicit InCandidate(bool yes) : before(plumbline_in_candidate) { plumbline_in_candidate = yes ? 1 : 0; }
  ~InCandidate() { plumbline_in_candidate = before; }
  int before;
};
}  // namespace
"""


def guarded(text):
    """The reference's code, whose arithmetic is mutated only while it runs as the candidate."""
    begin = text.index("class ReferenceDecoding"), text.index("class Reference :")
    end = text.index("std::set<std::string> everything_that_code_can_show() {")
    decoding, reference = text[begin[0] : begin[1]], text[begin[1] : end]
    assert decoding.count(" override {") == 3 and reference.count(" override {") > 12
    decoding = decoding.replace(" override {", " override {\n    const InCandidate inside(is_candidate_);")
    decoding = decoding.replace(" private:", " private:\n  const bool is_candidate_ = plumbline_in_candidate == 1;")
    reference = reference.replace(" override {", " override {\n    const InCandidate inside(description_.name == \"reference\");")
    head = text.index("namespace plumbline {")
    return text[:head] + INSIDE + text[head : begin[0]] + decoding + reference + text[end:]


def guard(build):
    """The object file that says when the candidate runs."""
    folder = build.shadow("guard", {REFERENCE: guarded((build.tree / REFERENCE).read_text())})
    build.must(build.compile_command(REFERENCE, folder / REFERENCE, folder / "guard.o", folder))
    return folder / "guard.o"


def judge(build, program, number, mutant, stages, equivalent, original):
    """By tiny, and where that does not reach the code, by its twins."""
    found = {"id": mutant.id, "file": mutant.file, "line": mutant.line, "function": mutant.function, "before": mutant.before.strip(),
             "after": mutant.after.strip()}
    for name, arguments in {**QUICK, **{name: twin(build, name) for name in TWINS}}.items():
        status, output, result = build.judge(program, number, arguments, build.work / "out" / mutant.id, 300)
        found.update(status=status, specification=name)
        failed = [r["id"] for r in (result or {"requirements": []})["requirements"] if r["verdict"] == "fail"]
        if status not in (0, 3) or failed:
            break
        # tiny is assessed as a whole: what a mutant no longer shows is missed.
        if status == 3 and name == "tiny":
            return {**found, "outcome": "incomplete", "words": result["footer"]["verdict"][:200]}
    if status in (0, 3):
        same = report.reason_of(mutant, equivalent) or build.optimised_object(f"same-{mutant.id}", mutant) == original
        return {**found, "outcome": "equivalent" if same else PASSED}
    if status != 1:
        return {**found, "outcome": "raises" if status == 2 else "crashes", "words": building.last_line(output)}
    diagnosis, localisation = result["diagnosis"], result["localisation"]
    certain = ["+".join(one["defects"]) for one in diagnosis["explanations"] if one["complete"]]
    first, divergent = localisation["first_locally_wrong"], localisation["first_divergent"]
    found.update(named=certain, first_locally_wrong=first, first_divergent=divergent, stages=stages, conclusion=diagnosis["conclusion"])
    if certain:
        return {**found, "outcome": NAMED}
    if (first or "nowhere").split(".")[-1] in stages:
        return {**found, "outcome": RIGHT}
    # What is computed and no longer shown cannot be told apart from what comes after it.
    raised = any(r["verdict"] == "error" for r in result["requirements"])
    if first is None and (raised or (divergent or "").split(".")[-1] in stages):
        return {**found, "outcome": "raises in some passes" if raised else UNSHOWN}
    return {**found, "outcome": WRONG}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int, metavar="N", help="only N of them, drawn by --seed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="so many verifications at a time (default 2)")
    parser.add_argument("--resume", action="store_true", help="keep the scratch copy and its build")
    parser.add_argument("--work", type=Path, default=ROOT / "build/mutation", metavar="DIR")
    parser.add_argument("--out", type=Path, default=HERE / "candidates.json")
    python = ROOT / ".deps/python/bin/python"
    parser.add_argument("--python", default=str(python if python.exists() else sys.executable), help="an interpreter with torch, beside cmake and ninja")
    return parser.parse_args()


def main():
    options = arguments()
    options.work.mkdir(parents=True, exist_ok=True)
    build = building.Build(ROOT, options.work.resolve(), options.python, options.resume)
    regions = json.loads((HERE / "regions.json").read_text())["files"]
    equivalent = json.loads((HERE / "equivalent.json").read_text())["mutants"]
    places = {(file, place["name"]): place["stages"] for file in FILES for place in regions[file] if "stages" in place}
    chosen = [m for file in FILES for m in making.mutants_of(build.tree, file, regions[file]) if (m.file, m.function) in places]
    random.Random(options.seed).shuffle(chosen)
    chosen = chosen[: options.limit]
    print(f"{len(chosen)} mutants as candidates", flush=True)
    in_candidate, found = guard(build), []
    originals = {file: build.optimised_object("original", None, file) for file in {m.file for m in chosen}}

    def one(program, number, mutant):
        found.append(judge(build, program, number, mutant, places[mutant.file, mutant.function], equivalent, originals[mutant.file]))
        print(f"{len(found)}  {mutant.file.split('/')[-1]}:{mutant.line} {found[-1]['outcome']}", flush=True)

    for file in FILES:
        own = [m for m in chosen if m.file == file]
        for i in range(0, len(own), 80):
            program, numbered, _ = build.batch("candidates", file, own[i : i + 80], guard=in_candidate)
            with ThreadPoolExecutor(options.jobs) as pool:
                list(pool.map(lambda item: one(program, *item), numbered.items()))
    totals = dict(sorted(collections.Counter(one["outcome"] for one in found).items()))
    document = {"tree": build.fingerprint, "seed": options.seed, "chosen": len(chosen), "totals": totals,
                "mutants": sorted(found, key=lambda one: (one["file"], one["line"], one["id"]))}
    options.out.write_text(json.dumps(document, indent=1) + "\n")
    bad = [one for one in found if one["outcome"] in (PASSED, WRONG)]
    for one in bad:
        print(f"  {one['file'].split('/')[-1]}:{one['line']} {one['after']}: {one['outcome']}: {one.get('first_locally_wrong')}")
    print(json.dumps(totals))
    return 0 if found and not bad else 1


if __name__ == "__main__":
    sys.exit(main())
