"""Live models that fail: no adapter, a broken one, a model that dies, hangs or floods, a program that says what is none, and signals."""

import os
import random
import shutil
import signal
import time

import pytest

from live_cases import MODELS, files_of, with_verdict


# What is wrong with the user's file, said with the line that it is in.


@pytest.fixture
def live(cold_live):
    return cold_live


def test_no_such_file(live):
    live.refused(live.root / "nowhere.py", "nowhere.py", "no such file")


@pytest.mark.parametrize(("text", "words"), [
    ("x = 1\nif x\n    pass\n", ("broken.py:2", "SyntaxError")),
    ("x = 1\n\nimport no_such_module\n", ("broken.py:3", "ModuleNotFoundError", "no_such_module")),
    ("import plumbline\nAdapter = plumbline.Module\n", ("broken.py:1", "defines no `adapter`")),
    ("import plumbline\n\ndef build():\n    pass\n\nadapter = plumbline.Module(build)\n", ("broken.py:3", "build(specification)")),
    ("import plumbline\nadapter = plumbline.Module(lambda s: 7)\n", ("broken.py:2", "int", "torch.nn.Module")),
])
def test_files_that_define_no_adapter(live, text, words):
    live.refused(live.file(text), *words)


def test_mappings_that_name_nothing(live):
    adapter = "import models, plumbline\nadapter = plumbline.Module(models.Plain, mapping={})\n"
    live.refused(live.file(adapter.format("{'model.embed_tokens.weight': 'nowhere.weight'}")), "broken.py", "nowhere.weight")
    requirements = live.judged(live.file(adapter.format("{'model.embedding': 'tok.weight'}")), 1, "--only", "2")
    assert {"PAR-2", "PAR-4"} <= set(with_verdict(requirements, "fail"))


def test_a_model_that_raises_at_once(live):
    live.refused(live.plain("raise RuntimeError('out of\\nluck')"), "broken.py:8", "RuntimeError: out of")


def test_a_model_that_raises_in_some_requirements(live):
    adapter = live.plain("if keywords.get('cache'): raise RuntimeError('no luck')")
    requirements = live.judged(adapter, 2, "--only", "4,6")
    assert [i for i in with_verdict(requirements, "error") if not i.startswith("KVC")] == []
    assert "broken.py:8: RuntimeError: no luck" in requirements["KVC-4"]["reason"]
    assert requirements["BLK-1"]["verdict"] == "pass"


def test_logits_of_another_shape(live):
    live.refused(live.plain("return super().forward(*inputs, **keywords)[0][0], None"), "broken.py", "logits are of shape [2, 101]", "logits=")


def test_a_model_that_prints_and_floods(live):
    adapter = live.plain("print('hello', Broken.calls); os.write(1, b'{\"id\": 7}\\n'); os.write(2, b'noise\\n' * 200000)")
    requirements = live.judged(adapter, 3, "--only", "6")
    assert len(with_verdict(requirements, "pass")) == 8


def test_a_model_that_dies_once(live):
    adapter = live.plain("flag = pathlib.Path(__file__).with_suffix('.died')\n"
                         "                    if Broken.calls == 30 and not flag.exists(): flag.touch(); print('good bye'); os._exit(3)")
    requirements = live.judged(adapter, 2, "--only", "5,6")
    errors = with_verdict(requirements, "error")
    assert len(errors) == 1, errors
    assert "ended with status 3" in requirements[errors[0]]["reason"]
    assert "good bye" in requirements[errors[0]]["reason"]
    assert with_verdict(requirements, "fail") == []
    assert len(with_verdict(requirements, "pass")) >= 16


def test_a_place_for_temporary_files_that_is_lost_is_no_failure_of_the_model(live):
    """As a full disk is none: what cannot be asked was not answered wrongly."""
    adapter = live.plain("import glob, shutil\n"
                         "                    lost = glob.glob(os.environ['TMPDIR'] + '/plumbline-*') if Broken.calls == 20 else []\n"
                         "                    for place in lost: shutil.rmtree(place)")
    requirements = live.judged(adapter, 2, "--only", "text")
    assert with_verdict(requirements, "fail") == []
    assert len(with_verdict(requirements, "error")) > 3


def test_a_model_that_dies_where_nobody_waits_for_an_answer(live):
    adapter = live.file("""
        import os
        import plumbline.server
        import plain_adapter
        closing, closed = plumbline.server.Server.close_cache, []
        def close_cache(self, request):
            closed.append(request)
            if len(closed) == 5:
                os._exit(3)
            return closing(self, request)
        plumbline.server.Server.close_cache = close_cache
        adapter = plain_adapter.adapter
        """)
    requirements = live.judged(adapter, 2, "--only", "4,7")
    assert "close_cache" in " ".join(requirements[each]["reason"] for each in with_verdict(requirements, "error"))


def test_a_model_that_hangs(live):
    live.refused(live.plain("time.sleep(1000)"), "no answer within 6 s", arguments=["--timeout", "6"])


# Programs that speak the protocol wrongly.


def test_one_that_speaks_rightly_is_judged(live):
    requirements = live.judged(live.speaker(), 1)
    # Its logits are not those of its one matrix, with everything that it lacks doing nothing.
    assert with_verdict(requirements, "fail") == ["PAR-1", "PAR-2", "MODE-2", "MODE-11", "MODE-13", "NUM-6", "TXT-2"]
    assert "NUM-5" in with_verdict(requirements, "pass")


