"""What verdict and diagnosis say where they cannot agree with themselves: of an independent model in PyTorch, in which the
mistakes of harness/python/tests/edits.py are made by hand.

    .deps/python/bin/python harness/tests/measure_diagnosis.py PROGRAM [NAME ...] [--every N] [--pairs N] [--seed N] [--leave-one-out] [--bare | --scrambled] [--out FILE]

Every Nth edit is judged by itself (0: none), so many pairs of edits that touch other places are drawn, and with
--leave-one-out each edit is judged again by a diagnosis that does not know its cause. With --bare nothing is told of the model but
its class: no adapter; with --scrambled its modules and parameters have names that say nothing, too. Exit status: 0 where

- each edit is failed by the requirements that it names, at the stage that it names;
- of single edits with a catalogued cause 98 % have it first, and none is explained by another;
- of pairs 90 % have both first;
- of edits whose cause is left out 98 % are explained by nothing.

As CTest runs it, on some; the counts of all stand in docs/diagnosis.md.
"""

import argparse
import concurrent.futures
import contextlib
import itertools
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile

MODELS = pathlib.Path(__file__).resolve().parent.parent / "python" / "tests"
sys.path.insert(0, str(MODELS))

from catalogued_edits import CATALOGUED_EDITS  # noqa: E402
from edits import EDITS, MORE_EDITS  # noqa: E402
from later_edits import LATER_EDITS  # noqa: E402
from warm_python import WarmPython  # noqa: E402

CLASSES = {"plain": "Plain", "minimind": "MiniMind"}
CHAPTERS = ("CFG", "PAR", "GQA", "KVC", "ROPE", "BLK", "MODE", "NUM", "TRN", "TXT")
ALL = [edit for edit in EDITS + MORE_EDITS + CATALOGUED_EDITS + LATER_EDITS if not edit.refused]
SINGLE, TOGETHER, LEFT_OUT = 0.98, 0.90, 0.98  # shares
# Without the one, the other says the same of the model in other words.
SAME = {"mask-none-in-training": {"mask-none@training"}, "mask-inverted-in-training": {"mask-inverted@training"},
        "mask-none-in-prefill": {"mask-none@cache"}, "repeat-tiled-in-cache": {"repeat-tiled@cache"},
        "cache-unrotated": {"rotary-keys-unrotated@cache"}, "rotary-twice": {"rotary-scaled=0.5"}}


def base(defect):
    return defect.split("=")[0].split("@")[0]


def alike(found, expected):
    """Whether these are the same defects, by numbers that rounding cannot tell apart."""
    def near(a, b):
        numbers = [float((one.split("@")[0].split("=") + ["nan"])[1]) for one in (a, b)]
        return a == b or base(a) == base(b) and a.split("@")[1:] == b.split("@")[1:] and \
            abs(numbers[0] - numbers[1]) <= 1e-4 * abs(numbers[1])

    return len(found) == len(expected) and all(any(near(a, b) for b in expected) for a in found)


def named(cause, causes):
    return any(alike(one, cause) for one in causes)


class Judge:
    def __init__(self, program, root, python, bare=False, scrambled=False):
        self.program, self.root, self.python, self.bare, self.scrambled = program, pathlib.Path(root), python, bare, scrambled

    def __call__(self, name, edits, *arguments):
        """The result of the model with these edits, or a sentence where there is none."""
        folder = self.root / name
        folder.mkdir()
        adapter = f"{edits[0].model}_adapter.py"
        candidate = f"models.py:{CLASSES[edits[0].model]}" if self.bare else adapter
        texts = {file: (MODELS / file).read_text() for file in ("models.py", adapter)}
        for old, new in (change for edit in edits for change in edit.change.items()):
            places = [file for file, text in texts.items() for _ in range(text.count(old))]
            if len(places) != 1:
                return f"{name}: not one place that reads {old!r}"
            texts[places[0]] = texts[places[0]].replace(old, new)
        if self.scrambled:
            candidate = "other_names.py:Model"
            texts["other_names.py"] = (f"import sys\nsys.path.append({str(MODELS)!r})\nimport models, scrambled\n"
                                       f"def Model(s): return scrambled.scrambled(models.{CLASSES[edits[0].model]}(s))\n")
        for file, text in texts.items():
            (folder / file).write_text(text)
        chapters = {CHAPTERS.index(id.split("-")[0]) + 1 for edit in edits for id in edit.fails}
        only = ["--only", ",".join(map(str, sorted(chapters)))] if chapters else []
        run = subprocess.run([self.program, "verify", str(folder / candidate), "--python", self.python, "--spec", "tiny", "--threads", "1",
                              "--longest", str(max(edit.longest for edit in edits)),
                              *only, "--out", str(folder / "out"), *arguments], capture_output=True, text=True, timeout=600)
        if run.returncode != 1:
            return f"{name}: exit status {run.returncode}: {(run.stdout + run.stderr).strip()[-200:]}"
        result = json.loads((folder / "out" / "result.json").read_text())
        shutil.rmtree(folder)
        print(f"{name}: {result['diagnosis']['conclusion'][:120]}", file=sys.stderr, flush=True)
        return result


def first(diagnosis):
    return set(diagnosis["explanations"][0]["defects"]) if diagnosis["explanations"] else set()


def certain(diagnosis):
    return [set(one["defects"]) for one in diagnosis["explanations"] if one["complete"]]


