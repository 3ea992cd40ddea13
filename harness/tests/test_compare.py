"""Two candidates, compared by the real program: what is the same is said to be, what differs is found and placed.

Models run in the interpreter that runs this file.
"""

import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import signal
import time

import pytest

import edits
from live_cases import MODELS, with_transformers

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEFECTS = json.loads((ROOT / "fixtures" / "defects.json").read_text())


def compared(live, one, other, status, *arguments):
    """The result document, and what was printed."""
    shutil.rmtree(live.out, ignore_errors=True)
    run = live.ended(live.start(one, str(other), *arguments, command="compare"))
    assert run.returncode == status, run.stdout[-3000:] + run.stderr
    assert run.stderr == ""
    checked = live.program("report", "check", live.out)
    assert "The bundle is complete and consistent." in checked.stdout[-1000:]
    result = json.loads((live.out / "result.json").read_text())
    assert (result["header"]["baseline"]["name"], result["header"]["candidate"]) == (str(one), str(other))
    return result, run.stdout


def failed(result):
    return [r["id"] for r in result["requirements"] if r["verdict"] == "fail"]


def recorded(live, adapter, *arguments):
    file = live.root / "before.h5"
    run = live.ended(live.start(adapter, "-o", str(file), *arguments, command="record"))
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr
    return file


def differ_from_the_reference(live, defects):
    def complaint(defect):
        out = live.root / defect["name"]
        run = live.program("compare", "reference", f"defect:{defect['name']}", "--spec", "tiny", "--threads", "1",
                           "--longest", defect.get("longest", 604), "--out", out)
        if run.returncode != 1:
            return f"{defect['name']}: exit status {run.returncode}: {(run.stdout + run.stderr)[-500:]}"
        place = (json.loads((out / "result.json").read_text())["localisation"] or {}).get("first_locally_wrong")
        return None if place == defect.get("stage") else f"{defect['name']}: first at {place}, expected {defect.get('stage')}"

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        complaints = [c for c in pool.map(complaint, defects) if c]
    assert complaints == []


def test_defects_differ_from_the_reference_where_they_are(live):
    differ_from_the_reference(live, DEFECTS[3::16])


@pytest.mark.parametrize("name", ["reference", "defect:mask-none", "defect:logits-not-a-number"])
def test_a_model_is_what_it_is_itself_right_or_wrong(live, name):
    result, _ = compared(live, name, name, 0)
    assert "bit for bit in everything that was compared" in result["footer"]["verdict"]
    checks = [check for r in result["requirements"] for check in r["checks"] if check["identical"] is not None]
    assert len(checks) > 500
    assert all(check["identical"] and check["elements"] > 0 for check in checks)
    assert result["localisation"] is None


def test_honest_refactors_are_the_same_within_rounding(live, subtests):
    plain = live.model("plain")
    for one, other, dtype in (("reference", plain, "f32"), (plain, "reference", "bf16")):
        with subtests.test(one=one, other=other):
            result, printed = compared(live, one, other, 0, "--dtype", dtype)
            assert "no difference beyond rounding" in result["footer"]["verdict"]
            for r in result["requirements"]:
                assert r["verdict"] in ("pass", "not applicable"), r["reason"]
            assert "SAME-14" in printed
            assert re.search(r"a pass of 512 tokens: \d+\.\d\d x the time", printed)


def test_gradients_that_one_of_the_two_alone_has_leave_it_incomplete(live):
    """An engine for inference has none, and nothing else that it shows could stand for them."""
    result, _ = compared(live, "reference", "reference:fast", 3)
    unseen = {r["id"]: r["reason"] for r in result["requirements"] if r["verdict"] == "not assessed"}
    assert set(unseen) == {"SAME-13", "SAME-16"}
    assert "only reference has gradients, and reference:fast has nothing to compare them with" in unseen["SAME-13"]
    assert {r["verdict"] for r in result["requirements"]} <= {"pass", "not applicable", "not assessed"}


