"""Texts beside a baseline, judged by the real program, and the document and picture that say it."""

import json
import random
import re
import xml.etree.ElementTree

import jsonschema
import pytest

from text_cases import ROOT, looping_samples


def judged(texts, one, other, status):
    baseline = texts.file(one, "baseline.jsonl")
    document, _, _ = texts.measured(other, "--baseline", baseline, status=status)
    return document


def test_more_repetitive_is_status_1(texts):
    document = judged(texts, looping_samples(100, 0.05), looping_samples(100, 0.4, 2), 1)
    assert document["verdict"]["finding"] == "more repetitive"
    assert [one["finding"] for one in document["verdict"]["deciding"]] == ["more", "more"]
    looping = next(metric for metric in document["metrics"] if metric["id"] == "looping")
    assert looping["difference"]["paired"]
    assert looping["difference"]["p"] < 0.01
    assert "more repetitive than the baseline" in texts.said


def test_the_same_and_less_are_status_0(texts):
    one = looping_samples(200, 0.1)
    assert judged(texts, one, one, 0)["verdict"]["finding"] == "not more repetitive"
    assert judged(texts, one, looping_samples(200, 0, 2), 0)["verdict"]["finding"] == "less repetitive"


def test_too_few_prompts_are_not_assessed(texts):
    for prompts in (4, 12):
        document = judged(texts, looping_samples(prompts, 0), looping_samples(prompts, 0, 2), 3)
        assert document["verdict"]["finding"] == "not assessed"
    assert "12 prompts cannot rule out a difference of up to" in texts.said


def test_what_does_not_matter_is_not_more(texts):
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

    document = judged(texts, samples(0.02), samples(0.2), 0)
    rep = next(metric for metric in document["metrics"] if metric["id"] == "seq-rep-4")
    assert rep["difference"]["p"] < 0.01
    assert document["verdict"]["finding"] == "not more repetitive"


def test_one_looping_sample_more_is_no_reason_to_be_surer(texts):
    chance = random.Random(5)
    clean = [{"prompt": f"p{i % 10}", "ids": [chance.randrange(6400) for _ in range(60)]} for i in range(200)]
    judged(texts, clean, clean, 3)
    looping = [dict(sample) for sample in clean]
    looping[3]["ids"] = looping[3]["ids"][:30] + looping[3]["ids"][:6] * 5
    judged(texts, clean, looping, 3)


def test_value_interval_and_sentence_are_of_the_same_prompts(texts):
    chance = random.Random(6)

    def sample(prompt, loops):
        ids = [chance.randrange(6400) for _ in range(60)]
        return {"prompt": prompt, "ids": ids[:30] + ids[:6] * 5 if loops else ids}

    text = [sample("p0", True) for _ in range(100)] + [sample(f"p{i}", False) for i in range(1, 20)]
    document = judged(texts, [sample(f"p{i}", False) for i in range(20)], text, 3)
    for name in ("looping", "seq-rep-4"):
        metric = next(metric for metric in document["metrics"] if metric["id"] == name)
        assert metric["value"] == pytest.approx(metric["difference"]["of"][0], abs=0.5e-7)
        assert metric["interval"]["low"] <= metric["value"]
        assert metric["interval"]["high"] >= metric["value"]


def test_other_definitions_are_not_subtracted(texts):
    one = [{"ids": [i % 50, *range(60)], "prompt": f"p{i}"} for i in range(20)]
    wide = [dict(sample) for sample in one]
    wide[0] = {**wide[0], "ids": [*wide[0]["ids"], 70000]}
    document = judged(texts, one, [{**sample, "predicted": sample["ids"]} for sample in wide], 3)
    found = {metric["id"]: metric["difference"] for metric in document["metrics"]}
    assert found["rep/16"] is None
    assert found["compression-ratio"] is None
    assert found["seq-rep-2"] is not None


def test_other_settings_and_other_prompts_are_said(texts):
    one = looping_samples(30, 0.3, strategy="sampled", sampling={"temperature": 1})
    other = [{**sample, "prompt": sample["prompt"] + "!", "sampling": {"temperature": 0.1}} for sample in one]
    document = judged(texts, one, other, 3)
    assert "not in pairs" in document["text"]["notes"][0]
    assert '{"temperature":0.1} against {"temperature":1}' in document["text"]["notes"][1]


