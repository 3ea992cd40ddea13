"""Training logs judged by the real program: right verdicts on honest and on broken runs, and bad input.

Run by CTest as `python test_log.py PROGRAM`.
"""

import gzip
import json
import math
import os
import random
import subprocess
import xml.etree.ElementTree

from log_cases import ROOT, Logs, main
from log_shapes import START, V, curve, leak


class Verdicts(Logs):
    def test_an_honest_run(self):
        for text, name in ((self.minimind(curve(300)), "train.log"),
                           ("".join(json.dumps({"step": i, "loss": loss, "lr": 1e-4}) + "\n" for i, loss in enumerate(curve(300))), "train.jsonl")):
            document, findings = self.judged(text, 0, name=name)
            self.assertEqual(self.verdicts(findings), {"start": "pass", "finite": "pass", "falls": "pass", "stays-down": "pass",
                                                       "spikes": "pass", "speed": "pass"})
            self.assertEqual(document["entries"], 300)
            self.assertIn("nothing wrong is seen", self.said)

    def test_one_that_sees_what_it_is_to_predict(self):
        """Falls below what any text leaves uncertain; also the curves of the experiment, in which half of the runs do."""
        losses = [START / (1 + (step / 60) ** 3) for step in range(400)]
        _, findings = self.judged(self.minimind(losses, every=1), 1)
        self.assertEqual(self.verdicts(findings)["speed"], "fail")
        self.assertEqual(findings["speed"]["level"], "must")
        self.assertIn("does each token see the next one", findings["speed"]["sentence"])
        self.assertEqual(findings["speed"]["evidence"][0]["step"], 220)
        record = json.loads((ROOT / "fixtures" / "repeater" / "small-result.json").read_text())
        vocabulary, seen = record["text"]["vocabulary"], {"before": 0, "after": 0}
        for run in record["runs"]:
            if run["levels"]["initialisation"] == "before":
                continue
            rows = "".join(json.dumps({"step": i, "loss": loss}) + "\n" for i, loss in enumerate(run["curve"]))
            inverted = run["levels"]["mask"] == "before"
            _, findings = self.judged(rows, 1 if inverted else 0, "--vocabulary", vocabulary, name="train.jsonl")
            self.assertEqual(findings["speed"]["verdict"], "fail" if inverted else "pass", run["name"])
            seen[run["levels"]["mask"]] += 1
        self.assertEqual(seen, {"before": 8, "after": 10})

    def test_text_that_is_easy_to_predict(self):
        """Models of children's stories end at 0.76 with a vocabulary of 32000: remarkable, and no failure."""
        losses = [0.76 + (math.log(32000) - 0.76) * (1 + i / 20) ** -1.5 for i in range(600)]
        _, findings = self.judged(self.minimind(losses, every=1), 0, "--vocabulary", 32000)
        self.assertEqual((findings["speed"]["verdict"], findings["speed"]["level"]), ("fail", "should"))
        self.assertIn("few texts are as easy", findings["speed"]["sentence"])

    def test_a_run_that_went_on_from_another_may_be_low(self):
        document, findings = self.judged(self.minimind([0.6 + 0.3 * math.exp(-i / 50) for i in range(300)]), 0)
        self.assertNotIn("fail", self.verdicts(findings).values())
        self.assertEqual(document["began"], "from a checkpoint")
        self.assertIn("what was learned before is not in the log", findings["speed"]["sentence"])

    def test_a_tied_matrix_drawn_from_a_standard_normal(self):
        losses = [410 * 0.98**i + START for i in range(200)]
        _, findings = self.judged(self.minimind(losses), 1)
        self.assertEqual(findings["start"]["verdict"], "fail")
        self.assertIn("initialisation too wide", findings["start"]["sentence"])
        self.assertEqual(findings["start"]["evidence"][0]["line"], 1)

    def test_a_loss_that_is_divided(self):
        """Or one that goes on from a checkpoint: both may be, and neither is wrong."""
        _, findings = self.judged(self.minimind([loss / 8 for loss in curve(200)], every=1), 0)
        self.assertIn("8th of ln V; is the loss divided by the steps of gradient accumulation", findings["start"]["sentence"])

    def test_a_model_that_knows_before_it_learns(self):
        """Too little for a trained model, too much for one that knows nothing, where the vocabulary is sure."""
        losses = self.minimind([loss - 2 for loss in curve(200, end=6)], every=1)
        _, findings = self.judged(losses, 1, "--vocabulary", V)
        self.assertIn("before it has learned", findings["start"]["sentence"])
        self.judged(losses, 0, "--vocabulary", V, "--from-checkpoint")
        _, findings = self.judged(losses, 0)
        self.assertIn("ln 866 = 6.764?", findings["start"]["sentence"])

    def test_a_flat_run(self):
        chance = random.Random(2)
        _, findings = self.judged(self.minimind([START + chance.gauss(0, 0.05) for _ in range(200)]), 1)
        self.assertEqual([name for name, verdict in self.verdicts(findings).items() if verdict == "fail"], ["falls"])

    def test_a_run_that_becomes_nan(self):
        losses = curve(100) + [9.5, float("nan")] + [float("nan")] * 20
        document, findings = self.judged(self.minimind(losses), 1)
        self.assertEqual(findings["finite"]["verdict"], "fail")
        self.assertIn("NaN at step 10100 (line 102), after 9.5; 21 of the 21 entries", findings["finite"]["sentence"])
        self.assertEqual([point["loss"] for point in findings["finite"]["evidence"]], [9.5, "NaN"])
        # As Python's json writes it, which is no JSON.
        lines = "".join(json.dumps({"step": i, "loss": loss}) + "\n" for i, loss in enumerate(losses))
        self.assertIn("NaN", lines)
        _, findings = self.judged(lines, 1, name="train.jsonl")
        self.assertIn("NaN at step 101 (line 102)", findings["finite"]["sentence"])

    def test_a_run_that_explodes(self):
        losses = curve(150) + [2.9 + 0.2 * i for i in range(40)]
        _, findings = self.judged(self.minimind(losses), 1)
        self.assertEqual(findings["stays-down"]["verdict"], "fail")
        self.assertIn("went up again", findings["stays-down"]["sentence"])

    def test_spikes_are_reported_and_do_not_decide(self):
        losses = curve(300)
        losses[120] += 3
        losses[250] += 4
        _, findings = self.judged(self.minimind(losses), 0)
        self.assertEqual(findings["spikes"]["verdict"], "fail")
        self.assertEqual([point["line"] for point in findings["spikes"]["evidence"]], [121, 251])

    def test_few_entries_are_not_assessed(self):
        document, findings = self.judged(self.minimind(curve(6)), 3)
        self.assertEqual(findings["falls"]["verdict"], "not assessed")
        self.assertIn("not assessed: falls, stays-down", document["verdict"])

    def test_honest_runs_of_every_noise_and_length_pass(self):
        for seed, (steps, noise, end) in enumerate(((40, 0.2, 4.0), (3000, 0.3, 2.0), (20, 0.05, 5.0), (500, 0.0, 3.0), (200, 0.4, 3.5))):
            document, _ = self.judged(self.minimind(curve(steps, end, noise, seed)), 0)


