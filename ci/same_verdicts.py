"""Whether two runs came to the same verdicts: before and after a refactor of Plumbline itself.

    ci/same_verdicts.py BEFORE AFTER

Each is a result.json, a document of `campaign`, what `harness/tests/measure_diagnosis.py --out` wrote, or a folder of such files, paired
by their names. Times, versions, paths and sentences may differ. Of numbers only those that decide are compared: which checks
hold, not by how much. Exit status: 0 the same, 1 not, 2 nothing to compare.
"""

from __future__ import annotations

import json
import pathlib
import sys
from typing import Any

# What says nothing of a verdict.
APART = {"seconds", "started", "command", "versions", "version", "device", "plumbline_version", "commit", "notes", "specification_sha256",
         "candidate_sha256", "statement", "source", "reason", "finding", "conclusion", "sentence", "note", "words", "what", "of_shapes",
         "advice", "actual", "worst_difference", "worst_index", "beyond", "tolerance", "tolerance_reason", "residual", "share", "margin",
         "plots", "matrices", "verdict_sentence", "elements_compared", "tried", "hypotheses", "started_at", "requirements_sha256"}


def files(path: pathlib.Path) -> dict[str, pathlib.Path]:
    if path.is_file():
        return {"": path}
    return {str(file.relative_to(path)): file for file in sorted(path.rglob("*.json"))}


def differences(before: Any, after: Any, place: str) -> list[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        shared = (before.keys() & after.keys()) - APART
        return [one for key in sorted(shared) for one in differences(before[key], after[key], f"{place}.{key}")]
    if isinstance(before, list) and isinstance(after, list):
        if len(before) != len(after):
            return [f"{place}: {len(before)} entries before, {len(after)} now"]
        return [one for i, pair in enumerate(zip(before, after, strict=True)) for one in differences(*pair, f"{place}[{named(pair[0], i)}]")]
    if isinstance(before, float) or isinstance(after, float):
        return []
    return [] if before == after else [f"{place}: {before!r} before, {after!r} now"]


def named(entry: Any, number: int) -> str:
    keys = ("id", "name", "run", "edit", "edits", "stage")
    return next((str(entry[key]) for key in keys if isinstance(entry, dict) and key in entry), str(number))


def main() -> int:
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    before, after = (files(pathlib.Path(path)) for path in sys.argv[1:])
    found = [f"{name or sys.argv[1]}: in one of the two alone" for name in sorted(before.keys() ^ after.keys())]
    compared = sorted(before.keys() & after.keys())
    for name in compared:
        found += differences(json.loads(before[name].read_text()), json.loads(after[name].read_text()), name)
    if not compared:
        print("nothing to compare", file=sys.stderr)
        return 2
    print("\n".join(found[:100]))
    print(f"{len(compared)} documents, {len(found)} differences")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
