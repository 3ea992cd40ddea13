"""Defects of the catalogue are failed by the suites, by the requirements that they name, at the stage that they name, and
by nothing unusable; and the diagnosis names them.

Run by CTest as `python defects.test.py PROGRAM SPECIFICATION EVERY`: every so many of them are tried; the last line counts.
What is asked of all of them by `plumbline campaign` is asked by campaign.test.py.
"""

import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent


def judge(program, specification, defect, directory):
    """The sentence that says what is wrong with the verdict on one defect, or None."""
    name, out = defect["name"], pathlib.Path(directory) / defect["name"]
    run = subprocess.run([program, "verify", f"defect:{name}", "--spec", specification, "--threads", "1", "--out", str(out)],
                         capture_output=True, text=True, timeout=300)
    expected = 1 if defect.get("decides", True) else 0
    if run.returncode != expected:
        return f"{name}: exit status {run.returncode}, expected {expected}: {(run.stdout + run.stderr).strip()[-300:]}"
    result = json.loads((out / "result.json").read_text())
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


def diagnosed(diagnosis, names):
    """What is wrong with a diagnosis that should name these defects, or None. Of several that nothing tells apart, one is enough."""
    complete = [set(one["defects"]) for one in diagnosis["explanations"] if one["complete"]]
    return None if names in complete else f"the diagnosis says: {diagnosis['conclusion']}"


def main():
    program, specification, every = sys.argv[1:]
    defects = json.loads((ROOT / "fixtures" / "defects.json").read_text())[::int(every)]
    with tempfile.TemporaryDirectory() as directory, concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        complaints = [c for c in pool.map(lambda d: judge(program, specification, d, directory), defects) if c]
    print("\n".join(complaints))
    print(f"{len(defects) - len(complaints)} of {len(defects)} defects seen as catalogued")
    return bool(complaints) or not defects


if __name__ == "__main__":
    sys.exit(main())
