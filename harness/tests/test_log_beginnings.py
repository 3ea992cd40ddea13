"""Training logs of runs that do not begin at ln V, whose loss is no cross-entropy, or that hold several runs."""

import json
import math
import random

from log_shapes import SHAPES, START, V, by_lines, curve, leak, python_dict, stepped


def judged_at(logs, losses, status, *arguments, steps=None, shape="minimind, newer"):
    rows = list(zip(steps, losses)) if steps else [(i + 1, loss) for i, loss in enumerate(losses)]
    assert logs.status(SHAPES[shape](rows), *arguments) == status, logs.said


def noisy(start, end, steps=300, noise=0.08, seed=5):
    chance = random.Random(seed)
    return [end + (start - end) * math.exp(-3 * i / steps) + chance.gauss(0, noise) for i in range(steps)]


def test_fine_tuning_starts_low(logs):
    for start, end, shape in ((2.5, 1.9, "minimind, newer"), (1.1, 0.7, "trainer"), (4.6, 2.2, "lightning's table"), (0.9, 0.45, "trainer state")):
        judged_at(logs, noisy(start, end), 0, shape=shape)
    judged_at(logs, noisy(2.5, 2.45), 0)  # hardly anything to learn
    judged_at(logs, noisy(2.5, 1.9)[:200] + [float("nan")] * 20, 1)
    judged_at(logs, noisy(2.5, 1.9)[:200] + [2.0 + 0.1 * i for i in range(60)], 1)
    # Learned by heart, which is known where it is said, and suspected where it takes many passes.
    by_heart = [max(2.5 * math.exp(-i / 30), 0.01) for i in range(300)]
    judged_at(logs, by_heart, 3)
    judged_at(logs, by_heart, 0, "--from-checkpoint")
    passes = "".join(f"Epoch:[{1 + i // 30}/10]({1 + i % 30}/30), loss: {loss:.4f}, lr: 0.0001\n" for i, loss in enumerate(by_heart))
    assert logs.status(passes) == 0, logs.said


def test_runs_whose_loss_is_no_cross_entropy(logs, subtests):
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
        with subtests.test(line):
            text = "".join(line.format(i + 1, loss) + "\n" for i, loss in enumerate(losses))
            assert logs.status(text) == 0, logs.said
            broken = "".join(line.format(i + 1, loss if i < 250 else float("nan")) + "\n" for i, loss in enumerate(losses))
            assert logs.status(broken) == 1, logs.said
    exploded = "".join(dpo.format(0, loss if i < 200 else 0.5 + i / 50) + "\n" for i, loss in enumerate(preference))
    assert logs.status(exploded) == 1, logs.said


def test_the_vocabulary_is_another(logs):
    for vocabulary in (50257, 32000, 65, 256, 128256, 2000):
        start = math.log(vocabulary)
        sound = [start * (0.35 + 0.65 * (1 + i / 40) ** -0.6) for i in range(300)]
        judged_at(logs, sound, 0)
        assert f"ln {vocabulary} = " in logs.said
        judged_at(logs, leak(300, start), 1)
        assert "something is wrong: speed (it starts at" in logs.said
    judged_at(logs, sound, 0, "--vocabulary", vocabulary)
    judged_at(logs, [loss + 2.06 for loss in curve(300)], 1, "--vocabulary", V)
    assert "ln 50257 = 10.82?" in logs.said


def test_logs_that_begin_late(logs):
    judged_at(logs, noisy(3.1, 2.9), 0, steps=range(50000, 50300))
    judged_at(logs, noisy(3.1, 3.1), 0, steps=range(50000, 80000, 100))
    judged_at(logs, noisy(6.5, 3.0), 0, steps=range(500, 150500, 500))
    judged_at(logs, noisy(7.5, 3.0), 0, steps=range(1000, 301000, 1000))
    # Too low, and what was before is not in it: nobody can tell, and that is said.
    judged_at(logs, [0.02] * 300, 3, steps=range(50000, 50300))
    judged_at(logs, [4.0, 0.6, 0.02] + [0.02] * 20, 3, steps=range(100, 2400, 100))
    judged_at(logs, [8.1, 3.0, 0.02] + [0.02] * 20, 1, steps=range(100, 2400, 100))
    # Too few entries to smooth, and plain all the same.
    judged_at(logs, [8.3, 2.0, 0.02], 1, steps=range(100, 400, 100))
    judged_at(logs, [8.3, 7.0, 6.2], 3, steps=range(100, 400, 100))


def test_a_sum_over_steps(logs):
    for parts in (4, 8, 40):
        judged_at(logs, [loss * parts for loss in curve(300)], 0)
        assert f"the sum over {parts} steps" in logs.said
        judged_at(logs, [loss * parts for loss in leak(300)], 1)
    judged_at(logs, [loss * 8 for loss in noisy(2.3, 1.8)], 0, "--from-checkpoint")


def test_bits(logs):
    bits = by_lines(lambda step, loss: json.dumps({"step": step, "train_bpb": loss}))
    assert logs.status(bits(stepped(noisy(8.0, 1.2)))) == 0, logs.said
    assert logs.status(bits(stepped(leak(300, 8.0)))) == 1, logs.said


