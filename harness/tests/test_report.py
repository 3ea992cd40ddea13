"""Bundles as a user has them: written, rendered again, merged, compared, checked, and spoilt.

Run by CTest as `python test_report.py PROGRAM [Reports|Shards]`, with the packages of cmake/requirements-reports.txt on PYTHONPATH: every format
is read by somebody else's code, which has to count what result.json counts.
"""

import hashlib
import html
import json
import random
import shutil
import signal
import subprocess
import sys
import time
import unittest
import jsonschema
import junitparser
import lxml.etree
import otr_ctrf_bridge.ctrf
from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.predicates.test_result.v0 import test_result_pb2
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement

import report_cases as cases
from report_cases import kept_runs, ROOT, HOSTILE, SARIF, run, document, names, with_fresh_hashes, shard_of, concluded, Bundles


class Reports(Bundles):
    def test_a_bundle_is_complete_and_checked_whatever_its_verdict(self):
        for bundle in (self.conforming, self.failing):
            listed = [entry["name"] for entry in json.loads((bundle / "manifest.json").read_text())["files"]]
            self.assertEqual(names(bundle), sorted([*listed, "manifest.json"]))
            done = run("report", "check", bundle)
            self.assertIn(document(bundle)["footer"]["verdict"], done.stdout)
            self.assertIn("signature", done.stdout)
        help_text = run("report", "check", "--help").stdout
        for word in ("accident", "signature", "cosign", "gpg"):
            self.assertIn(word, help_text)

    def read_by_others(self, bundle):
        """Every format, by a reader that is not ours; the counts of each."""
        result = document(bundle)
        of = {v: [r for r in result["requirements"] if r["verdict"] == v] for v in ("pass", "fail", "error", "not assessed", "not applicable")}
        failed = [r for r in of["fail"] if r["level"] == "must"]
        schema = json.loads((ROOT / "harness" / "result" / "result.schema.json").read_text())
        self.assertEqual([e.json_path for e in jsonschema.Draft202012Validator(schema).iter_errors(result)], [])
        junit = junitparser.JUnitXml.fromfile(str(bundle / "result.xml"))
        extra = int(result["footer"]["status"] != 0 and not failed and not of["error"])
        self.assertEqual((junit.tests, junit.failures), (len(result["requirements"]) + extra, len(failed)))
        self.assertEqual(sum(len(list(suite)) for suite in junit), junit.tests)
        tests = otr_ctrf_bridge.ctrf.parse_ctrf(json.loads((bundle / "ctrf.json").read_text()))
        self.assertEqual(sum(t.status == "passed" for t in tests), len(of["pass"]))
        self.assertEqual(sum(t.status == "skipped" for t in tests), len(of["not applicable"]))
        summary = json.loads((bundle / "ctrf.json").read_text())["results"]["summary"]
        for status in ("passed", "failed", "skipped", "pending", "other"):
            self.assertEqual(sum(t.status == status for t in tests), summary[status])
        self.assertEqual(len(tests), summary["tests"])
        sarif = json.loads((bundle / "sarif.json").read_text())
        self.assertEqual([e.message for e in jsonschema.Draft4Validator(json.loads(SARIF.read_text())).iter_errors(sarif)], [])
        self.assertEqual(len(sarif["runs"][0]["results"]), len(of["fail"]))
        statements = {}
        for name, predicate in (("statement", test_result_pb2.TestResult), ("provenance", provenance_pb2.Provenance)):
            raw = json.loads((bundle / f"{name}.json").read_text())
            statement = json_format.ParseDict(raw, statement_pb2.Statement())
            Statement.copy_from_pb(statement).validate()
            digest = hashlib.sha256((bundle / "result.json").read_bytes()).hexdigest()
            self.assertEqual(statement.subject[0].digest["sha256"], digest)
            statements[name] = json_format.MessageToDict(json_format.ParseDict(raw["predicate"], predicate()))
        said = statements["statement"]
        self.assertEqual((len(said.get("passedTests", [])), len(said.get("failedTests", []))), (len(of["pass"]), len(failed)))
        self.assertEqual(said["result"], "PASSED" if result["footer"]["status"] == 0 else "FAILED")
        self.assertTrue(statements["provenance"]["buildDefinition"]["buildType"])
        badge = lxml.etree.parse(str(bundle / "badge.svg")).getroot()
        self.assertIn(result["header"]["specification"][:3], badge.findtext("{http://www.w3.org/2000/svg}title"))
        self.assertEqual([e.tag for e in badge.iter("{*}script", "{*}a", "{*}image")], [])

    def test_others_read_every_format_and_count_the_same(self):
        self.read_by_others(self.conforming)
        self.read_by_others(self.failing)
        run("report", "render", self.written(shard_of(document(self.conforming), 2, 4)), "--out", self.root / "shard")
        self.read_by_others(self.root / "shard")

    def test_pictures_are_of_requirements_and_in_both_languages(self):
        known = {one["en"]: one["zh"] for one in json.loads((ROOT / "fixtures" / "requirements.zh.json").read_text())["words"]}
        for bundle in (self.conforming, self.failing):
            plots = document(bundle)["plots"]
            self.assertEqual([plot["requirement"] for plot in plots], ["ROPE-8", "TRN-6", "TRN-7"])
            english, chinese = ((bundle / name).read_text() for name in ("report.html", "report.zh.html"))
            for plot in plots:
                for words in (plot["title"], plot["x_name"], plot["y_name"], *(one["name"] for one in plot["series"]), *(name for name, _ in map(dict.values, plot["bounds"]))):
                    self.assertIn(words, known)
                self.assertIn(html.escape(plot["title"]).replace("&#x27;", "&#39;"), english)
                self.assertIn(known[plot["title"]], chinese)
                self.assertNotIn(html.escape(plot["title"]).replace("&#x27;", "&#39;"), chinese)
        rotation = document(self.conforming)["plots"][0]
        for series in rotation["series"]:
            self.assertEqual(len(series["x"]), 48)
            self.assertLess(max(series["y"]), 0.5, "in terms of the tolerance")
            self.assertGreater(max(series["y"]), 0)
        loss, floor = document(self.conforming)["plots"][2]["series"]
        gained = 128 * sum(b - a for a, b in zip(loss["y"], floor["y"]))
        finding = next(r["finding"] for r in document(self.conforming)["requirements"] if r["id"] == "TRN-7")
        self.assertAlmostEqual(gained, float(finding.split(" nats")[0]), delta=0.06)

    def test_a_stranger_s_text_shows_harmlessly_and_leaves_every_format_valid(self):
        for text in (HOSTILE, "a" * (2 << 20), "\u202e" * 5000):
            result = document(self.failing)
            result["header"].update(candidate=5 * text, device=text, command=text, notes=[text], specification=text)
            result["header"]["commit"] = {"id": text, "clean": False}
            # Made with requirements that nobody knows: whose statements these are.
            next(one for one in result["header"]["versions"] if one["name"] == "requirements").update(version="another")
            result["requirements"][0].update(statement=text, source=text, finding=text)
            failed = next(r for r in result["requirements"] if r["verdict"] == "fail")
            failed.update(statement=text)
            for check in failed["checks"][:2]:
                check.update(what=text, expected=text, actual=text, sentence=text, tolerance_reason=text)
            out = self.root / "out"
            run("report", "render", self.written(result), "--out", out)
            checked = run("report", "check", out, status=1).stdout  # of its commit at least, and of nothing that derives from it
            self.assertIn("its requirements are not those of this Plumbline", checked)
            self.assertIn("result.json: header.commit.id is ", checked)
            self.assertNotIn("is not what result.json makes it", checked)
            self.read_by_others(out) if text.startswith("a") else lxml.etree.parse(str(out / "badge.svg"))
            for name in names(out):
                content = (out / name).read_bytes()
                self.assertLess(len(content), 20 << 20, name)
                self.assertEqual([b for b in content if (b < 32 and b != 10) or b == 127], [], name)
                self.assertNotIn("\u202e", content.decode("utf-8"), name)
                if name.endswith((".xml", ".svg", ".html", ".md")):
                    self.assertNotIn(b"<script>alert", content, name)


