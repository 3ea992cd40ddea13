#!/usr/bin/env python3
"""What `plumbline lint` runs: form, likely mistakes, spelling, types and sizes of our own sources.

    ./plumbline lint              what changed since the merge base with the main branch, committed or not
    ./plumbline lint --all        everything
    ./plumbline lint FILE...      these
    ./plumbline lint --fix        and mends what clang-format and ruff can

The merge base is found by itself, or named: --base COMMIT, or the environment variable PLUMBLINE_LINT_BASE. The tools are
those of cmake/requirements-lint.txt, which the launcher puts into .deps/lint. A change to what configures them has
everything looked at.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Callable, Optional

HERE = Path(__file__).resolve().parent
PACKAGE = "harness/python/plumbline"
CONFIGURES = (".clang-format", ".ruff.toml", ".typos.toml", ".editorconfig", "cmake/requirements-lint.txt", "ci/lint.py",
              "harness/python/pyproject.toml")
BRANCHES = ("origin/HEAD", "origin/main", "origin/master", "main", "master")
AS_IT_IS = (".h5", ".gz", ".png", ".pth", ".safetensors")  # no text


class Lint:
    def __init__(self, root: Path, tools: Path, fix: bool) -> None:
        self.root, self.tools, self.fix = root, tools, fix

    def git(self, *arguments: str) -> Optional[str]:
        run = subprocess.run(["git", "-C", str(self.root), *arguments], check=False, capture_output=True)
        return run.stdout.decode("utf-8", "surrogateescape") if run.returncode == 0 else None

    def run(self, command: list[str], files: Iterable[str] = (), **variables: str) -> str:
        """What the command says where it fails, else nothing."""
        run = subprocess.run([*command, *files], check=False, cwd=self.root, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, env={**os.environ, **variables})
        said = run.stdout.decode("utf-8", "replace").strip()
        return "" if run.returncode == 0 else said or f"{command[0]} ended with status {run.returncode}"

    def python_tool(self, *command: str) -> list[str]:
        """By its module: a script of pip's names the interpreter that it was installed with."""
        return [sys.executable, *command]

    # Which files

    def base(self, named: Optional[str]) -> Optional[str]:
        """The commit that changes are counted from: the merge base, or the one before HEAD where HEAD is that itself."""
        if named:
            found = self.git("merge-base", named, "HEAD") or self.git("rev-parse", "--verify", "-q", f"{named}^{{commit}}")
            if not found:
                sys.exit(f"lint: {named} is no commit of this repository: name another with --base or PLUMBLINE_LINT_BASE, or use --all")
            return found.strip()
        head = (self.git("rev-parse", "HEAD") or "").strip()
        for branch in BRANCHES:
            found = (self.git("merge-base", branch, "HEAD") or "").strip()
            if found and found != head:
                return found
        return (self.git("rev-parse", "--verify", "-q", "HEAD^") or "").strip() or None

    def changed(self, base: str) -> list[str]:
        listed = self.git("diff", "-z", "--name-only", "--no-renames", "--diff-filter=d", base) or ""
        fresh = self.git("ls-files", "-z", "--others", "--exclude-standard") or ""
        return sorted({path for path in (listed + fresh).split("\0") if path and (self.root / path).is_file()})

    def all_files(self) -> list[str]:
        listed = self.git("ls-files", "-z", "--cached", "--others", "--exclude-standard") or ""
        return sorted({path for path in listed.split("\0") if path and (self.root / path).is_file()})

    # What is looked at

    def formatted(self, files: list[str]) -> str:
        ours = [path for path in files if path.endswith((".cpp", ".hpp"))]
        how = ["-i"] if self.fix else ["--dry-run", "-Werror"]
        program = "from clang_format import clang_format; clang_format()"
        said = ours and self.run([*self.python_tool("-c", program), *how], ours, PYTHONPATH=str(self.tools))
        lines = [line.replace("code should be clang-formatted [-Wclang-format-violations]", "is not as clang-format lays it out")
                 for line in (said or "").splitlines() if ": error: " in line or self.fix or "warning" not in line]
        places = [line for line in lines if ": error: " in line]
        return "\n".join(places or lines)

    def ruff(self, files: list[str]) -> str:
        ours = [path for path in files if path.endswith(".py")]
        how = ["--fix"] if self.fix else []
        return self.run([str(self.tools / "bin/ruff"), "check", "-q", "--no-cache", "--output-format", "concise", *how], ours) if ours else ""

    def shellcheck(self, files: list[str]) -> str:
        ours = [path for path in files if path.endswith(".sh") or self.begins(path, b"#!/usr/bin/env bash")]
        return self.run([str(self.tools / "bin/shellcheck"), "-x", "--format=gcc"], ours) if ours else ""

    def begins(self, path: str, start: bytes) -> bool:
        with (self.root / path).open("rb") as file:
            return file.read(len(start)) == start

    def spelling(self, files: list[str]) -> str:
        return self.run([str(self.tools / "bin/typos"), "--force-exclude", "--format", "brief"], files) if files else ""

    def types(self, files: list[str]) -> str:
        folder = self.root / "harness/python"
        if not any(path.startswith(PACKAGE) and path.endswith(".py") for path in files):
            return ""
        cache = self.root / "build/mypy"
        # Without torch's wheel (a LibTorch of the user's own) its types are unknown, and what is said of them is of no use.
        torch = [] if find_spec("torch") else ["--no-warn-unused-ignores", "--allow-subclassing-any", "--allow-untyped-decorators"]
        return self.run(self.python_tool("-m", "mypy", "--config-file", str(folder / "pyproject.toml"), "--cache-dir", str(cache),
                                         "--no-error-summary", *torch, PACKAGE), PYTHONPATH=str(self.tools))

    def text(self, files: list[str]) -> str:
        """What .editorconfig asks of every text."""
        said = []
        for path in files:
            data = (self.root / path).read_bytes()
            if path.endswith(AS_IT_IS) or b"\0" in data[:8000]:
                continue
            if data and not data.endswith(b"\n"):
                said.append(f"{path}:{data.count(bytes([10])) + 1}: the last line has no end: add a newline")
            for number, line in enumerate(data.split(b"\n"), 1):
                if line != line.rstrip() and not path.endswith((".md", ".svg", ".rules")):
                    said.append(f"{path}:{number}: blanks or a carriage return at the end of the line: take them out")
                elif line.startswith(b"\t") and not path.endswith((".md", ".tsv", "Makefile")):
                    said.append(f"{path}:{number}: a tab to begin with: indent with spaces")
        return "\n".join(said)

    def sizes(self, base: Optional[str]) -> str:
        since = ["--since", base] if base else []
        return self.run([sys.executable, str(HERE / "sizes.py"), "--root", str(self.root), *since])

    def messages(self, base: str) -> str:
        return self.run([sys.executable, str(HERE / "commit_message.py"), "--root", str(self.root), "--since", base])


