"""Candidates that are killed or stand still, at every step and at random moments."""

import json
import os
import pathlib
import random
import shutil
import signal
import time

import jsonschema
import pytest

from live_cases import MODELS, files_of, of_marker

SCHEMA = pathlib.Path(__file__).resolve().parents[2] / "harness" / "result" / "result.schema.json"
VALIDATOR = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))


SAYS = {signal.SIGKILL: "was stopped by signal 9 (Killed)", signal.SIGTERM: "was stopped by signal 15 (Terminated)",
        signal.SIGSTOP: "gave no answer within 3 s"}
SENDS_TENSORS = ("weights", "forward", "extend", "show_cache", "gradients", "operation")
CHAPTERS = ("--only", "1,3,4,8")  # in which every request is made
QUICK = (*CHAPTERS, "--no-diagnosis")


@pytest.fixture
def live(cold_live):
    return cold_live


def run_of(live, candidate, *arguments):
    shutil.rmtree(live.out, ignore_errors=True)
    run = live.ended(live.start(candidate, "--timeout", "3", *arguments), 90)
    return run, result_of(live, run)


def result_of(live, run):
    """What it wrote, whole and as its exit status says; None where nothing could be judged, which it then says."""
    assert run.returncode in (0, 1, 2, 3), run.stderr
    if not live.out.exists():
        assert run.returncode == 2
        assert len(run.stderr.splitlines()) == 1, run.stderr
        return None
    assert sorted(os.listdir(live.out)) == files_of(live.out)
    result = json.loads((live.out / "result.json").read_text())
    assert [error.json_path for error in VALIDATOR.iter_errors(result)] == []
    assert run.returncode == result["footer"]["status"]
    assert run.stderr == ""
    if any(one["level"] == "must" and one["verdict"] == "error" for one in result["requirements"]):
        assert run.returncode in (1, 2)
    return result


def asked(live):
    """Names of the requests that the speaker was sent since this was last called."""
    file = live.root / "asked"
    names = file.read_text().split()
    file.unlink()
    return names


def test_at_every_step(live, subtests):
    assert live.program("adapter", "check", live.speaker(extent="whole"), "--spec", "tiny", cwd=live.root).returncode == 0
    checked = asked(live)[:-1]  # without bye
    honest = run_of(live, live.speaker(extent="whole"), *CHAPTERS)[0]
    names = asked(live)
    assert names[:len(checked)] == checked
    # A search for the cause takes most of a run: only what is asked in it is tried in a run that has one.
    assert run_of(live, live.speaker(extent="whole"), *QUICK)[0].returncode == honest.returncode
    judging = asked(live)[:-1]  # without bye
    assert names[:len(judging)] == judging
    earliest = {name: names.index(name) + 1 for name in names}
    assert max(earliest.values()) < len(judging) or max(earliest, key=earliest.get) == "bye"
    assert len(earliest) >= 13, "a request that is never made is never tried"
    latest = {name: number for number, name in enumerate(names, 1)}
    moments = {name: ["before", "half line", "after"] + ["half file"] * (name in SENDS_TENSORS) for name in earliest}
    cases = [(signal.SIGKILL, earliest[name], moment) for name in moments for moment in moments[name]]
    cases += [(signal.SIGKILL, latest[name], "before" if turn % 2 else "after") for turn, name in enumerate(moments)
              if latest[name] > earliest[name]]
    # A step that stands still takes its three seconds: one moment each, of those that are judged.
    last = {name: number for number, name in enumerate(judging, 1)} | {"bye": len(names)}
    cases += [(how, last[name], moments[name][(turn + shift) % len(moments[name])]) for turn, name in enumerate(moments)
              for shift, how in enumerate((signal.SIGTERM, signal.SIGSTOP))]
    for how, number, moment in cases:
        met = number + (moment == "after")  # the request that goes unanswered
        at = names[met - 1] if met <= len(names) else "bye"
        quick = met <= len(judging)
        with subtests.test(signal=how.name, request=f"{number} ({names[number - 1]})", moment=moment, seen_at=at):
            run, result = run_of(live, live.speaker(f"{how.name} {moment}", number, extent="whole"), *(QUICK if quick else CHAPTERS))
            assert asked(live)[:number] == names[:number]
            if met <= len(checked):
                assert result is None
                assert f"{SAYS[how]} ({at})" in run.stderr
                continue
            assert run.returncode == honest.returncode
            if not set((judging if quick else names)[met - 1:]) - {"close_cache", "bye"}:
                continue  # nothing more was to be judged
            said = f"{SAYS[how]} ({at})" in json.dumps(result)
            # Where no requirement waits for the answer (caches are closed, failures are located), another one is started.
            noted = "it was started" in result["header"]["notes"][-1]
            assert said or noted and (at == "close_cache" or number in (latest[names[number - 1]], last[names[number - 1]])), "not said"


def test_at_random(live, subtests, request):
    seed = request.config.getoption("--seed")
    print("seed", seed)
    chance = random.Random(seed)
    shutil.copy(MODELS / "plain_adapter.py", live.root)
    began = time.monotonic()
    run_of(live, live.speaker(extent="whole"), *QUICK)
    longest = 0.7 * (time.monotonic() - began)  # from the start of the candidate
    hits = 0
    for turn in range(50):
        plain = turn % 8 == 0
        # Reading torch takes longer than three seconds now and then: that one is not stopped.
        how = chance.choice([signal.SIGKILL] * 4 + [signal.SIGTERM] * 2 + [signal.SIGSTOP] * (not plain))
        moment = chance.uniform(0, 4 if plain else longest)
        with subtests.test(seed=seed, turn=turn, signal=how.name, moment=round(moment, 3), plain=plain):
            shutil.rmtree(live.out, ignore_errors=True)
            process = live.start(*([live.root / "plain_adapter.py", "--only", "3"] if plain
                                   else [live.speaker(extent="whole"), "--timeout", "3", *(CHAPTERS if turn % 8 == 1 else QUICK)]))
            hits += live.strike(process, "plumbline.serve" if plain else "speaker.py", how, moment)
            run = live.ended(process, 90)
            if result_of(live, run) is None:
                assert SAYS[how] in run.stderr
    assert hits > 15  # the others came when all was over


def test_what_leaves_its_group_is_seen_and_left(live):
    # A process that makes itself a session of its own is out of reach: the limit of what is promised.
    process = live.start(live.speaker("daemon", 4), "--only", "2,7")
    with pytest.raises(AssertionError, match="left running"):
        live.ended(process)
    left = of_marker(str(live.root))
    assert len(left) == 1, left
    os.kill(*left, signal.SIGKILL)
