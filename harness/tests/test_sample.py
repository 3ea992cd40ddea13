"""Samples of the real program: against golden samples and transformers' generate, in every batch, from every kind of
candidate, and bad input. transformers and tokenizers are asked where they can be imported.
"""

import json
import os
import pathlib
import random
import shutil
import signal
import sys
import textwrap
import time
from importlib.util import find_spec

import pytest

from live_cases import MODELS, with_transformers

ROOT = pathlib.Path(__file__).resolve().parents[2]
GOLDEN = json.loads((ROOT / "golden" / "samples.json").read_text())


def prompts(count, longest=20, words=101, seed=1):
    chance = random.Random(seed)
    return [{"ids": [chance.randrange(words) for _ in range(chance.randrange(1, longest + 1))]} for _ in range(count)]


class Sampler:
    def __init__(self, program, checkpoint, root):
        self.program, self.checkpoint, self.root = program, checkpoint, root
        self.specification = "tiny"
        self.private = root / "private"
        self.private.mkdir()

    def command(self, candidate, prompts, *arguments, out="samples.jsonl"):
        path = self.root / "prompts.jsonl"
        if isinstance(prompts, list):
            path.write_text("".join(json.dumps(prompt) + "\n" for prompt in prompts))
        else:
            path = prompts
        return ["sample", candidate, "--spec", self.specification, "--prompts", path, "-o", self.root / out, "--python", sys.executable,
                "--threads", "1", *arguments]

    def environment(self):
        others = os.environ.get("PYTHONPATH")
        return {**os.environ, "TMPDIR": str(self.private), "PYTHONPATH": os.pathsep.join([str(MODELS), *([others] if others else [])])}

    def run_it(self, *given, **named):
        return self.program(*self.command(*given, **named), env=self.environment(), cwd=self.root)

    def sampled(self, candidate, prompts, *arguments, **named):
        run = self.run_it(candidate, prompts, *arguments, **named)
        assert run.returncode == 0, run.stdout + run.stderr
        assert os.listdir(self.private) == []
        return [json.loads(line) for line in (self.root / named.get("out", "samples.jsonl")).read_text().splitlines()]

    def refused(self, candidate, prompts, *words, arguments=()):
        run = self.run_it(candidate, prompts, *arguments)
        assert run.returncode == 2, run.stdout + run.stderr
        assert len(run.stderr.splitlines()) == 1, run.stderr
        assert not (self.root / "samples.jsonl").exists()
        assert os.listdir(self.private) == []
        for word in words:
            assert word in run.stderr


@pytest.fixture(scope="module")
def checkpoint(program, tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "tiny"
    assert program("export", folder, "--spec", "tiny").returncode == 0
    return folder


@pytest.fixture
def sampler(program, checkpoint, tmp_path):
    return Sampler(program, checkpoint, tmp_path)


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("group", GOLDEN["groups"], ids=lambda group: ", ".join(f"{key} {value}" for key, value in group["settings"].items()))
def test_the_golden_samples(sampler, group, batch):
    """Of another model, another sampler and another generator, in numpy and float64."""
    options = [word for name, value in group["settings"].items() for word in (f"--{name.replace('_', '-')}", value)]
    given = [{"ids": row["prompt"]} for row in group["rows"]]
    samples = sampler.sampled(sampler.checkpoint, given, *options, "--tokens", len(group["rows"][0]["tokens"]), "--batch", batch)
    assert len(samples) == len(given)
    for sample, row in zip(samples, group["rows"]):
        assert sample["ids"] == row["tokens"], row["prompt"]
        assert sample["margin"] == pytest.approx(row["margin"], abs=2e-5)


def test_the_same_tokens_in_every_batch(sampler):
    given = prompts(23)
    for settings in (["--temperature", 0], ["--top-p", 0.9], ["--top-k", 2, "--temperature", 0.7]):
        runs = [sampler.sampled(sampler.checkpoint, given, *settings, "--tokens", 30, "--samples", 2, "--batch", batch) for batch in (1, 7, 64)]
        assert len(runs[0]) == 46
        for one, *others in zip(*runs):
            if one["margin"] > 1e-5:
                for other in others:
                    assert one["ids"] == other["ids"]
        close = sum(one["margin"] <= 1e-5 for one in runs[0])
        assert close < 23
    first, second = runs[0][0], runs[0][1]
    assert first["prompt_ids"] == second["prompt_ids"]
    assert first["ids"] != second["ids"]


@with_transformers
def test_greedy_text_is_that_of_transformers(sampler):
    import torch
    from transformers import AutoModelForCausalLM
    theirs = AutoModelForCausalLM.from_pretrained(sampler.checkpoint, dtype=torch.float32).eval()
    for penalty in (1.0, 1.4):
        for sample in sampler.sampled(sampler.checkpoint, prompts(8), "--temperature", 0, "--repetition-penalty", penalty, "--tokens", 25):
            ids = torch.tensor([sample["prompt_ids"]])
            made = theirs.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=25, min_new_tokens=25, do_sample=False,
                                   repetition_penalty=penalty, pad_token_id=0, eos_token_id=None)
            if sample["margin"] > 1e-5:
                assert sample["ids"] == made[0, ids.shape[1]:].tolist()


