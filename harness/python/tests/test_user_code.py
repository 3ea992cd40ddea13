"""Whatever is wrong with the user's file is said in one line, with the line to look at."""

import contextlib
import io
import pathlib
import os
import sys
import unittest

from support import HERE, in_process, specification, write

import plumbline

S = specification()
IMPORTS = f"import sys\nsys.path.insert(0, {HERE!r})\nimport models, plumbline\n"

# What the file holds, the message's beginning, and the line.
MISTAKES = {
    "syntax": ("import plumbline\nadapter = (\n", "SyntaxError: ", 2),
    "import": ("import plumbline\nimport no_such_model\n", "ModuleNotFoundError: No module named 'no_such_model'", 2),
    "nothing": ("import plumbline\n", "Misused: the file defines no `adapter`", 1),
    "a number": ("\n\nadapter = 3\n", "Misused: `adapter` is of type int, expected", 3),
    "a class": ("import plumbline\n\nclass adapter(plumbline.Adapter):\n    pass\n", "Misused: `adapter` is a class, expected", 3),
    "a function of nothing": ("\ndef adapter():\n    pass\n", "Misused: `adapter` is called as adapter(specification): ", 2),
    "a function that returns nothing": ("def adapter(s):\n    pass\n", "Misused: `adapter` is of type NoneType, expected", 1),
    "build of nothing": (IMPORTS + "adapter = plumbline.Module(\n    lambda: 1)\n",
                         "Misused: `build` is called as build(specification)", 5),
    "build of a number": (IMPORTS + "def build(s):\n    return 1\nadapter = plumbline.Module(build)\n",
                          "Misused: build returned an object of type int, expected a torch.nn.Module", 4),
    "build that raises": (IMPORTS + "def build(s):\n    return models.MiniMind(s['hidden'])\nadapter = plumbline.Module(build)\n",
                          "KeyError: 'hidden'", 5),
    "an unknown keyword": (IMPORTS + "adapter = plumbline.Module(models.MiniMind, masks='m')\n", "TypeError: ", 4),
    "an unknown name": ("import plumbline\nadapter = plumbline.Modul(1)\n",
                        "AttributeError: module 'plumbline' has no attribute 'Modul'", 2),
    "a setting that is no JSON": (IMPORTS + "adapter = plumbline.Module(models.MiniMind, configuration={'rope_theta': float('inf')})\n",
                                  "ValueError: Out of range float", ""),
    "logits that are not found": (IMPORTS + "adapter = plumbline.Module(models.MiniMind, logits='scores')\n",
                                  "TypeError: the model's logits are not in what it returned (SimpleNamespace)", ""),
    "exit": ("import sys\nsys.exit('no more')\n", "SystemExit: no more", 2),
    "nothing to override": ("import plumbline\nadapter = plumbline.Adapter()\n", "its adapter does not override start(", None),
}


