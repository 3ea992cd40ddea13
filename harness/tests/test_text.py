"""Repetition metrics of the real program against independent implementations, texts with known answers, and bad input.

Run by CTest as `python test_text.py PROGRAM`, with simctg, diversity and nltk on PYTHONPATH. What is computed here is written
from the papers' formulas, with nothing but counting; what three published packages do otherwise is asserted by name.
"""

import collections
import gzip
import importlib.util
import json
import math
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import xml.etree.ElementTree

PROGRAM = None
ROOT = pathlib.Path(__file__).resolve().parents[2]


def grams(tokens, n):
    return [tuple(tokens[i:i + n]) for i in range(len(tokens) - n + 1)]


def repeated(tokens, n):
    all_of_them = grams(tokens, n)
    return 1 - len(set(all_of_them)) / len(all_of_them) if len(all_of_them) > 1 else None


def among_the_last(context, asked, window, first):
    places = range(first, len(context))
    return sum(asked[i] in context[max(0, i - window):i] for i in places) / len(places) if len(places) else None


def holtzman(tokens):
    """The published procedure: phrases of up to 90 tokens, the one repeated most at the end."""
    backwards, most, phrase = tokens[::-1], 1, 1
    for n in range(1, 91):
        times = 1
        while len(backwards[n * times:n * (times + 1)]) == n and backwards[n * times:n * (times + 1)] == backwards[:n]:
            times += 1
        if times > most:
            most, phrase = times, n
    return float(most > 1 and (phrase >= 3 or most > 50)) if len(tokens) >= 6 else None


def longest_repeat(tokens):
    """By sorting all suffixes."""
    suffixes = sorted(tokens[i:] for i in range(len(tokens)))
    return max((next((k for k, (a, b) in enumerate(zip(one, other)) if a != b), min(len(one), len(other)))
                for one, other in zip(suffixes, suffixes[1:])), default=0)


def loops(tokens):
    """All runs of every period, token by token: (longest, longest that goes on to the end) as (period, begin, end)."""
    found = []
    for period in range(1, len(tokens) // 3 + 1):
        begin = 0
        for i in range(period, len(tokens) + 1):
            if i == len(tokens) or tokens[i] != tokens[i - period]:
                if i - begin >= max(3 * period, 12):
                    found.append((period, begin, i))
                begin = i - period + 1
    longest = [max(some, key=lambda loop: (loop[2] - loop[1], -loop[0]), default=None)
               for some in (found, [loop for loop in found if loop[2] == len(tokens)])]
    return longest


def sentences(text):
    parts = [part.strip() for part in re.split(r"(?<=[.!?。！？…\n])", text)]
    return [part for part in parts if re.search(r"\w", part)]


def zipf(tokens):
    counts = sorted(collections.Counter(tokens).values(), reverse=True)[:5000]
    x, y = [math.log(rank) for rank in range(1, len(counts) + 1)], [math.log(count) for count in counts]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    return -sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y)) / sum((a - mean_x) ** 2 for a in x)


