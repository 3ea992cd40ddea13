"""plumbline.verify never passes what was not looked at, and leaves nothing running.

The program is what the environment variable PLUMBLINE names, or what verify() finds without it; without any, this fails.
"""

import json
import os
import pathlib
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import unittest
import unittest.mock

import models
import torch
from support import HERE, ROOT, write
from verify_support import MINIMIND, Case, S, ids, variable

import plumbline
from plumbline import verification


def pretender(shown, status, candidate):
    """A program that leaves a document, its own candidate standing where `candidate` stood, and ends with that status."""
    text = shown if isinstance(shown, str) or shown is None else json.dumps(shown)
    path = write("pretender.py", f"""#!{sys.executable} -S
import os, sys
out = next(word[6:] for word in sys.argv if word.startswith("--out="))
text = {text!r}
os.makedirs(out)
print("plumbline: was built in no time", file=sys.stderr)
if text is not None:
    open(out + "/result.json", "w").write(text.replace({candidate!r}, sys.argv[2]))
    open(out + "/summary.md", "w").close()
os.kill(os.getpid(), 9) if {status} < 0 else sys.exit({status})
""")
    os.chmod(path, stat.S_IRWXU)
    return path


class Ended(Case):
    """The whole process is told to end while a pass goes on."""

    def check(self, number, status):
        file = write("user.py", f"""
import sys, time
sys.path.insert(0, {HERE!r})
import models, plumbline, verify_support

class Waiting(models.MiniMind):
    def forward(self, tokens, **keywords):
        print("begun", flush=True)
        for _ in range(600):  # an interrupt that comes just before a long sleep would wait for its end
            time.sleep(0.1)

plumbline.verify(Waiting(verify_support.S), "tiny")
""")
        # A session of its own: an interrupt goes to all processes of a terminal's.
        with subprocess.Popen([sys.executable, file], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              start_new_session=True) as user:
            self.assertEqual(user.stdout.readline(), "begun\n")
            if number == signal.SIGKILL:
                user.kill()
            else:
                os.killpg(user.pid, number)
            self.assertIn("KeyboardInterrupt" if number == signal.SIGINT else "", user.stderr.read())
            self.assertEqual(user.wait(timeout=20), status)

    def test_by_an_interrupt(self):
        self.check(signal.SIGINT, -signal.SIGINT)

    def test_by_force(self):
        """The program then ends by itself. Nobody removes what Python had made."""
        self.check(signal.SIGKILL, -signal.SIGKILL)
        self.ends()
        for left in os.listdir(self.private):
            if left.startswith("plumbline-python-tests-") or os.path.exists(os.path.join(self.private, left, "socket")):
                shutil.rmtree(os.path.join(self.private, left))


