"""Curves of training runs, and how trainers and trackers write them."""

import json
import math
import random

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


def stepped(losses, every=100):
    return [((i + 1) * every, loss) for i, loss in enumerate(losses)]


def minimind(losses, every=100, of=44160):
    return "".join(f"Epoch:[1/1]({i * every}/{of}) loss:{loss:.3f} lr:0.000500000000 epoch_Time:{60 - i // 10}.0min:\n"
                   for i, loss in enumerate(losses))


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
