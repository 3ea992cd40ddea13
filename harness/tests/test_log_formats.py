"""Training logs in every usual format, judged by the real program: each is read, whatever it is called and packed in."""

import concurrent.futures
import gzip
import json

import pytest

from log_shapes import SHAPES, becomes_nan, curve, leak, stepped, trainer_state


def losses(logs, content, name="train.log", *arguments):
    document, findings = logs.judged(content, 3, *arguments, name=name)
    return document, findings["start"]["evidence"][0]["loss"], findings["finite"]["sentence"]


@pytest.mark.parametrize(("line", "steps"), [
    ("iter {i}: loss {loss:.4f}, time 120.5ms, mfu 3.1%", [3, 7]),
    ("step {i}: train loss {loss:.4f}, val loss 1.0000", [3, 7]),
    ("{{'loss': {loss:.4f}, 'grad_norm': 1.2, 'learning_rate': 5e-05, 'epoch': 0.{i}}}", [1, 5]),
    ("2026-11-23 12:00:0{i} INFO global_step={i} val_loss=0.5 train_loss={loss:.4f}", [3, 7]),
    ("| epoch 1 | {i}/ 2983 batches | lr 5.00 | ms/batch 10 | loss {loss:.2f} | ppl 100", [3, 7]),
    ("Epoch 1 [{i}/100] eval loss: 0.1 Loss: {loss:.4f}", [3, 7]),
    ("  12%|x   | {i}/100 [00:10<01:20, 1.1it/s, loss={loss:.4f}, v_num=3]", [3, 7]),
])
def test_lines_of_text(logs, line, steps):
    content = "starting up, loss scale 65536\n" + "".join(line.format(i=i, loss=8.76 - 0.1 * i) + "\n" for i in range(3, 8))
    document, first, _ = losses(logs, content)
    assert document["entries"] == 5
    assert first == pytest.approx(8.46, abs=0.5e-2)
    assert document["steps"] == steps


def test_tables_and_json(logs):
    rows = [(i * 10, 8.8 - 0.3 * i) for i in range(6)]
    for separator, name in ((",", "train.csv"), ("\t", "train.tsv"), (";", "train.csv")):
        content = separator.join(['"Step"', "lr", "Train_Loss"]) + "\n" + "".join(f'{s}{separator}"0.1"{separator}{loss}\n' for s, loss in rows)
        document, first, _ = losses(logs, content, name)
        assert (document["entries"], document["steps"], first) == (6, [0, 50], 8.8)
    content = json.dumps({"log_history": [{"step": s, "loss": loss} for s, loss in rows] + [{"step": 50, "eval_loss": 1.0}], "best": None})
    document, first, _ = losses(logs, content, "trainer_state.json")
    assert (document["entries"], document["steps"], first) == (6, [0, 50], 8.8)
    content = "".join(json.dumps({"iteration": s, "metrics": loss}) + "\n" for s, loss in rows)
    document, first, _ = losses(logs, content, "train.jsonl", "--column", "metrics")
    assert (document["entries"], first) == (6, 8.8)


def test_a_byte_order_mark_is_no_part_of_a_name(logs):
    document, first, _ = losses(logs, "\ufeffloss,step\n" + "".join(f"{8.8 - 0.1 * i},{i}\n" for i in range(5)), "train.csv")
    assert (document["entries"], first) == (5, 8.8)


def test_a_pattern_of_ones_own(logs):
    content = "".join(f"[{i}] perte = {8.8 - i}\n" for i in range(5))
    document, first, _ = losses(logs, content, "train.log", "--pattern", r"\[(\d+)\] perte = ([0-9.]+)")
    assert (document["steps"], first) == ([0, 4], 8.8)


def test_steps_that_start_again_are_counted_on(logs):
    content = "".join(f"Epoch:[{e}/3]({i}/500) loss:{9.2 - 0.5 * e:.3f}\n" for e in (1, 2, 3) for i in (0, 100, 200))
    document, _, _ = losses(logs, content)
    assert document["steps"] == [0, 1200]
    assert "start again 2 times" in document["notes"][0]


def test_every_shape_is_read_whatever_it_is_called(logs, subtests):
    """A sound run, one that sees what it is to predict and one that becomes NaN, by trainers that print first at step 100."""
    kinds = {"sound": (curve(300), 0, "nothing wrong is seen"), "leak": (leak(300), 1, "something is wrong: speed"),
             "broken": (becomes_nan(300), 1, "something is wrong: finite")}
    runs = {}
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for i, (name, shape) in enumerate(SHAPES.items()):
            for kind, (losses, _, _) in kinds.items():
                path = logs.root / f"{i}-{kind}"
                path.write_bytes(shape(stepped(losses)).encode())
                runs[name, kind] = pool.submit(logs.run_it, path)
    for (name, kind), run in runs.items():
        with subtests.test(name, kind=kind):
            run, (_, status, words) = run.result(), kinds[kind]
            assert run.returncode == status, run.stdout + run.stderr
            assert words in run.stdout.splitlines()[0]


def test_files_in_other_bytes(logs, subtests):
    text = SHAPES["minimind"](stepped(leak(300)))
    table = SHAPES["tensorboard"](stepped(curve(300)))
    both = gzip.compress(text[:3000].encode()) + gzip.compress(text[3000:].encode())
    for content, status in ((gzip.compress(text.encode()), 1), (both, 1), (text.encode("utf-16"), 1), (text.encode("utf-16-le"), 1),
                            (text.encode("utf-16-be"), 1), (b"\xfe\xff" + text.encode("utf-16-be"), 1), (text.replace("\n", "\r\n").encode("utf-16"), 1),
                            (gzip.compress(text.encode("utf-16")), 1), (table.encode("utf-16"), 0), (b"\xef\xbb\xbf" + table.encode(), 0),
                            (gzip.compress(trainer_state(stepped(curve(300))).encode()), 0)):
        with subtests.test(begins=content[:8]):
            assert logs.status(content) == status, logs.said
            assert " 300 entries" in logs.said
    # One that is still written to, or was cut.
    noisy = SHAPES["minimind"](stepped(curve(4000), every=1)).encode()
    packed = gzip.compress(noisy)
    assert logs.status(packed[:len(packed) // 2]) == 0, logs.said
    assert "cut or damaged" in logs.said
