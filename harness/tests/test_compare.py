"""Two candidates, compared by the real program: what is the same is said to be, what differs is found and placed.

Run by CTest as `python test_compare.py PROGRAM [--long]`. With --long, more of the catalogued defects, and edits of
harness/python/tests/edits.py against a recording of the model as it was. Models run in the interpreter that runs this file.
"""

import concurrent.futures
import importlib.util
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import unittest

import live_cases as live
import edits  # on the path since then

HERE = pathlib.Path(__file__).resolve().parent

DEFECTS = json.loads((HERE.parents[1] / "fixtures" / "defects.json").read_text())


class Pairs(live.Runs):
    def compared(self, one, other, status, *arguments):
        """The result document, and what was printed."""
        shutil.rmtree(self.out, ignore_errors=True)
        run = self.ended(self.start(one, str(other), *arguments, command="compare"))
        self.assertEqual(run.returncode, status, run.stdout[-3000:] + run.stderr)
        self.assertEqual(run.stderr, "")
        checked = subprocess.run([live.PROGRAM, "report", "check", str(self.out)], capture_output=True, text=True)
        self.assertIn("The bundle is complete and consistent.", checked.stdout[-1000:])
        result = json.loads((self.out / "result.json").read_text())
        self.assertEqual((result["header"]["baseline"]["name"], result["header"]["candidate"]), (str(one), str(other)))
        return result, run.stdout

    def failed(self, result):
        return [r["id"] for r in result["requirements"] if r["verdict"] == "fail"]

    def model(self, name, change=()):
        folder = self.root / name
        folder.mkdir()
        text = (live.MODELS / "models.py").read_text()
        for old, new in dict(change).items():
            self.assertEqual(text.count(old), 1, old)
            text = text.replace(old, new)
        (folder / "models.py").write_text(text)
        return pathlib.Path(shutil.copy(live.MODELS / "plain_adapter.py", folder))

    def recorded(self, adapter, *arguments):
        file = self.root / "before.h5"
        run = self.ended(self.start(adapter, "-o", str(file), *arguments, command="record"))
        self.assertEqual(run.returncode, 0, run.stdout[-2000:] + run.stderr)
        return file


    def differ_from_the_reference(self, defects):
        def complaint(defect):
            out = self.root / defect["name"]
            run = subprocess.run([live.PROGRAM, "compare", "reference", f"defect:{defect['name']}", "--spec", "tiny", "--threads", "1",
                                  "--out", str(out)], capture_output=True, text=True, timeout=300)
            if run.returncode != 1:
                return f"{defect['name']}: exit status {run.returncode}: {(run.stdout + run.stderr)[-500:]}"
            place = (json.loads((out / "result.json").read_text())["localisation"] or {}).get("first_locally_wrong")
            return None if place == defect.get("stage") else f"{defect['name']}: first at {place}, expected {defect.get('stage')}"

        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            complaints = [c for c in pool.map(complaint, defects) if c]
        self.assertEqual(complaints, [])


