"""Files of samples as anyone writes them, and files that hold none, read by the real program."""

import json
import os
import signal
import time

import pytest

from text_cases import same


def test_prompts_that_are_null_are_unknown(texts):
    document, _, _ = texts.measured([{"prompt": None, "prompt_ids": [i], "ids": [1, 2, 3]} for i in range(20)])
    assert document["text"]["prompts"] == 20
    document, _, _ = texts.measured([{"prompt": None, "ids": [1, 2, 3]} for i in range(20)])
    assert document["text"]["prompts"] == 20


def test_a_strategy_is_that_of_every_sample_or_unknown(texts):
    document, _, _ = texts.measured([{"ids": [1, 2, 3]} for _ in range(9)] + [{"ids": [1, 2, 3], "strategy": "greedy"}])
    assert document["text"]["strategy"] == "unknown"


@pytest.mark.parametrize(("reason", "right"), [
    ("stop", 1), ("eos_token", 1), ("STOP", 1), ("end_turn", 1), ("length", 0), ("max_tokens", 0), ("weather", None),
])
def test_reasons_for_an_end(texts, reason, right):
    _, values, _ = texts.measured([{"ids": [1, 2, 3], "finish_reason": reason}])
    assert values["ended"] == right


@pytest.mark.parametrize("extra", [[], [{"ids": [], "predicted": []}]])
def test_an_empty_sample_does_not_hide_choices(texts, extra):
    _, values, _ = texts.measured([{"ids": [1, 2, 1, 2], "predicted": [1, 1, 1, 1]}] * 3 + extra)
    assert (values["rep/16"], values["wrep/16"]) == (0.75, 0.5)


@pytest.mark.parametrize("name", ["x.ndjson", "x.JSONL", "x.jsonl.bak", "x.txt"])
def test_objects_are_objects_by_any_name(texts, name):
    document, _, _ = texts.measured([{"ids": list(range(20))}] * 3, name=name)
    assert (document["text"]["samples"], document["text"]["unit"]) == (3, "token ids")


def test_a_number_of_tokens_is_none_of_their_ids(texts):
    document, _, _ = texts.measured([{"text": "a b c a b c", "tokens": 6}])
    assert document["text"]["unit"] == "words"


def test_marks_and_spaces_of_unicode(texts):
    _, values, _ = texts.measured("\ufeff你好。\u3000你好。\u3000你好。\n", name="x.txt")
    same(values["sentence-repetition"], 2 / 3, "three times the same")


@pytest.mark.parametrize("samples", [3, 1])
def test_nothing_measurable_is_not_assessed(texts, samples):
    document, _, _ = texts.measured([{"ids": []}] * samples, status=3)
    assert "nothing in the file could be measured" in document["verdict"]["sentence"]


def refused(texts, content, *words, name="samples.jsonl", arguments=()):
    path = texts.root / name
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    run = texts.run_it(path, "-o", texts.root / "out.json", *arguments)
    assert run.returncode == 2, run.stdout
    assert run.stdout == ""
    assert len(run.stderr.splitlines()) == 1, run.stderr
    assert not (texts.root / "out.json").exists()
    for word in words:
        assert word in run.stderr


def test_files_that_hold_no_samples(texts):
    refused(texts, None, "samples.jsonl")
    refused(texts, "", "holds no sample")
    refused(texts, "\n \n", "holds no sample")
    refused(texts, "", "holds no sample", name="plain.txt")
    refused(texts, "[1, 2]\n", "line 1", "expected a JSON object")
    refused(texts, '{"ids": [1, 2]}\n{"ids": [1, 2\n', "line 2")
    refused(texts, '{"prompt": "x"}\n', "line 1", "no text")
    refused(texts, '{"ids": [1]}\n{"text": "x"}\n', "line 2", "choose one with --unit")
    refused(texts, '{"text": 5}\n', "line 1", "no string")
    refused(texts, '{"ids": 5}\n', "line 1", "no array")


@pytest.mark.parametrize("wrong", ["-1", "1.5", "true", "null", '"7"', "4294967295", "1e3", "99999999999999999999999"])
def test_numbers_that_are_no_ids(texts, wrong):
    refused(texts, '{"ids": [3, %s]}\n' % wrong, "line 1", "ids[1]")


def test_ids_that_are_none(texts):
    refused(texts, '{"ids": [3, 6400]}\n', "ids[1] is 6400, expected a token id below 6400", arguments=["--vocabulary", "6400"])
    refused(texts, '{"ids": [3], "predicted": []}\n', "'predicted' has 0 tokens, 'ids' 1")
    refused(texts, '{"ids": [3], "strategy": "beam"}\n', "expected greedy or sampled")
    refused(texts, '{"text": "a. b."}\n', "leave it out", arguments=["--sentence-ends", "1"])


def test_outputs_are_not_inputs(texts):
    path = texts.root / "samples.jsonl"
    path.write_text('{"ids": [3]}\n')
    other = texts.root / "a"
    for words, said in ((("-o", path), "name another file"), (("--each", path), "name another file"),
                        (("-o", other, "--each", other), "name another file"), (("-o", texts.root), "is a directory")):
        run = texts.run_it(path, *words)
        assert run.returncode == 2
        assert said in run.stderr
    assert not other.exists()
    assert path.read_text() == '{"ids": [3]}\n'
    with open("/dev/full", "w") as full:
        run = texts.program("text", path, stdout=full)
    assert run.returncode == 2
    assert "cannot be written to" in run.stderr


def test_text_that_is_none(texts):
    refused(texts, b"fine\nbroken \xff here\n", "line 2", "byte 8 is no UTF-8", name="plain.txt")
    refused(texts, b'{"text": "\xc0\xaf"}\n', "line 1")
    refused(texts, "some text\n", "has no token ids", name="plain.txt", arguments=["--unit", "ids"])


def test_markup_and_control_characters_do_not_reach_the_terminal(texts):
    path = texts.file([{"text": "\x1b[31m red \u202e tfel"}], "a\x1b[31m.jsonl")
    run = texts.run_it(path)
    assert run.returncode == 0, run.stderr
    assert "\x1b" not in run.stdout


def test_an_interrupt_leaves_nothing(texts):
    lines = "".join(json.dumps({"ids": list(range(1000))}) + "\n" for _ in range(3000))
    path, out = texts.file(lines), texts.root / "text.json"
    process = texts.program.start("text", path, "-o", out)
    time.sleep(0.8)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode in (-signal.SIGINT, 0)
    if process.returncode != 0:
        assert sorted(os.listdir(texts.root)) == ["samples.jsonl"]
