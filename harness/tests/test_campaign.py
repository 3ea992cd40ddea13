"""`plumbline campaign`: a few runs of it, and with --long all on tiny: every defect seen, no honest variant failed.

Run by CTest as `python test_campaign.py PROGRAM`.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import xml.etree.ElementTree

import jsonschema

ROOT = pathlib.Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "fixtures"
SCHEMA = json.loads((ROOT / "harness/campaign/campaign.schema.json").read_text())
DEFECTS = json.loads((FIXTURES / "defects.json").read_text())


class Campaigns(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.out = pathlib.Path(folder.name) / "campaign"

    def command(self, *arguments):
        return [PROGRAM, "campaign", *arguments, "--out", str(self.out)]

    def campaign(self, status, *arguments, seconds=600):
        run = subprocess.run(self.command(*arguments), capture_output=True, text=True, timeout=seconds)
        self.assertEqual(run.returncode, status, run.stdout[-3000:] + run.stderr[-3000:])
        return run

    def document(self):
        return json.loads((self.out / "result.json").read_text())

    def test_defects_and_variants_that_are_named_are_run(self):
        run = self.campaign(0, "mask-none", "positions-2048", "variant:fused", "variant:growing-cache", "--small-alone")
        self.assertIn("2 of 2 defects seen", run.stdout)
        self.assertIn("2 of 2 honest variants passed", run.stdout)
        self.assertIn("the diagnosis names 2 of 2 defects", run.stdout)
        document = self.document()
        jsonschema.Draft202012Validator(SCHEMA).validate(document)
        self.assertEqual([r["candidate"] for r in document["runs"]],
                         ["defect:mask-none", "defect:positions-2048", "variant:fused", "variant:growing-cache"])
        self.assertEqual([r["status"] for r in document["runs"]], [1, 0, 3, 0])
        self.assertIn("MODE-1", [one["id"] for one in document["runs"][0]["failed"]])
        self.assertEqual(document["runs"][0]["diagnosis"]["named"], [["mask-none"]])
        report = (self.out / "report.md").read_text()
        self.assertIn("| mask-none | ", report)
        self.assertIn("| fused | passed what it shows | ", report)
        picture = xml.etree.ElementTree.parse(self.out / "matrix.svg").getroot()
        cells = [e for e in picture.iter("{http://www.w3.org/2000/svg}title") if e.text.split(",")[0] == "mask-none fails MODE-1"]
        self.assertEqual(len(cells), 1)

    def test_what_is_no_defect_is_refused(self):
        for name, words in (("mask-nonne", "no such defect"), ("variant:mask-none", "no such defect"), ("", "no such defect")):
            run = self.campaign(2, name)
            self.assertIn(words, run.stderr)
            self.assertFalse((self.out / "result.json").exists())

    def test_two_campaigns_do_not_share_a_folder(self):
        first = subprocess.Popen(self.command("mask-none", "variant:fused", "--small-alone"), stdout=subprocess.PIPE, text=True)
        self.addCleanup(first.stdout.close)
        first.stdout.readline()  # it has begun
        run = self.campaign(2, "mask-none", "--small-alone")
        self.assertIn("--out", run.stderr)
        self.assertEqual(first.wait(60), 0)

    def test_an_interrupted_campaign_leaves_no_result_and_nothing_running(self):
        run = subprocess.Popen(self.command("--small-alone"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                               start_new_session=True)
        self.addCleanup(run.stdout.close)
        run.stdout.readline()
        time.sleep(1)
        run.send_signal(signal.SIGINT)
        self.assertNotEqual(run.wait(30), 0)
        self.assertFalse((self.out / "result.json").exists())
        time.sleep(1)
        left = [p for p in pathlib.Path("/proc").iterdir() if p.name.isdigit() and str(self.out) in command_of(p)]
        self.assertEqual(left, [])


def command_of(process):
    try:
        return (process / "cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


class Whole(Campaigns):
    """All of them on tiny, and at full size one of each; run with --long. `./plumbline campaign` takes a tenth at full size."""

    def test_at_full_size(self):
        run = self.campaign(0, "scale-missing", "variant:fused", "--no-diagnosis")
        self.assertIn("2 of 2 defects seen, 1 of the runs at full size", run.stdout)
        self.assertIn("2 of 2 honest variants passed, 1 of the runs at full size", run.stdout)

    def test_every_defect_is_seen_and_no_variant_fails(self):
        run = self.campaign(0, "--small-alone", seconds=1700)
        print(run.stdout[run.stdout.rindex("100 %") if "100 %" in run.stdout else 0:])
        document = self.document()
        runs = {(r["candidate"], r["full_size"]): r for r in document["runs"]}
        for defect in DEFECTS:
            with self.subTest(defect["name"]):
                found = runs[f"defect:{defect['name']}", False]
                self.assertLessEqual(set(defect["seen_by"]), {one["id"] for one in found["failed"]})
                self.assertEqual(found.get("stage") if found["status"] == 1 else None, defect.get("stage"))
                if found["status"] == 1 and "in two ways" in found["diagnosis"]["conclusion"]:
                    # Nothing else of it could be compared, so that nothing is certain.
                    self.assertIn(defect["name"], found["diagnosis"]["conclusion"])
                elif found["status"] == 1:
                    self.assertIn([defect["name"]], found["diagnosis"]["named"], found["diagnosis"]["conclusion"])
        conclusion = document["conclusion"]
        self.assertEqual(conclusion["survivors"] + conclusion["false_alarms"] + conclusion["unusable"], [])
        self.assertGreaterEqual(conclusion["defects"], 80)
        self.assertGreaterEqual(conclusion["variants"], 60)
        self.assertLessEqual(len(conclusion["below_margin"]) + len(conclusion["above_margin"]) + len(conclusion["by_chance"]), 5)


class Catalogue(unittest.TestCase):
    def test_every_chapter_has_its_share(self):
        for chapter in range(1, 11):
            kinds = {d.get("kind", d["name"]) for d in DEFECTS if d["chapter"] == chapter}
            self.assertGreaterEqual(len(kinds), 6, chapter)
        self.assertGreaterEqual(len({d.get("kind", d["name"]) for d in DEFECTS}), 80)


if __name__ == "__main__":
    PROGRAM = os.path.abspath(sys.argv.pop(1))
    if "--long" in sys.argv:
        sys.argv.remove("--long")
        del Campaigns, Catalogue
        Whole = type("Whole", (Whole,), {name: None for name in dir(Whole)
                                         if name.startswith("test_") and name not in vars(Whole)})
    else:
        del Whole
    unittest.main(verbosity=1)
