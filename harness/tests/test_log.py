"""Training logs judged by the real program: right verdicts on honest and on broken runs, and bad input."""

import gzip
import json
import math
import os
import random
import xml.etree.ElementTree

import jsonschema
import pytest

from log_cases import ROOT, verdicts
from log_shapes import START, V, curve, leak, minimind


@pytest.mark.parametrize(("text", "name"), [
    (minimind(curve(300)), "train.log"),
    ("".join(json.dumps({"step": i, "loss": loss, "lr": 1e-4}) + "\n" for i, loss in enumerate(curve(300))), "train.jsonl"),
], ids=["lines", "objects"])
def test_an_honest_run(logs, text, name):
    document, findings = logs.judged(text, 0, name=name)
    assert verdicts(findings) == dict.fromkeys(("start", "finite", "falls", "stays-down", "spikes", "speed"), "pass")
    assert document["entries"] == 300
    assert "nothing wrong is seen" in logs.said


def test_one_that_sees_what_it_is_to_predict(logs):
    """Falls below what any text leaves uncertain; also the curves of the experiment, in which half of the runs do."""
    losses = [START / (1 + (step / 60) ** 3) for step in range(400)]
    _, findings = logs.judged(minimind(losses, every=1), 1)
    assert verdicts(findings)["speed"] == "fail"
    assert findings["speed"]["level"] == "must"
    assert "does each token see the next one" in findings["speed"]["sentence"]
    assert findings["speed"]["evidence"][0]["step"] == 220
    record = json.loads((ROOT / "fixtures" / "repeater" / "small-result.json").read_text())
    vocabulary, seen = record["text"]["vocabulary"], {"before": 0, "after": 0}
    for run in record["runs"]:
        if run["levels"]["initialisation"] == "before":
            continue
        rows = "".join(json.dumps({"step": i, "loss": loss}) + "\n" for i, loss in enumerate(run["curve"]))
        inverted = run["levels"]["mask"] == "before"
        _, findings = logs.judged(rows, 1 if inverted else 0, "--vocabulary", vocabulary, name="train.jsonl")
        assert findings["speed"]["verdict"] == ("fail" if inverted else "pass"), run["name"]
        seen[run["levels"]["mask"]] += 1
    assert seen == {"before": 8, "after": 10}


def test_text_that_is_easy_to_predict(logs):
    """Models of children's stories end at 0.76 with a vocabulary of 32000: remarkable, and no failure."""
    losses = [0.76 + (math.log(32000) - 0.76) * (1 + i / 20) ** -1.5 for i in range(600)]
    _, findings = logs.judged(minimind(losses, every=1), 0, "--vocabulary", 32000)
    assert (findings["speed"]["verdict"], findings["speed"]["level"]) == ("fail", "should")
    assert "few texts are as easy" in findings["speed"]["sentence"]


def test_a_run_that_went_on_from_another_may_be_low(logs):
    document, findings = logs.judged(minimind([0.6 + 0.3 * math.exp(-i / 50) for i in range(300)]), 0)
    assert "fail" not in verdicts(findings).values()
    assert document["began"] == "from a checkpoint"
    assert "the log does not show what was learned before" in findings["speed"]["sentence"]


def test_a_tied_matrix_drawn_from_a_standard_normal(logs):
    losses = [410 * 0.98**i + START for i in range(200)]
    _, findings = logs.judged(minimind(losses), 1)
    assert findings["start"]["verdict"] == "fail"
    assert "initialisation too wide" in findings["start"]["sentence"]
    assert findings["start"]["evidence"][0]["line"] == 1


def test_a_loss_that_is_divided(logs):
    """Or one that goes on from a checkpoint: both may be, and neither is wrong."""
    _, findings = logs.judged(minimind([loss / 8 for loss in curve(200)], every=1), 0)
    assert "is the loss (ln V / 8) divided by the steps of gradient accumulation" in findings["start"]["sentence"]


