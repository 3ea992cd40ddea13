"""Whether ci/sizes.py measures rightly, and fails where a rule is broken: python test_sizes.py"""

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from measure_cpp import measure_cpp  # noqa: E402
from measure_scripts import measure_python, measure_shell  # noqa: E402
from measured import Unreadable  # noqa: E402


def sizes_of(parts):
    return {(part.what, part.name): part.lines for part in parts}


class Cpp(unittest.TestCase):
    def check(self, text, expected):
        self.assertEqual(sizes_of(measure_cpp(text)), expected)

    def test_functions_are_counted_from_their_head_to_their_brace(self):
        self.check("namespace a {\nint\nadd(int x,\n    int y) {\n  return x + y;\n}\n}\n", {("function", "add"): 5})

    def test_templates_with_requirements_and_trailing_types(self):
        self.check("template <class T, std::size_t N = (1 > 0)>\nrequires Small<T>\nauto first(const T& x) noexcept -> std::pair<int, T> {\n"
                   "  return {0, x};\n}\n", {("function", "first"): 5})

    def test_classes_and_what_is_in_them(self):
        self.check("class A final : public B<int> {\n public:\n  A() : x_{1}, y_(2) {\n    run();\n  }\n  bool operator()(int) const { return true; }\n"
                   "  ~A() {}\n\n private:\n  int x_{0};\n  std::vector<int> y_ = {1, 2};\n};\n",
                   {("class", "A"): 12, ("function", "A::A"): 3, ("function", "A::operator()"): 1, ("function", "A::~A"): 1})

    def test_members_defined_apart(self):
        self.check("A::B::B(int x)\n    : x_(x),\n      y_{x} {\n}\nA& A::operator=(A&& other) { return *this; }\n",
                   {("function", "A::B::B"): 4, ("function", "A::operator="): 1})

    def test_lambdas_count_with_their_function_and_alone_in_a_table(self):
        self.check("void f() {\n  g([&](int x) {\n    return x;\n  });\n}\n", {("function", "f"): 5})
        self.check('const std::vector<Entry> table = {\n    {"a", [](int x) -> int {\n       return x;\n     }},\n};\n',
                   {("function", "lambda"): 3})
        self.check("const auto twice = [](int x) {\n  return 2 * x;\n};\n", {("function", "twice"): 3})

    def test_bodies_of_macros_go_by_their_titles(self):
        self.check('TEST_CASE("it holds") {\n  CHECK(x[0]);\n}\n', {("function", 'TEST_CASE("it holds")'): 3})
        self.check('CATCH_REGISTER("name", Type)\n\nvoid f() {\n}\n', {("function", "f"): 2})

    def test_braces_in_texts_comments_and_directives_are_none(self):
        self.check('#define OPEN {\n/* { */\nvoid f() {  // }\n  g("}", \'}\', R"x(}\n} )" )x", 1\'000);\n}\n', {("function", "f"): 4})

    def test_enumerations_and_initialised_structures_are_neither(self):
        self.check("enum class Kind { one, two };\nstruct Point point{1, 2};\n", {})

    def test_what_cannot_be_followed_is_said(self):
        for text in ("void f() {\n", "}\n", "void f() { g(1]; }\n"):
            with self.assertRaises(Unreadable):
                measure_cpp(text)


class Scripts(unittest.TestCase):
    def test_python(self):
        self.assertEqual(sizes_of(measure_python("@x\nclass A:\n    def f(self):\n        def g():\n            pass\n        return g\n")),
                         {("class", "A"): 5, ("function", "A.f"): 4, ("function", "A.f.g"): 2})
        with self.assertRaises(Unreadable):
            measure_python("def f(:\n")

    def test_shell(self):
        text = "one() { echo 1; } # short\ntwo() { # NAME\n  cat <<'END'\n}\nEND\n  if x; then\n    y\n  fi\n}\n"
        self.assertEqual(sizes_of(measure_shell(text)), {("function", "one"): 1, ("function", "two"): 8})
        with self.assertRaises(Unreadable):
            measure_shell("two() {\n  echo\n")


def function(lines):
    return "int f() {\n" + "  g();\n" * (lines - 2) + "}\n"


