"""Texts beside a baseline, judged by the real program, and the document and picture that say it.

Run by CTest as `python test_text_verdicts.py PROGRAM`.
"""

import json
import random
import re
import xml.etree.ElementTree

from text_cases import ROOT, Measured, looping_samples, main


class Verdicts(Measured):
    def judged(self, one, other, status):
        baseline = self.file(one, "baseline.jsonl")
        document, _, _ = self.measured(other, "--baseline", baseline, status=status)
        return document

    def test_more_repetitive_is_status_1(self):
        document = self.judged(looping_samples(100, 0.05), looping_samples(100, 0.4, 2), 1)
        self.assertEqual(document["verdict"]["finding"], "more repetitive")
        self.assertEqual([one["finding"] for one in document["verdict"]["deciding"]], ["more", "more"])
        looping = next(metric for metric in document["metrics"] if metric["id"] == "looping")
        self.assertTrue(looping["difference"]["paired"])
        self.assertLess(looping["difference"]["p"], 0.01)
        self.assertIn("more repetitive than the baseline", self.said)

    def test_the_same_and_less_are_status_0(self):
        one = looping_samples(200, 0.1)
        self.assertEqual(self.judged(one, one, 0)["verdict"]["finding"], "not more repetitive")
        self.assertEqual(self.judged(one, looping_samples(200, 0, 2), 0)["verdict"]["finding"], "less repetitive")

    def test_too_few_prompts_are_not_assessed(self):
        for prompts in (4, 12):
            document = self.judged(looping_samples(prompts, 0), looping_samples(prompts, 0, 2), 3)
            self.assertEqual(document["verdict"]["finding"], "not assessed")
        self.assertIn("12 prompts leave a difference of up to", self.said)

    def test_what_does_not_matter_is_not_more(self):
        """Sure, and far below what matters."""
        chance = random.Random(4)
        def samples(share):
            made = []
            for i in range(1500):
                ids = [chance.randrange(6400) for _ in range(60)]
                if chance.random() < share:
                    ids[30:36] = ids[:6]
                made.append({"prompt": f"p{i}", "ids": ids})
            return made
        document = self.judged(samples(0.02), samples(0.2), 0)
        rep = next(metric for metric in document["metrics"] if metric["id"] == "seq-rep-4")
        self.assertLess(rep["difference"]["p"], 0.01)
        self.assertEqual(document["verdict"]["finding"], "not more repetitive")

    def test_one_looping_sample_more_is_no_reason_to_be_surer(self):
        chance = random.Random(5)
        clean = [{"prompt": f"p{i % 10}", "ids": [chance.randrange(6400) for _ in range(60)]} for i in range(200)]
        self.judged(clean, clean, 3)
        looping = [dict(sample) for sample in clean]
        looping[3]["ids"] = looping[3]["ids"][:30] + looping[3]["ids"][:6] * 5
        self.judged(clean, looping, 3)

    def test_value_interval_and_sentence_are_of_the_same_prompts(self):
        chance = random.Random(6)
        def sample(prompt, loops):
            ids = [chance.randrange(6400) for _ in range(60)]
            return {"prompt": prompt, "ids": ids[:30] + ids[:6] * 5 if loops else ids}
        text = [sample("p0", True) for _ in range(100)] + [sample(f"p{i}", False) for i in range(1, 20)]
        document = self.judged([sample(f"p{i}", False) for i in range(20)], text, 3)
        for name in ("looping", "seq-rep-4"):
            metric = next(metric for metric in document["metrics"] if metric["id"] == name)
            self.assertAlmostEqual(metric["value"], metric["difference"]["of"][0])
            self.assertLessEqual(metric["interval"]["low"], metric["value"])
            self.assertGreaterEqual(metric["interval"]["high"], metric["value"])

    def test_other_definitions_are_not_subtracted(self):
        one = [{"ids": [i % 50, *range(60)], "prompt": f"p{i}"} for i in range(20)]
        wide = [dict(sample) for sample in one]
        wide[0] = {**wide[0], "ids": [*wide[0]["ids"], 70000]}
        document = self.judged(one, [{**sample, "predicted": sample["ids"]} for sample in wide], 3)
        found = {metric["id"]: metric["difference"] for metric in document["metrics"]}
        self.assertIsNone(found["rep/16"])
        self.assertIsNone(found["compression-ratio"])
        self.assertIsNotNone(found["seq-rep-2"])

    def test_other_settings_and_other_prompts_are_said(self):
        one = looping_samples(30, 0.3, strategy="sampled", sampling={"temperature": 1})
        other = [{**sample, "prompt": sample["prompt"] + "!", "sampling": {"temperature": 0.1}} for sample in one]
        document = self.judged(one, other, 3)
        self.assertIn("not in pairs", document["text"]["notes"][0])
        self.assertIn('{"temperature":0.1} against {"temperature":1}', document["text"]["notes"][1])

    def test_unlike_texts_are_not_compared(self):
        greedy, sampled = self.file(looping_samples(20, 0, strategy="greedy"), "greedy.jsonl"), looping_samples(20, 0, strategy="sampled")
        run = self.run_it(self.file(sampled), "--baseline", greedy)
        self.assertEqual(run.returncode, 2)
        self.assertIn("compare like with like", run.stderr)
        run = self.run_it(self.file(sampled + looping_samples(5, 0, strategy="greedy")), "--baseline", greedy)
        self.assertEqual(run.returncode, 2)
        self.assertIn("holds greedy and sampled text", run.stderr)
        run = self.run_it(self.file([{"text": "a b c"}]), "--baseline", greedy)
        self.assertEqual(run.returncode, 2)
        self.assertIn("expected the same unit in both", run.stderr)

    def test_unpaired_where_prompts_differ(self):
        others = [{**sample, "prompt": sample["prompt"] + "!"} for sample in looping_samples(150, 0.4, 2)]
        document = self.judged(looping_samples(100, 0.05), others, 1)
        looping = next(metric for metric in document["metrics"] if metric["id"] == "looping")
        self.assertFalse(looping["difference"]["paired"])
        self.assertEqual(looping["difference"]["test"], "Fisher, exact")
        self.assertEqual(looping["difference"]["prompts"], [100, 150])

    def test_several_samples_of_a_prompt_are_no_more_prompts(self):
        few = [{"prompt": f"p{i % 5}", **{"ids": sample["ids"]}} for i, sample in enumerate(looping_samples(100, 0.5))]
        document, _, _ = self.measured(few)
        self.assertEqual((document["text"]["samples"], document["text"]["prompts"]), (100, 5))
        self.assertTrue(all(metric["interval"] is None for metric in document["metrics"]))