class Comparisons(Pairs):
    def test_defects_differ_from_the_reference_where_they_are(self):
        self.differ_from_the_reference(DEFECTS[3::16])

    def test_a_model_is_what_it_is_itself_right_or_wrong(self):
        for name in ("reference", "defect:mask-none", "defect:logits-not-a-number"):
            with self.subTest(name):
                result, _ = self.compared(name, name, 0)
                self.assertIn("bit for bit in everything that was compared", result["footer"]["verdict"])
                checks = [check for r in result["requirements"] for check in r["checks"] if check["identical"] is not None]
                self.assertGreater(len(checks), 500)
                self.assertTrue(all(check["identical"] and check["elements"] > 0 for check in checks))
                self.assertIsNone(result["localisation"])

    def test_honest_refactors_are_the_same_within_rounding(self):
        plain = self.model("plain")
        for one, other, dtype in (("reference", plain, "f32"), (plain, "reference", "bf16")):
            with self.subTest(one=one, other=other):
                result, printed = self.compared(one, other, 0, "--dtype", dtype)
                self.assertIn("no difference beyond rounding", result["footer"]["verdict"])
                for r in result["requirements"]:
                    self.assertIn(r["verdict"], ("pass", "not applicable"), r["reason"])
                self.assertIn("SAME-14", printed)
                self.assertRegex(printed, r"a pass of 512 tokens: \d+\.\d\d x the time")

    def test_gradients_that_one_of_the_two_alone_has_leave_it_incomplete(self):
        """An engine for inference has none, and nothing else that it shows could stand for them."""
        result, _ = self.compared("reference", "reference:fast", 3)
        unseen = {r["id"]: r["reason"] for r in result["requirements"] if r["verdict"] == "not assessed"}
        self.assertEqual(set(unseen), {"SAME-13", "SAME-16"})
        self.assertIn("reference alone has gradients, and nothing of reference:fast can stand for them", unseen["SAME-13"])
        self.assertTrue({r["verdict"] for r in result["requirements"]} <= {"pass", "not applicable", "not assessed"})

    def test_a_recording_and_the_model_it_was_made_of(self):
        plain = self.model("plain")
        before = self.recorded(plain)
        result, _ = self.compared(before, plain, 0)
        self.assertIn("bit for bit in everything that was compared", result["footer"]["verdict"])
        reasons = {r["id"]: r["reason"] for r in result["requirements"] if r["verdict"] == "not applicable"}
        self.assertIn("before.h5 is a recording, of which nothing is run", reasons["SAME-14"])
        self.compared(before, before, 0)
        shutil.rmtree(self.root / "plain")
        for edit in [edit for edit in edits.EDITS if edit.name in ("mask-none-in-training", "mask-off-by-one")]:
            with self.subTest(edit.name):
                result, printed = self.compared(before, self.model(edit.name, edit.change), 1)
                self.assertEqual(result["localisation"]["first_locally_wrong"], edit.stage)
                self.assertIn("Where they differ", printed)

    def test_checkpoints(self):
        one, other = self.root / "one", self.root / "other"
        subprocess.run([live.PROGRAM, "export", one, "--spec", "tiny"], check=True, capture_output=True)
        shutil.copytree(one, other)
        result, _ = self.compared(one, other, 0)
        self.assertIn("no code was run", result["footer"]["verdict"])
        weights = other / "model.safetensors"
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1  # of the last element's exponent
        weights.write_bytes(content)
        result, printed = self.compared(one, other, 1)
        self.assertEqual(self.failed(result), ["SAME-3"])
        self.assertRegex(printed, r"model\.norm\.weight\[47\]: now \S+, before \S+")
        settings = json.loads((other / "config.json").read_text())
        (other / "config.json").write_text(json.dumps({**settings, "rms_norm_eps": 1e-3}))
        result, printed = self.compared(one, other, 1)
        self.assertEqual(self.failed(result), ["SAME-1", "SAME-3"])
        self.assertIn("rms_norm_eps: now 0.001", printed)
        (other / "config.json").write_text(json.dumps({**settings, "sliding_window": 16}))
        shutil.copy(one / "model.safetensors", weights)
        result, printed = self.compared(one, other, 3)
        self.assertIn("sliding_window", printed)
        (one / "config.json").write_text(json.dumps({**settings, "sliding_window": 32}))
        result, printed = self.compared(one, other, 1)
        self.assertIn("config.json: sliding_window: now 16, before 32", " ".join(printed.split()))

    def test_a_checkpoint_and_a_model_that_takes_any_weights(self):
        stored = self.root / "stored"
        subprocess.run([live.PROGRAM, "export", stored, "--spec", "tiny"], check=True, capture_output=True)
        result, _ = self.compared(stored, self.model("plain"), 0)
        self.assertIn("weights were not compared, and no code was run", result["footer"]["verdict"])

    def test_what_bfloat16_hides_in_single_elements_shows_in_the_whole(self):
        """Logits that are a fifth too large in padded batches alone; keys that no gradient reaches."""
        plain = self.model("plain")
        for name, change, failed in (
                ("padded", {"        x = self.last_norm(x)\n":
                            "        x = self.last_norm(x) * (1 if pad_mask is None else 1.2)\n"}, "SAME-7"),
                ("detached", {edits.ROTATED: edits.ROTATED.replace("self.rotated(k, position)",
                                                                             "self.rotated(k, position).detach()")}, "SAME-13")):
            with self.subTest(name):
                result, _ = self.compared(plain, self.model(name, change), 1, "--dtype", "bf16")
                self.assertIn(failed, self.failed(result))
                self.assertIn("on the whole", json.dumps(result))

    def test_what_one_of_the_two_alone_has_is_held_to_what_the_other_has(self):
        """A refactor that adds a KV cache, padding, positions and a loop; the cache right, and rotating from 0 again."""
        bare = self.model("bare")
        bare.write_text(bare.read_text().replace("    return plumbline.Module(", "    made = plumbline.Module(") +
                        "    made.cache = made.writes = made.positions = made.mask = None\n    return made\n")
        restarting = {edits.POSITION: edits.POSITION.replace("slots.", "(slots - start).")}
        models = {"right": (self.model("right"), 0), "restarting": (self.model("restarting", restarting), 1)}
        for before in (bare, self.recorded(bare)):
            for name, (after, status) in models.items():
                with self.subTest(before=before.name, after=name):
                    result, printed = self.compared(before, after, status)
                    self.assertEqual(self.failed(result), ["SAME-8", "SAME-9"] if status else [])
                    said = f"{after} alone has a KV cache, padding on the right, padding on the left, positions, a loop"
                    self.assertIn(said, result["footer"]["verdict"])
                    self.assertIn(said, result["header"]["baseline"]["alone"][0])
                    if status:
                        self.assertEqual(result["localisation"]["first_locally_wrong"], "layers.0.q_rotated")
        result, _ = self.compared(models["restarting"][0], bare, 1)
        self.assertEqual(self.failed(result), ["SAME-8", "SAME-9"])

    def test_what_shows_after_three_hundred_tokens(self):
        window = {edits.MASK: f"{edits.MASK}\n        allowed = allowed & (torch.arange(start + length, device=tokens.device) > slots.unsqueeze(1) - 300)"}
        before = self.recorded(self.model("plain"))
        result, _ = self.compared(before, self.model("window", window), 1)
        self.assertIn("600 tokens", result["localisation"]["conclusion"])

    def test_programs_that_are_given_no_weights(self):
        """Each keeps its own: where those differ, outputs tell nothing of the code."""
        speaker = self.speaker(extent="")
        result, _ = self.compared(speaker, speaker, 0)
        self.assertEqual({r["verdict"] for r in result["requirements"] if r["id"] in ("SAME-3", "SAME-5")}, {"pass"})

    def test_what_cannot_be_compared_is_refused_in_a_line(self):
        for one, other, words in (("reference", "nowhere.py", ("nowhere.py", "no such file")), ("defect:none", "reference", ("none",)),
                                  ("reference", "defect:teleport", ("teleport",))):
            with self.subTest(one=one, other=other):
                run = self.ended(self.start(one, other, command="compare"))
                self.assertEqual(run.returncode, 2, run.stdout)
                self.assertEqual(len(run.stderr.splitlines()), 1, run.stderr)
                for word in words:
                    self.assertIn(word, run.stderr)
                self.assertFalse(self.out.exists())
        run = subprocess.run([live.PROGRAM, "compare", "reference"], capture_output=True, text=True, cwd=self.root)
        self.assertEqual((run.returncode, len(run.stderr.splitlines())), (2, 1), run.stderr)
        self.assertIn("other", run.stderr)

    def test_one_that_raises_is_an_error_and_no_difference(self):
        result, printed = self.compared("reference", self.plain("if keywords.get('cache'): raise RuntimeError('no luck')"), 2)
        self.assertEqual(self.failed(result), [])
        self.assertIn("no luck", printed)

    def test_a_signal_ends_both(self):
        for moment in (1.0, 4.0):
            process = self.start(self.model(f"one{moment}"), str(self.model(f"other{moment}")), command="compare")
            time.sleep(moment)
            process.send_signal(signal.SIGINT)
            self.assertEqual(self.ended(process, 10).returncode, -signal.SIGINT)
            self.assertFalse(self.out.exists())


