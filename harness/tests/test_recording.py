"""Recordings of live models: made, judged again where the model is not, damaged and forged."""

import json
import os
import random
import shutil
import signal
import time

import h5py
import numpy as np
import pytest

from live_cases import MODELS, Live

POSITION = "position = slots.unsqueeze(0) if position is None else position"
RESTARTING = {POSITION: POSITION.replace("slots.", "(slots - start).")}


def recorded(live, candidate, recording, status):
    """The result of a run that was recorded; the model is gone afterwards."""
    run = live.ended(live.start(candidate, "-o", recording, command="record"))
    assert run.returncode == status, run.stdout[-2000:] + run.stderr
    assert "recorded in" in run.stdout
    shutil.rmtree(live.root / "model")
    return json.loads((live.out / "result.json").read_text())


@pytest.fixture(scope="module")
def kept(program, tmp_path_factory):
    """A recording of the right model, and the result of the run that made it."""
    live = Live(program, tmp_path_factory.mktemp("recorded"))
    return live.root / "kept.h5", recorded(live, live.model("model"), live.root / "kept.h5", 0)


@pytest.fixture
def recording(kept, tmp_path):
    """A recording of the right model, to be changed."""
    return shutil.copy(kept[0], tmp_path / "before.h5")


def test_a_command_that_ends_in_the_name_of_a_recording_is_a_command(live, recording):
    run, result = live.verify(f"exec: {live.program.path} play {recording}")
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr
    assert result["header"]["candidate"].startswith("exec: ")
    assert "answers come from a recording" not in run.stdout
    run, _ = live.verify("exec: exit 3; cat lost.h5")
    assert run.returncode == 2, run.stdout[-2000:] + run.stderr
    assert "ended with status 3" in run.stderr


@pytest.mark.parametrize(("change", "status"), [((), 0), (RESTARTING, 1)], ids=["right", "restarting"])
def test_a_recording_gets_the_verdicts_of_its_model(live, kept, recording, change, status):
    before = recorded(live, live.model("model", change), recording, status) if change else kept[1]
    run, after = live.verify(recording)
    assert run.returncode == status, run.stdout[-2000:] + run.stderr
    for part in ("localisation", "chapters"):
        assert before[part] == after[part]
    for one, other in zip(before["requirements"], after["requirements"], strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}
    assert "answers come from a recording: no code of the model is run" in after["header"]["notes"]
    # In another order, and less of it.
    run, part = live.verify(recording, "--only", "7,4")
    verdicts = {r["id"]: r["verdict"] for r in after["requirements"] if r["chapter"] in (4, 7)}
    assert {r["id"]: r["verdict"] for r in part["requirements"] if r["chapter"] in (4, 7)} == verdicts


def test_a_player_of_recorded_answers_does_not_conform_where_probes_are_drawn_anew(live, recording):
    """With the seed of the recording every answer is known beforehand; with another one none is."""
    assert "--seed 1" in live.refused(recording, "the seed 1, not 77", arguments=("--seed", "77"))
    run, result = live.verify(f"""exec: sed -u 's/"seed": *77/"seed":1/' | {live.program.path} play {recording}""", "--seed", "77")
    assert run.returncode not in (0, 1), run.stdout[-2000:] + run.stderr
    if result:
        assert result["header"]["seed"] == 77


def test_a_recording_of_another_seed_gets_the_verdicts_of_its_model(live, tmp_path):
    made = tmp_path / "other.h5"
    run = live.ended(live.start(live.model("model"), "--seed", "123", "-o", made, command="record"))
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr
    shutil.rmtree(live.root / "model")
    run, result = live.verify(made, "--seed", "123")
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr
    assert result["header"]["seed"] == 123


def test_what_is_no_recording_or_another_one_is_refused(live, recording):
    live.refused(recording, "before.h5", "float32", "bfloat16", "--dtype", arguments=("--dtype", "bf16"))
    live.specification = "minimind2-small"
    live.refused(recording, "before.h5", "'tiny'", "'minimind2-small'", "--spec")
    live.specification = "tiny"
    whole = recording.read_bytes()
    for size in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        recording.write_bytes(whole[:size])
        live.refused(recording, "before.h5", "is not a readable HDF5 file")
    at = whole.index(b"plumbline-recording")
    recording.write_bytes(whole[:at] + b"somebody-recording!" + whole[at + 19:])
    live.refused(recording, "is not a Plumbline recording")
    live.refused(live.root / "nowhere.h5", "no such file")