class Documents(Measured):
    def test_the_document_follows_its_schema(self):
        import jsonschema
        schema = json.loads((ROOT / "harness" / "text" / "text.schema.json").read_text())
        one, other = looping_samples(30, 0.1), looping_samples(30, 0.6, 2)
        baseline = self.file(one, "baseline.jsonl")
        for document in (self.measured(one)[0], self.measured(other, "--baseline", baseline, status=1)[0], self.measured([{"ids": []}], status=3)[0]):
            jsonschema.validate(document, schema)
        broken = json.loads(json.dumps(document))
        del broken["verdict"]
        with self.assertRaises(jsonschema.ValidationError):
            jsonschema.validate(broken, schema)

    def test_the_picture_has_every_metric_with_its_interval(self):
        baseline = self.file(looping_samples(30, 0.1), "baseline<b>.jsonl")
        picture = self.root / "text.svg"
        document = self.measured(looping_samples(30, 0.6, 2), "--baseline", baseline, "--picture", picture, status=1)[0]
        svg = "{http://www.w3.org/2000/svg}"
        drawn = xml.etree.ElementTree.parse(picture).getroot()
        self.assertIn(document["verdict"]["sentence"], [text.text for text in drawn.iter(svg + "text")])
        self.assertIn("looping", drawn.find(svg + "desc").text)
        wide = float(drawn.get("viewBox").split()[2])
        marks = {mark.find(svg + "title").text.split(",")[0]: mark for mark in drawn.iter(svg + "g") if mark.get("class") == "text" and mark.find(svg + "title") is not None}
        measured = {metric["id"]: metric for metric in document["metrics"] if metric["value"] is not None}
        self.assertEqual(set(marks), set(measured))
        self.assertEqual(sum(mark.get("class") == "baseline" and mark.find(svg + "title") is not None for mark in drawn.iter(svg + "g")),
                         sum(metric["baseline"]["value"] is not None for metric in document["metrics"]))
        for name, mark in marks.items():
            at = float(mark.find(svg + "circle").get("cx"))
            self.assertTrue(0 < at < wide, name)
            interval = mark.find(svg + "path")
            self.assertEqual(interval is None, measured[name]["interval"] is None, name)
            if interval is not None:
                low, high = map(float, re.match(r"M([\d.]+) [\d.]+H([\d.]+)", interval.get("d")).groups())
                self.assertTrue(low <= at <= high and high - low > 0, name)
        alone = self.measured([{"ids": [1, 2, 3]}], "--picture", picture, status=0)[0]
        self.assertIsNone(alone["baseline"])
        self.assertFalse([mark for mark in xml.etree.ElementTree.parse(picture).iter(svg + "g") if mark.get("class") == "baseline"])


if __name__ == "__main__":
    main()