class BadInput(Logs):
    def refused(self, content, *words, name="train.log", arguments=()):
        path = self.root / name
        if content is not None:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        before = sorted(os.listdir(self.root))
        run = self.run_it(path, *arguments)
        self.assertEqual(run.returncode, 2, run.stdout + run.stderr)
        self.assertEqual(len(run.stderr.splitlines()), 1, run.stderr)
        self.assertEqual(sorted(os.listdir(self.root)), before)
        for word in words:
            self.assertIn(word, run.stderr)

    def test_logs_without_a_loss(self):
        self.refused(None, "train.log")
        self.refused("", "no loss was found; it is empty")
        self.refused("all is well\nlosses are bad\nloss scale 1\n", "no loss was found", "--pattern")
        self.refused("a,b\n1,2\n", "no loss was found", name="train.csv")
        self.refused("", "it is empty", name="train.csv")
        self.refused("[1, 2]", "no loss was found", name="x.json")
        self.refused('"text"', "no loss was found", name="x.json")
        self.refused("loss 3\n", "no regular expression", arguments=["--pattern", "("])
        self.refused("loss 3\n", "one group", arguments=["--pattern", "loss"])
        self.refused("loss 3\n", "is train.log itself".replace("train.log", str(self.root / "train.log")), arguments=["-o", self.root / "train.log"])
        self.refused("loss 3\n", "is a directory", arguments=["-o", self.root])

    def test_what_was_found_instead_is_said(self):
        rows = "".join(f"{i},{loss},{loss}\n" for i, loss in enumerate(curve(60)))
        self.refused("step,train,val\n" + rows, "its columns: step, train, val", "it begins 'step,train,val' / '0,8.76", "--loss COLUMN")
        self.refused(rows, "its columns: column 1, column 2, column 3")
        self.refused("perte 3.2 a 1\nperte 3.1 a 2\n", "its columns: perte, a", "it begins 'perte 3.2 a 1' / 'perte 3.1 a 2'")
        self.refused("step 1 loss 3\n" * 20, "no column is called 'perte'", "its columns: step, loss", arguments=["--loss", "perte"])
        self.refused("\x1b[31m\u202eloss\n", "it begins '?[31m?loss'")
        for content, name, option in (("step,train,val\n" + rows, "train.csv", "train"), (rows, "rows", "column 2"),
                                      ("".join(f"[{i}] ma perte = {loss}, aux perte = 1\n" for i, loss in enumerate(curve(60))), "a.log", "ma perte"),
                                      ("".join(json.dumps({"at": {"perte": loss}}) + "\n" for loss in curve(60)), "a.jsonl", "at/perte"),
                                      ("".join(f"\u6b65 {i} \u8bef\u5dee\uff1a{loss}\n" for i, loss in enumerate(curve(60))), "b.log", "\u8bef\u5dee")):
            path = self.root / name
            path.write_text(content)
            run = self.run_it(path, "--loss", option)
            self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
            self.assertIn("60 entries", run.stdout)

    def test_what_is_no_text(self):
        for content, words in ((b"\x28\xb5\x2f\xfd1234", "compressed by zstd"), (b"PK\x03\x04abcd", "a zip archive"), (b"\xfd7zXZ\0", "compressed by xz"),
                               (b"\x1f\x8b\x08\x00garbage", "damaged"), (bytes(range(256)) * 1000, "no loss was found"), (b"\0" * 100000, "no loss was found"),
                               (gzip.compress(b"\0" * 20_000_000), "no loss was found"), (b'{"a":' + b"[" * 500_000, "no loss was found")):
            self.refused(content, words)

    def test_hostile_text(self):
        # Long lines, control characters, markup: nothing of it is shown, nothing takes long.
        path = self.root / "<script>.log"
        path.write_bytes(b"\x1b[31mloss 8.7 \xff\xfe\n" + b"step " * 100000 + b"loss 8.5\n" + b"(" * 200000 + b"loss 8.4\n" + b"\0loss: 8.3\n" * 9)
        picture = self.root / "log.svg"
        run = self.run_it(path, "--picture", picture)
        self.assertNotIn("\x1b", run.stdout)
        self.assertEqual(run.stderr, "")
        self.assertNotIn("<script>", picture.read_text())
        xml.etree.ElementTree.parse(picture)


class Documents(Logs):
    def test_the_one_entry_judges_logs(self):
        path = self.root / "train.log"
        for losses, status in ((curve(300), 0), (leak(300), 1), (curve(3), 3)):
            path.write_text(self.minimind(losses))
            run = subprocess.run([self.program, "log", path], capture_output=True, text=True, timeout=60)
            self.assertEqual(run.returncode, status, run.stdout + run.stderr)

    def test_the_document_follows_its_schema(self):
        import jsonschema
        schema = json.loads((ROOT / "harness" / "training_log" / "training_log.schema.json").read_text())
        for losses, status in ((curve(100), 0), (curve(50) + [float("inf")], 1), (curve(3), 3)):
            document, _ = self.judged(self.minimind(losses), status)
            jsonschema.validate(document, schema)
        del document["findings"]
        with self.assertRaises(jsonschema.ValidationError):
            jsonschema.validate(document, schema)


if __name__ == "__main__":
    main()