class Mistakes(unittest.TestCase):
    def setUp(self):
        self.path = list(sys.path)

    def tearDown(self):
        sys.path[:] = self.path

    def error_of(self, file):
        talk = in_process(file)
        return talk.refused("hello", **talk.greeting(S))

    def test_mistakes(self):
        for mistake, (text, message, line) in MISTAKES.items():
            with self.subTest(mistake):
                file = write("my_adapter.py", text)
                error = self.error_of(file)
                self.assertTrue(error["message"].startswith(message), error)
                self.assertNotIn("\n", error["message"])
                # Without a line of theirs, the file.
                self.assertEqual(error.get("where"), {"": file, None: None}.get(line, f"{file}:{line}"))

    def test_deepest_line_of_the_users_own_files(self):
        """In the model that stands beside the adapter, not in torch, which raised it."""
        file = write("my_adapter.py", "import plumbline\nfrom my_odd_model import Odd\nadapter = plumbline.Module(lambda s: Odd())\n")
        model = os.path.join(os.path.dirname(file), "my_odd_model.py")
        with open(model, "w", encoding="utf-8") as beside:
            beside.write("import torch\n\n\nclass Odd(torch.nn.Module):\n    def forward(self, tokens):\n"
                         "        return torch.nn.functional.linear(torch.ones(2, 3), torch.ones(4, 5))\n")
        error = self.error_of(file)
        self.assertEqual((error["kind"], error["where"]), ("failed", f"{model}:6"))

    def test_shown_below_the_present_directory_as_a_relative_path(self):
        file = write("my_adapter.py", "1 / 0\n")
        before = os.getcwd()
        os.chdir(os.path.dirname(file))
        try:
            self.assertEqual(self.error_of(file)["where"], "my_adapter.py:1")
        finally:
            os.chdir(before)

    def test_missing_file(self):
        self.assertIn("FileNotFoundError", self.error_of("/nowhere/adapter.py")["message"])

    def test_whole_traceback_on_standard_error(self):
        talk = in_process(write("my_adapter.py", "def adapter(s):\n    raise KeyError('x')\n"))
        errors = io.StringIO()
        with contextlib.redirect_stderr(errors):
            talk.reply("hello", **talk.greeting(S))
        self.assertIn("raise KeyError('x')", errors.getvalue())


class Template(unittest.TestCase):
    def test_it_is_a_python_file_whose_comments_are_code_too(self):
        text = (pathlib.Path(plumbline.__file__).parents[1] / "adapter_template.py").read_text()
        compile(text, "template", "exec")
        filled = text.replace("from my_model import MyModel", f"import sys; sys.path.insert(0, {HERE!r})\nfrom models import MiniMind")
        filled = filled.replace("return MyModel()", "return MiniMind(specification)")
        for keyword in ("mask=", "cache=", "repeat_kv="):
            filled = filled.replace(f"    # {keyword}", f"    {keyword}")
        description = in_process(write("filled.py", filled)).hello(S)
        self.assertEqual(description["can"]["padding"], ["right", "left"])
        self.assertEqual(description["can"]["operations"], ["repeat_kv"])
        self.assertEqual(description["can"]["cache"]["axes"], ["batch", "position", "head", "size"])


class Protocol(unittest.TestCase):
    def test_what_comes_too_early_or_is_not_spoken(self):
        talk = in_process(plumbline.Adapter())
        self.assertEqual(talk.refused("weights")["kind"], "cannot")
        self.assertIn("protocol 1, not 2", talk.refused("hello", **{**talk.greeting(S), "protocol": 2})["message"])
        self.assertIn("float16", talk.refused("hello", **talk.greeting(S, "float16"))["message"])

    def test_a_reply_that_is_no_json(self):
        class Own(plumbline.Adapter):
            def start(self, specification, dtype, device):
                return {}

            def open_cache(self, batch, capacity):
                return None

            def show_cache(self, cache):
                return {"length": {3}, "capacity": 3, "bytes": 12}, {}

        talk = in_process(Own())
        talk.hello(S)
        error = talk.refused("show_cache", cache=talk.open_cache(1, 3))
        self.assertEqual((error["kind"], error["message"]), ("failed", "TypeError: Object of type set is not JSON serializable"))

    def test_an_adapter_with_full_control(self):
        class Own(plumbline.Adapter):
            def start(self, specification, dtype, device):
                return {"name": "own", "can": {"modes": ["evaluation"]}}

            def forward(self, tokens, options):
                return {"logits": tokens.unsqueeze(-1).float()}

        talk = in_process(Own())
        description = talk.hello(S)
        self.assertEqual((description["name"], description["can"]["modes"], description["can"]["cache"]), ("own", ["evaluation"], None))
        import torch
        self.assertEqual(talk.forward(torch.tensor([[3, 4]]))["logits"].tolist(), [[[3.0], [4.0]]])
        self.assertEqual(talk.refused("weights")["kind"], "cannot")
        self.assertEqual(talk.refused("open_cache", batch=1, capacity=2)["kind"], "cannot")


if __name__ == "__main__":
    unittest.main()
