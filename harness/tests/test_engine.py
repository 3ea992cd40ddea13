"""The inference engine, judged by the suites like anybody's model.

It shows logits and its cache and no stage on the way, so its verdict is incomplete (3); nothing may fail or be
unusable, and every requirement on logits and cache has to have been looked at. Run by CTest as
`python test_engine.py PROGRAM SPECIFICATION...`.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

SEEN = {"PAR-7", "KVC-1", "KVC-3", "KVC-4", "KVC-5", "KVC-6", "KVC-7", "KVC-8", "KVC-10", "MODE-1", "MODE-2", "MODE-4",
        "MODE-5", "MODE-6", "MODE-7", "MODE-8", "NUM-6"}


def complaints_about(program, specification, dtype):
    with tempfile.TemporaryDirectory() as folder:
        run = subprocess.run([program, "verify", "reference:fast", "--spec", specification, "--dtype", dtype, "--out", folder],
                             capture_output=True, text=True, timeout=300)
        if run.returncode != 3:
            return [f"exit status {run.returncode}, expected 3: {(run.stdout + run.stderr)[-2000:]}"]
        verdicts = {r["id"]: r["verdict"] for r in json.loads((pathlib.Path(folder) / "result.json").read_text())["requirements"]}
    return [f"{id} is {verdict}" for id, verdict in verdicts.items() if verdict in ("fail", "error") or (id in SEEN and verdict != "pass")]


def main():
    failed = False
    for specification in sys.argv[2:]:
        for dtype in ("f32", "bf16"):
            complaints = complaints_about(sys.argv[1], specification, dtype)
            failed = failed or bool(complaints)
            print(f"{specification} {dtype}:", "; ".join(complaints) or "as expected")
    return failed or not sys.argv[2:]


if __name__ == "__main__":
    sys.exit(main())
