#!/usr/bin/env python3
"""Whether a commit's message has the form that CONTRIBUTING.md asks for.

    ci/commit_message.py FILE             the message in FILE, as git gives it to its commit-msg hook
    ci/commit_message.py --since COMMIT   those of every commit after that one
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

LONGEST = 72
# Words that do not command: 'Added', 'Adds', 'Adding'. These end like them and do.
ENDINGS = (("ed", "it tells what was done"), ("ing", "it names an activity"), ("s", "it tells what the change does"))
COMMANDS = {
    "ed": {"bed", "embed", "exceed", "feed", "heed", "need", "proceed", "seed", "shed", "shred", "speed", "succeed", "weed", "wed"},
    "ing": {"bring", "cling", "fling", "ping", "ring", "sing", "sling", "spring", "string", "swing", "wing"},
    "s": {"access", "address", "alias", "amass", "assess", "bias", "bless", "bypass", "canvas", "compress", "cross", "decompress",
          "discuss", "dismiss", "dress", "express", "focus", "guess", "harness", "impress", "kiss", "miss", "pass", "possess",
          "press", "process", "profess", "progress", "regress", "stress", "suppress", "toss", "truss", "witness"},
}


def complaints(message: str) -> list[str]:
    """What is wrong with it, a line each. Comments, and what --verbose shows below its scissors, are git's."""
    message = message.partition("\n# ------------------------ >8")[0]
    lines = [line for line in message.splitlines() if not line.startswith("#")]
    while lines and not lines[0].strip():
        lines.pop(0)
    if not lines:
        return ["the message is empty: say in a line what the change does"]
    subject = lines[0]
    if re.match(r"(Merge|Revert) |(fixup|squash|amend)! ", subject):
        return []  # git's own words, and what is yet to be joined with another
    found = []
    if len(subject) > LONGEST:
        found.append(f"the first line has {len(subject)} characters, {LONGEST} are allowed: say it shorter, and the rest below an empty line")
    if subject != subject.strip():
        found.append("the first line begins or ends with blanks: take them out")
    if subject.rstrip().endswith("."):
        found.append("the first line ends with a full stop: take it out")
    first = re.match(r"[\w'-]*", subject.strip())
    word = first.group() if first else ""
    for ending, why in ENDINGS:
        if word.lower().endswith(ending) and word.lower() not in COMMANDS[ending]:
            found.append(f"the first word is '{word}': {why}; expected a command, such as 'Add' for 'Added', 'Adding' or 'Adds'")
            break
    if word and not word[0].isupper() and word[0].isalpha():
        found.append(f"the first word is '{word}': begin it with a capital letter")
    if len(lines) > 1 and lines[1].strip():
        found.append("the second line is not empty: leave it so, and say why the change is made from the third line on")
    return found


def messages_since(root: Path, commit: str) -> dict[str, str]:
    log = subprocess.run(["git", "-C", str(root), "log", "--no-merges", "-z", "--format=%h%n%B", f"{commit}..HEAD"], check=True,
                         stdout=subprocess.PIPE, text=True, encoding="utf-8", errors="replace").stdout
    parts = [entry.partition("\n") for entry in log.split("\0") if entry]
    return {name: message for name, _, message in parts}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--since", metavar="COMMIT")
    parser.add_argument("--root", type=Path, default=Path())
    arguments = parser.parse_args()
    if (arguments.file is None) == (arguments.since is None):
        parser.error("expected a file or --since COMMIT")
    if arguments.file is not None:
        messages = {"commit message": arguments.file.read_text(encoding="utf-8", errors="replace")}
    else:
        messages = messages_since(arguments.root, arguments.since)
    wrong = [f"{name}: {complaint}" for name, message in messages.items() for complaint in complaints(message)]
    for line in wrong:
        print(line, file=sys.stdout if arguments.since else sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