def test_a_small_text_learned_by_heart(logs):
    """Many passes, or a loss of held-out text that stays: nobody saw what was to be predicted."""
    losses = leak(400)
    held_out = "".join(f"step {i + 1}: train loss {loss:.4f}, val loss {max(loss, 5.5):.4f}\n" for i, loss in enumerate(losses))
    assert logs.status(held_out) == 0, logs.said
    assert "learned by heart" in logs.said
    # In a single pass nothing is learned by heart, and what never learns to predict other text learns none.
    once = "".join(f"Epoch:[1/1]({i + 1}/400) train loss {loss:.4f}, val loss {max(loss, 5.5):.4f}\n" for i, loss in enumerate(losses))
    assert logs.status(once) == 1, logs.said
    never = "".join(f"step {i + 1}: train loss {loss:.4f}, val loss 9.1\n" for i, loss in enumerate(losses))
    assert logs.status(never) == 1, logs.said
    both = "".join(f"step {i + 1}: train loss {loss:.4f}, val loss {loss + 0.01:.4f}\n" for i, loss in enumerate(losses))
    assert logs.status(both) == 1, logs.said
    passes = "".join(f"{{'loss': {loss:.4f}, 'learning_rate': 0.001, 'epoch': {i / 4}}}\n" for i, loss in enumerate(losses))
    assert logs.status(passes) == 3, logs.said


def test_runs_that_start_again(logs):
    """After a crash from a checkpoint, or from the beginning in the same log."""
    first = stepped(curve(300), 1)
    again = SHAPES["minimind"](first[:200] + first[150:])
    assert logs.status(again) == 0, logs.said
    scratch = SHAPES["minimind"](first + stepped(curve(300, seed=9), 1))
    assert logs.status(scratch) == 0, logs.said
    assert "it holds 2 runs" in logs.said
    assert logs.status(SHAPES["minimind"](first + stepped(leak(300), 1))) == 1, logs.said
    assert "run 2 of 2" in logs.said
    epochs = "".join(f"Epoch:[{1 + e}/3]({s}/100) loss:{loss:.3f}\n" for e in range(3) for s, loss in stepped(curve(300)[e * 100:e * 100 + 100], 1))
    assert logs.status(epochs) == 0, logs.said
    # Two processes that write into one log.
    one, other = stepped(curve(300), 1), stepped(curve(300, seed=4), 1)
    assert logs.status(SHAPES["trainer behind a bar"]([row for pair in zip(one, other) for row in pair])) == 0, logs.said


def test_short_logs_and_warm_up(logs):
    judged_at(logs, [START + 0.01 * (i % 3) for i in range(20)], 3)
    judged_at(logs, [START + 0.01 * (i % 3) for i in range(300)], 1)
    warm = [START - 0.0001 * i * i if i < 100 else START - 1 - 3 * (1 - math.exp(-(i - 100) / 100)) for i in range(400)]
    judged_at(logs, warm, 0)


def test_nan_that_is_left_out(logs):
    """Written as nothing for long, where training goes on; but what is evaluated at the end has no loss either."""
    losses = curve(60)
    objects = [{"step": i, "loss": loss, "lr": 0.1} for i, loss in enumerate(losses)]
    lines = lambda entries: "".join(json.dumps(entry) + "\n" for entry in entries)
    assert logs.status(lines(objects + [{"step": 60 + i, "loss": None, "lr": 0.1} for i in range(20)])) == 1, logs.said
    assert logs.status(lines(objects + [{"step": 60 + i, "loss": None, "accuracy": 0.4} for i in range(20)])) == 0, logs.said
    table = "step,loss,lr,accuracy\n" + "".join(f"{i},{loss},0.1,\n" for i, loss in enumerate(losses))
    assert logs.status(table + "".join(f"{60 + i},,0.1,\n" for i in range(20))) == 1, logs.said
    assert logs.status(table + "".join(f"{60 + i},,,0.4\n" for i in range(20))) == 0, logs.said
    text = "".join(f"step {i} loss {loss:.4f}\n" for i, loss in enumerate(losses))
    for nothing in ("None", "nan", "-nan(ind)", "1.#QNAN", "Infinity"):
        assert logs.status(text + f"step 60 loss {nothing}\n" * 20) == 1, logs.said
    megatron = "".join(f" iteration {i:8d}/ 500000 | lm loss: {loss:E} | grad norm: 2.1 |\n" for i, loss in enumerate(losses))
    assert logs.status(megatron + " iteration       60/ 500000 | loss scale: 1.0 | grad norm: nan |\n" * 20) == 1, logs.said


def test_noise_is_no_rise(logs):
    for seed in range(4):
        chance = random.Random(seed)
        judged_at(logs, [max(0.05, 1.8 + 0.5 * math.exp(-i / 50) + chance.gauss(0, 0.6)) for i in range(25 if seed % 2 else 400)], 0)


def test_zero_that_was_nan(logs):
    lines = [python_dict(i, loss) for i, loss in enumerate(curve(100))]
    zero = "{'loss': 0.0, 'grad_norm': nan, 'learning_rate': 5e-05, 'epoch': 0.5}"
    for broken in (zero, zero.replace("nan", "'nan'").replace("0.0,", "'0',"), zero.replace("'grad_norm': nan, ", "")):
        assert logs.status("\n".join(lines + [broken] * 20)) == 1, logs.said
        assert "something is wrong: finite\n" in logs.said
    history = [{"loss": loss, "grad_norm": 1.0, "step": i} for i, loss in enumerate(curve(100))] + [{"loss": 0.0, "grad_norm": float("nan"), "step": 100 + i} for i in range(20)]
    assert logs.status(json.dumps({"log_history": history})) == 1, logs.said
    # Gradients that stay NaN: the optimiser does nothing any more.
    stuck = [line.replace("1.25", "nan") for line in lines[-1:]] * 40
    assert logs.status("\n".join(lines + stuck)) == 1, logs.said
    skipped = lines[:40] + [lines[40].replace("1.25", "nan")] + lines[41:]
    assert logs.status("\n".join(skipped)) == 0, logs.said
