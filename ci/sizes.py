#!/usr/bin/env python3
"""Measures files, functions and classes of C++, Python and shell, and says which are too long or share a name.

    ci/sizes.py                   fails where something is over a limit and not listed in ci/sizes.allowed.txt, where
                                  something listed has grown, and where it is no longer over: then its line has to go
    ci/sizes.py --table           the longest of each kind, and the totals, instead
    ci/sizes.py --write-allowed   lists what is over now: after files were moved or renamed, or to take lines out
    ci/sizes.py --since COMMIT    also fails where the list is longer than it was then

A function is counted from the first line of its head to its closing brace, a lambda with the function that it is in.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple, Optional

sys.path.insert(0, str(Path(__file__).resolve().parent))
from measure_cpp import measure_cpp
from measure_scripts import measure_python, measure_shell
from measured import Part, Unreadable

LIMITS = {"file": 400, "function": 60, "class": 250, "name": 1}
MEND = {
    "file": "divide it by what its parts are for",
    "function": "give its parts names of their own",
    "class": "give a part of it a class of its own",
    "name": "rename all but one for what they do",
}
ALLOWED = "ci/sizes.allowed.txt"
HEAD = """\
# What is over a limit of ci/sizes.py and was so when that came: lines (or files of one name), what, where, which.
# It only gets shorter: lint fails where one of these has grown, is no longer over, or where something is over that
# is not here. After moving files: ci/sizes.py --write-allowed.
"""
# Files that hold a table of data for tests, which no division would make easier to read: path and reason.
TABLES: dict[str, str] = {}

Key = tuple[str, str, str]  # what, where, which


class Source(NamedTuple):
    path: str
    language: str
    lines: int
    parts: list[Part]


def language_of(path: str, text: str) -> Optional[str]:
    suffix = Path(path).suffix
    known = {".cpp": "C++", ".hpp": "C++", ".h": "C++", ".cc": "C++", ".py": "Python", ".sh": "shell"}
    if suffix in known:
        return known[suffix]
    first = text.partition("\n")[0]
    if first.startswith("#!") and "python" in first:
        return "Python"
    if first.startswith("#!") and first.rstrip().endswith("sh"):
        return "shell"
    return None


def paths_of(root: Path) -> list[str]:
    """Everything that git tracks or would, as it lies in the tree."""
    listed = subprocess.run(
        ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        check=True, stdout=subprocess.PIPE,
    ).stdout.decode("utf-8", "surrogateescape")
    return sorted({path for path in listed.split("\0") if path and (root / path).is_file()})


def read_sources(root: Path) -> list[Source]:
    measures = {"C++": measure_cpp, "Python": measure_python, "shell": measure_shell}
    sources = []
    for path in paths_of(root):
        if Path(path).suffix in (".json", ".h5", ".gz", ".md", ".svg", ".txt", ".pth", ".safetensors"):
            continue
        try:
            text = (root / path).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        language = language_of(path, text)
        if language is None:
            continue
        try:
            sources.append(Source(path, language, len(text.splitlines()), measures[language](text)))
        except Unreadable as problem:
            sys.exit(f"{path}:{problem.line}: cannot be measured: {problem}")
    return sources


def stem_of(path: str) -> str:
    """engine of engine.cpp, engine.hpp and engine.test.cpp, which belong together in one folder."""
    return Path(path).name.split(".")[0]


def names_that_stand_twice(sources: list[Source]) -> dict[str, list[str]]:
    """Files of one name in several folders, of C++, and of scripts by their whole names.

    Modules of a Python package are apart: they are always named with it (plumbline.module). So are the files that a
    tool gives their names: __init__.py, __main__.py, conftest.py.
    """
    packages = {str(Path(s.path).parent) for s in sources if Path(s.path).name in ("__init__.py", "__main__.py")}
    places: dict[tuple[str, str], list[str]] = {}
    for source in sources:
        folder = str(Path(source.path).parent)
        if source.language == "C++":
            name = stem_of(source.path)
        elif folder in packages or Path(source.path).name == "conftest.py":
            continue
        else:
            name = Path(source.path).name
        known = places.setdefault((source.language, name), [])
        if folder not in known:
            known.append(folder)
    return {name: sorted(folders) for (_, name), folders in places.items() if len(folders) > 1}


class Over(NamedTuple):
    measured: int
    line: int
    also: str = ""


def find_over(sources: list[Source]) -> dict[Key, Over]:
    found: dict[Key, Over] = {}
    for source in sources:
        if source.lines > LIMITS["file"] and source.path not in TABLES:
            found["file", source.path, ""] = Over(source.lines, 1)
        seen: dict[tuple[str, str], int] = {}
        for part in source.parts:
            number = seen[part.what, part.name] = seen.get((part.what, part.name), 0) + 1
            if part.lines > LIMITS[part.what]:
                which = part.name if number == 1 else f"{part.name}#{number}"
                found[part.what, source.path, which] = Over(part.lines, part.line)
    for name, folders in names_that_stand_twice(sources).items():
        found["name", name, ""] = Over(len(folders), 1, ", ".join(folders))
    return found


def read_allowed(text: str) -> dict[Key, int]:
    allowed: dict[Key, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        fields = line.split(" ", 3)
        if len(fields) < 3 or not fields[0].isdigit() or fields[1] not in LIMITS:
            sys.exit(f"{ALLOWED}:{number}: expected LINES file|function|class|name WHERE [WHICH], got {line!r}")
        allowed[fields[1], fields[2], fields[3] if len(fields) == 4 else ""] = int(fields[0])
    return allowed


def write_allowed(found: dict[Key, Over]) -> str:
    order = list(LIMITS)
    keys = sorted(found, key=lambda key: (order.index(key[0]), key[1], key[2]))
    return HEAD + "".join(" ".join(filter(None, (str(found[key].measured), *key))) + "\n" for key in keys)


def said(key: Key, over: Over) -> str:
    what, where, which = key
    if what == "name":
        return f"{where}: files of this name lie in {over.measured} folders ({over.also})"
    subject = f"this {what}" if what == "file" else f"{what} {which}"
    return f"{where}:{over.line}: {subject} has {over.measured} lines, {LIMITS[what]} are allowed"


def complaints(found: dict[Key, Over], allowed: dict[Key, int]) -> list[str]:
    lines = []
    for key, over in found.items():
        if key not in allowed:
            lines.append(f"{said(key, over)}; {MEND[key[0]]}")
        elif over.measured > allowed[key]:
            lines.append(f"{said(key, over)}, and {ALLOWED} has it with {allowed[key]}: what is listed there may only shrink; {MEND[key[0]]}")
    for key, number in allowed.items():
        if key not in found:
            line = " ".join(filter(None, (str(number), *key)))
            lines.append(f"{ALLOWED}: '{line}' is no longer over its limit, or no longer there: "
                         "take the line out (ci/sizes.py --write-allowed does)")
    return lines


def longer_than_before(root: Path, commit: str, allowed: dict[Key, int]) -> list[str]:
    shown = subprocess.run(["git", "-C", str(root), "show", f"{commit}:{ALLOWED}"], check=False,
                           stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    if shown.returncode != 0:
        return []  # there was no list yet
    before = read_allowed(shown.stdout.decode())
    if len(allowed) <= len(before):
        return []
    return [f"{ALLOWED}: it has {len(allowed)} lines, {len(before)} at {commit}: the list may only shrink; "
            "mend what was added instead of listing it"]


def table(sources: list[Source], found: dict[Key, Over]) -> str:
    rows = ["| | C++ | Python | shell |", "| --- | ---: | ---: | ---: |"]
    languages = ("C++", "Python", "shell")

    def row(title: str, cells: list[str]) -> None:
        rows.append(f"| {title} | {' | '.join(cells)} |")

    def of(language: str) -> list[Source]:
        return [source for source in sources if source.language == language]

    row("files", [f"{len(of(language)):,}" for language in languages])
    row("lines", [f"{sum(s.lines for s in of(language)):,}" for language in languages])
    longest = [max(of(language), key=lambda s: s.lines, default=None) for language in languages]
    row("longest file", [f"{s.lines} {s.path}" if s else "" for s in longest])
    for what in ("function", "class"):
        cells = []
        for language in languages:
            parts = [(part.lines, f"{part.lines} {part.name} ({source.path}:{part.line})")
                     for source in of(language) for part in source.parts if part.what == what]
            cells.append(max(parts, default=(0, ""))[1])
        row(f"longest {what}", cells)
    by_path = {source.path: source.language for source in sources}
    for what in ("file", "function", "class"):
        row(f"{what} over {LIMITS[what]} lines",
            [str(sum(key[0] == what and by_path[key[1]] == language for key in found)) for language in languages])
    rows.append("")
    rows.append(f"names that stand in several folders: {sum(key[0] == 'name' for key in found)}")
    return "\n".join(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--write-allowed", action="store_true")
    parser.add_argument("--since", metavar="COMMIT")
    arguments = parser.parse_args()
    root = arguments.root
    for path in TABLES:
        if not (root / path).is_file():
            sys.exit(f"ci/sizes.py: TABLES names {path}, which is not there: take it out")
    sources = read_sources(root)
    found = find_over(sources)
    if arguments.table:
        print(table(sources, found))
        return 0
    if arguments.write_allowed:
        (root / ALLOWED).write_text(write_allowed(found), encoding="utf-8")
        print(f"{ALLOWED}: {len(found)} lines")
        return 0
    listed = root / ALLOWED
    allowed = read_allowed(listed.read_text(encoding="utf-8")) if listed.exists() else {}
    lines = complaints(found, allowed)
    if arguments.since:
        lines += longer_than_before(root, arguments.since, allowed)
    for line in lines:
        print(line)
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