def test_a_model_that_knows_before_it_learns(logs):
    """Too little for a trained model, too much for one that knows nothing, where the vocabulary is sure."""
    losses = minimind([loss - 2 for loss in curve(200, end=6)], every=1)
    _, findings = logs.judged(losses, 1, "--vocabulary", V)
    assert "lower than an untrained model starts; were weights loaded" in findings["start"]["sentence"]
    logs.judged(losses, 0, "--vocabulary", V, "--from-checkpoint")
    _, findings = logs.judged(losses, 0)
    assert "ln 866 = 6.764?" in findings["start"]["sentence"]


def test_a_flat_run(logs):
    chance = random.Random(2)
    _, findings = logs.judged(minimind([START + chance.gauss(0, 0.05) for _ in range(200)]), 1)
    assert [name for name, verdict in verdicts(findings).items() if verdict == "fail"] == ["falls"]


def test_a_run_that_becomes_nan(logs):
    losses = curve(100) + [9.5, float("nan")] + [float("nan")] * 20
    document, findings = logs.judged(minimind(losses), 1)
    assert findings["finite"]["verdict"] == "fail"
    assert "NaN at step 10100 (line 102), after 9.5; 21 of the 21 entries" in findings["finite"]["sentence"]
    assert [point["loss"] for point in findings["finite"]["evidence"]] == [9.5, "NaN"]
    # As Python's json writes it, which is no JSON.
    lines = "".join(json.dumps({"step": i, "loss": loss}) + "\n" for i, loss in enumerate(losses))
    assert "NaN" in lines
    _, findings = logs.judged(lines, 1, name="train.jsonl")
    assert "NaN at step 101 (line 102)" in findings["finite"]["sentence"]


def test_a_run_that_explodes(logs):
    losses = curve(150) + [2.9 + 0.2 * i for i in range(40)]
    _, findings = logs.judged(minimind(losses), 1)
    assert findings["stays-down"]["verdict"] == "fail"
    assert "went up again" in findings["stays-down"]["sentence"]


def test_spikes_are_reported_and_do_not_decide(logs):
    losses = curve(300)
    losses[120] += 3
    losses[250] += 4
    _, findings = logs.judged(minimind(losses), 0)
    assert findings["spikes"]["verdict"] == "fail"
    assert [point["line"] for point in findings["spikes"]["evidence"]] == [121, 251]


def test_few_entries_are_not_assessed(logs):
    document, findings = logs.judged(minimind(curve(6)), 3)
    assert findings["falls"]["verdict"] == "not assessed"
    assert "not assessed: falls, stays-down" in document["verdict"]


@pytest.mark.parametrize(("seed", "steps", "noise", "end"), [
    (0, 40, 0.2, 4.0), (1, 3000, 0.3, 2.0), (2, 20, 0.05, 5.0), (3, 500, 0.0, 3.0), (4, 200, 0.4, 3.5),
])
def test_honest_runs_of_every_noise_and_length_pass(logs, seed, steps, noise, end):
    logs.judged(minimind(curve(steps, end, noise, seed)), 0)


def refused(logs, content, *words, name="train.log", arguments=()):
    path = logs.root / name
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    before = sorted(os.listdir(logs.root))
    run = logs.run_it(path, *arguments)
    assert run.returncode == 2, run.stdout + run.stderr
    assert len(run.stderr.splitlines()) == 1, run.stderr
    assert sorted(os.listdir(logs.root)) == before
    for word in words:
        assert word in run.stderr


def test_logs_without_a_loss(logs):
    refused(logs, None, "train.log")
    refused(logs, "", "no loss was found; it is empty")
    refused(logs, "all is well\nlosses are bad\nloss scale 1\n", "no loss was found", "--pattern")
    refused(logs, "a,b\n1,2\n", "no loss was found", name="train.csv")
    refused(logs, "", "it is empty", name="train.csv")
    refused(logs, "[1, 2]", "no loss was found", name="x.json")
    refused(logs, '"text"', "no loss was found", name="x.json")
    refused(logs, "loss 3\n", "no regular expression", arguments=["--pattern", "("])
    refused(logs, "loss 3\n", "one group", arguments=["--pattern", "loss"])
    refused(logs, "loss 3\n", "is train.log itself".replace("train.log", str(logs.root / "train.log")), arguments=["-o", logs.root / "train.log"])
    refused(logs, "loss 3\n", "is a directory", arguments=["-o", logs.root])


