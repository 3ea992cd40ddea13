"""Several bundles: shards that are merged, candidates beside each other, what changed from one to the other.

Run by CTest as `python test_report_merge.py PROGRAM [Merged|Shards]`, with the packages of cmake/requirements-reports.txt on PYTHONPATH.
"""

import json
import subprocess
import sys
import unittest
import junitparser

import report_cases as cases
from report_cases import kept_runs, run, document, shard_of, concluded, without_times, Bundles


class Merged(Bundles):
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
        self.refused("report", "merge", self.conforming, self.failing, "--out", self.failing, says="which is one of the inputs")
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
        self.refused("report", "diff", self.failing, kept_runs(self.root)["llama-f32"], says="different specifications")
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
                processes.append(subprocess.Popen([cases.PROGRAM, "verify", candidate, "--spec", "tiny", "--threads", "1", "--shard", f"{i}/{of}", "--out", str(out)],
                                                  stdout=subprocess.DEVNULL))
            for process in processes:
                self.assertIn(process.wait(600), (1, 3))
            for out in shards:
                run("report", "check", out)
            _, merged = self.merged(shards, document(bundle)["footer"]["status"])
            self.assertEqual(without_times(merged), without_times(document(bundle)))


if __name__ == "__main__":
    cases.PROGRAM = sys.argv.pop(1)
    unittest.main()