def test_no_program(live):
    live.refused("exec: false", "false", "status 1")
    live.refused("exec: no-such-program", "no-such-program", "not found")
    live.refused("exec:", "exec:")
    live.refused("exec: exec sleep 1000", "no answer within 2 s", arguments=["--timeout", "2"])
    live.refused("exec: exit 0", "status 0")
    live.refused("exec: kill -9 $$", "signal 9")
    # Asked or not yet: it writes at once, and either is said with what it wrote.
    live.refused("exec: yes", "exec: yes", "'y")


@pytest.mark.parametrize(("how", "words"), [
    ("id", ["expected a reply to request 1"]), ("text", ["good morning", "JSON"]), ("empty line", ["JSON"]), ("deep", ["JSON"]),
    ("huge", ["bytes in one line"]), ("bytes", ["JSON"]), ("nan", ["JSON"]), ("no end", ["status 0"]), ("kind", ["unknown kind 'odd'"]),
    ("cannot", ["not today"]), ("overrun", ["not today"]), ("failed", []), ("type", ["float16"]), ("protocol", ["protocol 1"]),
    ("mapping", ["nowhere.weight"]), ("exit", ["status 3"]), ("unasked", ["and by the way", "without being asked"]),
    ("two", ["without being asked"]),
])
def test_a_hello_that_is_none(live, how, words):
    live.refused(live.speaker(how, "hello"), *words)


@pytest.mark.parametrize(("how", "words"), [
    ("climbs", ["plain name"]), ("half", ["tensors"]), ("empty", ["tensors"]), ("no file", ["tensors"]), ("folder", ["tensors"]),
    ("link", ["tensors"]), ("fifo", ["tensors"]), ("exit", ["status 3"]), ("cannot", ["not today"]),
])
def test_weights_that_are_none(live, how, words):
    live.refused(live.speaker(how, "weights"), *words, arguments=["--timeout", "3"])


@pytest.mark.parametrize(("how", "words"), [
    ("climbs", ["plain name"]), ("half", ["tensors"]), ("exit", ["status 3"]), ("hang", ["no answer within 1 s"]), ("flat", ["shape"]),
    ("no words", ["logits"]), ("more words", ["logits"]), ("integers", ["logits"]), ("truths", ["logits"]), ("cannot", ["not today"]),
    ("overrun", ["not today"]), ("failed", ["xxx"]),
])
def test_first_logits_that_are_none(live, how, words):
    live.refused(live.speaker(how, "forward"), *words, arguments=["--timeout", "1"])


def test_seconds_that_are_none_are_no_matter(live):
    live.judged(live.speaker("seconds", "forward"), 1)


@pytest.mark.parametrize("how", ["id", "huge", "two", "half", "exit", "flat", "no words"])
def test_later_logits_that_are_none(live, how):
    # Whatever is answered after the adapter was checked costs the requirement at hand, and those after three new starts.
    requirements = live.judged(live.speaker(how, "forward", 6), 1, "--only", "2,7")
    assert with_verdict(requirements, "error") != []


def test_children_and_noise_are_no_hindrance(live):
    live.judged(live.speaker("children", "forward", 3), 1, "--only", "2,7")
    live.judged(live.speaker("flood", "forward", 3), 1, "--only", "2,3")


def test_an_end_that_does_not_come_is_made(live):
    live.judged(live.speaker("hang", "bye"), 1, "--only", "2", "--timeout", "2")


def test_signals_end_it_at_any_moment(live, subtests):
    moments = random.Random(1)
    shutil.copy(MODELS / "plain_adapter.py", live.root)
    for turn in range(8):
        number = (signal.SIGINT, signal.SIGTERM)[turn % 2]
        # Half of them in a short-lived run of a program that starts at once.
        candidate, longest = ((live.root / "plain_adapter.py", 4.0), (live.speaker(), 0.4))[turn // 2 % 2]
        moment = moments.uniform(0.02, longest)
        with subtests.test(signal=number.name, moment=round(moment, 3), candidate=str(candidate)[:20]):
            shutil.rmtree(live.out, ignore_errors=True)
            process = live.start(candidate)
            time.sleep(moment)
            process.send_signal(number)
            run = live.ended(process, 5)
            if (live.out / "summary.md").exists():  # it was judged before: all is written, and whole
                assert sorted(os.listdir(live.out)) == files_of(live.out)
                continue
            assert run.returncode == -number
            assert not (live.out.exists() and os.listdir(live.out))


def test_a_killed_candidate_never_makes_it_hang(live, subtests):
    moments = random.Random(2)
    shutil.copy(MODELS / "plain_adapter.py", live.root)
    for turn in range(12):
        candidate, longest = (live.root / "plain_adapter.py", 5.0) if turn % 4 == 0 else (live.speaker(), 0.5)
        marker = "plumbline.serve" if turn % 4 == 0 else "speaker.py"
        moment = moments.uniform(0, longest)
        with subtests.test(moment=round(moment, 3), candidate=str(candidate)[:20]):
            shutil.rmtree(live.out, ignore_errors=True)
            process = live.start(candidate, *(["--only", "3"] if turn % 4 == 0 else []))
            live.strike(process, marker, signal.SIGKILL, moment)
            run = live.ended(process, 60)
            if (live.out / "result.json").exists():
                assert run.returncode in (1, 2, 3)
            else:
                assert run.returncode == 2
                assert len(run.stderr.splitlines()) == 1, run.stderr
                assert "signal 9" in run.stderr