def live(sampler, text):
    path = sampler.root / "live.py"
    path.write_text(textwrap.dedent("""
        import dataclasses
        from safetensors.torch import load_file
        import minimind_adapter, models, plain_adapter, plumbline
        def trained(settings):
            model = models.MiniMind(settings)
            model.load_state_dict(load_file(%r), strict=False)
            return model
        """ % str(sampler.checkpoint / "model.safetensors")) + textwrap.dedent(text))
    return path


@pytest.mark.parametrize("adapter", [
    "plumbline.Module(trained, mask='attention_mask', cache=plumbline.Cache('past_key_values', keywords={'use_cache': True}))",
    "plumbline.Module(trained, cache=plumbline.Cache('past_key_values', keywords={'use_cache': True}))",
    "plumbline.Module(trained)",
], ids=["with a cache", "without padding", "without a cache"])
def test_live_models_give_the_same_tokens(sampler, adapter):
    given = prompts(9)
    right = sampler.sampled(sampler.checkpoint, given, "--top-p", 0.9, "--tokens", 12)
    for one, other in zip(right, sampler.sampled(live(sampler, f"adapter = {adapter}"), given, "--top-p", 0.9, "--tokens", 12, out="live.jsonl")):
        assert one["prompt_ids"] == other["prompt_ids"]
        if min(one["margin"], other["margin"]) > 1e-5:
            assert one["ids"] == other["ids"]


def test_an_end_token_ends_a_sample_and_is_none_of_it(sampler):
    given = prompts(12)
    free = sampler.sampled(sampler.checkpoint, given, "--tokens", 40)
    end = free[0]["ids"][5]
    ended = 0
    for one, other in zip(free, sampler.sampled(sampler.checkpoint, given, "--tokens", 40, "--end", end)):
        assert "ended" not in one
        cut = one["ids"].index(end) if end in one["ids"] else None
        assert (other["ids"], other["ended"]) == (one["ids"][:cut], cut is not None)
        ended += other["ended"]
    assert ended > 0


def test_samples_are_what_text_reads(sampler):
    sampler.sampled(sampler.checkpoint, prompts(30), "--temperature", 0, "--tokens", 80, out="greedy.jsonl")
    sampler.sampled(sampler.checkpoint, prompts(30), "--tokens", 80, out="sampled.jsonl")
    run = sampler.program("text", sampler.root / "greedy.jsonl", "--vocabulary", "101")
    assert run.returncode == 0, run.stderr
    assert "30 samples of 30 prompts, 2400 token ids, greedy text" in run.stdout
    run = sampler.program("text", sampler.root / "greedy.jsonl", "--baseline", sampler.root / "sampled.jsonl")
    assert run.returncode == 2
    assert "compare like with like" in run.stderr


with_tokenizers = pytest.mark.skipif(not find_spec("tokenizers"), reason="tokenizers cannot be imported here")


