"""Whether ci/lint.py and the commit-msg hook fail where a rule is broken, and say what to do: python test_lint.py

Needs .deps/lint, which the launcher fetches before tests.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(HERE))
from commit_message import complaints  # noqa: E402

CONFIGURATION = (".clang-format", ".ruff.toml", ".typos.toml", "harness/python/pyproject.toml")
# As `git commit` is called by others, not by a hook that these tests may run in.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("GIT_") and name != "PLUMBLINE_LINT_BASE"}


class Tree(unittest.TestCase):
    """A repository with our configuration, on a branch that adds what a test puts there."""

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = Path(directory.name).resolve()
        self.git("init", "-q", "-b", "main")
        for name in CONFIGURATION:
            self.put(name, (ROOT / name).read_text())
        self.put("harness/python/plumbline/__init__.py", '"""Nothing yet."""\n')
        self.put("ci/sizes.allowed.txt", "")
        self.commit("Begin")
        self.git("checkout", "-q", "-b", "change")
        self.commit("Go on")

    def git(self, *arguments):
        who = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
        return subprocess.run(["git", "-C", str(self.root), *who, *arguments], check=False, capture_output=True, text=True, env=ENVIRONMENT)

    def commit(self, message):
        self.git("add", ".")
        self.assertEqual(self.git("commit", "-q", "--allow-empty", "-m", message).returncode, 0)

    def put(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def lint(self, *arguments, **variables):
        run = subprocess.run([sys.executable, str(HERE / "lint.py"), "--root", str(self.root), "--tools", str(ROOT / ".deps/lint"), *arguments],
                             check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**ENVIRONMENT, **variables})
        return run.returncode, run.stdout

    def refused(self, *said, arguments=()):
        status, text = self.lint(*arguments)
        self.assertEqual(status, 1, text)
        for each in said:
            self.assertIn(each, text)


class Rules(Tree):
    def test_nothing_wrong(self):
        self.put("a.cpp", "int f() {\n  return 1;\n}\n")
        status, text = self.lint()
        self.assertEqual(status, 0, text)
        self.assertRegex(text, r"^lint: 1 files changed since \w{9}, [\d.]+ s: nothing to mend\n$")

    def test_layout(self):
        self.put("a.cpp", "int  f( ) {return 1;}\n")
        self.refused("a.cpp:1:4: error: is not as clang-format lays it out", "run ./plumbline lint --fix", "failed: layout of C++")
        self.assertEqual(self.lint("--fix")[0], 0)
        self.assertEqual((self.root / "a.cpp").read_text(), "int f() {\n  return 1;\n}\n")

    def test_mistakes_in_python(self):
        self.put("a.py", "import os\nprint(nowhere)\n")
        self.refused("a.py:1:8: F401", "a.py:2:7: F821", "failed: mistakes in Python")

    def test_mistakes_in_shell(self):
        self.put("run", "#!/usr/bin/env bash\nrm -r $1\n")
        self.refused("run:2:7: note: Double quote to prevent globbing", "failed: mistakes in shell")

    def test_spelling(self):
        self.put("a.md", "It was " + "t" "eh last.\n")
        self.refused("a.md:1:8: error: ", "should be `the`", "failed: spelling")

    def test_types(self):
        self.put("harness/python/plumbline/a.py", "def f(x):\n    return x\n")
        self.refused("harness/python/plumbline/a.py:1: error: Function is missing a type annotation", "failed: types in Python")

    def test_ends_of_lines(self):
        self.put("a.json", '{"x": 1} \n\t\n{}')
        self.refused("a.json:1: blanks", "a.json:2: blanks", "a.json:3: the last line has no end", "failed: ends of lines")

    def test_sizes_everywhere(self):
        self.put("a.py", "\n" * 401)
        self.commit("Add a long file")
        self.put("b.md", "short\n")
        self.refused("a.py:1: this file has 401 lines", "failed: sizes", arguments=("--base", "HEAD"))

    def test_messages_of_commits(self):
        self.put("a.md", "short\n")
        self.commit("Added a file.")
        self.refused("the first word is 'Added'", "ends with a full stop", "failed: commit messages")

    def test_several_at_once(self):
        self.put("a.cpp", "int  f( ) {return 1;}\n")
        self.put("a.py", "import os\n")
        self.refused("failed: layout of C++, mistakes in Python\n")


class Scope(Tree):
    def test_what_did_not_change_is_left_alone(self):
        self.git("checkout", "-q", "main")
        self.put("old.py", "import os\n")
        self.commit("Add what nobody looked at")
        self.git("checkout", "-q", "-b", "other")
        self.put("new.py", "import sys\n")
        status, text = self.lint()
        self.assertEqual(status, 1)
        self.assertIn("new.py:1", text)
        self.refused("old.py:1", "new.py:1", arguments=("--all",))
        self.assertEqual(self.lint("ci/sizes.allowed.txt")[0], 0)

    def test_the_base_is_named_by_a_variable(self):
        self.put("a.py", "import os\n")
        self.commit("Add a file")
        self.assertEqual(self.lint(PLUMBLINE_LINT_BASE="HEAD")[0], 0)
        self.assertEqual(self.lint(PLUMBLINE_LINT_BASE="main")[0], 1)

    def test_a_base_that_is_none_is_said(self):
        status, text = self.lint("--base", "nowhere")
        self.assertEqual((status, text), (1, "lint: nowhere is no commit of this repository: name another with --base or "
                                             "PLUMBLINE_LINT_BASE, or use --all\n"))

    def test_changed_rules_have_everything_looked_at(self):
        self.put(".ruff.toml", (ROOT / ".ruff.toml").read_text() + "# changed\n")
        self.assertIn("lint: all ", self.lint()[1])

    def test_missing_tools_are_said(self):
        status, text = self.lint("--tools", str(self.root / "nothing"))
        self.assertEqual(status, 1)
        self.assertIn("run ./plumbline lint, which fetches it", text)


class Messages(unittest.TestCase):
    def test_good_ones(self):
        for message in ("Add a file", "Embed it\n", "Bring it back\n\nWhy it went.\n", "Compress what is kept\n# a comment\n", "Read .pth files", "A" * 72,
                        "Merge branch 'main' into change", 'Revert "Added this."', "fixup! added this."):
            self.assertEqual(complaints(message), [], message)

    def test_bad_ones(self):
        for message, said in (("A" * 73, "has 73 characters, 72 are allowed"), ("Add a file.", "full stop"), ("Added a file", "'Added': it tells what was done"),
                              ("Adding a file", "names an activity"), ("Fixes it", "'Fixes': it tells what the change does"), ("add a file", "capital letter"),
                              ("Add a file\nand another", "second line is not empty"), ("\n# only comments\n", "empty"), ("Add ", "blanks")):
            self.assertIn(said, "\n".join(complaints(message)), message)


class Hook(Tree):
    def test_git_refuses_what_the_hook_does(self):
        self.put("ci/commit_message.py", (HERE / "commit_message.py").read_text())
        shutil.copytree(HERE / "hooks", self.root / "ci/hooks")
        (self.root / "ci/hooks/pre-commit").unlink()  # which would fetch and lint: Rules are tests of that
        self.commit("Add the hook")
        self.git("config", "core.hooksPath", "ci/hooks")
        refused = self.git("commit", "--allow-empty", "-m", "Added it.")
        self.assertEqual(refused.returncode, 1)
        self.assertIn("commit message: the first word is 'Added'", refused.stderr)
        self.assertEqual(self.git("commit", "--allow-empty", "-m", "Add it\n\nBecause.").returncode, 0)


if __name__ == "__main__":
    unittest.main()
