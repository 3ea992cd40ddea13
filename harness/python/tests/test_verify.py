"""plumbline.verify judges a model where it is, and shows what was found.

The program is what the environment variable PLUMBLINE names, or what verify() finds without it; without any, this fails.
"""

import asyncio
import contextlib
import importlib.util
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
import unittest

import models
import torch
from support import HERE, ROOT, with_transformers, write
from verify_support import MINIMIND, Case, S, edited, ids, plain_options, variable

import plumbline
from plumbline import result


class Verdicts(Case):
    def test_a_right_model_conforms(self):
        found = plumbline.verify(models.MiniMind(S), "tiny", longest=604, **MINIMIND)
        self.assertTrue(found and found.conforms, str(found))
        self.assertIs(found.require(), found)
        self.assertEqual((found.status, found.failures, found.errors, found.not_assessed), (0, [], [], []))
        self.assertGreater(len(found.passed), 60)
        self.assertEqual(len(found.requirements), len(found.document["requirements"]))
        # An instance cannot be made anew.
        self.assertIn("CFG-14", ids(found.not_applicable))
        self.assertIn("conforms to tiny", found.sentence)
        self.assertIn(found.sentence, repr(found))
        self.assertIn("conforms to tiny", found.summary)
        self.assertIn(found.sentence, found._repr_html_())

    def test_a_wrong_model_fails_where_it_is_wrong(self):
        found = plumbline.verify(edited("repeat-tiled"), "tiny", only=[3, 8], threads=1, longest=604, **plain_options())
        self.assertEqual((found.status, found.conforms, bool(found)), (1, False, False))
        self.assertLessEqual({"GQA-2", "GQA-5", "NUM-6"}, ids(found.failures))
        failure = next(requirement for requirement in found.failures if requirement.id == "NUM-6")
        check = next(check for check in failure.checks if not check.within)
        self.assertIn("logits", check.what)
        self.assertEqual(len(check.worst_index), 3)
        self.assertGreater(check.worst_difference, check.tolerance)
        self.assertNotEqual(check.actual, check.expected)
        for text in (str(found), found._repr_html_()):
            self.assertIn(failure.statement, text)
        with self.assertRaises(AssertionError) as caught:
            found.require()
        self.assertIn(check.sentence, str(caught.exception))
        self.assertIn("GQA-2", repr(found))

    def test_only_some_chapters_are_incomplete(self):
        found = plumbline.verify(models.MiniMind(S), "tiny", only=2, **MINIMIND)
        self.assertEqual((found.status, bool(found), found.failures), (3, False, []))
        self.assertIn("PAR-1", ids(found.passed))
        self.assertIn("NUM-6", ids(found.not_assessed))

    @with_transformers
    def test_a_model_of_transformers_needs_no_options(self):
        from transformers import LlamaConfig, LlamaForCausalLM
        model = LlamaForCausalLM(LlamaConfig(**plumbline.llama_config(S)))
        found = plumbline.verify(model, "tiny", only=[4, 5])
        self.assertEqual((found.failures, found.errors), ([], []), str(found))
        self.assertLessEqual({"KVC-4", "ROPE-6", "ROPE-8"}, ids(found.passed))

    def test_functions_and_adapters(self):
        adapter = plumbline.Module(models.MiniMind, **MINIMIND)
        before = dict(vars(adapter))
        for model, options in ((models.MiniMind, MINIMIND), (adapter, {}), (lambda specification: adapter, {})):
            found = plumbline.verify(model, "tiny", only=1, **options)
            self.assertEqual((found.failures, found.errors), ([], []), str(found))
            self.assertIn("CFG-14", ids(found.passed))  # made anew
        self.assertEqual(vars(adapter), before)

    def test_bfloat16(self):
        model = models.MiniMind(S).bfloat16()
        right = models.MiniMind(S).model
        model.model.freqs_cos, model.model.freqs_sin = right.freqs_cos, right.freqs_sin
        tables = set()
        model.register_forward_pre_hook(lambda *_: tables.add(model.model.freqs_cos.dtype))
        found = plumbline.verify(model, "tiny", only=6, **MINIMIND)
        self.assertEqual((found.failures, found.errors), ([], []), str(found))
        self.assertIn("BLK-1", ids(found.passed))
        self.assertEqual(found.document["header"]["dtype"], "bf16")
        self.assertEqual(tables, {torch.float32}, "judged as it is")

    def test_the_bundle_stays_where_it_was_asked_for(self):
        out = os.path.join(tempfile.mkdtemp(dir=ROOT.name), "bundle")
        found = plumbline.verify(models.MiniMind(S), "tiny", only=2, out=out, **MINIMIND)
        with open(os.path.join(out, "manifest.json"), encoding="utf-8") as file:
            listed = [entry["name"] for entry in json.load(file)["files"]]
        self.assertEqual(sorted(os.listdir(out)), sorted([*listed, "manifest.json"]))
        self.assertLessEqual({"result.json", "report.html", "result.xml", "summary.md"}, set(listed))
        with open(os.path.join(out, "result.json"), encoding="utf-8") as file:
            self.assertEqual(json.load(file), found.document)

    def test_a_long_path_for_temporary_files(self):
        place = os.path.join(self.private, "x" * 100)
        os.mkdir(place)
        self.addCleanup(os.rmdir, place)
        with variable("TMPDIR", place):
            tempfile.tempdir = None
            self.assertIn("PAR-1", ids(plumbline.verify(models.MiniMind(S), "tiny", only=2).passed))
            self.assertEqual(os.listdir(place), [])

    def test_arguments_that_cannot_be(self):
        model = models.MiniMind(S)
        half = models.MiniMind(S).half()
        mixed = models.MiniMind(S)
        mixed.model.norm.bfloat16()
        for error, words, keywords in (
                (ValueError, "bfloat16.*float32", {"model": model, "dtype": torch.bfloat16}),
                (ValueError, "int8", {"model": model, "dtype": torch.int8}),
                (ValueError, "int8", {"model": models.MiniMind, "dtype": torch.int8}),
                (ValueError, "float16", {"model": half}),
                (ValueError, "bfloat16 and torch.float32", {"model": mixed}),
                (ValueError, "cuda:1.*on cpu", {"model": model, "device": "cuda:1"}),
                (TypeError, "mask", {"model": plumbline.Module(models.MiniMind), "mask": "attention_mask"}),
                (TypeError, "masks", {"model": model, "masks": "attention_mask"}),
                (TypeError, "initialises", {"model": model, "initialises": True}),
                (TypeError, "of type int", {"model": 3})):
            with self.subTest(words), self.assertRaisesRegex(error, words):
                plumbline.verify(spec="tiny", **keywords)