def main() -> int:
    parser = argparse.ArgumentParser(prog="plumbline lint", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--fix", action="store_true")
    parser.add_argument("--base", metavar="COMMIT", default=os.environ.get("PLUMBLINE_LINT_BASE"))
    parser.add_argument("--root", type=Path, default=HERE.parent, help=argparse.SUPPRESS)
    parser.add_argument("--tools", type=Path, default=HERE.parent / ".deps/lint", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not (arguments.tools / "bin/ruff").exists():
        sys.exit(f"lint: {arguments.tools} is not there: run ./plumbline lint, which fetches it")
    lint = Lint(arguments.root.resolve(), arguments.tools.resolve(), arguments.fix)
    if lint.git("rev-parse", "--git-dir") is None:
        sys.exit(f"lint: {lint.root} is no git checkout, or there is no git: what is ours is what git tracks")
    base = None if arguments.files else lint.base(arguments.base)
    if arguments.files:
        files = sorted(os.path.relpath(os.path.abspath(path), lint.root) for path in arguments.files if os.path.isfile(path))
        scope = f"{len(files)} files"
    else:
        changed = lint.changed(base) if base else []
        everything = arguments.all or not base or any(path in CONFIGURES for path in changed)
        files = lint.all_files() if everything else changed
        scope = f"all {len(files)} files" if everything else f"{len(files)} files changed since {(base or '')[:9]}"

    # Renderings that are kept are what our programs wrote, byte for byte.
    files = [path for path in files if not path.startswith("reports/runs/")]
    checks: list[tuple[str, str, Callable[[], str]]] = [
        ("layout of C++", "run ./plumbline lint --fix", lambda: lint.formatted(files)),
        ("mistakes in Python", "some are mended by ./plumbline lint --fix", lambda: lint.ruff(files)),
        ("mistakes in shell", "what a code such as SC2086 means stands in shellcheck's manual", lambda: lint.shellcheck(files)),
        ("spelling", "mend it, or add a word that is meant to .typos.toml", lambda: lint.spelling(files)),
        ("types in Python", "say what a function takes and returns", lambda: lint.types(files)),
        ("ends of lines", "an editor that reads .editorconfig does it by itself", lambda: lint.text(files)),
        ("sizes", "what is measured, and how, stands in ci/sizes.py", lambda: lint.sizes(base)),
    ]
    if base and not arguments.files:
        checks.append(("commit messages", "git commit --amend, or git rebase -i", lambda: lint.messages(base)))
    began, failed = time.monotonic(), []
    for name, advice, look in checks:
        said = look()
        if said:
            failed.append(name)
            print(f"{name}:\n{said}\n  ({advice})\n")
    seconds = time.monotonic() - began
    print(f"lint: {scope}, {seconds:.1f} s: " + (f"failed: {', '.join(failed)}" if failed else "nothing to mend"))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
