"""`plumbline campaign`: a few runs of it, and, where it may be long, all on tiny: every defect seen, no honest variant failed."""

import json
import pathlib
import signal
import subprocess
import time
import xml.etree.ElementTree

import jsonschema
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "fixtures"
SCHEMA = json.loads((ROOT / "harness/campaign/campaign.schema.json").read_text())
DEFECTS = json.loads((FIXTURES / "defects.json").read_text())


class Campaigns:
    def __init__(self, program, out):
        self.program, self.out = program, out

    def command(self, *arguments):
        return ["campaign", *arguments, "--out", self.out]

    def run(self, status, *arguments, seconds=600):
        run = self.program(*self.command(*arguments), timeout=seconds)
        assert run.returncode == status, run.stdout[-3000:] + run.stderr[-3000:]
        return run

    def document(self):
        return json.loads((self.out / "result.json").read_text())


@pytest.fixture
def campaigns(program, tmp_path):
    return Campaigns(program, tmp_path / "campaign")


def test_defects_and_variants_that_are_named_are_run(campaigns):
    run = campaigns.run(0, "mask-none", "positions-2048", "variant:fused", "variant:growing-cache", "--small-alone")
    assert "2 of 2 defects seen" in run.stdout
    assert "2 of 2 honest variants passed" in run.stdout
    assert "the diagnosis names 2 of 2 defects" in run.stdout
    document = campaigns.document()
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    assert [r["candidate"] for r in document["runs"]] == ["defect:mask-none", "defect:positions-2048", "variant:fused", "variant:growing-cache"]
    assert [r["status"] for r in document["runs"]] == [1, 0, 3, 0]
    assert "MODE-1" in [one["id"] for one in document["runs"][0]["failed"]]
    assert document["runs"][0]["diagnosis"]["named"] == [["mask-none"]]
    report = (campaigns.out / "report.md").read_text()
    assert "| mask-none | " in report
    assert "| fused | passed what it shows | " in report
    picture = xml.etree.ElementTree.parse(campaigns.out / "matrix.svg").getroot()
    cells = [e for e in picture.iter("{http://www.w3.org/2000/svg}title") if e.text.split(",")[0] == "mask-none fails MODE-1"]
    assert len(cells) == 1


@pytest.mark.parametrize("name", ["mask-nonne", "variant:mask-none", ""])
def test_what_is_no_defect_is_refused(campaigns, name):
    assert "no such defect" in campaigns.run(2, name).stderr
    assert not (campaigns.out / "result.json").exists()


def test_two_campaigns_do_not_share_a_folder(campaigns):
    with campaigns.program.start(*campaigns.command("mask-none", "variant:fused", "--small-alone"), stderr=None) as first:
        first.stdout.readline()  # it has begun
        run = campaigns.run(2, "mask-none", "--small-alone")
        assert "--out" in run.stderr
        assert first.wait(60) == 0


def test_an_interrupted_campaign_leaves_no_result_and_nothing_running(campaigns):
    command = campaigns.command("--small-alone")
    with campaigns.program.start(*command, stderr=subprocess.DEVNULL, start_new_session=True) as run:
        run.stdout.readline()
        time.sleep(1)
        run.send_signal(signal.SIGINT)
        assert run.wait(30) != 0
    assert not (campaigns.out / "result.json").exists()
    time.sleep(1)
    left = [p for p in pathlib.Path("/proc").iterdir() if p.name.isdigit() and str(campaigns.out) in command_of(p)]
    assert left == []


def command_of(process):
    try:
        return (process / "cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


# All of them on tiny, and at full size one of each: `./plumbline campaign` takes a tenth at full size.


@pytest.mark.long
def test_at_full_size(campaigns):
    run = campaigns.run(0, "scale-missing", "variant:fused", "--no-diagnosis")
    assert "2 of 2 defects seen, 1 of the runs at full size" in run.stdout
    assert "2 of 2 honest variants passed, 1 of the runs at full size" in run.stdout


@pytest.mark.long
def test_every_defect_is_seen_and_no_variant_fails(campaigns, subtests):
    run = campaigns.run(0, "--small-alone", seconds=1700)
    print(run.stdout[run.stdout.rindex("100 %") if "100 %" in run.stdout else 0:])
    document = campaigns.document()
    runs = {(r["candidate"], r["full_size"]): r for r in document["runs"]}
    for defect in DEFECTS:
        with subtests.test(defect["name"]):
            found = runs[f"defect:{defect['name']}", False]
            assert set(defect["seen_by"]) <= {one["id"] for one in found["failed"]}
            assert (found.get("stage") if found["status"] == 1 else None) == defect.get("stage")
            if found["status"] == 1 and "in two ways" in found["diagnosis"]["conclusion"]:
                # Nothing else of it could be compared, so that nothing is certain.
                assert defect["name"] in found["diagnosis"]["conclusion"]
            elif found["status"] == 1:
                assert [defect["name"]] in found["diagnosis"]["named"], found["diagnosis"]["conclusion"]
    conclusion = document["conclusion"]
    assert conclusion["survivors"] + conclusion["false_alarms"] + conclusion["unusable"] == []
    assert conclusion["defects"] >= 80
    assert conclusion["variants"] >= 60
    assert len(conclusion["below_margin"]) + len(conclusion["above_margin"]) + len(conclusion["by_chance"]) <= 5


@pytest.mark.parametrize("chapter", range(1, 11))
def test_every_chapter_has_its_share(chapter):
    assert len({d.get("kind", d["name"]) for d in DEFECTS if d["chapter"] == chapter}) >= 6


def test_there_are_defects_of_many_kinds():
    assert len({d.get("kind", d["name"]) for d in DEFECTS}) >= 80
