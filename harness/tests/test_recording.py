"""Recordings of live models: made, judged again where the model is not, damaged and forged.

Run by CTest as `python test_recording.py PROGRAM`. Models run in the interpreter that runs this file.
"""

import json
import os
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import time
import unittest

import h5py
import numpy as np

import live_cases as live

HERE = pathlib.Path(__file__).resolve().parent

POSITION = "position = slots.unsqueeze(0) if position is None else position"
RESTARTING = {POSITION: POSITION.replace("slots.", "(slots - start).")}


class Recordings(live.Runs):
    @classmethod
    def setUpClass(cls):
        cls.kept = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.kept.cleanup)

    def setUp(self):
        super().setUp()
        self.recording = self.root / "before.h5"

    def model(self, change=()):
        folder = self.root / "model"
        folder.mkdir()
        shutil.copy(live.MODELS / "plain_adapter.py", folder)
        text = (live.MODELS / "models.py").read_text()
        for old, new in dict(change).items():
            self.assertEqual(text.count(old), 1)
            text = text.replace(old, new)
        (folder / "models.py").write_text(text)
        return folder / "plain_adapter.py"

    def record(self, candidate, *arguments):
        return self.start(candidate, "-o", str(self.recording), *arguments, command="record")

    def recorded(self, candidate, status):
        """The result of a run that was recorded; the model is gone afterwards."""
        run = self.ended(self.record(candidate))
        self.assertEqual(run.returncode, status, run.stdout[-2000:] + run.stderr)
        self.assertIn("recorded in", run.stdout)
        shutil.rmtree(self.root / "model")
        return json.loads((self.out / "result.json").read_text())

    def right(self):
        """The result of recording the right model, which is done once for all tests."""
        kept = pathlib.Path(self.kept.name)
        if not list(kept.iterdir()):
            self.recorded(self.model(), 0)
            shutil.copy(self.recording, kept)
            shutil.copytree(self.out, kept / "out")
        shutil.copy(kept / self.recording.name, self.recording)
        return json.loads((kept / "out" / "result.json").read_text())

    def test_a_command_that_ends_in_the_name_of_a_recording_is_a_command(self):
        self.right()
        run, result = self.verify(f"exec: {os.path.abspath(live.PROGRAM)} play {self.recording}")
        self.assertEqual(run.returncode, 0, run.stdout[-2000:] + run.stderr)
        self.assertTrue(result["header"]["candidate"].startswith("exec: "))
        self.assertNotIn("answers come from a recording", run.stdout)
        run, _ = self.verify("exec: exit 3; cat lost.h5")
        self.assertEqual(run.returncode, 2, run.stdout[-2000:] + run.stderr)
        self.assertIn("ended with status 3", run.stderr)

    def test_a_recording_gets_the_verdicts_of_its_model(self):
        for change, status in (((), 0), (RESTARTING, 1)):
            with self.subTest(change=change):
                before = self.recorded(self.model(change), status) if change else self.right()
                run, after = self.verify(self.recording)
                self.assertEqual(run.returncode, status, run.stdout[-2000:] + run.stderr)
                for part in ("localisation", "chapters"):
                    self.assertEqual(before[part], after[part])
                for one, other in zip(before["requirements"], after["requirements"], strict=True):
                    self.assertEqual({**one, "seconds": 0}, {**other, "seconds": 0})
                self.assertIn("answers come from a recording: no code of the model is run", after["header"]["notes"])
                # In another order, and less of it.
                run, part = self.verify(self.recording, "--only", "7,4")
                verdicts = {r["id"]: r["verdict"] for r in after["requirements"] if r["chapter"] in (4, 7)}
                self.assertEqual({r["id"]: r["verdict"] for r in part["requirements"] if r["chapter"] in (4, 7)}, verdicts)

    def test_what_is_no_recording_or_another_one_is_refused(self):
        self.right()
        self.refused(self.recording, "before.h5", "float32", "bfloat16", "--dtype", arguments=("--dtype", "bf16"))
        self.specification = "minimind2-small"
        self.refused(self.recording, "before.h5", "'tiny'", "'minimind2-small'", "--spec")
        self.specification = "tiny"
        whole = self.recording.read_bytes()
        for size in (0, 1, 100, len(whole) // 2, len(whole) - 1):
            self.recording.write_bytes(whole[:size])
            self.refused(self.recording, "before.h5", "is not a readable HDF5 file")
        at = whole.index(b"plumbline-recording")
        self.recording.write_bytes(whole[:at] + b"somebody-recording!" + whole[at + 19:])
        self.refused(self.recording, "is not a Plumbline recording")
        self.refused(self.root / "nowhere.h5", "no such file")

    def test_a_changed_byte_never_changes_a_verdict_unnoticed(self):
        self.right()
        _, right = self.verify(self.recording)
        verdicts = {r["id"]: r["verdict"] for r in right["requirements"]}
        whole = self.recording.read_bytes()
        numbers = random.Random(1)
        for turn in range(6):
            place = numbers.randrange(len(whole))
            with self.subTest(turn=turn, place=place):
                self.recording.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1:])
                run, result = self.verify(self.recording)
                self.assertIn(run.returncode, (0, 2), run.stdout[-2000:] + run.stderr)
                for requirement in (result or {"requirements": []})["requirements"]:
                    self.assertIn(requirement["verdict"], (verdicts[requirement["id"]], "error"), requirement["reason"])
                # What nobody reads may change; what is read and was changed is named.
                if run.returncode == 2 and result:
                    self.assertIn("record it again", run.stdout)

    def forged(self, change):
        """What is said of the recording after `change` was made to the open file."""
        shutil.copy(self.recording, self.root / "forged.h5")
        with h5py.File(self.root / "forged.h5", "r+") as file:
            change(file)
        run, result = self.verify(self.root / "forged.h5", "--only", "7")
        self.assertEqual(run.returncode, 2, run.stdout[-2000:] + run.stderr)
        self.assertIn("record it again", run.stdout + run.stderr)
        return " ".join((run.stdout + run.stderr).split())

    def test_a_forged_recording_is_found_out(self):
        self.right()
        with h5py.File(self.recording) as file:
            logits = [name for name, values in file["tensors"].items() if values.shape == (1, 24, 101)]
            answers = json.loads(bytes(file["exchanges"][()]))
            weights = next(answer for answer in answers if answer["request"] == "weights")["tensors"]["tok.weight"]
        self.assertNotEqual(logits, [])

        def moved_values(file):
            for name in logits:
                file["tensors"][name][0, 3, 5] += 1e-3

        def another_type(file):
            del file["tensors"][weights].attrs["dtype"]
            file["tensors"][weights].attrs["dtype"] = np.bytes_("int64")

        def elsewhere(file):
            del file["tensors"][weights]
            file["tensors"][weights] = h5py.ExternalLink(str(self.recording), f"/tensors/{weights}")

        def in_a_raw_file(file):
            del file["tensors"][weights]
            file["tensors"].create_dataset(weights, (4, 4), "f4", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])

        def enormous(file):
            del file["tensors"][weights]
            values = file["tensors"].create_dataset(weights, (1 << 40, 1 << 20), "f4", chunks=(1, 1))
            values.attrs["dtype"] = np.bytes_("float32")

        def other_answers(file):
            text = bytes(file["exchanges"][()]).replace(b'"evaluation"', b'"evaluatiom"', 1)
            file["exchanges"][...] = np.frombuffer(text, np.uint8)

        def without_answers(file):
            del file["exchanges"]

        def another_version(file):
            del file.attrs["version"]
            file.attrs["version"] = np.bytes_("2")

        for change, words in ((moved_values, "was changed after it was recorded"), (another_type, "does not have its stated type"),
                              (elsewhere, "lacks tensors/"), (in_a_raw_file, "in another file"), (enormous, "impossible size"),
                              (other_answers, "was changed after it was recorded"), (without_answers, "lacks exchanges"),
                              (another_version, "is a recording of version 2")):
            with self.subTest(change.__name__):
                self.assertIn(words, self.forged(change))

    def test_it_is_made_of_live_models_alone_and_where_it_can_be_written(self):
        model = self.model()
        for candidate, output, words in (("reference", "before.h5", ("reference", "is no live model")),
                                         (model, "before.txt", ("before.txt", "ends in .h5")),
                                         (model, "nowhere/before.h5", ("nowhere/before.h5", "no directory")),
                                         (model, "folder.h5", ("folder.h5", "something other"))):
            (self.root / "folder.h5").mkdir(exist_ok=True)
            with self.subTest(output=output):
                run = self.ended(self.start(candidate, "-o", str(self.root / output), command="record"))
                self.assertEqual(run.returncode, 2, run.stdout)
                self.assertEqual(len(run.stderr.splitlines()), 1, run.stderr)
                for word in words:
                    self.assertIn(word, run.stderr)
                self.assertFalse(self.out.exists())

    def test_a_signal_leaves_the_recording_that_was_there(self):
        model = self.model()
        self.recording.write_text("before")
        for moment in (0.3, 1.5, 3.0):
            process = self.record(model)
            time.sleep(moment)
            process.send_signal(signal.SIGINT)
            self.assertEqual(self.ended(process, 5).returncode, -signal.SIGINT)
            self.assertEqual(self.recording.read_text(), "before")
            self.assertEqual([name for name in os.listdir(self.root) if name.endswith(".partial")], [])


if __name__ == "__main__":
    live.PROGRAM = str(pathlib.Path(sys.argv.pop(1)).resolve())
    unittest.main(verbosity=1)