def test_a_recording_and_the_model_it_was_made_of(live, subtests):
    plain = live.model("plain")
    before = recorded(live, plain)
    result, _ = compared(live, before, plain, 0)
    assert "bit for bit in everything that was compared" in result["footer"]["verdict"]
    reasons = {r["id"]: r["reason"] for r in result["requirements"] if r["verdict"] == "not applicable"}
    assert "before.h5 is a recording: no code of it is run" in reasons["SAME-14"]
    compared(live, before, before, 0)
    shutil.rmtree(live.root / "plain")
    for edit in [edit for edit in edits.EDITS if edit.name in ("mask-none-in-training", "mask-off-by-one")]:
        with subtests.test(edit.name):
            result, printed = compared(live, before, live.model(edit.name, edit.change), 1)
            assert result["localisation"]["first_locally_wrong"] == edit.stage
            assert "Where they differ" in printed


def test_checkpoints(live):
    one, other = live.root / "one", live.root / "other"
    assert live.program("export", one, "--spec", "tiny").returncode == 0
    shutil.copytree(one, other)
    result, _ = compared(live, one, other, 0)
    assert "no code was run" in result["footer"]["verdict"]
    weights = other / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1  # of the last element's exponent
    weights.write_bytes(content)
    result, printed = compared(live, one, other, 1)
    assert failed(result) == ["SAME-3"]
    assert re.search(r"model\.norm\.weight\[47\]: now \S+, before \S+", printed)
    settings = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**settings, "rms_norm_eps": 1e-3}))
    result, printed = compared(live, one, other, 1)
    assert failed(result) == ["SAME-1", "SAME-3"]
    assert "rms_norm_eps: now 0.001" in printed
    (other / "config.json").write_text(json.dumps({**settings, "sliding_window": 16}))
    shutil.copy(one / "model.safetensors", weights)
    result, printed = compared(live, one, other, 3)
    assert "sliding_window" in printed
    (one / "config.json").write_text(json.dumps({**settings, "sliding_window": 32}))
    result, printed = compared(live, one, other, 1)
    assert "config.json: sliding_window: now 16, before 32" in " ".join(printed.split())


def test_a_checkpoint_and_a_model_that_takes_any_weights(live):
    stored = live.root / "stored"
    assert live.program("export", stored, "--spec", "tiny").returncode == 0
    result, _ = compared(live, stored, live.model("plain"), 0)
    assert "weights were not compared, and no code was run" in result["footer"]["verdict"]


@pytest.mark.parametrize(("change", "requirement"), [
    ({"        x = self.last_norm(x)\n": "        x = self.last_norm(x) * (1 if pad_mask is None else 1.2)\n"}, "SAME-7"),
    ({edits.ROTATED: edits.ROTATED.replace("self.rotated(k, position)", "self.rotated(k, position).detach()")}, "SAME-13"),
], ids=["padded", "detached"])
def test_what_bfloat16_hides_in_single_elements_shows_in_the_whole(live, change, requirement):
    """Logits that are a fifth too large in padded batches alone; keys that no gradient reaches."""
    result, _ = compared(live, live.model("plain"), live.model("changed", change), 1, "--dtype", "bf16")
    assert requirement in failed(result)
    assert "on the whole" in json.dumps(result)


def test_what_one_of_the_two_alone_has_is_held_to_what_the_other_has(live, subtests):
    """A refactor that adds a KV cache, padding, positions and a loop; the cache right, and rotating from 0 again."""
    bare = live.model("bare")
    bare.write_text(bare.read_text().replace("    return plumbline.Module(", "    made = plumbline.Module(") +
                    "    made.cache = made.writes = made.positions = made.mask = None\n    return made\n")
    restarting = {edits.POSITION: edits.POSITION.replace("slots.", "(slots - start).")}
    models = {"right": (live.model("right"), 0), "restarting": (live.model("restarting", restarting), 1)}
    for before in (bare, recorded(live, bare)):
        for name, (after, status) in models.items():
            with subtests.test(before=before.name, after=name):
                result, printed = compared(live, before, after, status)
                assert failed(result) == (["SAME-8", "SAME-9"] if status else [])
                said = f"only {after} has a KV cache, padding on the right, padding on the left, positions, a loop"
                assert said in result["footer"]["verdict"]
                assert said in result["header"]["baseline"]["alone"][0]
                if status:
                    assert result["localisation"]["first_locally_wrong"] == "layers.0.q_rotated"
    result, _ = compared(live, models["restarting"][0], bare, 1)
    assert failed(result) == ["SAME-8", "SAME-9"]


