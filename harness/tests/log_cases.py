"""What the tests of training logs share: a log is written, judged by the real program, and what it says is read."""

import json
import xml.etree.ElementTree
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class Logs:
    def __init__(self, program, root):
        self.program, self.root = program, root

    def run_it(self, *arguments):
        return self.program("log", *arguments, timeout=60)

    def judged(self, content, status, *arguments, name="train.log"):
        path, out, picture = self.root / name, self.root / "log.json", self.root / "log.svg"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        run = self.run_it(path, "-o", out, "--picture", picture, *arguments)
        assert run.returncode == status, run.stdout + run.stderr
        assert run.stderr == ""
        document = json.loads(out.read_text())
        assert document["status"] == status
        xml.etree.ElementTree.parse(picture)
        self.said = run.stdout
        return document, {finding["id"]: finding for finding in document["findings"]}

    def status(self, content, *arguments, name="train.log"):
        path = self.root / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        run = self.run_it(path, *arguments)
        assert run.stderr == ""
        self.said = run.stdout
        return run.returncode


def verdicts(findings):
    return {name: finding["verdict"] for name, finding in findings.items()}