class Examined(Bundles):
    def test_any_changed_byte_is_found_and_its_file_named(self):
        places = random.Random(1)
        out = self.copied(self.failing)
        for name in names(out):
            good = (out / name).read_bytes()
            for at in {0, len(good) - 1, *(places.randrange(len(good)) for _ in range(4))}:
                bad = bytearray(good)
                bad[at] ^= 1 << places.randrange(8)
                (out / name).write_bytes(bytes(bad))
                with self.subTest(file=name, at=at):
                    self.assertIn(name, run("report", "check", out, status=1).stdout)
            (out / name).write_bytes(good)
        run("report", "check", out)

    def test_a_file_that_is_missing_or_too_many_is_named(self):
        for name in names(self.failing):
            out = self.copied(self.failing)
            (out / name).unlink()
            self.assertIn(f"{name}: is", run("report", "check", out, status=1).stdout)
        out = self.copied(self.failing)
        (out / "report-of-yesterday.html").write_text("x")
        self.assertIn("report-of-yesterday.html: is not in manifest.json", run("report", "check", out, status=1).stdout)
        self.refused("report", "check", self.root / "nowhere", says="is no directory")
        (self.root / "empty").mkdir()
        self.refused("report", "check", self.root / "empty", says="holds neither manifest.json nor result.json")

    def edited(self, edit):
        """What `report check` says of a bundle whose document was edited, rendered anew as far as can be, and hashed anew."""
        result = document(self.failing)
        edit(result)
        out = self.copied(self.failing)
        rendered = run("report", "render", self.written(concluded(result)), "--out", self.root / "edited", status=None)
        if rendered.returncode == 0:  # the document is what reading it takes for sound
            shutil.rmtree(out)
            shutil.copytree(self.root / "edited", out)
        else:
            (out / "result.json").write_text(json.dumps(result, indent=2) + "\n")
            with_fresh_hashes(out)
        return run("report", "check", out, status=1).stdout

    def test_an_edited_verdict_is_found_though_every_hash_is_right(self):
        def first_failed(result):
            return next(r for r in result["requirements"] if r["verdict"] == "fail")

        def softened(verdict):
            return lambda result: first_failed(result).update(verdict=verdict, reason="not looked at")

        id = first_failed(document(self.failing))["id"]
        self.assertIn(id, self.edited(lambda result: first_failed(result).update(verdict="pass")))
        for verdict in ("error", "not assessed", "not applicable"):
            self.assertIn(f"{id} has the verdict {verdict}, but a check of it failed", self.edited(softened(verdict)))

        def within(result):
            first_failed(result)["verdict"] = "pass"
            for r in result["requirements"]:
                if r["id"] == id:
                    for check in r["checks"]:
                        check["within"] = True
        self.assertIn("is said to be within that", self.edited(within))

        def moved(result):
            passed = next(c for r in result["requirements"] for c in r["checks"] if c["within"] and c["tolerance"])
            passed["worst_difference"] = 2 * passed["tolerance"]
        self.assertIn("is said to be within that", self.edited(moved))
        out = self.copied(self.failing)
        (out / "result.json").write_text((out / "result.json").read_text().replace("does not conform", "conforms"))
        with_fresh_hashes(out)
        self.assertIn("result.json: is not as this Plumbline writes it", run("report", "check", out, status=1).stdout)
        out = self.copied(self.failing)
        (out / "summary.md").write_bytes((self.conforming / "summary.md").read_bytes())
        with_fresh_hashes(out)
        self.assertIn("summary.md: is not what result.json makes it", run("report", "check", out, status=1).stdout)

    def test_what_cannot_be_replaced_leaves_the_bundle_that_is_there(self):
        out = self.root / "out"
        shutil.copytree(self.conforming, out)
        (out / "summary.md").unlink()
        (out / "summary.md").mkdir()
        before = {name: (out / name).read_bytes() for name in names(out) if name != "summary.md"}
        done = run("report", "render", self.failing / "result.json", "--out", out, status=None)
        self.assertIn("summary.md cannot be replaced", done.stderr)
        self.assertEqual({name: (out / name).read_bytes() for name in names(out) if name != "summary.md"}, before)

    def test_somebody_s_own_files_are_never_replaced_and_that_is_said_before_the_run(self):
        for name in ("badge.svg", "summary.md", "result.json", "manifest.json"):
            out = self.root / name.split(".")[0]
            out.mkdir()
            (out / name).write_text("mine")
            for command in (("verify", "reference", "--out", out), ("report", "render", self.failing, "--out", out),
                            ("report", "merge", self.failing, self.conforming, "--out", out)):
                done = run(*command, status=2)
                self.assertIn(f"{out / name} would be replaced", done.stderr)
                self.assertNotIn("Judging", done.stdout)
                self.assertEqual((out / name).read_text(), "mine")
                self.assertEqual(names(out), [name])

    def test_a_document_by_another_name_is_rendered_elsewhere(self):
        out = self.copied(self.conforming)
        before = (out / "result.json").read_bytes()
        shutil.copy(self.failing / "result.json", out / "other.json")
        self.assertIn("name a directory for its files with --out DIR", run("report", "render", out / "other.json", status=2).stderr)
        self.assertEqual((out / "result.json").read_bytes(), before)
        run("report", "render", out / "other.json", "--out", self.root / "new")  # 0, whatever the verdict
        self.assertEqual(document(self.root / "new")["footer"]["status"], 1)
        for command in (("verify", "reference"), ("report", "merge", self.failing, self.conforming), ("report", "render", self.failing)):
            done = run(*command, "--out", "", status=2)
            self.assertIn("is empty; name a directory", done.stderr + done.stdout)

    def test_a_must_made_a_should_is_found_though_it_was_rendered_again(self):
        result = document(self.failing)
        for one in result["requirements"]:
            if one["verdict"] == "fail":
                one["level"] = "should"
        run("report", "render", self.written(concluded(result)), "--out", self.root / "out", status=None)
        self.assertIn("is a must, and here a should", run("report", "check", self.root / "out", status=1).stdout)

    def test_a_document_of_a_newer_format_is_refused_with_advice(self):
        newer = {**document(self.conforming), "version": 4}
        file = self.written(newer)
        for command in (("render", file), ("diff", file, self.conforming), ("merge", file, "--out", self.root / "m")):
            self.refused("report", *command, says="knows versions 1 to 3 only; use the Plumbline that wrote it")
        self.assertFalse((self.root / "m").exists())
        without = document(self.conforming)
        del without["footer"]
        self.refused("report", "render", self.written(without), says="the footer is missing")

    def test_rendering_again_gives_the_same_and_a_document_of_version_1_is_brought_up_to_date(self):
        out = self.copied(self.failing)
        before = {name: (out / name).read_bytes() for name in names(out)}
        (out / "badge.svg").unlink()
        (out / "mine.txt").write_text("mine")
        run("report", "render", out / "result.json")
        self.assertEqual((out / "mine.txt").read_text(), "mine")
        (out / "mine.txt").unlink()
        self.assertEqual({name: (out / name).read_bytes() for name in names(out)}, before)
        older = kept_runs(self.root)
        self.assertEqual(len(older), 4)
        for file in older.values():
            run("report", "render", file, "--out", self.root / "older")
            checked = run("report", "check", self.root / "older").stdout
            self.assertIn("The bundle is consistent; its completeness was not checked", checked)

    def test_killed_while_writing_it_leaves_the_old_bundle_or_the_new_one(self):
        moments = random.Random(1)
        out = self.copied(self.conforming)
        (out / "setup.log").write_text("built")
        seen = set()
        began = time.monotonic()
        run("report", "render", self.conforming, "--out", out)
        longest = 2 * (time.monotonic() - began)
        for turn in range(24):
            source = (self.failing, self.conforming)[turn % 2]
            process = subprocess.Popen([cases.PROGRAM, "report", "render", str(source), "--out", str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(moments.uniform(0, longest))
            process.send_signal(signal.SIGKILL if turn % 3 else signal.SIGTERM)
            process.wait(30)
            run("report", "check", out)
            self.assertEqual((out / "setup.log").read_text(), "built")
            seen.add(document(out)["footer"]["status"])
        self.assertEqual(seen, {0, 1})


if __name__ == "__main__":
    cases.PROGRAM = sys.argv.pop(1)
    unittest.main()
