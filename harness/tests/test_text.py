"""Repetition metrics of the real program against independent implementations, and texts with known answers.

simctg, diversity and nltk are asked beside repetition_definitions.py; what the three do otherwise is asserted by name.
"""

import gzip
import importlib.util
import math
import pathlib
import random

import pytest

from repetition_definitions import among_the_last, grams, holtzman, longest_repeat, loops, repeated, sentences, zipf
from text_cases import mean, random_texts, same


def test_a_thousand_texts_of_token_ids(texts):
    chance, compared = random.Random(7), 0
    for kind in ("natural", "two", "few", "loop", "copy", "short") * 4:
        samples = random_texts(chance, kind, 42)
        compared += len(samples)
        _, values, each = texts.measured([{"ids": ids} for ids in samples])
        for one, ids in zip(each, samples):
            own = one["values"]
            for n in (1, 2, 3, 4, 8):
                same(own[f"seq-rep-{n}"], repeated(ids, n), f"seq-rep-{n} of {ids}")
            for window in (16, 32, 128, 512):
                same(own[f"rep/{window}"], among_the_last(ids, ids, window, 1), f"rep/{window} of {ids}")
            same(own["tail-repetition"], holtzman(ids), f"tail of {ids}")
            longest = longest_repeat(ids) / len(ids) if len(ids) > 1 else None
            same(own["longest-repeat-share"], longest, f"longest repeat of {ids}")
            found = [loop and (loop["period"], loop["begin"], loop["end"]) for loop in (one["longest_loop"], one["last_loop"])]
            assert found == loops(ids), ids
            same(own["looping"], float(found[1] is not None) if len(ids) >= 12 else None, ids)
        for n in (1, 2, 3, 4):
            distinct = len({gram for ids in samples for gram in grams(ids, n)})
            same(values[f"distinct-{n}"], distinct / sum(map(len, samples)), f"distinct-{n}")
        for n in (1, 2, 3, 4, 8):
            counted = [grams(ids, n) for ids in samples]
            same(values[f"rep-{n}"], 1 - sum(len(set(all)) for all in counted) / sum(map(len, counted)), f"rep-{n}")
            same(values[f"seq-rep-{n}"], mean([repeated(ids, n) for ids in samples]), f"seq-rep-{n}")
        same(values["diversity"], math.prod(1 - values[f"rep-{n}"] for n in (2, 3, 4)), "diversity")
        flat = [token for ids in samples for token in ids]
        if kind != "two" and kind != "few":
            assert values["zipf"] == pytest.approx(zipf(flat), abs=0.5e-10)
        else:
            assert values["zipf"] is None
        raw = b"".join(token.to_bytes(2, "little") for token in flat)
        # Another zlib may choose other matches: its ratio is a little different.
        assert values["compression-ratio"] / (len(raw) / len(gzip.compress(raw, 6))) == pytest.approx(1, abs=0.02)
        same(values["longest-repeat"], max(longest_repeat(ids) for ids in samples), "longest")
    assert compared >= 1000


def test_self_bleu_is_that_of_nltk(texts):
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
    chance = random.Random(8)
    for kind in ("few", "two", "natural", "short", "loop"):
        samples = random_texts(chance, kind, 25)
        _, values, _ = texts.measured([{"ids": ids} for ids in samples])
        right = [sentence_bleu(samples[:i] + samples[i + 1:], ids, smoothing_function=SmoothingFunction().method1)
                 for i, ids in enumerate(samples) if len(ids) >= 4]
        assert values["self-bleu"] == pytest.approx(sum(right) / len(right), abs=0.5e-10), kind


def words():
    chance = random.Random(9)
    vocabulary = ["".join(chance.choices("abcdefghij", k=4)) for _ in range(60)]
    made = [" ".join(chance.choices(vocabulary, k=80)) for _ in range(12)]
    return made + [" ".join(made[0].split()[:20] * 4)]


def test_simctg_drops_the_last_n_gram(texts):
    spec = importlib.util.find_spec("simctg")
    module = importlib.util.spec_from_file_location("evaluation", pathlib.Path(spec.origin).parent / "evaluation.py")
    simctg = importlib.util.module_from_spec(module)
    module.loader.exec_module(simctg)
    samples = words()
    _, values, _ = texts.measured([{"text": text} for text in samples])
    theirs = simctg.measure_repetition_and_diversity(samples)
    # The same texts with a word more, which theirs never reaches.
    longer = simctg.measure_repetition_and_diversity([text + " end" for text in samples])
    for n, right in zip((2, 3, 4), longer):
        assert 100 * values[f"rep-{n}"] == pytest.approx(right, abs=0.0051)
    assert theirs[:3] != longer[:3], "simctg no longer drops the last n-gram: say so in docs/text-and-logs.md"


