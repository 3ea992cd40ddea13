"""What tests of bundles share: bundles that were written once, and edits of them.
"""

import copy
import gzip
import hashlib
import json
import os
import pathlib
import random
import shutil

ROOT = pathlib.Path(__file__).resolve().parents[2]
HOSTILE = ("<script>alert(1)</script> ]]> \x1b[31mred\x9b31m \x00 \u202e reversed \ufeff `code` **bold** | cell [a](http://example.org) "
           "{0} \"q\" 'q' &amp;\r\n# head\n")


def document(directory):
    return json.loads((directory / "result.json").read_text())


def kept_runs(folder):
    """The runs of reports/runs, unpacked into files of `folder`, by name."""
    files = {}
    for packed in sorted((ROOT / "reports" / "runs").rglob("result.json.gz")):
        files[packed.parent.name] = folder / f"{packed.parent.name}.json"
        files[packed.parent.name].write_bytes(gzip.decompress(packed.read_bytes()))
    return files


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
        requirement.update(verdict="not assessed", reason=f"outside --shard {index}/{of}", left_out="shard", finding="", checks=[],
                           seconds=0)
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
    if result["diagnosis"]:
        result["diagnosis"].pop("tried")  # the search begins where something failed, and a shard sees some of that
    for requirement in result["requirements"]:
        requirement.pop("seconds")
    return result


class Bundles:
    """A bundle that conforms and one that fails, to be read, and a folder to write in."""

    def __init__(self, program, conforming, failing, root):
        self.program, self.conforming, self.failing, self.root = program, conforming, failing, root

    def run(self, *arguments, status=0):
        done = self.program(*arguments)
        assert status is None or done.returncode == status, f"{arguments}: {done.stdout[-2000:]}{done.stderr}"
        return done

    def copied(self, bundle):
        return pathlib.Path(shutil.copytree(bundle, self.root / f"copy-{random.random()}"))

    def written(self, result, name="result.json"):
        file = self.root / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(result))
        return file

    def refused(self, *arguments, says, status=2):
        done = self.run(*arguments, status=status)
        assert says in done.stdout + done.stderr
        assert "internal error" not in done.stderr
        if status == 2:
            assert len(done.stderr.splitlines()) == 1, done.stderr

    def merged(self, shards, status=None):
        out = self.root / "merged"
        shutil.rmtree(out, ignore_errors=True)
        done = self.run("report", "merge", *shards, "--out", out, status=status)
        return done, document(out) if out.exists() else None
