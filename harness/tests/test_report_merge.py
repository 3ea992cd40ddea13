"""Several bundles: shards that are merged, candidates beside each other, what changed from one to the other.

Needs the packages of cmake/requirements-reports.txt.
"""

import json
import subprocess

import junitparser
import pytest

from report_cases import concluded, document, kept_runs, shard_of, without_times


def test_shards_merge_into_the_document_of_one_run_and_are_refused_otherwise(bundles):
    for bundle in (bundles.conforming, bundles.failing):
        whole = document(bundle)
        shards = [bundles.written(shard_of(whole, i, 4), f"shard-{i}/result.json") for i in (3, 1, 4, 2)]
        done, merged = bundles.merged(shards, whole["footer"]["status"])
        assert without_times(merged) == without_times(whole)
        bundles.run("report", "check", bundles.root / "merged")
        for spoilt, says in ((shards[1:], "shard 3 of 4 is missing"), ([*shards, shards[0]], "is shard 3 of 4, and so is"),
                             ([*shards[:3], bundle], "is a whole run, not a shard")):
            done, merged = bundles.merged(spoilt, 2)
            assert says in done.stderr
            assert merged is None

    def other(**header):
        result = shard_of(whole, 2, 4)
        result["header"].update(header)
        return [*shards[:3], bundles.written(result, "other/result.json")]
    for key, value in (("candidate", "another"), ("specification_sha256", "f" * 64), ("device", "cuda:0"), ("dtype", "bf16"), ("seed", 7)):
        done, _ = bundles.merged(other(**{key: value}), 2)
        assert f"its {key} is" in done.stderr
    unfinished = shard_of(whole, 2, 4)
    del unfinished["footer"]
    assert "the footer is missing" in bundles.merged([*shards[:3], bundles.written(unfinished, "cut/result.json")], 2)[0].stderr
    cut = shard_of(whole, 2, 4)
    cut["requirements"] = [r for r in cut["requirements"] if r["chapter"] != 3]
    done, _ = bundles.merged([*shards[:3], bundles.written(concluded(cut), "cut/result.json")], 2)
    assert "the requirement GQA-1 is missing" in done.stderr


def test_an_edited_bundle_is_not_merged(bundles):
    halves = [bundles.root / "bundle-1", bundles.root / "bundle-2"]
    for i, half in enumerate(halves, 1):
        bundles.run("report", "render", bundles.written(shard_of(document(bundles.conforming), i, 2)), "--out", half)
    assert bundles.merged(halves, 0)[1]["footer"]["status"] == 0
    text = (halves[1] / "result.json").read_text()
    (halves[1] / "result.json").write_text(text.replace('"elements": ', '"elements":  ', 1))
    done, _ = bundles.merged(halves, 2)
    assert "result.json: has" in done.stderr


def test_several_candidates_stand_beside_each_other(bundles):
    out = bundles.root / "both"
    bundles.run("report", "merge", bundles.conforming, bundles.failing, "--out", out, status=1)
    assert "1 of 2 conform to tiny" in bundles.run("report", "check", out).stdout
    summary = (out / "summary.md").read_text()
    assert "| ✔ | ✘ |" in summary
    junit = junitparser.JUnitXml.fromfile(str(out / "result.xml"))
    assert junit.tests == 2 * len(document(bundles.conforming)["requirements"])
    bundles.refused("report", "merge", bundles.conforming, bundles.failing, "--out", bundles.failing, says="which is one of the inputs")
    bundles.refused("report", "merge", bundles.conforming, bundles.conforming, "--out", bundles.root / "twice", says="is there twice")
    good = (out / "summary.md").read_bytes()
    (out / "summary.md").write_bytes(good.replace("✘".encode(), "✔".encode(), 1))
    assert "summary.md" in bundles.run("report", "check", out, status=1).stdout
    bundles.run("report", "render", out)
    assert (out / "summary.md").read_bytes() == good
    third = document(bundles.conforming)
    third["header"]["candidate"] = "third"
    bundles.run("report", "merge", out, bundles.written(third), "--out", bundles.root / "three", status=1)
    assert len(json.loads((bundles.root / "three" / "collection.json").read_text())["results"]) == 3


def test_what_changed_is_told_and_worse_is_an_exit_status(bundles):
    assert "Nothing changed" in bundles.run("report", "diff", bundles.failing, bundles.failing).stdout
    worse = bundles.run("report", "diff", bundles.conforming, bundles.failing, "-o", bundles.root / "diff.md", status=1).stdout
    failed = [r["id"] for r in document(bundles.failing)["requirements"] if r["verdict"] == "fail"]
    for id in failed:
        assert f"{id}: " in worse
    assert document(bundles.failing)["localisation"]["first_locally_wrong"] in worse
    assert (bundles.root / "diff.md").read_text().startswith("## ✘ ")
    assert "Better" in bundles.run("report", "diff", bundles.failing, bundles.conforming).stdout
    bundles.refused("report", "diff", bundles.failing, kept_runs(bundles.root)["llama-f32"], says="different specifications")
    bundles.refused("report", "diff", bundles.failing, bundles.root / "nowhere", says="no such file or directory")


def test_a_waiver_that_expired_after_the_run_is_found(bundles):
    result = document(bundles.failing)
    failed = [r["id"] for r in result["requirements"] if r["verdict"] == "fail" and r["level"] == "must"]
    result["header"]["started"] = "2020-01-01T00:00:00Z"
    for expires, status in (("2020-01-02", 1), ("2999-01-01", 0)):
        result["header"]["waivers"] = [{"requirement": id, "reason": "a kernel", "who": "Ada", "expires": expires} for id in failed]
        result["footer"].update(waived=len(failed), status=0)
        bundles.run("report", "render", bundles.written(result), "--out", bundles.root / "waived")
        done = bundles.run("report", "check", bundles.root / "waived", status=status)
        assert f"but for {len(failed)} waived requirements" in done.stdout
        if status:
            assert f"the waiver of {failed[0]} by Ada expired on 2020-01-02" in done.stdout


# Of the pair each is seen in another shard of seven, and the lower of them is not to tell half of the truth.
@pytest.mark.long
@pytest.mark.parametrize(("candidate", "of", "status"), [
    ("reference", 4, 0), ("defect:gate-up-swapped", 4, 1), ("defect:adamw-uncorrected+text-end-ignored", 7, 1),
])
def test_runs_of_all_shards_merge_into_the_document_of_one_run(bundles, candidate, of, status):
    command = ["verify", candidate, "--spec", "tiny", "--threads", "1"]
    bundles.run(*command, "--out", bundles.root / "whole", status=status)
    shards, processes = [bundles.root / str(i) for i in range(1, of + 1)], []
    for i, out in enumerate(shards, 1):
        if i > 4:  # four at a time
            processes[i - 5].wait(600)
        processes.append(bundles.program.start(*command, "--shard", f"{i}/{of}", "--out", out, stdout=subprocess.DEVNULL, stderr=None))
    for process in processes:
        assert process.wait(600) in (1, 3)
    for out in shards:
        bundles.run("report", "check", out)
    whole = document(bundles.root / "whole")
    _, merged = bundles.merged(shards, whole["footer"]["status"])
    assert without_times(merged) == without_times(whole)