class FailsClosed(Case):
    def test_what_the_program_refuses(self):
        model = models.MiniMind(S)
        self.assertIn("--spec nosuch: no such specification", str(self.not_judged(model, "nosuch")))
        self.assertIn("there is no chapter '77'", str(self.not_judged(model, "tiny", only=77)))
        self.assertIn("this model could not be understood: no attention was found",
                      str(self.not_judged(torch.nn.Sequential(torch.nn.Embedding(101, 48), torch.nn.Linear(48, 101)), "tiny")))
        self.assertRegex(str(self.not_judged(lambda specification: 3, "tiny")), "test_verify_fails_closed.py:.*returned an object of type int")

    def test_a_missing_program(self):
        model = models.MiniMind(S)
        self.assertIn("program=/nowhere/plumbline", str(self.not_judged(model, "tiny", program="/nowhere/plumbline")))
        with variable("PLUMBLINE", "/nowhere/plumbline"):
            self.assertIn("PLUMBLINE=/nowhere/plumbline", str(self.not_judged(model, "tiny")))
        with variable("PLUMBLINE", None), variable("PATH", "/nowhere"):
            # That of the tree, and where the package lies in none, what to set.
            self.assertTrue(os.path.samefile(verification.find_program(None), os.path.join(HERE, "..", "..", "..", "plumbline")))
            with unittest.mock.patch.object(verification, "HERE", pathlib.Path("/nowhere/a/b/c")):
                self.assertIn("set the environment variable PLUMBLINE", str(self.not_judged(model, "tiny")))

    def test_a_model_that_raises(self):
        class Bad(models.MiniMind):
            def forward(self, tokens, **keywords):
                if "past_key_values" in keywords:
                    raise RuntimeError("no cache \x1b[31m today")
                return super().forward(tokens, **keywords)

        error = self.not_judged(Bad(S), "tiny", only=4, **MINIMIND)
        self.assertEqual(error.result.status, 2)
        self.assertFalse(error.result)
        self.assertIn("KVC-4", ids(error.result.errors))
        self.assertIn("RuntimeError: no cache", str(error))
        self.assertNotIn("\x1b", str(error))

    def test_an_answer_that_comes_too_late(self):
        """The program asks a fresh Server, twice at most, and what was answered in time counts."""
        class Slow(models.MiniMind):
            passes = 0

            def forward(self, tokens, **keywords):
                self.passes += 1
                if self.passes == 12:
                    time.sleep(4)
                return super().forward(tokens, **keywords)

        model = Slow(S)
        error = self.not_judged(model, "tiny", only=6, timeout=3, **MINIMIND)
        self.assertIn("gave no answer within 3 s", str(error))
        self.assertEqual(len(error.result.errors), 1, str(error))
        self.assertGreater(len(error.result.passed), 4, str(error))

    def test_a_program_that_says_more_than_it_knows(self):
        genuine = tempfile.mkdtemp(dir=ROOT.name)
        plumbline.verify(models.MiniMind(S), "tiny", only=2, out=genuine, **MINIMIND)
        with open(os.path.join(genuine, "result.json"), encoding="utf-8") as file:
            document = json.load(file)

        def changed(*places, status=None, value=None):
            other = json.loads(json.dumps(document))
            if status is not None:
                other["footer"]["status"] = status
            if places:
                *outer, last = places
                part = other
                for place in outer:
                    part = part[place]
                if value is None:
                    del part[last]
                else:
                    part[last] = value
            return other

        left_out = document["footer"]["not_assessed"]
        surplus = changed()
        surplus["requirements"].append({**document["requirements"][0], "verdict": "fine"})
        for words, status, shown in (
                ("left no result", 0, None),
                ("left no result", 3, "not JSON"),
                ("left no result", 3, "[]"),
                ("says 3", 0, document),
                ("says 3", 1, document),
                ("every applicable must", 0, changed(status=0)),
                ("footer", 3, changed("footer")),
                (f"are {left_out}", 3, changed("footer", "not_assessed", value=left_out - 1)),
                (f"are {left_out - 1}", 3, changed("requirements", 0, "verdict", value="fine")),
                ("verdict that does not exist", 3, surplus),
                ("version 5", 3, changed("version", value=5)),
                ("checks", 3, changed("requirements", 0, "checks")),
                ("another run's", 3, changed("header", "candidate", value="exec: another")),
                ("status 127", 127, document),
                ("signal 9", -9, document)):
            with self.subTest(words, status=status):
                program = pretender(shown, status, document["header"]["candidate"])
                self.assertIn(words, str(self.not_judged(models.MiniMind(S), "tiny", program=program)))
        found = plumbline.verify(models.MiniMind(S), "tiny", program=pretender(document, 3, document["header"]["candidate"]))
        self.assertEqual(found.status, 3)  # what the others would have had, but for one change each
        # Status 2, with a document and without. What was said on the way is no reason.
        program = pretender(changed(status=2), 2, document["header"]["candidate"])
        error = self.not_judged(models.MiniMind(S), "tiny", program=program)
        self.assertEqual(error.result.status, 2)
        error = self.not_judged(models.MiniMind(S), "tiny", program=pretender(None, 2, ""))
        self.assertEqual((str(error), error.result), ("was built in no time", None))


if __name__ == "__main__":
    unittest.main()
