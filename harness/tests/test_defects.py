"""Defects of the catalogue are failed by the suites, by the requirements that they name, at the stage that they name, and
by nothing unusable; and the diagnosis names them.

Run by CTest as `python test_defects.py PROGRAM SPECIFICATION EVERY`: every so many of them are tried; the last line counts.
What is asked of all of them by `plumbline campaign` is asked by test_campaign.py.
"""

import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
# With another number, that is met or that nobody has; in one layer or mode alone; beside another, of the same stage, too.
FORMS = ("theta-1e4=500000", "eps-1e-6=3e-08", "gate-up-swapped@3", "mask-sees-next@training", "logits-bfloat16+gate-up-swapped@training",
         "theta-1e4=500000+norm-centred@2", "scale-by-width+scale-twice", "norm-centred+rotary-backwards+gate-up-swapped@2")
OF_NO_LAYER = "loss-unshifted@3"


def judge(program, specification, defect, directory):
    """The sentence that says what is wrong with the verdict on one defect, or None."""
    name = defect["name"]
    run, result = verified(program, specification, name, directory)
    expected = 1 if defect.get("decides", True) else 0
    if run.returncode != expected:
        return f"{name}: exit status {run.returncode}, expected {expected}: {(run.stdout + run.stderr).strip()[-300:]}"
    verdicts = {r["id"]: r["verdict"] for r in result["requirements"]}
    blind = [id for id in defect["seen_by"] if verdicts.get(id) != "fail"]
    if blind:
        return f"{name}: not seen by {', '.join(blind)}; failed are {[i for i, v in verdicts.items() if v == 'fail']}"
    if not expected:
        return None
    place = result["localisation"]["first_locally_wrong"]
    if place != defect.get("stage"):
        return f"{name}: first locally wrong is {place}, expected {defect.get('stage')}"
    complaint = diagnosed(result["diagnosis"], {name})
    if complaint:
        return f"{name}: {complaint}"
    unusable = [id for id, verdict in verdicts.items() if verdict == "error"]
    return f"{name}: {', '.join(unusable)} could not be judged" if unusable else None


def verified(program, specification, name, directory):
    """Exit status and result of a reference with this defect, however it is written."""
    out = pathlib.Path(directory) / name
    run = subprocess.run([program, "verify", f"defect:{name}", "--spec", specification, "--threads", "1", "--out", str(out)],
                         capture_output=True, text=True, timeout=300)
    return run, json.loads((out / "result.json").read_text()) if (out / "result.json").exists() else {}


def form_named(program, specification, name, directory):
    _, result = verified(program, specification, name, directory)
    complaint = diagnosed(result.get("diagnosis") or {"explanations": [], "conclusion": "nothing"}, set(name.split("+")))
    return f"{name}: {complaint}" if complaint else None


def nothing_seen(program, specification, name, directory):
    """A defect that changes nothing does not go by as a model that conforms."""
    _, result = verified(program, specification, name, directory)
    notes = result.get("header", {}).get("notes", [])
    return None if any(f"nothing failed defect:{name}" in note for note in notes) else f"{name}: no word that nothing failed it: {notes}"


def diagnosed(diagnosis, names):
    """What is wrong with a diagnosis that should name these defects, or None. Of several that nothing tells apart, one is enough."""
    complete = [set(one["defects"]) for one in diagnosis["explanations"] if one["complete"]]
    # Of a model that is not steady nothing else could be compared, so that nothing is certain.
    if not complete and "in two ways" in diagnosis["conclusion"] and all(name in diagnosis["conclusion"] for name in names):
        return None
    return None if names in complete else f"the diagnosis says: {diagnosis['conclusion']}"


def main():
    program, specification, every = sys.argv[1:]
    defects = json.loads((ROOT / "fixtures" / "defects.json").read_text())[::int(every)]
    with tempfile.TemporaryDirectory() as directory, concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        complaints = [c for c in pool.map(lambda d: judge(program, specification, d, directory), defects) if c]
        others = [c for c in pool.map(lambda name: form_named(program, specification, name, directory), FORMS) if c]
        others += [c for c in [nothing_seen(program, specification, OF_NO_LAYER, directory)] if c]
    print("\n".join(complaints + others))
    print(f"{len(FORMS) + 1 - len(others)} of {len(FORMS) + 1} other forms are called what they are")
    print(f"{len(defects) - len(complaints)} of {len(defects)} defects seen as catalogued")
    return bool(complaints or others) or not defects


if __name__ == "__main__":
    sys.exit(main())
