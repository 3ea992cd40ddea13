"""What the tests of training logs share: a log is written, judged by the real program, and what it says is read."""

import json
import pathlib
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Logs(unittest.TestCase):
    program = None
    studies = None  # what the program runs for `log`: asked itself, since starting both takes most of the time

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)

    def run_it(self, *arguments):
        return subprocess.run([self.studies, "log", *map(str, arguments)], capture_output=True, text=True, timeout=60)

    def judged(self, content, status, *arguments, name="train.log"):
        path, out, picture = self.root / name, self.root / "log.json", self.root / "log.svg"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        run = self.run_it(path, "-o", out, "--picture", picture, *arguments)
        self.assertEqual(run.returncode, status, run.stdout + run.stderr)
        self.assertEqual(run.stderr, "")
        document = json.loads(out.read_text())
        self.assertEqual(document["status"], status)
        xml.etree.ElementTree.parse(picture)
        self.said = run.stdout
        return document, {finding["id"]: finding for finding in document["findings"]}

    def minimind(self, losses, every=100, of=44160):
        return "".join(f"Epoch:[1/1]({i * every}/{of}) loss:{loss:.3f} lr:0.000500000000 epoch_Time:{60 - i // 10}.0min:\n"
                       for i, loss in enumerate(losses))

    def status(self, content, *arguments, name="train.log"):
        path = self.root / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        run = self.run_it(path, *arguments)
        self.assertEqual(run.stderr, "")
        self.said = run.stdout
        return run.returncode

    def rows(self, losses, every=100):
        return [((i + 1) * every, loss) for i, loss in enumerate(losses)]

    def verdicts(self, findings):
        return {name: finding["verdict"] for name, finding in findings.items()}


def main():
    """Runs the tests of the file that was started as `python FILE PROGRAM`."""
    Logs.program = pathlib.Path(sys.argv.pop(1)).resolve()
    studies = Logs.program.with_name("plumbline-studies")
    Logs.studies = studies if studies.exists() else Logs.program
    unittest.main(verbosity=1)