def test_a_changed_byte_never_changes_a_verdict_unnoticed(live, recording, subtests):
    _, before = live.verify(recording)
    verdicts = {r["id"]: r["verdict"] for r in before["requirements"]}
    whole = recording.read_bytes()
    numbers = random.Random(1)
    for turn in range(6):
        place = numbers.randrange(len(whole))
        with subtests.test(turn=turn, place=place):
            recording.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1:])
            run, result = live.verify(recording)
            assert run.returncode in (0, 2), run.stdout[-2000:] + run.stderr
            for requirement in (result or {"requirements": []})["requirements"]:
                assert requirement["verdict"] in (verdicts[requirement["id"]], "error"), requirement["reason"]
            # What nobody reads may change; what is read and was changed is named.
            if run.returncode == 2 and result:
                assert "record it again" in run.stdout


def forged(live, recording, change):
    """What is said of the recording after `change` was made to the open file."""
    shutil.copy(recording, live.root / "forged.h5")
    with h5py.File(live.root / "forged.h5", "r+") as file:
        change(file)
    run, result = live.verify(live.root / "forged.h5", "--only", "7")
    assert run.returncode == 2, run.stdout[-2000:] + run.stderr
    assert "record it again" in run.stdout + run.stderr
    return " ".join((run.stdout + run.stderr).split())


def test_a_forged_recording_is_found_out(live, recording, subtests):
    with h5py.File(recording) as file:
        logits = [name for name, values in file["tensors"].items() if values.shape == (1, 24, 101)]
        answers = json.loads(bytes(file["exchanges"][()]))
        weights = next(answer for answer in answers if answer["request"] == "weights")["tensors"]["tok.weight"]
    assert logits != []

    def moved_values(file):
        for name in logits:
            file["tensors"][name][0, 3, 5] += 1e-3

    def another_type(file):
        del file["tensors"][weights].attrs["dtype"]
        file["tensors"][weights].attrs["dtype"] = np.bytes_("int64")

    def elsewhere(file):
        del file["tensors"][weights]
        file["tensors"][weights] = h5py.ExternalLink(str(recording), f"/tensors/{weights}")

    def in_a_raw_file(file):
        del file["tensors"][weights]
        file["tensors"].create_dataset(weights, (4, 4), "f4", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])

    def enormous(file):
        del file["tensors"][weights]
        values = file["tensors"].create_dataset(weights, (1 << 40, 1 << 20), "f4", chunks=(1, 1))
        values.attrs["dtype"] = np.bytes_("float32")

    def other_answers(file):
        text = bytes(file["exchanges"][()]).replace(b'"evaluation"', b'"evaluatiom"', 1)
        file["exchanges"][...] = np.frombuffer(text, np.uint8)

    def without_answers(file):
        del file["exchanges"]

    def another_version(file):
        del file.attrs["version"]
        file.attrs["version"] = np.bytes_("2")

    for change, words in ((moved_values, "was changed after it was recorded"), (another_type, "does not have its stated type"),
                          (elsewhere, "lacks tensors/"), (in_a_raw_file, "in another file"), (enormous, "impossible size"),
                          (other_answers, "was changed after it was recorded"), (without_answers, "lacks exchanges"),
                          (another_version, "is a recording of version 2")):
        with subtests.test(change.__name__):
            assert words in forged(live, recording, change)


@pytest.mark.parametrize(("candidate", "output", "words"), [
    ("reference", "before.h5", ["reference", "is no live model"]),
    (MODELS / "plain_adapter.py", "before.txt", ["before.txt", "ends in .h5"]),
    (MODELS / "plain_adapter.py", "nowhere/before.h5", ["nowhere/before.h5", "no directory"]),
    (MODELS / "plain_adapter.py", "folder.h5", ["folder.h5", "something other"]),
])
def test_it_is_made_of_live_models_alone_and_where_it_can_be_written(live, candidate, output, words):
    (live.root / "folder.h5").mkdir()
    run = live.ended(live.start(candidate, "-o", live.root / output, command="record"))
    assert run.returncode == 2, run.stdout
    assert len(run.stderr.splitlines()) == 1, run.stderr
    for word in words:
        assert word in run.stderr
    assert not live.out.exists()


def test_a_signal_leaves_the_recording_that_was_there(live):
    adapter, recording = live.model("model"), live.root / "before.h5"
    recording.write_text("before")
    for moment in (0.3, 1.5, 3.0):
        process = live.start(adapter, "-o", recording, command="record")
        time.sleep(moment)
        process.send_signal(signal.SIGINT)
        assert live.ended(process, 5).returncode == -signal.SIGINT
        assert recording.read_text() == "before"
        assert [name for name in os.listdir(live.root) if name.endswith(".partial")] == []