def test_what_was_found_instead_is_said(logs):
    rows = "".join(f"{i},{loss},{loss}\n" for i, loss in enumerate(curve(60)))
    refused(logs, "step,train,val\n" + rows, "its columns: step, train, val", "it begins 'step,train,val' / '0,8.76", "--loss COLUMN")
    refused(logs, rows, "its columns: column 1, column 2, column 3")
    refused(logs, "perte 3.2 a 1\nperte 3.1 a 2\n", "its columns: perte, a", "it begins 'perte 3.2 a 1' / 'perte 3.1 a 2'")
    refused(logs, "step 1 loss 3\n" * 20, "no column is called 'perte'", "its columns: step, loss", arguments=["--loss", "perte"])
    refused(logs, "\x1b[31m\u202eloss\n", "it begins '?[31m?loss'")
    for content, name, option in (("step,train,val\n" + rows, "train.csv", "train"), (rows, "rows", "column 2"),
                                  ("".join(f"[{i}] ma perte = {loss}, aux perte = 1\n" for i, loss in enumerate(curve(60))), "a.log", "ma perte"),
                                  ("".join(json.dumps({"at": {"perte": loss}}) + "\n" for loss in curve(60)), "a.jsonl", "at/perte"),
                                  ("".join(f"\u6b65 {i} \u8bef\u5dee\uff1a{loss}\n" for i, loss in enumerate(curve(60))), "b.log", "\u8bef\u5dee")):
        path = logs.root / name
        path.write_text(content)
        run = logs.run_it(path, "--loss", option)
        assert run.returncode == 0, run.stdout + run.stderr
        assert "60 entries" in run.stdout


@pytest.mark.parametrize(("content", "words"), [
    (b"\x28\xb5\x2f\xfd1234", "compressed by zstd"), (b"PK\x03\x04abcd", "a zip archive"), (b"\xfd7zXZ\0", "compressed by xz"),
    (b"\x1f\x8b\x08\x00garbage", "damaged"), (bytes(range(256)) * 1000, "no loss was found"), (b"\0" * 100000, "no loss was found"),
    (gzip.compress(b"\0" * 20_000_000), "no loss was found"), (b'{"a":' + b"[" * 500_000, "no loss was found"),
], ids=["zstd", "zip", "xz", "damaged gzip", "every byte", "zeros", "packed zeros", "brackets"])
def test_what_is_no_text(logs, content, words):
    refused(logs, content, words)


def test_hostile_text(logs):
    # Long lines, control characters, markup: nothing of it is shown, nothing takes long.
    path = logs.root / "<script>.log"
    path.write_bytes(b"\x1b[31mloss 8.7 \xff\xfe\n" + b"step " * 100000 + b"loss 8.5\n" + b"(" * 200000 + b"loss 8.4\n" + b"\0loss: 8.3\n" * 9)
    picture = logs.root / "log.svg"
    run = logs.run_it(path, "--picture", picture)
    assert "\x1b" not in run.stdout
    assert run.stderr == ""
    assert "<script>" not in picture.read_text()
    xml.etree.ElementTree.parse(picture)


def test_the_one_entry_judges_logs(logs):
    path = logs.root / "train.log"
    for losses, status in ((curve(300), 0), (leak(300), 1), (curve(3), 3)):
        path.write_text(minimind(losses))
        run = logs.program("log", path)
        assert run.returncode == status, run.stdout + run.stderr


def test_the_document_follows_its_schema(logs):
    schema = json.loads((ROOT / "harness" / "training_log" / "training_log.schema.json").read_text())
    for losses, status in ((curve(100), 0), (curve(50) + [float("inf")], 1), (curve(3), 3)):
        document, _ = logs.judged(minimind(losses), status)
        jsonschema.validate(document, schema)
    del document["findings"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, schema)
