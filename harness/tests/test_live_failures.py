"""Live models that fail: no adapter, a broken one, a model that dies, hangs or floods, a program that says what is none, and signals.

Run by CTest as `python test_live_failures.py PROGRAM`. Models run in the interpreter that runs this file.
"""

import os
import pathlib
import random
import shutil
import signal
import sys
import time
import unittest

import live_cases
from live_cases import MODELS, files_of, Runs


class Containment(Runs):
    """What is wrong with the user's file, said with the line that it is in."""

    def test_no_such_file(self):
        self.refused(self.root / "nowhere.py", "nowhere.py", "no such file")

    def test_files_that_define_no_adapter(self):
        for text, words in (
                ("x = 1\nif x\n    pass\n", ("broken.py:2", "SyntaxError")),
                ("x = 1\n\nimport no_such_module\n", ("broken.py:3", "ModuleNotFoundError", "no_such_module")),
                ("import plumbline\nAdapter = plumbline.Module\n", ("broken.py:1", "defines no `adapter`")),
                ("import plumbline\n\ndef build():\n    pass\n\nadapter = plumbline.Module(build)\n", ("broken.py:3", "build(specification)")),
                ("import plumbline\nadapter = plumbline.Module(lambda s: 7)\n", ("broken.py:2", "int", "torch.nn.Module"))):
            with self.subTest(text):
                self.refused(self.file(text), *words)

    def test_mappings_that_name_nothing(self):
        adapter = "import models, plumbline\nadapter = plumbline.Module(models.Plain, mapping={})\n"
        self.refused(self.file(adapter.format("{'model.embed_tokens.weight': 'nowhere.weight'}")), "broken.py", "nowhere.weight")
        requirements = self.judged(self.file(adapter.format("{'model.embedding': 'tok.weight'}")), 1, "--only", "2")
        self.assertLessEqual({"PAR-2", "PAR-4"}, set(self.verdicts(requirements, "fail")))

    def test_a_model_that_raises_at_once(self):
        self.refused(self.plain("raise RuntimeError('out of\\nluck')"), "broken.py:8", "RuntimeError: out of")

    def test_a_model_that_raises_in_some_requirements(self):
        adapter = self.plain("if keywords.get('cache'): raise RuntimeError('no luck')")
        requirements = self.judged(adapter, 2, "--only", "4,6")
        self.assertEqual([i for i in self.verdicts(requirements, "error") if not i.startswith("KVC")], [])
        self.assertIn("broken.py:8: RuntimeError: no luck", requirements["KVC-4"]["reason"])
        self.assertEqual(requirements["BLK-1"]["verdict"], "pass")

    def test_logits_of_another_shape(self):
        self.refused(self.plain("return super().forward(*inputs, **keywords)[0][0], None"), "broken.py", "logits are of shape [2, 101]", "logits=")

    def test_a_model_that_prints_and_floods(self):
        adapter = self.plain("print('hello', Broken.calls); os.write(1, b'{\"id\": 7}\\n'); os.write(2, b'noise\\n' * 200000)")
        requirements = self.judged(adapter, 3, "--only", "6")
        self.assertEqual(len(self.verdicts(requirements, "pass")), 8)

    def test_a_model_that_dies_once(self):
        adapter = self.plain("flag = pathlib.Path(__file__).with_suffix('.died')\n"
                             "                    if Broken.calls == 30 and not flag.exists(): flag.touch(); print('good bye'); os._exit(3)")
        requirements = self.judged(adapter, 2, "--only", "5,6")
        errors = self.verdicts(requirements, "error")
        self.assertEqual(len(errors), 1, errors)
        self.assertIn("ended with status 3", requirements[errors[0]]["reason"])
        self.assertIn("good bye", requirements[errors[0]]["reason"])
        self.assertEqual(self.verdicts(requirements, "fail"), [])
        self.assertGreaterEqual(len(self.verdicts(requirements, "pass")), 16)

    def test_a_place_for_temporary_files_that_is_lost_is_no_failure_of_the_model(self):
        """As a full disk is none: what cannot be asked was not answered wrongly."""
        adapter = self.plain("import glob, shutil\n"
                             "                    lost = glob.glob(os.environ['TMPDIR'] + '/plumbline-*') if Broken.calls == 20 else []\n"
                             "                    for place in lost: shutil.rmtree(place)")
        requirements = self.judged(adapter, 2, "--only", "text")
        self.assertEqual(self.verdicts(requirements, "fail"), [])
        self.assertGreater(len(self.verdicts(requirements, "error")), 3)

    def test_a_model_that_dies_where_nobody_waits_for_an_answer(self):
        adapter = self.file("""
            import os
            import plumbline.server
            import plain_adapter
            closing, closed = plumbline.server.Server.close_cache, []
            def close_cache(self, request):
                closed.append(request)
                if len(closed) == 5:
                    os._exit(3)
                return closing(self, request)
            plumbline.server.Server.close_cache = close_cache
            adapter = plain_adapter.adapter
            """)
        requirements = self.judged(adapter, 2, "--only", "4,7")
        self.assertIn("close_cache", " ".join(requirements[each]["reason"] for each in self.verdicts(requirements, "error")))

    def test_a_model_that_hangs(self):
        self.refused(self.plain("time.sleep(1000)"), "no answer within 6 s", arguments=["--timeout", "6"])


