"""Output that cannot be written: a full device is an error, a closed pipe a quiet end, in every command."""

import json
import os
import pathlib
import re
import shutil
import signal
import sys

import pytest

MODELS = pathlib.Path(__file__).resolve().parents[1] / "python" / "tests" / "models.py"
TINY = ["--spec", "tiny"]
CONFIGURATION = [*TINY, "--only", "configuration"]
# What each command is called with in a folder that has what it needs; each writes something to standard output.
COMMANDS = {
    "verify": ["verify", *CONFIGURATION, "--out", "verify"],
    "compare": ["compare", "reference", "variant:fused", *TINY, "--out", "compare"],
    "sample": ["sample", "reference", *TINY, "--prompts", "prompts.jsonl", "--tokens", "4", "-o", "new.jsonl"],
    "text": ["text", "samples.jsonl"],
    "log": ["log", "log.jsonl"],
    "experiment": ["experiment", "repeater", "--help"],
    "campaign": ["campaign", "norm-centred", "--small-alone", "--no-diagnosis", "--out", "campaign"],
    "requirements": ["requirements"],
    "requirements ID": ["requirements", "GQA-2"],
    "defects": ["defects"],
    "defects NAME": ["defects", "mask-none"],
    "claims": ["claims"],
    "report": ["report", "render", "bundle"],
    "report diff": ["report", "diff", "bundle", "bundle"],
    "report check": ["report", "check", "bundle"],
    "report merge": ["report", "merge", "bundle", "--out", "merged"],
    "export": ["export", "exported", *TINY],
    "inspect": ["inspect", f"{MODELS}:Plain", *TINY, "--python", sys.executable],
    "adapter": ["adapter", "init", "new.py"],
    "record": ["record", "--help"],
    "play": ["play", "--help"],
    "--help": ["--help"],
    "--version": ["--version"],
}
each_command = pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)


@pytest.fixture(scope="module")
def bundle(program, tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "bundle"
    program("verify", *CONFIGURATION, "--out", out)
    return out


@pytest.fixture
def folder(bundle, tmp_path):
    shutil.copytree(bundle, tmp_path / "bundle")
    (tmp_path / "samples.jsonl").write_text("".join(json.dumps({"prompt": i, "ids": [1, 2, 3, 4] * 8}) + "\n" for i in range(20)))
    (tmp_path / "log.jsonl").write_text("".join(json.dumps({"step": 10 * i, "loss": 8.7 / (1 + i / 20) + 1}) + "\n" for i in range(80)))
    (tmp_path / "prompts.jsonl").write_text('{"ids": [1, 2, 3]}\n')
    return tmp_path


@pytest.fixture
def unread():
    """A pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


def test_every_command_is_tried(program):
    text = program("--help").stdout
    there = re.findall(r"^  (\w+) +\S", text.split("Subcommands:")[1].split("Exit status")[0], re.MULTILINE)
    assert len(there) > 10
    assert set(there) - {name.split()[0] for name in COMMANDS} == set()


@each_command
def test_each_succeeds_where_output_can_be_written(program, folder, command):
    run = program(*command, cwd=folder)
    assert run.returncode in (0, 1, 3), run.stdout + run.stderr
    assert run.stdout != ""


@each_command
def test_a_full_device_is_an_error(program, folder, command):
    with open("/dev/full", "w", encoding="utf-8") as full:
        run = program(*command, cwd=folder, stdout=full)
    assert run.returncode == 2, run.stderr
    assert "standard output cannot be written to" in run.stderr


@each_command
def test_a_pipe_that_nobody_reads_ends_it_quietly(program, folder, unread, command):
    run = program(*command, cwd=folder, stdout=unread)
    assert run.returncode == -signal.SIGPIPE, run.stderr
    assert run.stderr == ""


def test_where_a_closed_pipe_is_no_signal_it_is_an_error(program, unread):
    run = program("defects", stdout=unread, restore_signals=False)
    assert run.returncode == 2, run.stderr
    assert "standard output cannot be written to" in run.stderr
