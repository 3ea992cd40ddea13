"""The experiment as a user runs it: stopped, taken up again, refused; and the record that the program brings along.

Run by CTest as `python test_experiment.py PROGRAM`.
"""

import json
import pathlib
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import jsonschema

PROGRAM = None
ROOT = pathlib.Path(__file__).resolve().parents[2]
RECORD = ROOT / "fixtures" / "repeater" / "small-result.json"
SCHEMA = json.loads((ROOT / "harness" / "experiment" / "repeater.schema.json").read_text())


class Experiment(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.out = pathlib.Path(self.folder.name) / "out"

    def tearDown(self):
        self.folder.cleanup()

    def refused(self, *arguments, words):
        run = subprocess.run([PROGRAM, "experiment", *arguments], capture_output=True, text=True, timeout=60)
        self.assertEqual((run.returncode, run.stdout), (2, ""), run.stderr)
        for word in words:
            self.assertIn(word, run.stderr)
        self.assertEqual(len(run.stderr.splitlines()), 1, run.stderr)

    def test_what_cannot_be_done_is_said(self):
        file = pathlib.Path(self.folder.name) / "file"
        file.write_text("x")
        self.refused("repeater", "--scale", "medium", words=["medium", "there are full, small"])
        self.refused("repeater", "--out", str(file), words=["--out"])
        self.refused("repeater", "--out", str(self.out), "--tokens", "nowhere.jsonl", words=["nowhere.jsonl"])
        self.refused("repeater", "--out", str(self.out), "--tokens", str(file), words=[str(file)])
        self.refused("repeater", "--device", "tpu", words=["tpu"])
        self.refused(words=["subcommand"])

    def begun(self):
        """A running experiment, from the moment on at which it has written the state of a run."""
        process = subprocess.Popen([PROGRAM, "experiment", "repeater", "--out", str(self.out)], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE, text=True)
        end = time.monotonic() + 240
        while time.monotonic() < end and process.poll() is None:
            if any(self.out.glob("runs/*.state.safetensors")) or any(self.out.glob("runs/*.json")):
                return process
            time.sleep(0.2)
        process.kill()
        self.fail("nothing was written: " + process.communicate()[1])

    def test_stopped_it_goes_on_where_it_was(self):
        for how, status in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, -signal.SIGINT)):
            with self.begun() as process:
                process.send_signal(how)
                said = process.communicate(timeout=60)[1]
            self.assertEqual(process.returncode, status, said)
            self.assertFalse((self.out / "result.json").exists())
            self.assertNotIn("Traceback", said)
        left = sorted(path.name for path in (self.out / "runs").iterdir())
        self.assertFalse([name for name in left if "partial" in name and not name.startswith(".")], left)

    def test_two_calls_keep_out_of_each_others_way(self):
        with self.begun() as process:
            self.refused("repeater", "--out", str(self.out), words=["another call is at work"])
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)

    def test_a_full_disk_leaves_the_last_state(self):
        with self.begun() as process:
            process.kill()
            process.communicate(timeout=60)

        def held():
            return {path.name: path.read_bytes() for path in (self.out / "runs").iterdir()}

        before = held()
        run = subprocess.run([PROGRAM, "experiment", "repeater", "--out", str(self.out)], capture_output=True, text=True, timeout=240,
                             preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)))
        self.assertEqual(run.returncode, 2, run.stderr)
        self.assertIn("cannot be written", run.stderr)
        self.assertIn(str(self.out), run.stderr)
        self.assertEqual(len(run.stderr.splitlines()), 1, run.stderr)
        self.assertEqual(held(), before)

    def test_what_was_damaged_is_refused(self):
        with self.begun() as process:
            process.kill()
            process.communicate(timeout=60)
        states = list((self.out / "runs").glob("*.state.safetensors"))
        self.assertTrue(states)
        states[0].write_bytes(states[0].read_bytes()[:1000])
        run = subprocess.run([PROGRAM, "experiment", "repeater", "--out", str(self.out)], capture_output=True, text=True, timeout=240)
        self.assertEqual(run.returncode, 2)
        self.assertIn(states[0].name, run.stderr)


class Record(unittest.TestCase):
    def test_it_follows_its_schema(self):
        jsonschema.Draft202012Validator.check_schema(SCHEMA)
        errors = list(jsonschema.Draft202012Validator(SCHEMA).iter_errors(json.loads(RECORD.read_text())))
        self.assertEqual([error.json_path + ": " + error.message for error in errors], [])

    def test_its_verdicts_are_those_of_verify(self):
        document = json.loads(RECORD.read_text())
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([PROGRAM, "verify", "--spec", "tiny", "--only", "claims", "--out", folder], stdout=subprocess.DEVNULL, timeout=120)
            found = {r["id"]: r for r in json.loads((pathlib.Path(folder) / "result.json").read_text())["requirements"]}
        for claim in document["claims"]:
            self.assertEqual(found[claim["id"]]["verdict"], "pass")
            finding = json.dumps(found[claim["id"]], ensure_ascii=False)
            self.assertIn({"open": "neither confirmed nor refuted"}.get(claim["verdict"], claim["verdict"]) + ", at small scale", finding)
            self.assertTrue(re.search(r"models of 0\.\d+M to 0\.\d+M parameters", finding), finding)


if __name__ == "__main__":
    PROGRAM = str(pathlib.Path(sys.argv.pop(1)).resolve())
    unittest.main(verbosity=1)
