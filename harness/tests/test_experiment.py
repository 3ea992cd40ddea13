"""The experiment as a user runs it: stopped, taken up again, refused; and the record that the program brings along."""

import json
import pathlib
import re
import resource
import signal
import subprocess
import time

import jsonschema
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
RECORD = ROOT / "fixtures" / "repeater" / "small-result.json"
SCHEMA = json.loads((ROOT / "harness" / "experiment" / "repeater.schema.json").read_text())


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def refused(program, *arguments, words):
    run = program("experiment", *arguments)
    assert (run.returncode, run.stdout) == (2, ""), run.stderr
    for word in words:
        assert word in run.stderr
    assert len(run.stderr.splitlines()) == 1, run.stderr


def test_what_cannot_be_done_is_said(program, tmp_path, out):
    file = tmp_path / "file"
    file.write_text("x")
    refused(program, "repeater", "--scale", "medium", words=["medium", "there are full, small"])
    refused(program, "repeater", "--out", file, words=["--out"])
    refused(program, "repeater", "--out", out, "--tokens", "nowhere.jsonl", words=["nowhere.jsonl"])
    refused(program, "repeater", "--out", out, "--tokens", file, words=[str(file)])
    refused(program, "repeater", "--device", "tpu", words=["tpu"])
    refused(program, words=["subcommand"])


def begun(program, out, patterns=("*.state.safetensors", "*.json")):
    """A running experiment, from the moment on at which it has written the state of a run, or a run that has ended."""
    process = program.start("experiment", "repeater", "--out", out, stdout=subprocess.DEVNULL)
    end = time.monotonic() + 240
    while time.monotonic() < end and process.poll() is None:
        if any(any(out.glob(f"runs/{pattern}")) for pattern in patterns):
            return process
        time.sleep(0.02)
    process.kill()
    pytest.fail("nothing was written: " + process.communicate()[1])


def test_stopped_it_goes_on_where_it_was(program, out):
    for how, status in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, -signal.SIGINT)):
        with begun(program, out) as process:
            process.send_signal(how)
            said = process.communicate(timeout=60)[1]
        assert process.returncode == status, said
        assert not (out / "result.json").exists()
        assert "Traceback" not in said
    left = sorted(path.name for path in (out / "runs").iterdir())
    assert not [name for name in left if "partial" in name and not name.startswith(".")], left


def test_two_calls_keep_out_of_each_others_way(program, out):
    with begun(program, out) as process:
        refused(program, "repeater", "--out", out, words=["another call is at work"])
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def test_a_full_disk_leaves_the_last_state(program, out):
    with begun(program, out) as process:
        process.kill()
        process.communicate(timeout=60)

    def held():
        return {path.name: path.read_bytes() for path in (out / "runs").iterdir()}

    before = held()
    run = program("experiment", "repeater", "--out", out,
                  preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)))
    assert run.returncode == 2, run.stderr
    assert "cannot be written" in run.stderr
    assert str(out) in run.stderr
    assert len(run.stderr.splitlines()) == 1, run.stderr
    assert held() == before


def states_left(program, out):
    """States of runs that were killed: a run may end, and take its state away, just before it is killed."""
    for _ in range(20):
        with begun(program, out, ["*.state.safetensors"]) as process:
            process.kill()
            process.communicate(timeout=60)
        if states := list((out / "runs").glob("*.state.safetensors")):
            return states
    pytest.fail("no run was killed while its state was there")


def test_what_was_damaged_is_refused(program, out):
    states = states_left(program, out)
    states[0].write_bytes(states[0].read_bytes()[:1000])
    run = program("experiment", "repeater", "--out", out)
    assert run.returncode == 2
    assert states[0].name in run.stderr


def test_it_follows_its_schema():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    errors = list(jsonschema.Draft202012Validator(SCHEMA).iter_errors(json.loads(RECORD.read_text())))
    assert [error.json_path + ": " + error.message for error in errors] == []


def test_its_verdicts_are_those_of_verify(program, tmp_path):
    program("verify", "--spec", "tiny", "--only", "claims", "--out", tmp_path)
    found = {r["id"]: r for r in json.loads((tmp_path / "result.json").read_text())["requirements"]}
    for claim in json.loads(RECORD.read_text())["claims"]:
        assert found[claim["id"]]["verdict"] == "pass"
        finding = json.dumps(found[claim["id"]], ensure_ascii=False)
        assert {"open": "neither confirmed nor refuted"}.get(claim["verdict"], claim["verdict"]) + ", at small scale" in finding
        assert re.search(r"models of 0\.\d+M to 0\.\d+M parameters", finding), finding
