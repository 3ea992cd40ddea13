"""Output that cannot be written: a full device is an error, a closed pipe a quiet end, in every command.

Run by CTest as `python test_output.py PROGRAM`.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

PROGRAM = None



def commands(root):
    """What each command is called with; each writes something to standard output."""
    samples = root / "samples.jsonl"
    samples.write_text("".join(json.dumps({"prompt": i, "ids": [1, 2, 3, 4] * 8}) + "\n" for i in range(20)))
    log = root / "log.jsonl"
    log.write_text("".join(json.dumps({"step": 10 * i, "loss": 8.7 / (1 + i / 20) + 1}) + "\n" for i in range(80)))
    prompts = root / "prompts.jsonl"
    prompts.write_text('{"ids": [1, 2, 3]}\n')
    bundle = root / "bundle"
    tiny = ["--spec", "tiny"]
    only = [*tiny, "--only", "configuration"]
    return {
        "verify": ["verify", *only, "--out", root / "verify"],
        "compare": ["compare", "reference", "variant:fused", *tiny, "--out", root / "compare"],
        "sample": ["sample", "reference", *tiny, "--prompts", prompts, "--tokens", "4", "-o", root / "new.jsonl"],
        "text": ["text", samples],
        "log": ["log", log],
        "experiment": ["experiment", "repeater", "--help"],
        "campaign": ["campaign", "norm-centred", "--small-alone", "--no-diagnosis", "--out", root / "campaign"],
        "requirements": ["requirements"],
        "requirements ID": ["requirements", "GQA-2"],
        "defects": ["defects"],
        "defects NAME": ["defects", "mask-none"],
        "claims": ["claims"],
        "report": ["report", "render", bundle],
        "report diff": ["report", "diff", bundle, bundle],
        "report check": ["report", "check", bundle],
        "report merge": ["report", "merge", bundle, "--out", root / "merged"],
        "export": ["export", root / "exported", *tiny],
        "adapter": ["adapter", "init", root / "new.py"],
        "record": ["record", "--help"],
        "play": ["play", "--help"],
        "--help": ["--help"],
        "--version": ["--version"],
    }


class Output(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.bundle = pathlib.Path(folder.name) / "bundle"
        subprocess.run([PROGRAM, "verify", "--spec", "tiny", "--only", "configuration", "--out", cls.bundle],
                       capture_output=True, check=False)

    def each(self, **options):
        """What every command does, in a folder of its own where it finds what it needs."""
        with tempfile.TemporaryDirectory() as folder:
            names = list(commands(pathlib.Path(folder)))
        for name in names:
            with tempfile.TemporaryDirectory() as folder:
                shutil.copytree(self.bundle, pathlib.Path(folder) / "bundle")
                command = [PROGRAM, *map(str, commands(pathlib.Path(folder))[name])]
                yield name, subprocess.run(command, text=True, cwd=folder, timeout=120, stderr=subprocess.PIPE, **options)

    def test_every_command_is_tried(self):
        text = subprocess.run([PROGRAM, "--help"], capture_output=True, text=True, check=True).stdout
        there = re.findall(r"^  (\w+) +\S", text.split("Subcommands:")[1].split("Exit status")[0], re.MULTILINE)
        self.assertGreater(len(there), 10)
        with tempfile.TemporaryDirectory() as folder:
            self.assertEqual(set(there) - {name.split()[0] for name in commands(pathlib.Path(folder))}, set())

    def test_each_succeeds_where_output_can_be_written(self):
        for name, run in self.each(stdout=subprocess.PIPE):
            with self.subTest(command=name):
                self.assertIn(run.returncode, (0, 1, 3), run.stdout + run.stderr)
                self.assertNotEqual(run.stdout, "")

    def test_a_full_device_is_an_error(self):
        with open("/dev/full", "w", encoding="utf-8") as full:
            for name, run in self.each(stdout=full):
                with self.subTest(command=name):
                    self.assertEqual(run.returncode, 2, run.stderr)
                    self.assertIn("standard output cannot be written to", run.stderr)

    def test_a_pipe_that_nobody_reads_ends_it_quietly(self):
        reading, writing = os.pipe()
        os.close(reading)
        for name, run in self.each(stdout=writing):
            with self.subTest(command=name):
                self.assertEqual(run.returncode, -signal.SIGPIPE, run.stderr)
                self.assertEqual(run.stderr, "")
        os.close(writing)

    def test_where_a_closed_pipe_is_no_signal_it_is_an_error(self):
        reading, writing = os.pipe()
        os.close(reading)
        run = subprocess.run([PROGRAM, "defects"], stdout=writing, stderr=subprocess.PIPE, text=True, restore_signals=False)
        os.close(writing)
        self.assertEqual(run.returncode, 2, run.stderr)
        self.assertIn("standard output cannot be written to", run.stderr)


if __name__ == "__main__":
    PROGRAM = str(pathlib.Path(sys.argv.pop(1)).resolve())
    unittest.main(verbosity=2)
