"""Samples of the real program: against golden samples and transformers' generate, in every batch, from every kind of
candidate, and bad input.

Run by CTest as `python test_sample.py PROGRAM`, with transformers and tokenizers on PYTHONPATH.
"""

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
import textwrap
import time
import unittest

PROGRAM = None
ROOT = pathlib.Path(__file__).resolve().parents[2]
MODELS = ROOT / "harness" / "python" / "tests"
GOLDEN = json.loads((ROOT / "golden" / "samples.json").read_text())


def prompts(count, longest=20, words=101, seed=1):
    chance = random.Random(seed)
    return [{"ids": [chance.randrange(words) for _ in range(chance.randrange(1, longest + 1))]} for _ in range(count)]


class Sampled(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.checkpoint = pathlib.Path(folder.name) / "tiny"
        subprocess.run([PROGRAM, "export", str(cls.checkpoint), "--spec", "tiny"], check=True, stdout=subprocess.DEVNULL)

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        self.private = self.root / "private"
        self.private.mkdir()

    specification = "tiny"

    def command(self, candidate, prompts, *arguments, out="samples.jsonl"):
        path = self.root / "prompts.jsonl"
        if isinstance(prompts, list):
            path.write_text("".join(json.dumps(prompt) + "\n" for prompt in prompts))
        else:
            path = prompts
        return [PROGRAM, "sample", str(candidate), "--spec", self.specification, "--prompts", str(path), "-o", str(self.root / out), "--python",
                sys.executable, "--threads", "1", *map(str, arguments)]

    def environment(self):
        others = os.environ.get("PYTHONPATH")
        return {**os.environ, "TMPDIR": str(self.private), "PYTHONPATH": os.pathsep.join([str(MODELS), *([others] if others else [])])}

    def run_it(self, *given, **named):
        return subprocess.run(self.command(*given, **named), capture_output=True, text=True, timeout=120, env=self.environment(), cwd=self.root)

    def sampled(self, candidate, prompts, *arguments, **named):
        run = self.run_it(candidate, prompts, *arguments, **named)
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
        self.assertEqual(os.listdir(self.private), [])
        return [json.loads(line) for line in (self.root / named.get("out", "samples.jsonl")).read_text().splitlines()]

    def refused(self, candidate, prompts, *words, arguments=()):
        run = self.run_it(candidate, prompts, *arguments)
        self.assertEqual(run.returncode, 2, run.stdout + run.stderr)
        self.assertEqual(len(run.stderr.splitlines()), 1, run.stderr)
        self.assertFalse((self.root / "samples.jsonl").exists())
        self.assertEqual(os.listdir(self.private), [])
        for word in words:
            self.assertIn(word, run.stderr)


class Tokens(Sampled):
    def test_the_golden_samples(self):
        """Of another model, another sampler and another generator, in numpy and float64."""
        for group in GOLDEN["groups"]:
            settings = dict(group["settings"])
            options = [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", value)]
            given = [{"ids": row["prompt"]} for row in group["rows"]]
            for batch in (1, 4):
                samples = self.sampled(self.checkpoint, given, *options, "--tokens", len(group["rows"][0]["tokens"]), "--batch", batch)
                self.assertEqual(len(samples), len(given))
                for sample, row in zip(samples, group["rows"]):
                    self.assertEqual(sample["ids"], row["tokens"], (settings, row["prompt"]))
                    self.assertAlmostEqual(sample["margin"], row["margin"], delta=2e-5)

    def test_the_same_tokens_in_every_batch(self):
        given = prompts(23)
        for settings in (["--temperature", 0], ["--top-p", 0.9], ["--top-k", 2, "--temperature", 0.7]):
            runs = [self.sampled(self.checkpoint, given, *settings, "--tokens", 30, "--samples", 2, "--batch", batch) for batch in (1, 7, 64)]
            self.assertEqual(len(runs[0]), 46)
            for one, *others in zip(*runs):
                if one["margin"] > 1e-5:
                    for other in others:
                        self.assertEqual(one["ids"], other["ids"])
            close = sum(one["margin"] <= 1e-5 for one in runs[0])
            self.assertLess(close, 23)
        first, second = runs[0][0], runs[0][1]
        self.assertEqual(first["prompt_ids"], second["prompt_ids"])
        self.assertNotEqual(first["ids"], second["ids"])

    @unittest.skipUnless(importlib.util.find_spec("transformers"), "transformers cannot be imported here")
    def test_greedy_text_is_that_of_transformers(self):
        import torch
        from transformers import AutoModelForCausalLM
        theirs = AutoModelForCausalLM.from_pretrained(self.checkpoint, dtype=torch.float32).eval()
        for penalty in (1.0, 1.4):
            for sample in self.sampled(self.checkpoint, prompts(8), "--temperature", 0, "--repetition-penalty", penalty, "--tokens", 25):
                ids = torch.tensor([sample["prompt_ids"]])
                made = theirs.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=25, min_new_tokens=25, do_sample=False,
                                       repetition_penalty=penalty, pad_token_id=0, eos_token_id=None)
                if sample["margin"] > 1e-5:
                    self.assertEqual(sample["ids"], made[0, ids.shape[1]:].tolist())

    def live(self, text):
        path = self.root / "live.py"
        path.write_text(textwrap.dedent("""
            import dataclasses
            from safetensors.torch import load_file
            import minimind_adapter, models, plain_adapter, plumbline
            def trained(settings):
                model = models.MiniMind(settings)
                model.load_state_dict(load_file(%r), strict=False)
                return model
            """ % str(self.checkpoint / "model.safetensors")) + textwrap.dedent(text))
        return path

    def test_live_models_give_the_same_tokens(self):
        given = prompts(9)
        right = self.sampled(self.checkpoint, given, "--top-p", 0.9, "--tokens", 12)
        adapters = {
            "with a cache": "adapter = plumbline.Module(trained, mask='attention_mask', cache=plumbline.Cache('past_key_values', keywords={'use_cache': True}))",
            "without padding": "adapter = plumbline.Module(trained, cache=plumbline.Cache('past_key_values', keywords={'use_cache': True}))",
            "without a cache": "adapter = plumbline.Module(trained)"}
        for name, text in adapters.items():
            with self.subTest(name):
                for one, other in zip(right, self.sampled(self.live(text), given, "--top-p", 0.9, "--tokens", 12, out="live.jsonl")):
                    self.assertEqual(one["prompt_ids"], other["prompt_ids"])
                    if min(one["margin"], other["margin"]) > 1e-5:
                        self.assertEqual(one["ids"], other["ids"])

    def test_an_end_token_ends_a_sample_and_is_none_of_it(self):
        given = prompts(12)
        free = self.sampled(self.checkpoint, given, "--tokens", 40)
        end = free[0]["ids"][5]
        ended = 0
        for one, other in zip(free, self.sampled(self.checkpoint, given, "--tokens", 40, "--end", end)):
            self.assertNotIn("ended", one)
            cut = one["ids"].index(end) if end in one["ids"] else None
            self.assertEqual((other["ids"], other["ended"]), (one["ids"][:cut], cut is not None))
            ended += other["ended"]
        self.assertGreater(ended, 0)

    def test_samples_are_what_text_reads(self):
        self.sampled(self.checkpoint, prompts(30), "--temperature", 0, "--tokens", 80, out="greedy.jsonl")
        self.sampled(self.checkpoint, prompts(30), "--tokens", 80, out="sampled.jsonl")
        run = subprocess.run([PROGRAM, "text", self.root / "greedy.jsonl", "--vocabulary", "101"], capture_output=True, text=True, timeout=60)
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertIn("30 samples of 30 prompts, 2400 token ids, greedy text", run.stdout)
        run = subprocess.run([PROGRAM, "text", self.root / "greedy.jsonl", "--baseline", self.root / "sampled.jsonl"], capture_output=True, text=True)
        self.assertEqual(run.returncode, 2)
        self.assertIn("compare like with like", run.stderr)


@unittest.skipUnless(importlib.util.find_spec("tokenizers"), "tokenizers cannot be imported here")
class Texts(Sampled):
    def tokenizer(self, words=101):
        from tokenizers import Tokenizer, models, pre_tokenizers
        made = Tokenizer(models.WordLevel({f"w{i}": i for i in range(words)}, unk_token="w0"))
        made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        path = self.root / "tokenizer.json"
        made.save(str(path))
        return path

    def text(self, content):
        path = self.root / "prompts.txt"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def test_prompts_and_samples_as_text(self):
        samples = self.sampled(self.checkpoint, self.text("w5 w6 w7\n\nw100 unknown\n"), "--tokenizer", self.tokenizer(), "--tokens", 6)
        self.assertEqual([sample["prompt_ids"] for sample in samples], [[5, 6, 7], [100, 0]])
        self.assertEqual([sample["prompt"] for sample in samples], ["w5 w6 w7", "w100 unknown"])
        for sample in samples:
            self.assertEqual(sample["text"], " ".join(f"w{token}" for token in sample["ids"]))
        by_line = self.sampled(self.checkpoint, [{"prompt": "w5 w6 w7"}, {"ids": [100, 0]}], "--tokenizer", self.tokenizer(), "--tokens", 6)
        self.assertEqual([sample["ids"] for sample in by_line], [sample["ids"] for sample in samples])

    def test_bad_prompts_and_tokenizers(self):
        tiny = self.checkpoint
        self.refused(tiny, self.text("hello\n"), "line 1", "name it with --tokenizer")
        for content, words in (("{}", "is no tokenizer"), ("not json", "is no tokenizer"), ('{"model": {"type": "Oracle"}}', "is no tokenizer")):
            (self.root / "broken.json").write_text(content)
            self.refused(tiny, self.text("hello\n"), "broken.json", words, arguments=["--tokenizer", self.root / "broken.json"])
        self.refused(tiny, self.text("hello\n"), "nowhere.json", arguments=["--tokenizer", self.root / "nowhere.json"])
        self.refused(tiny, self.text("w200\n"), "is id 200, expected one below 101", arguments=["--tokenizer", self.tokenizer(300)])
        self.refused(tiny, self.text(b"fine\n\xff\xfe\n"), "line 2", "UTF-8", arguments=["--tokenizer", self.tokenizer()])
        self.refused(tiny, self.text(" \n"), "holds no prompt")


class BadInput(Sampled):
    def test_prompts(self):
        tiny = self.checkpoint
        self.refused(tiny, [{"ids": []}], "line 1")
        self.refused(tiny, [{"ids": [1]}, {"ids": [1, 101]}], "prompt 2", "has the id 101, expected one below 101")
        self.refused(tiny, [{"ids": [1, -1]}], "line 1", "[1] is -1")
        self.refused(tiny, [{"ids": [7] * 32700}], "the model allows 32768 positions")
        self.refused(tiny, [{}], "line 1", "neither 'ids' nor 'prompt'")
        self.refused(tiny, [[1, 2]], "line 1", "expected a JSON object")
        self.refused(tiny, [{"prompt": "hello"}, {"ids": []}], "line 2", "has no tokens")
        self.refused(tiny, prompts(1), "nowhere.json", arguments=["--tokenizer", self.root / "nowhere.json"])
        self.refused(tiny, self.root / "nowhere.jsonl", "nowhere.jsonl")

    def test_places_that_are_no_outputs(self):
        weights_file = self.checkpoint / "model.safetensors"
        before = weights_file.read_bytes()
        for place, word in ((weights_file, "lies among the files of"), (self.root / "prompts.jsonl", "name another file"), (self.root, "is a directory")):
            command = self.command(self.checkpoint, prompts(1))
            command[command.index("-o") + 1] = str(place)
            run = subprocess.run(command, capture_output=True, text=True, timeout=60, env=self.environment(), cwd=self.root)
            self.assertEqual(run.returncode, 2)
            self.assertIn(word, run.stderr)
        self.assertEqual(weights_file.read_bytes(), before)

    def test_a_batch_that_memory_does_not_hold(self):
        self.refused(self.checkpoint, prompts(4), "smaller --batch", arguments=["--tokens", 32000, "--samples", 100000, "--batch", 4096])

    def test_settings(self):
        for option, value in (("--temperature", -1), ("--temperature", "nan"), ("--top-p", 0), ("--top-p", 1.5), ("--top-k", -3),
                              ("--temperature", 1e-9), ("--repetition-penalty", 0), ("--end", 101), ("--tokens", 0), ("--batch", 0), ("--samples", 0), ("--end", -1)):
            self.refused(self.checkpoint, prompts(1), option.lstrip("-"), arguments=[option, value])

    def test_weights_of_something_else(self):
        self.specification = "minimind2-small"
        self.refused(self.checkpoint, prompts(1), "does not match minimind2-small", "plumbline verify")
        self.specification = "tiny"
        import torch
        from safetensors.torch import load_file, save_file
        broken = self.root / "broken"
        shutil.copytree(self.checkpoint, broken)
        tensors = load_file(broken / "model.safetensors")
        tensors["model.norm.weight"][3] = float("nan")
        save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
        self.assertTrue(torch.isnan(tensors["model.norm.weight"]).any())
        self.refused(broken, prompts(2), "prompt", "a logit is NaN")

    def test_a_model_that_raises(self):
        path = self.root / "raises.py"
        path.write_text("import models, plumbline\nclass M(models.MiniMind):\n    def forward(self, *a, **k):\n        raise ValueError('not today')\n"
                        "adapter = plumbline.Module(M)\n")
        self.refused(path, prompts(2), "not today", "raises.py:4")

    def test_an_interrupt_leaves_nothing(self):
        process = subprocess.Popen(self.command(self.checkpoint, prompts(64), "--tokens", 20000), stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, env=self.environment(), cwd=self.root)
        time.sleep(2)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
        self.assertEqual(process.returncode, -signal.SIGINT)
        self.assertEqual(sorted(os.listdir(self.root)), ["private", "prompts.jsonl"])
        self.assertEqual(os.listdir(self.private), [])


if __name__ == "__main__":
    PROGRAM = str(pathlib.Path(sys.argv.pop(1)).resolve())
    unittest.main(verbosity=1)