def test_what_shows_after_three_hundred_tokens(live):
    window = {edits.MASK: f"{edits.MASK}\n        allowed = allowed & (torch.arange(start + length, device=tokens.device) > slots.unsqueeze(1) - 300)"}
    before = recorded(live, live.model("plain"))
    result, _ = compared(live, before, live.model("window", window), 1)
    assert "600 tokens" in result["localisation"]["conclusion"]


def test_programs_that_are_given_no_weights(live):
    """Each keeps its own: where those differ, outputs tell nothing of the code."""
    speaker = live.speaker(extent="")
    result, _ = compared(live, speaker, speaker, 0)
    assert {r["verdict"] for r in result["requirements"] if r["id"] in ("SAME-3", "SAME-5")} == {"pass"}


@pytest.mark.parametrize(("one", "other", "words"), [
    ("reference", "nowhere.py", ["nowhere.py", "no such file"]), ("defect:none", "reference", ["none"]),
    ("reference", "defect:teleport", ["teleport"]),
])
def test_what_cannot_be_compared_is_refused_in_a_line(live, one, other, words):
    run = live.ended(live.start(one, other, command="compare"))
    assert run.returncode == 2, run.stdout
    assert len(run.stderr.splitlines()) == 1, run.stderr
    for word in words:
        assert word in run.stderr
    assert not live.out.exists()


def test_one_alone_is_refused(live):
    run = live.program("compare", "reference", cwd=live.root)
    assert (run.returncode, len(run.stderr.splitlines())) == (2, 1), run.stderr
    assert "other" in run.stderr


def test_one_that_raises_is_an_error_and_no_difference(live):
    result, printed = compared(live, "reference", live.plain("if keywords.get('cache'): raise RuntimeError('no luck')"), 2)
    assert failed(result) == []
    assert "no luck" in printed


def test_a_signal_ends_both(live):
    for moment in (1.0, 4.0):
        process = live.start(live.model(f"one{moment}"), str(live.model(f"other{moment}")), command="compare")
        time.sleep(moment)
        process.send_signal(signal.SIGINT)
        assert live.ended(process, 10).returncode == -signal.SIGINT
        assert not live.out.exists()


@pytest.mark.long
@with_transformers
def test_a_model_of_ones_own_and_that_of_transformers(live):
    llama = pathlib.Path(shutil.copy(MODELS / "llama_adapter.py", live.root))
    compared(live, llama, live.model("plain"), 0)


@pytest.mark.long
def test_logits_alone_tell_in_which_block(live):
    """Nothing but logits to see: blocks are silenced one by one in both."""
    text = (MODELS / "plain_adapter.py").read_text()
    assert text.count("        stages={") == 1
    edit = next(edit for edit in edits.EDITS if edit.stage == "layers.0.gated")
    adapters = [live.model("one"), live.model("other", edit.change)]
    for adapter in adapters:
        adapter.write_text(text.replace("        stages={", "        stages={} and {"))
    result, printed = compared(live, *adapters, 1)
    assert "different on their own: the feed-forward of layer 0 alone" in result["localisation"]["conclusion"]
    before = adapters[0].parent.parent / "before.h5"
    run = live.ended(live.start(adapters[0], "-o", str(before), command="record"))
    assert run.returncode in (0, 3), run.stdout + run.stderr
    again, _ = compared(live, before, adapters[1], 1)
    assert again["localisation"]["conclusion"] == result["localisation"]["conclusion"]


@pytest.mark.long
def test_more_defects_differ_from_the_reference_where_they_are(live):
    assert len(DEFECTS) > 80
    differ_from_the_reference(live, DEFECTS[1::8])


@pytest.mark.long
@pytest.mark.parametrize(("dtype", "some"), [("f32", edits.EDITS[::3]), ("bf16", edits.BFLOAT16_EDITS)], ids=["f32", "bf16"])
def test_edits_differ_from_the_recording_where_they_are(live, subtests, dtype, some):
    before = recorded(live, live.model("plain"), "--dtype", dtype)
    for edit in some:
        if edit.refused:
            continue
        with subtests.test(edit.name):
            # One that raises where the other answers cannot be compared there.
            raises = edit.name == "cache-shared"
            result, _ = compared(live, before, live.model(edit.name, edit.change), 2 if raises else 1, "--dtype", dtype)
            if edit.stage:
                assert result["localisation"]["first_locally_wrong"] == edit.stage, result["localisation"]["conclusion"]