def single(judge, edit):
    found = judge(edit.name, [edit])
    if isinstance(found, str):
        return {"edit": edit.name, "wrong": found}
    failed = {requirement["id"] for requirement in found["requirements"] if requirement["verdict"] == "fail"}
    stage = found["localisation"]["first_locally_wrong"]
    complaint = None
    if not set(edit.fails) <= failed:
        complaint = f"not failed by {', '.join(sorted(set(edit.fails) - failed))}"
    elif edit.stage and stage != edit.stage:
        complaint = f"first locally wrong is {stage}, expected {edit.stage}"
    found = found["diagnosis"]
    causes = certain(found)
    return {"edit": edit.name, "complaint": complaint, "cause": edit.cause, "first": sorted(first(found)), "certain": [sorted(one) for one in causes],
            "right_first": edit.cause is not None and named({edit.cause}, causes or [first(found)]),
            "wrongly_certain": bool(causes) and not (edit.cause and named({edit.cause}, causes)), "conclusion": found["conclusion"]}


def pair(judge, edits):
    name = "+".join(edit.name for edit in edits)
    found = judge(name, edits)
    if isinstance(found, str):
        return {"edits": name, "wrong": found}
    found = found["diagnosis"]
    causes, expected = certain(found), {edit.cause for edit in edits}
    return {"edits": name, "first": sorted(first(found)), "certain": [sorted(one) for one in causes],
            "both": named(expected, causes or [first(found)]), "wrongly_certain": bool(causes) and not named(expected, causes),
            "conclusion": found["conclusion"]}


def left_out(judge, edit):
    found = judge("without-" + edit.name, [edit], "--leave-out", base(edit.cause))
    if isinstance(found, str):
        return {"edit": edit.name, "wrong": found}
    found = found["diagnosis"]
    causes = [one for one in certain(found) if not one <= SAME.get(edit.cause, set())]
    return {"edit": edit.name, "certain": [sorted(one) for one in causes], "unexplained": not causes, "conclusion": found["conclusion"]}


def compatible(edits):
    """They touch other places, and are not two forms of one mistake."""
    a, b = edits
    places = [list(edit.change) for edit in edits]
    return a.model == b.model and base(a.cause) != base(b.cause) and not any(x in y or y in x for x in places[0] for y in places[1])


def share(results, key, wanted, what):
    """A line, and whether as many as wanted hold."""
    held = sum(bool(one.get(key)) for one in results)
    for one in results:
        if not one.get(key):
            print(f"  {one.get('edit') or one.get('edits')}: {one.get('wrong') or one['conclusion'][:300]}")
    print(f"{held} of {len(results)} {what}")
    return held >= wanted * len(results)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("names", nargs="*", help="of edits, or NAME+NAME; default: all")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--leave-one-out", action="store_true")
    parser.add_argument("--bare", action="store_true")
    parser.add_argument("--scrambled", action="store_true")
    parser.add_argument("--out")
    given = parser.parse_intermixed_args()
    by_name = {edit.name: edit for edit in ALL}
    if len({(edit.model, *sorted(edit.change.items())) for edit in ALL}) < len(ALL):
        parser.error("two edits are the same change: only one of them would say what it is")
    for name in {name for names in given.names for name in names.split("+")} - set(by_name):
        parser.error(f"{name}: no such edit; harness/python/tests/edits.py has them")
    if given.bare or given.scrambled:  # what is changed in an adapter is not there
        model = (MODELS / "models.py").read_text()
        ALL[:] = [edit for edit in ALL if all(old in model for old in edit.change)]
    asked = [edit for edit in ALL if edit.name in given.names or not given.names][::given.every] if given.every else []
    wanted = [tuple(by_name[name] for name in names.split("+")) for names in given.names if "+" in names]
    known = [edit for edit in ALL if edit.cause]
    drawn = [edits for edits in itertools.combinations(known, 2) if compatible(edits)]
    random.Random(given.seed).shuffle(drawn)
    good = True
    with tempfile.TemporaryDirectory() as root, concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool, \
            contextlib.closing(WarmPython()) as warm:
        judge = Judge(given.program, root, warm.path, given.bare, given.scrambled)
        singles = list(pool.map(lambda edit: single(judge, edit), asked))
        pairs = list(pool.map(lambda edits: pair(judge, edits), wanted or drawn[:given.pairs]))
        without = list(pool.map(lambda edit: left_out(judge, edit),
                                [edit for edit in (asked or ALL) if edit.cause] if given.leave_one_out else []))
    caused = [one for one in singles if "wrong" in one or one["cause"]]
    for one in singles:
        if complaint := one.get("complaint") or one.get("wrong"):
            print(f"  {one['edit']}: {complaint}")
            good = False
    if singles:
        print(f"{len(singles)} edits were judged")
        good &= share(caused, "right_first", SINGLE, "edits with a catalogued cause have it first")
        certainly = sum(len(one.get("certain", [])) > 0 and one["right_first"] for one in caused)
        print(f"{certainly} of {len(caused)} are explained by it to rounding")
        wrongly = [one["edit"] for one in singles if one.get("wrongly_certain")]
        print(f"{len(wrongly)} of {len(singles)} are explained by another{': ' + ', '.join(wrongly) if wrongly else ''}")
        good &= not wrongly
    if pairs:
        good &= share(pairs, "both", TOGETHER, "pairs have both first")
        wrongly = [one["edits"] for one in pairs if one.get("wrongly_certain")]
        print(f"{len(wrongly)} of {len(pairs)} are explained by something else{': ' + ', '.join(wrongly) if wrongly else ''}")
    if without:
        good &= share(without, "unexplained", LEFT_OUT, "edits are explained by nothing once their cause is left out")
    if given.out:
        pathlib.Path(given.out).write_text(json.dumps({"singles": singles, "pairs": pairs, "left_out": without}, indent=1))
    good &= bool(singles or pairs or without)
    print("as expected" if good else "NOT as expected")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