def texts(chance, kind, count):
    """Token sequences of many kinds: natural, small alphabets, loops of every sort, copies from far back, short ones."""
    made = []
    for _ in range(count):
        length = chance.choice([0, 1, 2, 3, 5, 6, 7, 11, 12, 13, 40, 150]) if kind == "short" else chance.randrange(60, 220)
        words = {"two": 2, "few": 5}.get(kind, 6400)
        tokens = [min(int(chance.paretovariate(0.8)) - 1, words - 1) for _ in range(length)]
        if kind == "loop":
            period, begin = chance.choice([1, 2, 3, 7, 30, 60]), chance.randrange(0, length // 2)
            block = tokens[begin:begin + period]
            tokens[begin:] = (block * (length // period + 1))[:chance.randrange(2, length)]
            if chance.random() < 0.5:
                tokens += [chance.randrange(6400) for _ in range(chance.randrange(1, 40))]
        if kind == "copy":
            begin, end = sorted(chance.sample(range(length), 2))
            tokens += tokens[begin:end]
        made.append(tokens)
    return made


class Measured(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)

    def file(self, lines, name="samples.jsonl"):
        path = self.root / name
        path.write_text(lines if isinstance(lines, str) else "".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        return path

    def run_it(self, *arguments):
        return subprocess.run([PROGRAM, "text", *map(str, arguments)], capture_output=True, text=True, timeout=300)

    def measured(self, lines, *arguments, status=0, name="samples.jsonl"):
        out, each = self.root / "text.json", self.root / "each.jsonl"
        run = self.run_it(self.file(lines, name), "-o", out, "--each", each, *arguments)
        self.assertEqual(run.returncode, status, run.stdout + run.stderr)
        self.assertEqual(run.stderr, "")
        self.said = run.stdout
        document = json.loads(out.read_text())
        self.assertEqual(document["document"], "plumbline text")
        values = {metric["id"]: metric["value"] for metric in document["metrics"]}
        return document, values, [json.loads(line) for line in each.read_text().splitlines()]

    def same(self, seen, right, what):
        if right is None or seen is None:
            self.assertEqual(seen, right, what)
        else:
            self.assertAlmostEqual(seen, right, delta=1e-12 * max(1, abs(right)), msg=what)

    def mean(self, values):
        values = [value for value in values if value is not None]
        return sum(values) / len(values) if values else None


class AgainstOthers(Measured):
    def test_a_thousand_texts_of_token_ids(self):
        chance, compared = random.Random(7), 0
        for kind in ("natural", "two", "few", "loop", "copy", "short") * 4:
            samples = texts(chance, kind, 42)
            compared += len(samples)
            _, values, each = self.measured([{"ids": ids} for ids in samples])
            for one, ids in zip(each, samples):
                own = one["values"]
                for n in (1, 2, 3, 4, 8):
                    self.same(own[f"seq-rep-{n}"], repeated(ids, n), f"seq-rep-{n} of {ids}")
                for window in (16, 32, 128, 512):
                    self.same(own[f"rep/{window}"], among_the_last(ids, ids, window, 1), f"rep/{window} of {ids}")
                self.same(own["tail-repetition"], holtzman(ids), f"tail of {ids}")
                longest = longest_repeat(ids) / len(ids) if len(ids) > 1 else None
                self.same(own["longest-repeat-share"], longest, f"longest repeat of {ids}")
                found = [loop and (loop["period"], loop["begin"], loop["end"]) for loop in (one["longest_loop"], one["last_loop"])]
                self.assertEqual(found, loops(ids), ids)
                self.same(own["looping"], float(found[1] is not None) if len(ids) >= 12 else None, ids)
            for n in (1, 2, 3, 4):
                distinct = len({gram for ids in samples for gram in grams(ids, n)})
                self.same(values[f"distinct-{n}"], distinct / sum(map(len, samples)), f"distinct-{n}")
            for n in (1, 2, 3, 4, 8):
                counted = [grams(ids, n) for ids in samples]
                self.same(values[f"rep-{n}"], 1 - sum(len(set(all)) for all in counted) / sum(map(len, counted)), f"rep-{n}")
                self.same(values[f"seq-rep-{n}"], self.mean([repeated(ids, n) for ids in samples]), f"seq-rep-{n}")
            self.same(values["diversity"], math.prod(1 - values[f"rep-{n}"] for n in (2, 3, 4)), "diversity")
            flat = [token for ids in samples for token in ids]
            if kind != "two" and kind != "few":
                self.assertAlmostEqual(values["zipf"], zipf(flat), places=10)
            else:
                self.assertIsNone(values["zipf"])
            raw = b"".join(token.to_bytes(2, "little") for token in flat)
            # Another zlib may choose other matches: its ratio is a little different.
            self.assertAlmostEqual(values["compression-ratio"] / (len(raw) / len(gzip.compress(raw, 6))), 1, delta=0.02)
            self.same(values["longest-repeat"], max(longest_repeat(ids) for ids in samples), "longest")
        self.assertGreaterEqual(compared, 1000)

    def test_self_bleu_is_that_of_nltk(self):
        from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
        chance = random.Random(8)
        for kind in ("few", "two", "natural", "short", "loop"):
            samples = texts(chance, kind, 25)
            _, values, _ = self.measured([{"ids": ids} for ids in samples])
            right = [sentence_bleu(samples[:i] + samples[i + 1:], ids, smoothing_function=SmoothingFunction().method1)
                     for i, ids in enumerate(samples) if len(ids) >= 4]
            self.assertAlmostEqual(values["self-bleu"], sum(right) / len(right), places=10, msg=kind)

    def words(self):
        chance = random.Random(9)
        vocabulary = ["".join(chance.choices("abcdefghij", k=4)) for _ in range(60)]
        made = [" ".join(chance.choices(vocabulary, k=80)) for _ in range(12)]
        return made + [" ".join(made[0].split()[:20] * 4)]

    def test_simctg_drops_the_last_n_gram(self):
        spec = importlib.util.find_spec("simctg")
        module = importlib.util.spec_from_file_location("evaluation", pathlib.Path(spec.origin).parent / "evaluation.py")
        simctg = importlib.util.module_from_spec(module)
        module.loader.exec_module(simctg)
        samples = self.words()
        _, values, _ = self.measured([{"text": text} for text in samples])
        theirs = simctg.measure_repetition_and_diversity(samples)
        # The same texts with a word more, which theirs never reaches.
        longer = simctg.measure_repetition_and_diversity([text + " end" for text in samples])
        for n, right in zip((2, 3, 4), longer):
            self.assertAlmostEqual(100 * values[f"rep-{n}"], right, delta=0.0051)
        self.assertNotEqual(theirs[:3], longer[:3], "simctg no longer drops the last n-gram: say so in docs/text-and-logs.md")

    def test_diversity_gzips_twice(self):
        spec = importlib.util.find_spec("diversity")
        module = importlib.util.spec_from_file_location("compression", pathlib.Path(spec.origin).parent / "compression.py")
        diversity = importlib.util.module_from_spec(module)
        module.loader.exec_module(diversity)
        samples = self.words()
        raw = " ".join(samples).encode()
        _, values, _ = self.measured([{"text": text} for text in samples])
        self.assertAlmostEqual(values["compression-ratio"] / (len(raw) / len(gzip.compress(raw, 6))), 1, delta=0.02)
        theirs = diversity.compression_ratio(samples)
        self.assertAlmostEqual(theirs, len(raw) / len(gzip.compress(gzip.compress(raw))), delta=0.05)  # it keeps the file's name
        self.assertLess(theirs, values["compression-ratio"])

    def test_sentences_and_scripts(self):
        said = ["It rains. It rains. It pours! Does it? It rains.", "今天下雨。今天下雨。明天呢？明天呢？", "one\ntwo\none\none", "No end", "..."]
        _, values, each = self.measured([{"text": text} for text in said])
        for one, text in zip(each, said):
            all_of_them = sentences(text)
            right = 1 - len(set(all_of_them)) / len(all_of_them) if len(all_of_them) > 1 else None
            self.same(one["values"]["sentence-repetition"], right, text)
        self.assertEqual([one["tokens"] for one in each], [15, 18, 4, 2, 3])
        by_ids, values, _ = self.measured([{"ids": [5, 6, 9, 5, 6, 9, 7, 9, 5, 6]}], "--sentence-ends", "9")
        self.same(values["sentence-repetition"], 0.5, "5 6 | 5 6 | 7 | 5 6")

    def test_choices_for_a_given_text(self):
        chance = random.Random(10)
        given = [[chance.randrange(40) for _ in range(90)] for _ in range(20)]
        chosen = [[token if chance.random() < 0.5 else chance.randrange(40) for token in ids] for ids in given]
        _, values, _ = self.measured([{"ids": ids, "predicted": choices} for ids, choices in zip(given, chosen)])
        for window in (16, 32):
            hits = [(choices[i] in ids[max(0, i - window):i], choices[i] != ids[i])
                    for ids, choices in zip(given, chosen) for i in range(90)]
            self.same(values[f"rep/{window}"], sum(among for among, _ in hits) / len(hits), "rep/l")
            self.same(values[f"wrep/{window}"], sum(among and wrong for among, wrong in hits) / len(hits), "wrep/l")


class KnownAnswers(Measured):
    def test_planted_loops(self):
        fresh = iter(range(10000))
        lead, tail = [next(fresh) for _ in range(37)], [next(fresh) for _ in range(25)]
        for period in (1, 2, 3, 7, 90):
            block = [next(fresh) for _ in range(period)]
            times = 5 if period > 3 else 20
            loop = {"period": period, "begin": 37, "end": 37 + times * period}
            for after in ([], tail):
                ids = lead + block * times + after
                _, values, (each,) = self.measured([{"ids": ids}])
                self.assertEqual(each["longest_loop"], loop)
                self.assertEqual(each["last_loop"], None if after else loop)
                self.assertEqual(values["looping"], 0 if after else 1)
                self.same(values["loop-share"], times * period / len(ids), "share")
                # A loop of one or two tokens counts in Holtzman's tail only from the 51st time on.
                self.assertEqual(values["tail-repetition"], float(not after and period >= 3))
        _, values, (each,) = self.measured([{"ids": lead}])
        self.assertEqual((each["longest_loop"], values["looping"], values["seq-rep-1"], values["longest-repeat"]), (None, 0, 0, 0))

    def test_too_short_is_never_0(self):
        for ids in ([], [4], [4, 4]):
            document, values, _ = self.measured([{"ids": ids}], status=0 if len(ids) > 1 else 3)
            for metric in document["metrics"]:
                if metric["value"] is None:
                    self.assertTrue(metric["reason"], metric["id"])
            for name in ("seq-rep-2", "rep-4", "diversity", "looping", "tail-repetition", "zipf", "compression-ratio", "self-bleu"):
                self.assertIsNone(values[name], (name, ids))
        self.assertIn("not measurable: no sample has two 2-grams", self.said)

    def test_the_same_seed_gives_the_same_bytes(self):
        lines = [{"ids": ids} for ids in texts(random.Random(3), "loop", 30)]
        first = self.measured(lines)[0]
        self.assertEqual(first, self.measured(lines)[0])
        other = self.measured(lines, "--seed", "2")[0]
        name = "seq-rep-4"
        intervals = [next(m["interval"] for m in document["metrics"] if m["id"] == name) for document in (first, other)]
        self.assertNotEqual(*intervals)
        self.assertAlmostEqual(intervals[0]["low"], intervals[1]["low"], delta=0.05)


class Verdicts(Measured):
    def samples(self, prompts, looping, seed=1, **more):
        """So many prompts, of which this share ends in a loop."""
        chance = random.Random(seed)
        made = []
        for i in range(prompts):
            ids = [chance.randrange(6400) for _ in range(100)]
            if chance.random() < looping:
                ids[40:] = (ids[40:45] * 12)[:60]
            made.append({"prompt": f"p{i}", "ids": ids, **more})
        return made

    def judged(self, one, other, status):
        baseline = self.file(one, "baseline.jsonl")
        document, _, _ = self.measured(other, "--baseline", baseline, status=status)
        return document

    def test_more_repetitive_is_status_1(self):
        document = self.judged(self.samples(100, 0.05), self.samples(100, 0.4, 2), 1)
        self.assertEqual(document["verdict"]["finding"], "more repetitive")
        self.assertEqual([one["finding"] for one in document["verdict"]["deciding"]], ["more", "more"])
        looping = next(metric for metric in document["metrics"] if metric["id"] == "looping")
        self.assertTrue(looping["difference"]["paired"])
        self.assertLess(looping["difference"]["p"], 0.01)
        self.assertIn("more repetitive than the baseline", self.said)

    def test_the_same_and_less_are_status_0(self):
        one = self.samples(200, 0.1)
        self.assertEqual(self.judged(one, one, 0)["verdict"]["finding"], "not more repetitive")
        self.assertEqual(self.judged(one, self.samples(200, 0, 2), 0)["verdict"]["finding"], "less repetitive")

    def test_too_few_prompts_are_not_assessed(self):
        for prompts in (4, 12):
            document = self.judged(self.samples(prompts, 0), self.samples(prompts, 0, 2), 3)
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
        one = self.samples(30, 0.3, strategy="sampled", sampling={"temperature": 1})
        other = [{**sample, "prompt": sample["prompt"] + "!", "sampling": {"temperature": 0.1}} for sample in one]
        document = self.judged(one, other, 3)
        self.assertIn("not in pairs", document["text"]["notes"][0])
        self.assertIn('{"temperature":0.1} against {"temperature":1}', document["text"]["notes"][1])

    def test_unlike_texts_are_not_compared(self):
        greedy, sampled = self.file(self.samples(20, 0, strategy="greedy"), "greedy.jsonl"), self.samples(20, 0, strategy="sampled")
        run = self.run_it(self.file(sampled), "--baseline", greedy)
        self.assertEqual(run.returncode, 2)
        self.assertIn("compare like with like", run.stderr)
        run = self.run_it(self.file(sampled + self.samples(5, 0, strategy="greedy")), "--baseline", greedy)
        self.assertEqual(run.returncode, 2)
        self.assertIn("holds greedy and sampled text", run.stderr)
        run = self.run_it(self.file([{"text": "a b c"}]), "--baseline", greedy)
        self.assertEqual(run.returncode, 2)
        self.assertIn("expected the same unit in both", run.stderr)

    def test_unpaired_where_prompts_differ(self):
        others = [{**sample, "prompt": sample["prompt"] + "!"} for sample in self.samples(150, 0.4, 2)]
        document = self.judged(self.samples(100, 0.05), others, 1)
        looping = next(metric for metric in document["metrics"] if metric["id"] == "looping")
        self.assertFalse(looping["difference"]["paired"])
        self.assertEqual(looping["difference"]["test"], "Fisher, exact")
        self.assertEqual(looping["difference"]["prompts"], [100, 150])

    def test_several_samples_of_a_prompt_are_no_more_prompts(self):
        few = [{"prompt": f"p{i % 5}", **{"ids": sample["ids"]}} for i, sample in enumerate(self.samples(100, 0.5))]
        document, _, _ = self.measured(few)
        self.assertEqual((document["text"]["samples"], document["text"]["prompts"]), (100, 5))
        self.assertTrue(all(metric["interval"] is None for metric in document["metrics"]))


class Reading(Measured):
    def test_prompts_that_are_null_are_unknown(self):
        document, _, _ = self.measured([{"prompt": None, "prompt_ids": [i], "ids": [1, 2, 3]} for i in range(20)])
        self.assertEqual(document["text"]["prompts"], 20)
        document, _, _ = self.measured([{"prompt": None, "ids": [1, 2, 3]} for i in range(20)])
        self.assertEqual(document["text"]["prompts"], 20)

    def test_a_strategy_is_that_of_every_sample_or_unknown(self):
        document, _, _ = self.measured([{"ids": [1, 2, 3]} for _ in range(9)] + [{"ids": [1, 2, 3], "strategy": "greedy"}])
        self.assertEqual(document["text"]["strategy"], "unknown")

    def test_reasons_for_an_end(self):
        for reason, right in (("stop", 1), ("eos_token", 1), ("STOP", 1), ("end_turn", 1), ("length", 0), ("max_tokens", 0), ("weather", None)):
            _, values, _ = self.measured([{"ids": [1, 2, 3], "finish_reason": reason}])
            self.assertEqual(values["ended"], right, reason)

    def test_an_empty_sample_does_not_hide_choices(self):
        lines = [{"ids": [1, 2, 1, 2], "predicted": [1, 1, 1, 1]}] * 3
        for extra in ([], [{"ids": [], "predicted": []}]):
            _, values, _ = self.measured(lines + extra)
            self.assertEqual((values["rep/16"], values["wrep/16"]), (0.75, 0.5))

    def test_objects_are_objects_by_any_name(self):
        for name in ("x.ndjson", "x.JSONL", "x.jsonl.bak", "x.txt"):
            document, _, _ = self.measured([{"ids": list(range(20))}] * 3, name=name)
            self.assertEqual((document["text"]["samples"], document["text"]["unit"]), (3, "token ids"))

    def test_a_number_of_tokens_is_none_of_their_ids(self):
        document, _, _ = self.measured([{"text": "a b c a b c", "tokens": 6}])
        self.assertEqual(document["text"]["unit"], "words")

    def test_marks_and_spaces_of_unicode(self):
        _, values, _ = self.measured("\ufeff你好。\u3000你好。\u3000你好。\n", name="x.txt")
        self.same(values["sentence-repetition"], 2 / 3, "three times the same")

    def test_nothing_measurable_is_not_assessed(self):
        for lines in ([{"ids": []}] * 3, [{"ids": []}]):
            document, _, _ = self.measured(lines, status=3)
            self.assertIn("nothing in it that could be measured", document["verdict"]["sentence"])


class BadInput(Measured):
    def refused(self, content, *words, name="samples.jsonl", arguments=()):
        path = self.root / name
        if content is not None:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        run = self.run_it(path, "-o", self.root / "out.json", *arguments)
        self.assertEqual(run.returncode, 2, run.stdout)
        self.assertEqual(run.stdout, "")
        self.assertEqual(len(run.stderr.splitlines()), 1, run.stderr)
        self.assertFalse((self.root / "out.json").exists())
        for word in words:
            self.assertIn(word, run.stderr)

    def test_files_that_hold_no_samples(self):
        self.refused(None, "samples.jsonl")
        self.refused("", "holds no sample")
        self.refused("\n \n", "holds no sample")
        self.refused("", "holds no sample", name="plain.txt")
        self.refused("[1, 2]\n", "line 1", "expected a JSON object")
        self.refused('{"ids": [1, 2]}\n{"ids": [1, 2\n', "line 2")
        self.refused('{"prompt": "x"}\n', "line 1", "no text")
        self.refused('{"ids": [1]}\n{"text": "x"}\n', "line 2", "choose one with --unit")
        self.refused('{"text": 5}\n', "line 1", "no string")
        self.refused('{"ids": 5}\n', "line 1", "no array")

    def test_ids_that_are_none(self):
        for wrong in ("-1", "1.5", "true", "null", '"7"', "4294967295", "1e3", "99999999999999999999999"):
            self.refused('{"ids": [3, %s]}\n' % wrong, "line 1", "ids[1]")
        self.refused('{"ids": [3, 6400]}\n', "ids[1] is 6400, expected a token id below 6400", arguments=["--vocabulary", "6400"])
        self.refused('{"ids": [3], "predicted": []}\n', "'predicted' has 0 tokens, 'ids' 1")
        self.refused('{"ids": [3], "strategy": "beam"}\n', "expected greedy or sampled")
        self.refused('{"text": "a. b."}\n', "leave it out", arguments=["--sentence-ends", "1"])

    def test_outputs_are_not_inputs(self):
        path = self.root / "samples.jsonl"
        path.write_text('{"ids": [3]}\n')
        other = self.root / "a"
        for words, said in ((("-o", path), "name another file"), (("--each", path), "name another file"),
                            (("-o", other, "--each", other), "name another file"), (("-o", self.root), "is a directory")):
            run = self.run_it(path, *words)
            self.assertEqual(run.returncode, 2)
            self.assertIn(said, run.stderr)
        self.assertFalse(other.exists())
        self.assertEqual(path.read_text(), '{"ids": [3]}\n')
        with open("/dev/full", "w") as full:
            run = subprocess.run([PROGRAM, "text", str(path)], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
        self.assertEqual(run.returncode, 2)
        self.assertIn("cannot be written to", run.stderr)

    def test_text_that_is_none(self):
        self.refused(b"fine\nbroken \xff here\n", "line 2", "byte 8 is no UTF-8", name="plain.txt")
        self.refused(b'{"text": "\xc0\xaf"}\n', "line 1")
        self.refused("some text\n", "has no token ids", name="plain.txt", arguments=["--unit", "ids"])

    def test_markup_and_control_characters_do_not_reach_the_terminal(self):
        path = self.file([{"text": "\x1b[31m red \u202e tfel"}], "a\x1b[31m.jsonl")
        run = self.run_it(path)
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertNotIn("\x1b", run.stdout)

    def test_an_interrupt_leaves_nothing(self):
        lines = "".join(json.dumps({"ids": list(range(1000))}) + "\n" for _ in range(3000))
        path, out = self.file(lines), self.root / "text.json"
        process = subprocess.Popen([PROGRAM, "text", str(path), "-o", str(out)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(0.8)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
        self.assertIn(process.returncode, (-signal.SIGINT, 0))
        if process.returncode != 0:
            self.assertEqual(sorted(os.listdir(self.root)), ["samples.jsonl"])


class Documents(Measured):
    def test_the_document_follows_its_schema(self):
        import jsonschema
        schema = json.loads((ROOT / "harness" / "text" / "text.schema.json").read_text())
        verdicts = Verdicts("samples")
        one, other = verdicts.samples(30, 0.1), verdicts.samples(30, 0.6, 2)
        baseline = self.file(one, "baseline.jsonl")
        for document in (self.measured(one)[0], self.measured(other, "--baseline", baseline, status=1)[0], self.measured([{"ids": []}], status=3)[0]):
            jsonschema.validate(document, schema)
        broken = json.loads(json.dumps(document))
        del broken["verdict"]
        with self.assertRaises(jsonschema.ValidationError):
            jsonschema.validate(broken, schema)

    def test_the_picture_has_every_metric_with_its_interval(self):
        verdicts = Verdicts("samples")
        baseline = self.file(verdicts.samples(30, 0.1), "baseline<b>.jsonl")
        picture = self.root / "text.svg"
        document = self.measured(verdicts.samples(30, 0.6, 2), "--baseline", baseline, "--picture", picture, status=1)[0]
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
    PROGRAM = str(pathlib.Path(sys.argv.pop(1)).resolve())
    unittest.main(verbosity=1)