class Everything(Pairs):
    @unittest.skipUnless(importlib.util.find_spec("transformers"), "transformers cannot be imported here")
    def test_a_model_of_ones_own_and_that_of_transformers(self):
        llama = pathlib.Path(shutil.copy(live.MODELS / "llama_adapter.py", self.root))
        self.compared(llama, self.model("plain"), 0)

    def test_logits_alone_tell_in_which_block(self):
        """Nothing but logits to see: blocks are silenced one by one in both."""
        text = (live.MODELS / "plain_adapter.py").read_text()
        self.assertEqual(text.count("        stages={"), 1)
        edit = next(edit for edit in edits.EDITS if edit.stage == "layers.0.gated")
        adapters = [self.model("one"), self.model("other", edit.change)]
        for adapter in adapters:
            adapter.write_text(text.replace("        stages={", "        stages={} and {"))
        result, printed = self.compared(*adapters, 1)
        self.assertIn("different on their own: the feed-forward of layer 0 alone", result["localisation"]["conclusion"])
        before = adapters[0].parent.parent / "before.h5"
        run = self.ended(self.start(adapters[0], "-o", str(before), command="record"))
        self.assertIn(run.returncode, (0, 3), run.stdout + run.stderr)
        again, _ = self.compared(before, adapters[1], 1)
        self.assertEqual(again["localisation"]["conclusion"], result["localisation"]["conclusion"])

    def test_more_defects_differ_from_the_reference_where_they_are(self):
        self.assertGreater(len(DEFECTS), 80)
        self.differ_from_the_reference(DEFECTS[1::8])

    def test_edits_differ_from_the_recording_where_they_are(self):
        for dtype, some in (("f32", edits.EDITS[::3]), ("bf16", edits.BFLOAT16_EDITS)):
            before = self.recorded(self.model(f"plain-{dtype}"), "--dtype", dtype)
            for edit in some:
                if edit.refused:
                    continue
                with self.subTest(edit.name):
                    # One that raises where the other answers cannot be compared there.
                    raises = edit.name == "cache-shared"
                    result, _ = self.compared(before, self.model(f"{edit.name}-{dtype}", edit.change), 2 if raises else 1, "--dtype", dtype)
                    if edit.stage:
                        self.assertEqual(result["localisation"]["first_locally_wrong"], edit.stage,
                                         result["localisation"]["conclusion"])


if __name__ == "__main__":
    live.PROGRAM = str(pathlib.Path(sys.argv.pop(1)).resolve())
    if "--long" in sys.argv:
        sys.argv.remove("--long")
        del Comparisons
    else:
        del Everything
    unittest.main(verbosity=1)