class Speech(Runs):
    """Programs that speak the protocol wrongly."""

    def test_one_that_speaks_rightly_is_judged(self):
        requirements = self.judged(self.speaker(), 1)
        # Its logits are not those of its one matrix, with everything that it lacks doing nothing.
        self.assertEqual(self.verdicts(requirements, "fail"), ["PAR-1", "PAR-2", "MODE-2", "MODE-11", "NUM-6", "TXT-2"])
        self.assertIn("NUM-5", self.verdicts(requirements, "pass"))

    def test_no_program(self):
        self.refused("exec: false", "false", "status 1")
        self.refused("exec: no-such-program", "no-such-program", "not found")
        self.refused("exec:", "exec:")
        self.refused("exec: exec sleep 1000", "no answer within 2 s", arguments=["--timeout", "2"])
        self.refused("exec: exit 0", "status 0")
        self.refused("exec: kill -9 $$", "signal 9")
        # Asked or not yet: it writes at once, and either is said with what it wrote.
        self.refused("exec: yes", "exec: yes", "'y")

    def test_a_hello_that_is_none(self):
        for how, *words in (("id", "expected a reply to request 1"), ("text", "good morning", "JSON"), ("empty line", "JSON"),
                            ("deep", "JSON"), ("huge", "bytes in one line"), ("bytes", "JSON"), ("nan", "JSON"), ("no end", "status 0"),
                            ("kind", "unknown kind 'odd'"), ("cannot", "not today"), ("overrun", "not today"), ("failed",),
                            ("type", "float16"), ("protocol", "protocol 1"), ("mapping", "nowhere.weight"), ("exit", "status 3"),
                            ("unasked", "and by the way", "without being asked"), ("two", "without being asked")):
            with self.subTest(how):
                self.refused(self.speaker(how, "hello"), *words)

    def test_weights_that_are_none(self):
        for how, *words in (("climbs", "plain name"), ("half", "tensors"), ("empty", "tensors"), ("no file", "tensors"), ("folder", "tensors"),
                            ("link", "tensors"), ("fifo", "tensors"), ("exit", "status 3"), ("cannot", "not today")):
            with self.subTest(how):
                self.refused(self.speaker(how, "weights"), *words, arguments=["--timeout", "3"])

    def test_first_logits_that_are_none(self):
        for how, *words in (("climbs", "plain name"), ("half", "tensors"), ("exit", "status 3"), ("hang", "no answer within 1 s"), ("flat", "shape"),
                            ("no words", "logits"), ("more words", "logits"), ("integers", "logits"), ("truths", "logits"),
                            ("cannot", "not today"), ("overrun", "not today"), ("failed", "xxx"), ("seconds",)):
            with self.subTest(how):
                if how == "seconds":
                    self.judged(self.speaker(how, "forward"), 1)
                else:
                    self.refused(self.speaker(how, "forward"), *words, arguments=["--timeout", "1"])

    def test_later_logits_that_are_none(self):
        # Whatever is answered after the adapter was checked costs the requirement at hand, and those after three new starts.
        for how in ("id", "huge", "two", "half", "exit", "flat", "no words"):
            with self.subTest(how):
                requirements = self.judged(self.speaker(how, "forward", 6), 1, "--only", "2,7")
                self.assertNotEqual(self.verdicts(requirements, "error"), [])

    def test_children_and_noise_are_no_hindrance(self):
        self.judged(self.speaker("children", "forward", 3), 1, "--only", "2,7")
        self.judged(self.speaker("flood", "forward", 3), 1, "--only", "2,3")

    def test_an_end_that_does_not_come_is_made(self):
        self.judged(self.speaker("hang", "bye"), 1, "--only", "2", "--timeout", "2")


class Interruptions(Runs):
    def test_signals_end_it_at_any_moment(self):
        moments = random.Random(1)
        shutil.copy(MODELS / "plain_adapter.py", self.root)
        for turn in range(8):
            number = (signal.SIGINT, signal.SIGTERM)[turn % 2]
            # Half of them in a short-lived run of a program that starts at once.
            candidate, longest = ((self.root / "plain_adapter.py", 4.0), (self.speaker(), 0.4))[turn // 2 % 2]
            moment = moments.uniform(0.02, longest)
            with self.subTest(signal=number.name, moment=round(moment, 3), candidate=str(candidate)[:20]):
                shutil.rmtree(self.out, ignore_errors=True)
                process = self.start(candidate)
                time.sleep(moment)
                process.send_signal(number)
                run = self.ended(process, 5)
                if (self.out / "summary.md").exists():  # it was judged before: all is written, and whole
                    self.assertEqual(sorted(os.listdir(self.out)), files_of(self.out))
                    continue
                self.assertEqual(run.returncode, -number)
                self.assertFalse(self.out.exists() and os.listdir(self.out))

    def test_a_killed_candidate_never_makes_it_hang(self):
        moments = random.Random(2)
        shutil.copy(MODELS / "plain_adapter.py", self.root)
        for turn in range(12):
            candidate, longest = (self.root / "plain_adapter.py", 5.0) if turn % 4 == 0 else (self.speaker(), 0.5)
            marker = "plumbline.serve" if turn % 4 == 0 else "speaker.py"
            moment = moments.uniform(0, longest)
            with self.subTest(moment=round(moment, 3), candidate=str(candidate)[:20]):
                shutil.rmtree(self.out, ignore_errors=True)
                process = self.start(candidate, *(["--only", "3"] if turn % 4 == 0 else []))
                self.strike(process, marker, signal.SIGKILL, moment)
                run = self.ended(process, 60)
                if (self.out / "result.json").exists():
                    self.assertIn(run.returncode, (1, 2, 3))
                else:
                    self.assertEqual(run.returncode, 2)
                    self.assertEqual(len(run.stderr.splitlines()), 1, run.stderr)
                    self.assertIn("signal 9", run.stderr)


if __name__ == "__main__":
    live_cases.PROGRAM = str(pathlib.Path(sys.argv.pop(1)).resolve())
    unittest.main(verbosity=1)