def test_diversity_gzips_twice(texts):
    spec = importlib.util.find_spec("diversity")
    module = importlib.util.spec_from_file_location("compression", pathlib.Path(spec.origin).parent / "compression.py")
    diversity = importlib.util.module_from_spec(module)
    module.loader.exec_module(diversity)
    samples = words()
    raw = " ".join(samples).encode()
    _, values, _ = texts.measured([{"text": text} for text in samples])
    assert values["compression-ratio"] / (len(raw) / len(gzip.compress(raw, 6))) == pytest.approx(1, abs=0.02)
    theirs = diversity.compression_ratio(samples)
    assert theirs == pytest.approx(len(raw) / len(gzip.compress(gzip.compress(raw))), abs=0.05)  # it keeps the file's name
    assert theirs < values["compression-ratio"]


def test_sentences_and_scripts(texts):
    said = ["It rains. It rains. It pours! Does it? It rains.", "今天下雨。今天下雨。明天呢？明天呢？", "one\ntwo\none\none", "No end", "..."]
    _, values, each = texts.measured([{"text": text} for text in said])
    for one, text in zip(each, said):
        all_of_them = sentences(text)
        right = 1 - len(set(all_of_them)) / len(all_of_them) if len(all_of_them) > 1 else None
        same(one["values"]["sentence-repetition"], right, text)
    assert [one["tokens"] for one in each] == [15, 18, 4, 2, 3]
    by_ids, values, _ = texts.measured([{"ids": [5, 6, 9, 5, 6, 9, 7, 9, 5, 6]}], "--sentence-ends", "9")
    same(values["sentence-repetition"], 0.5, "5 6 | 5 6 | 7 | 5 6")


def test_choices_for_a_given_text(texts):
    chance = random.Random(10)
    given = [[chance.randrange(40) for _ in range(90)] for _ in range(20)]
    chosen = [[token if chance.random() < 0.5 else chance.randrange(40) for token in ids] for ids in given]
    _, values, _ = texts.measured([{"ids": ids, "predicted": choices} for ids, choices in zip(given, chosen)])
    for window in (16, 32):
        hits = [(choices[i] in ids[max(0, i - window):i], choices[i] != ids[i])
                for ids, choices in zip(given, chosen) for i in range(90)]
        same(values[f"rep/{window}"], sum(among for among, _ in hits) / len(hits), "rep/l")
        same(values[f"wrep/{window}"], sum(among and wrong for among, wrong in hits) / len(hits), "wrep/l")


def test_planted_loops(texts):
    fresh = iter(range(10000))
    lead, tail = [next(fresh) for _ in range(37)], [next(fresh) for _ in range(25)]
    for period in (1, 2, 3, 7, 90):
        block = [next(fresh) for _ in range(period)]
        times = 5 if period > 3 else 20
        loop = {"period": period, "begin": 37, "end": 37 + times * period}
        for after in ([], tail):
            ids = lead + block * times + after
            _, values, (each,) = texts.measured([{"ids": ids}])
            assert each["longest_loop"] == loop
            assert each["last_loop"] == (None if after else loop)
            assert values["looping"] == (0 if after else 1)
            same(values["loop-share"], times * period / len(ids), "share")
            # A loop of one or two tokens counts in Holtzman's tail only from the 51st time on.
            assert values["tail-repetition"] == float(not after and period >= 3)
    _, values, (each,) = texts.measured([{"ids": lead}])
    assert (each["longest_loop"], values["looping"], values["seq-rep-1"], values["longest-repeat"]) == (None, 0, 0, 0)


def test_too_short_is_never_0(texts):
    for ids in ([], [4], [4, 4]):
        document, values, _ = texts.measured([{"ids": ids}], status=0 if len(ids) > 1 else 3)
        for metric in document["metrics"]:
            if metric["value"] is None:
                assert metric["reason"], metric["id"]
        for name in ("seq-rep-2", "rep-4", "diversity", "looping", "tail-repetition", "zipf", "compression-ratio", "self-bleu"):
            assert values[name] is None, (name, ids)
    assert "not measurable: no sample has two 2-grams" in texts.said


def test_the_same_seed_gives_the_same_bytes(texts):
    lines = [{"ids": ids} for ids in random_texts(random.Random(3), "loop", 30)]
    first = texts.measured(lines)[0]
    assert first == texts.measured(lines)[0]
    other = texts.measured(lines, "--seed", "2")[0]
    name = "seq-rep-4"
    intervals = [next(m["interval"] for m in document["metrics"] if m["id"] == name) for document in (first, other)]
    assert intervals[0] != intervals[1]
    assert intervals[0]["low"] == pytest.approx(intervals[1]["low"], abs=0.05)