def test_unlike_texts_are_not_compared(texts):
    greedy, sampled = texts.file(looping_samples(20, 0, strategy="greedy"), "greedy.jsonl"), looping_samples(20, 0, strategy="sampled")
    run = texts.run_it(texts.file(sampled), "--baseline", greedy)
    assert run.returncode == 2
    assert "compare like with like" in run.stderr
    run = texts.run_it(texts.file(sampled + looping_samples(5, 0, strategy="greedy")), "--baseline", greedy)
    assert run.returncode == 2
    assert "holds greedy and sampled text" in run.stderr
    run = texts.run_it(texts.file([{"text": "a b c"}]), "--baseline", greedy)
    assert run.returncode == 2
    assert "expected the same unit in both" in run.stderr


def test_unpaired_where_prompts_differ(texts):
    others = [{**sample, "prompt": sample["prompt"] + "!"} for sample in looping_samples(150, 0.4, 2)]
    document = judged(texts, looping_samples(100, 0.05), others, 1)
    looping = next(metric for metric in document["metrics"] if metric["id"] == "looping")
    assert not looping["difference"]["paired"]
    assert looping["difference"]["test"] == "Fisher, exact"
    assert looping["difference"]["prompts"] == [100, 150]


def test_several_samples_of_a_prompt_are_no_more_prompts(texts):
    few = [{"prompt": f"p{i % 5}", **{"ids": sample["ids"]}} for i, sample in enumerate(looping_samples(100, 0.5))]
    document, _, _ = texts.measured(few)
    assert (document["text"]["samples"], document["text"]["prompts"]) == (100, 5)
    assert all(metric["interval"] is None for metric in document["metrics"])


def test_the_document_follows_its_schema(texts):
    schema = json.loads((ROOT / "harness" / "text" / "text.schema.json").read_text())
    one, other = looping_samples(30, 0.1), looping_samples(30, 0.6, 2)
    baseline = texts.file(one, "baseline.jsonl")
    for document in (texts.measured(one)[0], texts.measured(other, "--baseline", baseline, status=1)[0], texts.measured([{"ids": []}], status=3)[0]):
        jsonschema.validate(document, schema)
    broken = json.loads(json.dumps(document))
    del broken["verdict"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, schema)


def test_the_picture_has_every_metric_with_its_interval(texts):
    baseline = texts.file(looping_samples(30, 0.1), "baseline<b>.jsonl")
    picture = texts.root / "text.svg"
    document = texts.measured(looping_samples(30, 0.6, 2), "--baseline", baseline, "--picture", picture, status=1)[0]
    svg = "{http://www.w3.org/2000/svg}"
    drawn = xml.etree.ElementTree.parse(picture).getroot()
    assert document["verdict"]["sentence"] in [text.text for text in drawn.iter(svg + "text")]
    assert "looping" in drawn.find(svg + "desc").text
    wide = float(drawn.get("viewBox").split()[2])
    marks = {mark.find(svg + "title").text.split(",")[0]: mark for mark in drawn.iter(svg + "g") if mark.get("class") == "text" and mark.find(svg + "title") is not None}
    measured = {metric["id"]: metric for metric in document["metrics"] if metric["value"] is not None}
    assert set(marks) == set(measured)
    assert sum(mark.get("class") == "baseline" and mark.find(svg + "title") is not None for mark in drawn.iter(svg + "g")) == (
        sum(metric["baseline"]["value"] is not None for metric in document["metrics"]))
    for name, mark in marks.items():
        at = float(mark.find(svg + "circle").get("cx"))
        assert 0 < at < wide, name
        interval = mark.find(svg + "path")
        assert (interval is None) == (measured[name]["interval"] is None), name
        if interval is not None:
            low, high = map(float, re.match(r"M([\d.]+) [\d.]+H([\d.]+)", interval.get("d")).groups())
            assert low <= at <= high and high - low > 0, name
    alone = texts.measured([{"ids": [1, 2, 3]}], "--picture", picture, status=0)[0]
    assert alone["baseline"] is None
    assert not [mark for mark in xml.etree.ElementTree.parse(picture).iter(svg + "g") if mark.get("class") == "baseline"]
