"""What came out, as a JSON document and a table."""

import datetime
import json
import subprocess
from collections import Counter

MEANINGS = {
    "failed": "failed by a suite of the right chapter",
    "right chapter in error": "failed, but the right chapter only broke down",
    "failed elsewhere": "failed by suites of other chapters only",
    "model raises": "the model raises an error, and requirements of the right chapter say so (verdict error, exit 2)",
    "raises elsewhere": "the model raises an error, which requirements of other chapters alone say (verdict error, exit 2)",
    "refused": "the program refuses the model's own numbers before it judges anything (exit 2)",
    "crashed": "the program ends by a signal, or with a status of no meaning",
    "out of time": "stopped after eight times the unmutated program's time",
    "incomplete": "a requirement could not be assessed any more (exit 3)",
    "same object code": "equivalent: the compiler makes the same object code of it",
    "equivalent": "equivalent, for the reason given below",
    "survived": "passes every suite: a hole in the suites, or not yet explained",
    "does not compile": "refused by the compiler or the linker",
    "not run": "not run",
}


def squeezed(line):
    return " ".join(line.split())


def reason_of(mutant, equivalent):
    """Why a mutant is listed as equivalent; an entry without `to` holds for every mutation of its line."""
    for entry in equivalent:
        if entry["file"] == mutant.file and squeezed(entry["line"]) == squeezed(mutant.before):
            if any(squeezed(to) == squeezed(mutant.after) for to in entry["to"]):
                return entry["reason"]
    return ""


def outcome(mutant, facts, right, equivalent):
    if "compiles" not in facts:
        return "not run", ""
    if not facts["compiles"]:
        return "does not compile", ""
    for name, run in facts["runs"].items():
        if run["verdict"] == "not judged":
            errors = sorted({chapter for chapter, _ in run["failed"].values()})
            if errors:
                words = f"{name}: {len(run['failed'])} requirements in error, of chapters {' '.join(map(str, errors))}"
                return ("model raises" if set(errors) & set(right) else "raises elsewhere"), words
            kind = "incomplete" if run["words"].startswith("incomplete") else "out of time" if run["words"] == "out of time" else (
                "crashed" if run["words"].startswith("ended with") else "refused")
            return kind, f"{name}: {run['words']}"
        if run["verdict"] == "failed":
            fails = sorted(id for id, (chapter, verdict) in run["failed"].items() if verdict == "fail")
            errors = {chapter for chapter, verdict in run["failed"].values() if verdict == "error"}
            seen = {run["failed"][id][0] for id in fails}
            words = f"{name}: {' '.join(fails)}"
            if seen & set(right):
                return "failed", words
            return ("right chapter in error" if errors & set(right) else "failed elsewhere"), words
    if facts.get("identical"):
        return "same object code", ""
    reason = reason_of(mutant, equivalent)
    return ("equivalent", reason) if reason else ("survived", "passes " + ", ".join(facts["runs"]))


def document(mutants, state, chapters, equivalent, build):
    rows = []
    for m in mutants:
        facts = state.of(m)
        right = chapters[m.file, m.function]
        verdict, words = outcome(m, facts, right, equivalent)
        rows.append({"id": m.id, "file": m.file, "line": m.line, "function": m.function, "kind": m.kind, "before": squeezed(m.before),
                     "after": squeezed(m.after), "chapters": right, "outcome": verdict, "seen": words})
    compiler = build.commands[0]["command"].split()[0]
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True).stdout.split("\n")[0]
    seconds = [f["seconds"] for f in state.known.values() if "seconds" in f]
    return {"format": "plumbline-mutation", "version": 1, "date": datetime.date.today().isoformat(), "compiler": version,
            "tool": "universalmutator " + tool_version(), "tree": build.fingerprint,
            "tree_is_current": build.fingerprint == type(build).current(build.root),
            "seconds_per_judged_mutant": round(sum(seconds) / max(1, len(seconds)), 2),
            "totals": dict(Counter(r["outcome"] for r in rows)), "mutants": rows}


def tool_version():
    from importlib import metadata

    try:
        return metadata.version("universalmutator")
    except metadata.PackageNotFoundError:
        return "of unknown version"


def code(text):
    return "`" + text.replace("|", "\\|").replace("`", "'") + "`"


def counts(rows, key):
    columns = list(MEANINGS)
    columns = [c for c in columns if any(r["outcome"] == c for r in rows)]
    lines = [f"| {key} | all | " + " | ".join(columns) + " |", "|---|---:|" + "---:|" * len(columns)]
    groups = [*sorted({r[key] for r in rows}), None]
    for group in groups:
        own = [r for r in rows if group is None or r[key] == group]
        number = Counter(r["outcome"] for r in own)
        lines.append(f"| {group or '**all**'} | {len(own)} | " + " | ".join(str(number[c]) for c in columns) + " |")
    return lines


def listing(rows, outcome, words):
    own = [r for r in rows if r["outcome"] == outcome]
    if not own:
        return []
    lines = ["", f"## {words} ({len(own)})", "", "| place | line | mutant | |", "|---|---|---|---|"]
    for r in sorted(own, key=lambda r: (r["file"], r["line"])):
        place = f"{r['file'].split('/')[-1]}:{r['line']} {r['function']}"
        lines.append(f"| {place} | {code(r['before'])} | {code(r['after'])} | {r['seen'].replace('|', chr(92) + '|')} |")
    return lines


def write(document, json_path, markdown_path):
    head = {k: v for k, v in document.items() if k != "mutants"}
    body = ",\n".join("  " + json.dumps(r) for r in document["mutants"])
    json_path.write_text(json.dumps(head, indent=1)[:-2] + ',\n "mutants": [\n' + body + "\n]}\n")
    rows, totals = document["mutants"], document["totals"]
    missing = totals.get("not run", 0)
    lines = ["# Mutation of the reference model's arithmetic", "",
             "Written by `harness/mutation/run_mutation.py`; do not edit. README.md beside it says how to run it.", "",
             f"{document['date']}, {document['compiler']}, {document['tool']}, tree {document['tree']}"
             + ("" if document["tree_is_current"] else " (older than the working tree: run it again)") + ".",
             f"**{'Partial' if missing else 'Complete'}**: {len(rows) - missing} of {len(rows)} mutants were run, "
             f"{document['seconds_per_judged_mutant']} s each that compiled.", ""]
    lines += [f"- {name}: {meaning}" for name, meaning in MEANINGS.items() if totals.get(name)] + [""]
    lines += counts(rows, "file") + [""] + counts(rows, "kind")
    lines += listing(rows, "survived", "Survivors without a reason")
    lines += listing(rows, "failed elsewhere", "Failed by other chapters only")
    lines += listing(rows, "right chapter in error", "Failed, the right chapter in error")
    lines += listing(rows, "raises elsewhere", "The model raises, which other chapters alone say")
    lines += listing(rows, "crashed", "Crashed")
    lines += listing(rows, "out of time", "Out of time")
    lines += listing(rows, "incomplete", "Incomplete")
    lines += listing(rows, "equivalent", "Equivalent, with the reason")
    lines += listing(rows, "same object code", "Equivalent: the same object code")
    markdown_path.write_text("\n".join(lines) + "\n")