def tokenizer(sampler, words=101):
    from tokenizers import Tokenizer, models, pre_tokenizers
    made = Tokenizer(models.WordLevel({f"w{i}": i for i in range(words)}, unk_token="w0"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    path = sampler.root / "tokenizer.json"
    made.save(str(path))
    return path


def text(sampler, content):
    path = sampler.root / "prompts.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@with_tokenizers
def test_prompts_and_samples_as_text(sampler):
    samples = sampler.sampled(sampler.checkpoint, text(sampler, "w5 w6 w7\n\nw100 unknown\n"), "--tokenizer", tokenizer(sampler), "--tokens", 6)
    assert [sample["prompt_ids"] for sample in samples] == [[5, 6, 7], [100, 0]]
    assert [sample["prompt"] for sample in samples] == ["w5 w6 w7", "w100 unknown"]
    for sample in samples:
        assert sample["text"] == " ".join(f"w{token}" for token in sample["ids"])
    by_line = sampler.sampled(sampler.checkpoint, [{"prompt": "w5 w6 w7"}, {"ids": [100, 0]}], "--tokenizer", tokenizer(sampler), "--tokens", 6)
    assert [sample["ids"] for sample in by_line] == [sample["ids"] for sample in samples]


@with_tokenizers
def test_bad_prompts_and_tokenizers(sampler):
    tiny = sampler.checkpoint
    sampler.refused(tiny, text(sampler, "hello\n"), "line 1", "name it with --tokenizer")
    for content, words in (("{}", "is no tokenizer"), ("not json", "is no tokenizer"), ('{"model": {"type": "Oracle"}}', "is no tokenizer")):
        (sampler.root / "broken.json").write_text(content)
        sampler.refused(tiny, text(sampler, "hello\n"), "broken.json", words, arguments=["--tokenizer", sampler.root / "broken.json"])
    sampler.refused(tiny, text(sampler, "hello\n"), "nowhere.json", arguments=["--tokenizer", sampler.root / "nowhere.json"])
    sampler.refused(tiny, text(sampler, "w200\n"), "has the id 200, expected one below 101", arguments=["--tokenizer", tokenizer(sampler, 300)])
    sampler.refused(tiny, text(sampler, b"fine\n\xff\xfe\n"), "line 2", "UTF-8", arguments=["--tokenizer", tokenizer(sampler)])
    sampler.refused(tiny, text(sampler, " \n"), "holds no prompt")


def test_prompts(sampler):
    tiny = sampler.checkpoint
    sampler.refused(tiny, [{"ids": []}], "line 1")
    sampler.refused(tiny, [{"ids": [1]}, {"ids": [1, 101]}], "prompt 2", "has the id 101, expected one below 101")
    sampler.refused(tiny, [{"ids": [1, -1]}], "line 1", "[1] is -1")
    sampler.refused(tiny, [{"ids": [7] * 32700}], "the model allows 32768 positions")
    sampler.refused(tiny, [{}], "line 1", "neither 'ids' nor 'prompt'")
    sampler.refused(tiny, [[1, 2]], "line 1", "expected a JSON object")
    sampler.refused(tiny, [{"prompt": "hello"}, {"ids": []}], "line 2", "has no tokens")
    sampler.refused(tiny, prompts(1), "nowhere.json", arguments=["--tokenizer", sampler.root / "nowhere.json"])
    sampler.refused(tiny, sampler.root / "nowhere.jsonl", "nowhere.jsonl")


def test_places_that_are_no_outputs(sampler):
    weights_file = sampler.checkpoint / "model.safetensors"
    before = weights_file.read_bytes()
    for place, word in ((weights_file, "lies among the files of"), (sampler.root / "prompts.jsonl", "name another file"), (sampler.root, "is a directory")):
        command = sampler.command(sampler.checkpoint, prompts(1))
        command[command.index("-o") + 1] = place
        run = sampler.program(*command, env=sampler.environment(), cwd=sampler.root)
        assert run.returncode == 2
        assert word in run.stderr
    assert weights_file.read_bytes() == before


def test_a_batch_that_memory_does_not_hold(sampler):
    sampler.refused(sampler.checkpoint, prompts(4), "smaller --batch", arguments=["--tokens", 32000, "--samples", 100000, "--batch", 4096])


@pytest.mark.parametrize(("option", "value"), [
    ("--temperature", -1), ("--temperature", "nan"), ("--top-p", 0), ("--top-p", 1.5), ("--top-k", -3), ("--temperature", 1e-9),
    ("--repetition-penalty", 0), ("--end", 101), ("--tokens", 0), ("--batch", 0), ("--samples", 0), ("--end", -1),
])
def test_settings(sampler, option, value):
    sampler.refused(sampler.checkpoint, prompts(1), option.lstrip("-"), arguments=[option, value])


def test_weights_of_something_else(sampler):
    sampler.specification = "minimind2-small"
    sampler.refused(sampler.checkpoint, prompts(1), "does not match minimind2-small", "plumbline verify")
    sampler.specification = "tiny"
    import torch
    from safetensors.torch import load_file, save_file
    broken = sampler.root / "broken"
    shutil.copytree(sampler.checkpoint, broken)
    tensors = load_file(broken / "model.safetensors")
    tensors["model.norm.weight"][3] = float("nan")
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    assert torch.isnan(tensors["model.norm.weight"]).any()
    sampler.refused(broken, prompts(2), "prompt", "a logit is NaN")


def test_a_model_that_raises(sampler):
    path = sampler.root / "raises.py"
    path.write_text("import models, plumbline\nclass M(models.MiniMind):\n    def forward(self, *a, **k):\n        raise ValueError('not today')\n"
                    "adapter = plumbline.Module(M)\n")
    sampler.refused(path, prompts(2), "not today", "raises.py:4")


def test_an_interrupt_leaves_nothing(sampler):
    command = sampler.command(sampler.checkpoint, prompts(64), "--tokens", 20000)
    process = sampler.program.start(*command, env=sampler.environment(), cwd=sampler.root)
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == -signal.SIGINT
    assert sorted(os.listdir(sampler.root)) == ["private", "prompts.jsonl"]
    assert os.listdir(sampler.private) == []