class Rules(unittest.TestCase):
    """Each in a tree of its own, which breaks it."""

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = Path(directory.name)
        self.git("init", "-q")
        (self.root / "ci").mkdir()

    def git(self, *arguments):
        who = ["-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "core.hooksPath=/dev/null"]
        subprocess.run(["git", "-C", str(self.root), *who, *arguments], check=True, stdout=subprocess.DEVNULL)

    def put(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def run_sizes(self, *arguments):
        run = subprocess.run([sys.executable, str(HERE / "sizes.py"), "--root", str(self.root), *arguments], check=False,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return run.returncode, run.stdout

    def refused(self, *said, arguments=()):
        status, text = self.run_sizes(*arguments)
        self.assertEqual(status, 1, text)
        for each in said:
            self.assertIn(each, text)

    def test_nothing_over_passes(self):
        self.put("a.cpp", function(60))
        self.put("b.py", "x = 1\n" * 400)
        self.assertEqual(self.run_sizes(), (0, ""))

    def test_a_long_file(self):
        for name in ("a.cpp", "a.py", "a.sh"):
            self.put(name, "\n" * 401)
            self.refused(f"{name}:1: this file has 401 lines, 400 are allowed; divide it")

    def test_a_long_script_without_a_suffix(self):
        self.put("run", "#!/usr/bin/env bash\n" + ":\n" * 400)
        self.refused("run:1: this file has 401 lines")

    def test_a_long_function(self):
        self.put("a.cpp", "\n" + function(61))
        self.refused("a.cpp:2: function f has 61 lines, 60 are allowed; give its parts names")

    def test_a_long_class(self):
        self.put("a.hpp", "class A {\n" + "  int x;\n" * 249 + "};\n")
        self.refused("a.hpp:1: class A has 251 lines, 250 are allowed")

    def test_a_name_that_stands_twice(self):
        for name in ("one/engine.cpp", "one/engine.hpp", "one/engine.test.cpp", "p/__init__.py", "p/x.py", "q/__init__.py", "q/x.py"):
            self.put(name, "\n")
        self.assertEqual(self.run_sizes(), (0, ""))
        self.put("two/engine.hpp", "\n")
        self.put("three/check.test.py", "\n")
        self.put("four/check.test.py", "\n")
        self.refused("engine: files of this name lie in 2 folders (one, two); rename", "check.test.py: files of this name lie in 2")

    def test_what_is_listed_may_shrink_and_not_grow(self):
        self.put("a.cpp", function(70))
        self.assertEqual(self.run_sizes("--write-allowed")[0], 0)
        self.assertIn("\n70 function a.cpp f\n", (self.root / "ci/sizes.allowed.txt").read_text())
        self.assertEqual(self.run_sizes(), (0, ""))
        self.put("a.cpp", function(65))
        self.assertEqual(self.run_sizes(), (0, ""))
        self.put("a.cpp", function(71))
        self.refused("function f has 71 lines, 60 are allowed, and ci/sizes.allowed.txt has it with 70")

    def test_what_is_no_longer_over_goes_from_the_list(self):
        self.put("a.cpp", function(60))
        for stale in ("70 function a.cpp f", "401 file gone.cpp", "2 name engine"):
            self.put("ci/sizes.allowed.txt", stale + "\n")
            self.refused(f"'{stale}' is no longer over its limit, or no longer there: take the line out")

    def test_the_list_does_not_get_longer(self):
        self.put("a.cpp", function(70))
        self.run_sizes("--write-allowed")
        self.git("add", ".")
        self.git("commit", "-q", "-m", "Begin")
        self.put("b.cpp", function(70))
        self.run_sizes("--write-allowed")
        self.assertEqual(self.run_sizes(), (0, ""))
        self.refused("it has 2 lines, 1 at HEAD: the list may only shrink", arguments=("--since", "HEAD"))

    def test_a_list_that_cannot_be_read_and_a_file_that_cannot_be_followed(self):
        self.put("ci/sizes.allowed.txt", "many file a.cpp\n")
        self.refused("ci/sizes.allowed.txt:1: expected LINES")
        self.put("ci/sizes.allowed.txt", "")
        self.put("a.cpp", "void f() {\n")
        self.refused("a.cpp:1: cannot be measured: a { that is never closed")


if __name__ == "__main__":
    unittest.main()
