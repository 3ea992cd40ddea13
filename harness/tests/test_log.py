"""Training logs judged by the real program: right verdicts on honest and on broken runs, every usual format, bad input.

Run by CTest as `python test_log.py PROGRAM`.
"""

import concurrent.futures
import gzip
import json
import math
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

PROGRAM = None
STUDIES = None  # what PROGRAM runs for `log`: asked itself, since starting both takes most of the time
ROOT = pathlib.Path(__file__).resolve().parents[2]
V = 6400
START = math.log(V)


def curve(steps, end=2.6, noise=0.06, seed=1):
    """An honest one: a power law from ln V on, with the noise of batches."""
    chance = random.Random(seed)
    return [end + (START - end) * (1 + step / 40) ** -0.6 + chance.gauss(0, noise) * min(1, step / 20) for step in range(steps)]


def leak(steps, start=START):
    """One that sees what it is to predict: down to 0.02 within the first fifth."""
    chance = random.Random(3)
    return [0.02 + (start - 0.02) * math.exp(-step / (steps / 40)) + abs(chance.gauss(0, 0.002)) for step in range(steps)]


def becomes_nan(steps):
    return curve(steps // 2) + [float("nan")] * (steps - steps // 2)


def by_lines(line):
    """Of (step, loss), a line each."""
    return lambda rows: "".join(line(step, loss) + "\n" for step, loss in rows)


def python_dict(step, loss, quote=""):
    return "{" + ", ".join(f"'{name}': {quote}{value}{quote}" for name, value in (
        ("loss", f"{loss:.4f}"), ("grad_norm", 1.25), ("learning_rate", 2e-05), ("epoch", round(step / 40000, 4)))) + "}"


def bars(drawn):
    return lambda rows: "\r".join(drawn(step, loss) for step, loss in rows) + "\n"


def trainer_state(rows, **layout):
    history = [{"epoch": step / 30000, "grad_norm": 1.2, "learning_rate": 5e-5, "loss": loss, "step": step} for step, loss in rows]
    history.insert(3, {"epoch": 0.01, "eval_loss": 9.0, "eval_runtime": 3.1, "step": 300})
    history.append({"epoch": 1.0, "step": rows[-1][0], "total_flos": 1e15, "train_loss": 3.9, "train_runtime": 900.1})
    return json.dumps({"best_metric": None, "epoch": 1.0, "global_step": rows[-1][0], "is_world_process_zero": True, "log_history": history}, **layout)


def nanogpt(rows):
    out = "tokens per iteration will be: 491,520\nfound vocab_size = 6400 (inside data/meta.pkl)\nnumber of parameters: 10.65M\n"
    for i, (step, loss) in enumerate(rows):
        if i % 20 == 0:
            out += f"step {step}: train loss {loss:.4f}, val loss {loss + 0.1:.4f}\nsaving checkpoint to out\n"
        out += f"iter {step}: loss {loss:.4f}, time 120.51ms, mfu -100.00%\n"
    return out


def lightning_table(rows):
    out = "epoch,step,train_loss_epoch,train_loss_step,val_loss\n"
    for i, (step, loss) in enumerate(rows):
        out += f"0,{step},,{loss},\n"
        if i % 50 == 49:
            out += f"0,{step},,,{loss + 0.1}\n0,{step},{loss + 1},,\n"
    return out


def tracker_history(rows):
    out = '"_step","_runtime","train/learning_rate","train/loss","eval/loss"\n'
    for i, (step, loss) in enumerate(rows):
        out += f'"{step}","{i * 1.5}","0.0005","{loss}",""\n' + (f'"{step + 1}","{i * 1.5}","","","{loss}"\n' if i % 30 == 0 else "")
    return out


def tracker_runs(rows):
    """Two runs in one export: each has its own column."""
    out = '"Step","good - train/loss","good - train/loss__MIN","good - train/loss__MAX","other - train/loss","other - train/loss__MIN"\n'
    honest = curve(len(rows))
    return out + "".join(f'"{step}","{honest[i]}","{honest[i]}","{honest[i]}","{loss}","{loss}"\n' for i, (step, loss) in enumerate(rows))


def table(separator, decimals="."):
    return lambda rows: f"Step{separator}Training Loss{separator}Validation Loss\n" + "".join(
        f"{step}{separator}{loss:.6f}{separator}{9.5:.1f}\n".replace(".", decimals) for step, loss in rows)


def pretty(rows):
    """As a notebook shows it."""
    return "| Step | Training Loss |\n|-----:|------:|\n" + "".join(f"| {step} | {loss:.6f} |\n" for step, loss in rows)


# How trainers and trackers write a curve: text of (step, loss), and the file's name where it says something.
SHAPES = {
    "minimind": by_lines(lambda step, loss: f"Epoch:[1/1]({step}/44160) loss:{loss:.3f} lr:0.000500000000 epoch_Time:61.0min:"),
    "minimind, newer": by_lines(lambda step, loss: f"Epoch:[1/1]({step}/44160), loss: {loss:.4f}, logits_loss: {loss:.4f}, aux_loss: 0.0000, lr: 0.00050000, epoch_time: 61.0min"),
    "a progress bar": bars(lambda step, loss: f"Epoch 1:   0%|\u2588\u258f        | {step}/44160 [00:00<04:00,  1.20it/s, loss={loss:.2f}, lr=0.0005]"),
    "lightning's bar": bars(lambda step, loss: f"Epoch 0:  12%|\u2588\u258f   | {step}/40000 [00:01<00:09, 9.3it/s, v_num=0, train_loss={loss:.3f}]"),
    "lightning's bar of two": bars(lambda step, loss: f"Epoch 0:  12%|# | {step}/40000 [00:01<00:09,  9.3it/s, v_num=m7ey, train_loss_step={loss:.3f}, train_loss_epoch=9.100]"),
    "lightning's table": lightning_table,
    "litgpt": by_lines(lambda step, loss: f"Epoch 1 | iter {step * 4} step {step} | loss train: {loss:.3f}, val: n/a | iter time: 391.13 ms (step) remaining time: 0:12:03"),
    "nanogpt": nanogpt,
    "megatron": by_lines(lambda step, loss: f" [2026-03-01 10:00:00] iteration {step:8d}/  500000 | consumed samples: {step * 256:12d} | elapsed time per iteration (ms): 1000.0 | learning rate: 1.500E-04 | global batch size:   256 | lm loss: {loss:E} | loss scale: 1.0 | grad norm: 2.100 | number of skipped iterations:   0 | number of nan iterations:   0 |"),
    "torchtitan": by_lines(lambda step, loss: f"[rank0]:[titan] 2026-03-01 10:00:00,123 - root - INFO - \x1b[31mstep: {step:2d}  \x1b[32mloss: {loss:7.4f}  \x1b[38;2;180;60;0mgrad_norm:  1.2500  \x1b[34mmemory: 35.21GiB(44.40%)  \x1b[33mtps: 1,234  \x1b[36mtflops: 12.34  \x1b[35mmfu: 3.95%\x1b[39m"),
    "trainer": by_lines(python_dict),
    "trainer, newer": by_lines(lambda step, loss: python_dict(step, loss, "'")),
    "trainer behind a bar": lambda rows: "".join(f"\r  1%|\u258f         | {step}/40000 [00:10<16:30,  1.01it/s]" + f"{python_dict(step, loss)}\n" for step, loss in rows) + "{'train_runtime': 900.1, 'train_samples_per_second': 3.1, 'train_loss': 0.001, 'epoch': 1.0}\n",
    "llm.c": by_lines(lambda step, loss: f"step {step:4d}/19560 | loss {loss:.6f} (+nanz)| norm 15.3622 (+nanz)| lr 8.57e-07 | 2500.00 ms | -100.0% bf16 MFU | 209715 tok/s"),
    "llm.c's own log": lambda rows: "".join(f"s:{step} trl:{loss:.4f} lr:0.000006 norm:2.25\n" + (f"s:{step} tel:{loss:.4f}\n" if i % 25 == 0 else "") for i, (step, loss) in enumerate(rows)),
    "keras": by_lines(lambda step, loss: f"{step}/40000 [==>...........................] - ETA: 59:31 - loss: {loss:.4f} - accuracy: 0.0123"),
    "deepspeed": by_lines(lambda step, loss: f"steps: {step} loss: {loss:.4f} iter time (s): 0.512 samples/sec: 62.500"),
    "modded": by_lines(lambda step, loss: f"step:{step}/40000 train_loss:{loss:.4f} train_time:12345ms step_avg:98.76ms"),
    "words of a logger": by_lines(lambda step, loss: f"2026-03-01 10:00:00,123 [INFO] train.py:120 - epoch=0 global_step={step} val_loss=9.5 train_loss={loss:.4f}"),
    "a tensor": by_lines(lambda step, loss: f"step {step} loss = tensor({loss:.4f}, device='cuda:0', grad_fn=<NllLossBackward0>)"),
    "averages in brackets": by_lines(lambda step, loss: f"Epoch: [0][{step}/40000]\tTime  0.123 ( 0.200)\tLoss {loss:.4e} (7.7000e+00)\tAcc@1   0.00 (  0.00)"),
    "camel case": by_lines(lambda step, loss: json.dumps({"globalStep": step, "trainLoss": loss})),
    "objects in lines": by_lines(lambda step, loss: json.dumps({"step": step, "loss": loss, "lr": 1e-4})),
    "objects with texts": by_lines(lambda step, loss: json.dumps({"_timestamp": 1.7e9 + step, "message": "loss: 9.9", "step": step, "loss": f"{loss:.5f}"})),
    "objects in objects": by_lines(lambda step, loss: json.dumps({"step": step, "metrics": {"train": {"loss": loss, "grad_norm": 1.0}}})),
    "swift": by_lines(lambda step, loss: json.dumps({"loss": loss, "grad_norm": 1.5, "epoch": step / 40000, "global_step/max_steps": f"{step}/40000", "percentage": "1.00%"})),
    "an array of objects": lambda rows: json.dumps([{"step": step, "train/loss": loss} for step, loss in rows]),
    "trainer state": lambda rows: trainer_state(rows, indent=2),
    "trainer state in a line": trainer_state,
    "columns in an object": lambda rows: json.dumps({"loss": [loss for _, loss in rows], "step": [step for step, _ in rows]}),
    "tensorboard's JSON": lambda rows: json.dumps([[1755760100.1 + step, step, loss] for step, loss in rows]),
    "tensorboard": lambda rows: "Wall time,Step,Value\n" + "".join(f"{1755760000.1 + step},{step},{loss}\n" for step, loss in rows),
    "names in a column": lambda rows: "step,tag,value\n" + "".join(f"{step},train/lr,0.0005\n{step},train/loss,{loss}\n" for step, loss in rows),
    "chart of a tracker": lambda rows: '"Step","Run 7 eval - train/loss","Run 7 eval - train/loss__MIN","Run 7 eval - train/loss__MAX"\n' + "".join(f'"{step}","{loss}","{loss}","{loss}"\n' for step, loss in rows),
    "history of a tracker": tracker_history,
    "two runs of a tracker": tracker_runs,
    "commas": table(","),
    "tabs": table("\t"),
    "spaces": table("   "),
    "semicolons and commas": table(";", ","),
    "a table of a notebook": pretty,
    "a comment for a header": lambda rows: "# step loss\n" + "".join(f"{step} {loss:.6f}\n" for step, loss in rows),
    "settings, then text": lambda rows: json.dumps({"model": {"loss": "cross entropy", "lr": 0.1}}) + "\n" + "".join(f"step {step} loss {loss:.4f}\n" for step, loss in rows),
    "fairseq, in bits": by_lines(lambda step, loss: f"2026-03-01 10:00:00 | INFO | train_inner | epoch 001:  {step:6d} / 40000 loss={loss / math.log(2):.3f}, nll_loss={loss / math.log(2):.3f}, ppl={math.exp(loss):.2f}, wps=1000, ups=0.5, num_updates={step}, lr=1e-4, gnorm=1.2, loss_scale=128"),
    "rich's bar": by_lines(lambda step, loss: f"Epoch 0/9 \u2501\u2501\u2578\u2501\u2501 {step}/40000 0:00:01 \u2022 0:00:09 9.3it/s v_num: 0.000 train_loss: {loss:.3f}"),
    "in Chinese": by_lines(lambda step, loss: f"\u7b2c1\u8f6e \u6b65\u6570\uff1a{step}\uff0c\u8bad\u7ec3\u635f\u5931\uff1a{loss:.4f}\uff0c\u5b66\u4e60\u7387\uff1a0.0001"),
    "nemo": by_lines(lambda step, loss: f"Training epoch 0, iteration {step}/39999 | lr: 1e-05 | global_batch_size: 128 | global_step: {step} | reduced_train_loss: {loss:.4f} | train_step_timing in s: 1.23 | consumed_samples: {step * 128}"),
    "olmo": by_lines(lambda step, loss: f"2026-03-01 10:00:00.123\tolmo.train:898\tINFO\t[step={step}/739328,epoch=0]\n    optim/total_grad_norm=0.5\n    train/CrossEntropyLoss={loss:.3f}\n    throughput/total_tokens=1,000,000"),
    "lines of a container": by_lines(lambda step, loss: json.dumps({"log": f"step {step}: loss {loss:.4f}\n", "stream": "stdout", "time": "2026-03-01T10:00:00.123Z"})),
    "a table by column": lambda rows: json.dumps({name: {str(i): row[k] for i, row in enumerate(rows)} for k, name in enumerate(("step", "loss"))}),
    "swanlab": lambda rows: "step,train/loss_step,train/loss_timestamp,train/loss\n" + "".join(f"{step},{step},1755760100{step},{loss}\n" for step, loss in rows),
    "comet": lambda rows: json.dumps([{"metricName": "loss", "metricValue": str(loss), "timestamp": 1755760100000 + step, "step": step, "runContext": "train"} for step, loss in rows]),
    "only held-out text": by_lines(lambda step, loss: f"step:{step}/40000 val_loss:{loss:.4f} train_time:12345ms"),
}


class Logs(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)

    def run_it(self, *arguments):
        return subprocess.run([STUDIES, "log", *map(str, arguments)], capture_output=True, text=True, timeout=60)

    def judged(self, content, status, *arguments, name="train.log"):
        path, out, picture = self.root / name, self.root / "log.json", self.root / "log.svg"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        run = self.run_it(path, "-o", out, "--picture", picture, *arguments)
        self.assertEqual(run.returncode, status, run.stdout + run.stderr)
        self.assertEqual(run.stderr, "")
        document = json.loads(out.read_text())
        self.assertEqual(document["status"], status)
        xml.etree.ElementTree.parse(picture)
        self.said = run.stdout
        return document, {finding["id"]: finding for finding in document["findings"]}

    def minimind(self, losses, every=100, of=44160):
        return "".join(f"Epoch:[1/1]({i * every}/{of}) loss:{loss:.3f} lr:0.000500000000 epoch_Time:{60 - i // 10}.0min:\n"
                       for i, loss in enumerate(losses))

    def status(self, content, *arguments, name="train.log"):
        path = self.root / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        run = self.run_it(path, *arguments)
        self.assertEqual(run.stderr, "")
        self.said = run.stdout
        return run.returncode

    def rows(self, losses, every=100):
        return [((i + 1) * every, loss) for i, loss in enumerate(losses)]

    def verdicts(self, findings):
        return {name: finding["verdict"] for name, finding in findings.items()}


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


class Formats(Logs):
    def losses(self, content, name="train.log", *arguments):
        document, findings = self.judged(content, 3, *arguments, name=name)
        return document, findings["start"]["evidence"][0]["loss"], findings["finite"]["sentence"]

    def test_lines_of_text(self):
        for line, steps in (("iter {i}: loss {loss:.4f}, time 120.5ms, mfu 3.1%", [3, 7]),
                            ("step {i}: train loss {loss:.4f}, val loss 1.0000", [3, 7]),
                            ("{{'loss': {loss:.4f}, 'grad_norm': 1.2, 'learning_rate': 5e-05, 'epoch': 0.{i}}}", [1, 5]),
                            ("2026-11-23 12:00:0{i} INFO global_step={i} val_loss=0.5 train_loss={loss:.4f}", [3, 7]),
                            ("| epoch 1 | {i}/ 2983 batches | lr 5.00 | ms/batch 10 | loss {loss:.2f} | ppl 100", [3, 7]),
                            ("Epoch 1 [{i}/100] eval loss: 0.1 Loss: {loss:.4f}", [3, 7]),
                            ("  12%|x   | {i}/100 [00:10<01:20, 1.1it/s, loss={loss:.4f}, v_num=3]", [3, 7])):
            with self.subTest(line):
                content = "starting up, loss scale 65536\n" + "".join(line.format(i=i, loss=8.76 - 0.1 * i) + "\n" for i in range(3, 8))
                document, first, _ = self.losses(content)
                self.assertEqual(document["entries"], 5)
                self.assertAlmostEqual(first, 8.46, places=2)
                self.assertEqual(document["steps"], steps)

    def test_tables_and_json(self):
        rows = [(i * 10, 8.8 - 0.3 * i) for i in range(6)]
        for separator, name in ((",", "train.csv"), ("\t", "train.tsv"), (";", "train.csv")):
            content = separator.join(['"Step"', "lr", "Train_Loss"]) + "\n" + "".join(f'{s}{separator}"0.1"{separator}{loss}\n' for s, loss in rows)
            document, first, _ = self.losses(content, name)
            self.assertEqual((document["entries"], document["steps"], first), (6, [0, 50], 8.8))
        content = json.dumps({"log_history": [{"step": s, "loss": loss} for s, loss in rows] + [{"step": 50, "eval_loss": 1.0}], "best": None})
        document, first, _ = self.losses(content, "trainer_state.json")
        self.assertEqual((document["entries"], document["steps"], first), (6, [0, 50], 8.8))
        content = "".join(json.dumps({"iteration": s, "metrics": loss}) + "\n" for s, loss in rows)
        document, first, _ = self.losses(content, "train.jsonl", "--column", "metrics")
        self.assertEqual((document["entries"], first), (6, 8.8))

    def test_a_byte_order_mark_is_no_part_of_a_name(self):
        document, first, _ = self.losses("\ufeffloss,step\n" + "".join(f"{8.8 - 0.1 * i},{i}\n" for i in range(5)), "train.csv")
        self.assertEqual((document["entries"], first), (5, 8.8))

    def test_a_pattern_of_ones_own(self):
        content = "".join(f"[{i}] perte = {8.8 - i}\n" for i in range(5))
        document, first, _ = self.losses(content, "train.log", "--pattern", r"\[(\d+)\] perte = ([0-9.]+)")
        self.assertEqual((document["steps"], first), ([0, 4], 8.8))

    def test_steps_that_start_again_are_counted_on(self):
        content = "".join(f"Epoch:[{e}/3]({i}/500) loss:{9.2 - 0.5 * e:.3f}\n" for e in (1, 2, 3) for i in (0, 100, 200))
        document, _, _ = self.losses(content)
        self.assertEqual(document["steps"], [0, 1200])
        self.assertIn("start again 2 times", document["notes"][0])


class Shapes(Logs):
    def test_every_shape_is_read_whatever_it_is_called(self):
        """A sound run, one that sees what it is to predict and one that becomes NaN, by trainers that print first at step 100."""
        kinds = {"sound": (curve(300), 0, "nothing wrong is seen"), "leak": (leak(300), 1, "something is wrong: speed"),
                 "broken": (becomes_nan(300), 1, "something is wrong: finite")}
        runs = {}
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            for i, (name, shape) in enumerate(SHAPES.items()):
                for kind, (losses, _, _) in kinds.items():
                    path = self.root / f"{i}-{kind}"
                    path.write_bytes(shape(self.rows(losses)).encode())
                    runs[name, kind] = pool.submit(self.run_it, path)
        for (name, kind), run in runs.items():
            with self.subTest(name, kind=kind):
                run, (_, status, words) = run.result(), kinds[kind]
                self.assertEqual(run.returncode, status, run.stdout + run.stderr)
                self.assertIn(words, run.stdout.splitlines()[0])

    def test_files_in_other_bytes(self):
        text = SHAPES["minimind"](self.rows(leak(300)))
        table = SHAPES["tensorboard"](self.rows(curve(300)))
        both = gzip.compress(text[:3000].encode()) + gzip.compress(text[3000:].encode())
        for content, status in ((gzip.compress(text.encode()), 1), (both, 1), (text.encode("utf-16"), 1), (text.encode("utf-16-le"), 1),
                                (text.encode("utf-16-be"), 1), (b"\xfe\xff" + text.encode("utf-16-be"), 1), (text.replace("\n", "\r\n").encode("utf-16"), 1),
                                (gzip.compress(text.encode("utf-16")), 1), (table.encode("utf-16"), 0), (b"\xef\xbb\xbf" + table.encode(), 0),
                                (gzip.compress(trainer_state(self.rows(curve(300))).encode()), 0)):
            with self.subTest(content[:8]):
                self.assertEqual(self.status(content), status, self.said)
                self.assertIn(" 300 entries", self.said)
        # One that is still written to, or was cut.
        noisy = SHAPES["minimind"](self.rows(curve(4000), every=1)).encode()
        packed = gzip.compress(noisy)
        self.assertEqual(self.status(packed[:len(packed) // 2]), 0, self.said)
        self.assertIn("cut or damaged", self.said)


class Beginnings(Logs):
    """What a log says of where the run began, and what is concluded from it."""

    def judged_at(self, losses, status, *arguments, steps=None, shape="minimind, newer"):
        rows = list(zip(steps, losses)) if steps else [(i + 1, loss) for i, loss in enumerate(losses)]
        self.assertEqual(self.status(SHAPES[shape](rows), *arguments), status, self.said)

    def noisy(self, start, end, steps=300, noise=0.08, seed=5):
        chance = random.Random(seed)
        return [end + (start - end) * math.exp(-3 * i / steps) + chance.gauss(0, noise) for i in range(steps)]

    def test_fine_tuning_starts_low(self):
        for start, end, shape in ((2.5, 1.9, "minimind, newer"), (1.1, 0.7, "trainer"), (4.6, 2.2, "lightning's table"), (0.9, 0.45, "trainer state")):
            self.judged_at(self.noisy(start, end), 0, shape=shape)
        self.judged_at(self.noisy(2.5, 2.45), 0)  # hardly anything to learn
        self.judged_at(self.noisy(2.5, 1.9)[:200] + [float("nan")] * 20, 1)
        self.judged_at(self.noisy(2.5, 1.9)[:200] + [2.0 + 0.1 * i for i in range(60)], 1)
        # Learned by heart, which is known where it is said, and suspected where it takes many passes.
        by_heart = [max(2.5 * math.exp(-i / 30), 0.01) for i in range(300)]
        self.judged_at(by_heart, 3)
        self.judged_at(by_heart, 0, "--from-checkpoint")
        passes = "".join(f"Epoch:[{1 + i // 30}/10]({1 + i % 30}/30), loss: {loss:.4f}, lr: 0.0001\n" for i, loss in enumerate(by_heart))
        self.assertEqual(self.status(passes), 0, self.said)

    def test_runs_whose_loss_is_no_cross_entropy(self):
        chance = random.Random(7)
        around_zero = [chance.gauss(0.01, 0.02) for _ in range(300)]
        preference = [0.46 + 0.23 * math.exp(-i / 60) for i in range(300)]
        overfitted = [0.6931 * math.exp(-i / 20) for i in range(300)]
        dpo = "{{'loss': {1:.4f}, 'grad_norm': 3.2, 'rewards/chosen': 0.01, 'rewards/rejected': -0.02, 'rewards/accuracies': 0.6, 'logps/chosen': -250.1, 'epoch': 0.01}}"
        grpo = "{{'loss': {1:.4f}, 'grad_norm': 0.2, 'reward': 1.3, 'reward_std': 0.4, 'completion_length': 224.1, 'kl': 0.008, 'epoch': 0.1}}"
        for losses, line in ((preference, "Epoch:[1/1]({0}/300), loss: {1:.4f}, dpo_loss: {1:.4f}, aux_loss: 0.0000, learning_rate: 0.00000004"),
                             (preference, dpo), (overfitted, dpo), (around_zero, grpo), ([0.0] * 300, grpo),
                             (around_zero, "Epoch:[1/1]({0}/300), Reward: 0.3000, KL_ref: 0.0012, Adv Std: 0.9876, Actor Loss: {1:.4f}, Avg Response Len: 301.10"),
                             (around_zero, "step {0} | actor/pg_loss: {1:.4f} | critic/vf_loss: 0.51 | actor/entropy_loss: 1.2"),
                             (around_zero, "step {0}: loss {1:.5f}")):
            with self.subTest(line):
                text = "".join(line.format(i + 1, loss) + "\n" for i, loss in enumerate(losses))
                self.assertEqual(self.status(text), 0, self.said)
                broken = "".join(line.format(i + 1, loss if i < 250 else float("nan")) + "\n" for i, loss in enumerate(losses))
                self.assertEqual(self.status(broken), 1, self.said)
        exploded = "".join(dpo.format(0, loss if i < 200 else 0.5 + i / 50) + "\n" for i, loss in enumerate(preference))
        self.assertEqual(self.status(exploded), 1, self.said)

    def test_the_vocabulary_is_another(self):
        for vocabulary in (50257, 32000, 65, 256, 128256, 2000):
            start = math.log(vocabulary)
            sound = [start * (0.35 + 0.65 * (1 + i / 40) ** -0.6) for i in range(300)]
            self.judged_at(sound, 0)
            self.assertIn(f"ln {vocabulary} = ", self.said)
            self.judged_at(leak(300, start), 1)
            self.assertIn("something is wrong: speed (it starts at", self.said)
        self.judged_at(sound, 0, "--vocabulary", vocabulary)
        self.judged_at([loss + 2.06 for loss in curve(300)], 1, "--vocabulary", V)
        self.assertIn("ln 50257 = 10.82?", self.said)

    def test_logs_that_begin_late(self):
        self.judged_at(self.noisy(3.1, 2.9), 0, steps=range(50000, 50300))
        self.judged_at(self.noisy(3.1, 3.1), 0, steps=range(50000, 80000, 100))
        self.judged_at(self.noisy(6.5, 3.0), 0, steps=range(500, 150500, 500))
        self.judged_at(self.noisy(7.5, 3.0), 0, steps=range(1000, 301000, 1000))
        # Too low, and what was before is not in it: nobody can tell, and that is said.
        self.judged_at([0.02] * 300, 3, steps=range(50000, 50300))
        self.judged_at([4.0, 0.6, 0.02] + [0.02] * 20, 3, steps=range(100, 2400, 100))
        self.judged_at([8.1, 3.0, 0.02] + [0.02] * 20, 1, steps=range(100, 2400, 100))
        # Too few entries to smooth, and plain all the same.
        self.judged_at([8.3, 2.0, 0.02], 1, steps=range(100, 400, 100))
        self.judged_at([8.3, 7.0, 6.2], 3, steps=range(100, 400, 100))

    def test_a_sum_over_steps(self):
        for parts in (4, 8, 40):
            self.judged_at([loss * parts for loss in curve(300)], 0)
            self.assertIn(f"the sum over {parts} steps", self.said)
            self.judged_at([loss * parts for loss in leak(300)], 1)
        self.judged_at([loss * 8 for loss in self.noisy(2.3, 1.8)], 0, "--from-checkpoint")

    def test_bits(self):
        bits = by_lines(lambda step, loss: json.dumps({"step": step, "train_bpb": loss}))
        self.assertEqual(self.status(bits(self.rows(self.noisy(8.0, 1.2)))), 0, self.said)
        self.assertEqual(self.status(bits(self.rows(leak(300, 8.0)))), 1, self.said)

    def test_a_small_text_learned_by_heart(self):
        """Many passes, or a loss of held-out text that stays: nobody saw what was to be predicted."""
        losses = leak(400)
        held_out = "".join(f"step {i + 1}: train loss {loss:.4f}, val loss {max(loss, 5.5):.4f}\n" for i, loss in enumerate(losses))
        self.assertEqual(self.status(held_out), 0, self.said)
        self.assertIn("learned by heart", self.said)
        # In a single pass nothing is learned by heart, and what never learns to predict other text learns none.
        once = "".join(f"Epoch:[1/1]({i + 1}/400) train loss {loss:.4f}, val loss {max(loss, 5.5):.4f}\n" for i, loss in enumerate(losses))
        self.assertEqual(self.status(once), 1, self.said)
        never = "".join(f"step {i + 1}: train loss {loss:.4f}, val loss 9.1\n" for i, loss in enumerate(losses))
        self.assertEqual(self.status(never), 1, self.said)
        both = "".join(f"step {i + 1}: train loss {loss:.4f}, val loss {loss + 0.01:.4f}\n" for i, loss in enumerate(losses))
        self.assertEqual(self.status(both), 1, self.said)
        passes = "".join(f"{{'loss': {loss:.4f}, 'learning_rate': 0.001, 'epoch': {i / 4}}}\n" for i, loss in enumerate(losses))
        self.assertEqual(self.status(passes), 3, self.said)

    def test_runs_that_start_again(self):
        """After a crash from a checkpoint, or from the beginning in the same log."""
        first = self.rows(curve(300), 1)
        again = SHAPES["minimind"](first[:200] + first[150:])
        self.assertEqual(self.status(again), 0, self.said)
        scratch = SHAPES["minimind"](first + self.rows(curve(300, seed=9), 1))
        self.assertEqual(self.status(scratch), 0, self.said)
        self.assertIn("it holds 2 runs", self.said)
        self.assertEqual(self.status(SHAPES["minimind"](first + self.rows(leak(300), 1))), 1, self.said)
        self.assertIn("run 2 of 2", self.said)
        epochs = "".join(f"Epoch:[{1 + e}/3]({s}/100) loss:{loss:.3f}\n" for e in range(3) for s, loss in self.rows(curve(300)[e * 100:e * 100 + 100], 1))
        self.assertEqual(self.status(epochs), 0, self.said)
        # Two processes that write into one log.
        one, other = self.rows(curve(300), 1), self.rows(curve(300, seed=4), 1)
        self.assertEqual(self.status(SHAPES["trainer behind a bar"]([row for pair in zip(one, other) for row in pair])), 0, self.said)

    def test_short_logs_and_warm_up(self):
        self.judged_at([START + 0.01 * (i % 3) for i in range(20)], 3)
        self.judged_at([START + 0.01 * (i % 3) for i in range(300)], 1)
        warm = [START - 0.0001 * i * i if i < 100 else START - 1 - 3 * (1 - math.exp(-(i - 100) / 100)) for i in range(400)]
        self.judged_at(warm, 0)

    def test_nan_that_is_left_out(self):
        """Written as nothing for long, where training goes on; but what is evaluated at the end has no loss either."""
        losses = curve(60)
        objects = [{"step": i, "loss": loss, "lr": 0.1} for i, loss in enumerate(losses)]
        lines = lambda entries: "".join(json.dumps(entry) + "\n" for entry in entries)
        self.assertEqual(self.status(lines(objects + [{"step": 60 + i, "loss": None, "lr": 0.1} for i in range(20)])), 1, self.said)
        self.assertEqual(self.status(lines(objects + [{"step": 60 + i, "loss": None, "accuracy": 0.4} for i in range(20)])), 0, self.said)
        table = "step,loss,lr,accuracy\n" + "".join(f"{i},{loss},0.1,\n" for i, loss in enumerate(losses))
        self.assertEqual(self.status(table + "".join(f"{60 + i},,0.1,\n" for i in range(20))), 1, self.said)
        self.assertEqual(self.status(table + "".join(f"{60 + i},,,0.4\n" for i in range(20))), 0, self.said)
        text = "".join(f"step {i} loss {loss:.4f}\n" for i, loss in enumerate(losses))
        for nothing in ("None", "nan", "-nan(ind)", "1.#QNAN", "Infinity"):
            self.assertEqual(self.status(text + f"step 60 loss {nothing}\n" * 20), 1, self.said)
        megatron = "".join(f" iteration {i:8d}/ 500000 | lm loss: {loss:E} | grad norm: 2.1 |\n" for i, loss in enumerate(losses))
        self.assertEqual(self.status(megatron + " iteration       60/ 500000 | loss scale: 1.0 | grad norm: nan |\n" * 20), 1, self.said)

    def test_noise_is_no_rise(self):
        for seed in range(4):
            chance = random.Random(seed)
            self.judged_at([max(0.05, 1.8 + 0.5 * math.exp(-i / 50) + chance.gauss(0, 0.6)) for i in range(25 if seed % 2 else 400)], 0)

    def test_zero_that_was_nan(self):
        lines = [python_dict(i, loss) for i, loss in enumerate(curve(100))]
        zero = "{'loss': 0.0, 'grad_norm': nan, 'learning_rate': 5e-05, 'epoch': 0.5}"
        for broken in (zero, zero.replace("nan", "'nan'").replace("0.0,", "'0',"), zero.replace("'grad_norm': nan, ", "")):
            self.assertEqual(self.status("\n".join(lines + [broken] * 20)), 1, self.said)
            self.assertIn("something is wrong: finite\n", self.said)
        history = [{"loss": loss, "grad_norm": 1.0, "step": i} for i, loss in enumerate(curve(100))] + [{"loss": 0.0, "grad_norm": float("nan"), "step": 100 + i} for i in range(20)]
        self.assertEqual(self.status(json.dumps({"log_history": history})), 1, self.said)
        # Gradients that stay NaN: the optimiser does nothing any more.
        stuck = [line.replace("1.25", "nan") for line in lines[-1:]] * 40
        self.assertEqual(self.status("\n".join(lines + stuck)), 1, self.said)
        skipped = lines[:40] + [lines[40].replace("1.25", "nan")] + lines[41:]
        self.assertEqual(self.status("\n".join(skipped)), 0, self.said)


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
            run = subprocess.run([PROGRAM, "log", path], capture_output=True, text=True, timeout=60)
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
    PROGRAM = pathlib.Path(sys.argv.pop(1)).resolve()
    STUDIES = PROGRAM.with_name("plumbline-studies")
    STUDIES = STUDIES if STUDIES.exists() else PROGRAM
    unittest.main(verbosity=1)