class Shown(Case):
    def test_text_of_the_model_is_no_markup(self):
        class Evil(models.MiniMind):
            def __init__(self, s):
                super().__init__(s)
                self.register_parameter("<script>alert(1)</script>", torch.nn.Parameter(torch.ones(2)))

            def forward(self, tokens, **keywords):
                if self.training:
                    raise RuntimeError("<script>alert(2)</script>\u202e")
                return super().forward(tokens, **keywords)

        def untrained(model):
            """Without training the model answers for itself."""
            class Untrained(plumbline.Module):
                def start(self, *arguments):
                    described = super().start(*arguments)
                    described["can"]["modes"] = ["evaluation"]
                    return described
            return Untrained(lambda specification: model, **MINIMIND)

        found = plumbline.verify(untrained(Evil(S)), "tiny", only=2)
        self.assertIn("PAR-1", ids(found.failures))
        self.assertIn("<script>alert(1)</script>", str(found))
        error = self.not_judged(Evil(S), "tiny", only=3, **MINIMIND)
        self.assertIn("<script>alert(2)</script>", str(error))
        self.assertNotIn("\u202e", str(error))
        page = found._repr_html_()
        self.assertNotIn("<script", page)
        self.assertIn("&lt;script&gt;alert(1)&lt;/script&gt;", page)
        self.assertNotIn("<script", found.summary)

    def test_every_text_of_a_document_is_made_harmless(self):
        check = {"within": False, "what": "<w>", "expected": "<e>", "actual": "<a>", "sentence": "", "elements": 1,
                 "worst_difference": None, "tolerance": None, "tolerance_reason": "<t>", "worst_index": []}
        entry = {"id": "<i>", "chapter": 1, "statement": "<s>", "level": "should", "source": "<o>", "verdict": "fail",
                 "reason": "", "finding": "<f>", "seconds": 0.0, "checks": [check] * 5}
        reason = "exec: x <r> \x1b[31m" + "r" * 999
        others = [{**entry, "id": f"<i{verdict}>", "verdict": verdict, "reason": reason, "checks": []}
                  for verdict in ("error", "not assessed", "not applicable")]
        footer = {"passed": 0, "failed": 1, "errors": 1, "not_assessed": 1, "not_applicable": 1, "status": 2, "verdict": "<v>"}
        found = result.Result({"format": "plumbline-result", "version": 1, "requirements": [entry, *others], "footer": footer,
                               "localisation": {"conclusion": "<c>"}}, "", "exec: x")
        page = found._repr_html_()
        for tag in ("<div>", "</div>", "<p>", "</p>", "<ul>", "</ul>", "<li>", "</li>", "<br>", "<strong>", "</strong>"):
            page = page.replace(tag, "")
        self.assertNotIn("<", page)
        for text in ("&lt;i&gt;", "&lt;s&gt;", "&lt;w&gt;: got &lt;a&gt;, expected &lt;e&gt;", "&lt;v&gt;", "&lt;c&gt;",
                     "the model &lt;r&gt; ?[31mrrr", "rrr…", "… and 2 more", "(should)"):
            self.assertIn(text, page)
        self.assertEqual(repr(found), "<plumbline.Result: <v>; failed: <i>; in error: <ierror>>")

    def test_a_failure_that_somebody_answers_for_does_not_decide(self):
        entry = {"id": "A-1", "chapter": 1, "statement": "it holds", "level": "must", "source": "", "verdict": "pass", "reason": "",
                 "finding": "", "seconds": 0.0, "checks": []}
        failed = {**entry, "id": "A-2", "verdict": "fail"}

        def found(version=2, **counts):
            footer = {"passed": 1, "failed": 1, "errors": 0, "not_assessed": 0, "not_applicable": 0, "status": 0, "verdict": "v", **counts}
            return result.Result({"format": "plumbline-result", "version": version, "requirements": [entry, failed], "footer": footer}, "")

        self.assertTrue(found(waived=1).conforms)
        self.assertEqual(ids(found(waived=1).failures), {"A-2"})
        for arguments in ({"waived": 0}, {}, {"waived": 2}, {"version": 5, "waived": 1}):
            with self.assertRaises(result.CouldNotJudge):
                found(**arguments)

    def test_output(self):
        class Noisy(models.MiniMind):
            def forward(self, tokens, **keywords):
                print("from the model")
                return super().forward(tokens, **keywords)

        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            plumbline.verify(Noisy(S), "tiny", only=2, **MINIMIND)
        self.assertIn("from the model", output.getvalue())
        self.assertNotIn("Judging", output.getvalue())
        with contextlib.redirect_stdout(output):
            plumbline.verify(models.MiniMind(S), "tiny", only=2, quiet=False, **MINIMIND)
        self.assertIn("Judging", output.getvalue())
        self.assertIn("Parameters", output.getvalue())

    def test_under_a_running_loop_and_in_a_thread(self):
        async def cell():
            return plumbline.verify(models.MiniMind(S), "tiny", only=2, **MINIMIND)

        self.assertIn("PAR-1", ids(asyncio.run(cell()).passed))
        found = []
        thread = threading.Thread(target=lambda: found.append(asyncio.run(cell())))
        thread.start()
        thread.join(timeout=60)
        self.assertIn("PAR-1", ids(found[0].passed))

    def test_in_a_test_of_the_users_own(self):
        """Under pytest where there is one, else under unittest with its output held back; the second test is to fail."""
        pytest = importlib.util.find_spec("pytest") is not None
        file = write("test_users_model.py", f"""
import sys, unittest
sys.path.insert(0, {HERE!r})
import models, plumbline
from verify_support import MINIMIND, S, edited, plain_options

class Users(unittest.TestCase):
    def test_right(self):
        self.assertEqual(plumbline.verify(models.MiniMind(S), "tiny", only=2, **MINIMIND).failures, [])

    def test_wrong(self):
        print("held back")
        plumbline.verify(edited("repeat-tiled"), "tiny", only=3, **plain_options()).require()
""")
        runner = ["pytest", "-q", "-p", "no:cacheprovider"] if pytest else ["unittest", "-b"]
        run = subprocess.run([sys.executable, "-m", *runner, os.path.basename(file)], cwd=os.path.dirname(file), text=True,
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=100)
        self.assertEqual(run.returncode, 1, run.stdout)
        self.assertIn("1 failed, 1 passed" if pytest else "Ran 2 tests", run.stdout)
        self.assertIn("GQA-2: ", run.stdout)
        self.assertIn("does not conform to tiny", run.stdout)


if __name__ == "__main__":
    unittest.main()
